# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Version, places and what an inspection asks for."""

from __future__ import annotations

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.inspection import (
    Inspection,
    read_inspection,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.installation import (
    BUILDS,
    Places,
    directory_problems,
    identify,
    inspection_request,
    proxy_here,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.script import payload
from tests.support.inspections import Described, service


def server(described: Described) -> Inspection:
    return read_inspection(described.inspect(inspection_request(Places())))


# Q158530, Q257618, Q243604, Q248838: builds as the articles print them.
PRINTED = [
    *((build, (4, 0)) for build in (837, 838, 993, 994, 995, 996)),
    *((build, (5, 0)) for build in (1457, 1458, 1460)),
    *((build, (5, 5)) for build in (1960, 2232, 2448, 2650, 2653)),
]


@pytest.mark.parametrize(("build", "version"), PRINTED)
def test_version_of_every_printed_build(build: int, version: tuple[int, int]) -> None:
    assert identify(server(Described(registry={"newest_build": build}))).version == version


@pytest.mark.parametrize("registry", [{}, {"newest_build": 1200}, {"newest_build": 6944}, {"newest_build": "2653"}])
def test_unknown_builds_are_unknown(registry: dict[str, object]) -> None:
    assert identify(server(Described(registry=dict(registry)))).version is None


def test_ranges_do_not_overlap() -> None:
    edges = [edge for first, last, dummy in BUILDS for edge in (first, last)]
    assert edges == sorted(edges)


def test_newest_build_wins_and_build_stands_in() -> None:
    assert identify(server(Described(registry={"newest_build": 2653, "build": 837}))).build == 2653
    assert identify(server(Described(registry={"build": 837}))).version == (4, 0)
    assert identify(server(Described(registry={"build": 837})), override="5.5").version == (5, 5)


def test_root_has_no_trailing_backslash() -> None:
    assert identify(server(Described(registry={"install_root": "D:\\exchsrvr\\"}))).root == "D:\\exchsrvr"


def test_given_directories_are_not_looked_for() -> None:
    files = {row["id"]: row for row in inspection_request(Places("D:\\x\\bin\\", None))["files"]}
    assert files["bin"]["path"] == "D:\\x\\bin\\Wspcfg.ini" and files["imc"]["path"] is None
    assert files["imc"]["below"] == r"connect\msexcimc\bin" and files["imc"]["beside"] == ["MSExchangeIMC"]


@pytest.mark.parametrize("path", ["C:\\", "D:\\Program Files\\exchsrvr\\bin", "e:\\x\\"])
def test_good_directories(path: str) -> None:
    assert directory_problems(Places(path, path)) == []


@pytest.mark.parametrize("path", ["", "bin", "C:bin", "\\\\s\\c$", "C:\\a\r\nb", "C:/x", "C:\\a|b", "C:\\[x]\n"])
def test_bad_directories(path: str) -> None:
    assert [problem.option for problem in directory_problems(Places(path, None))] == ["bin_dir"]


def test_services_are_asked_for_once() -> None:
    names = inspection_request(Places(), names=["msexchangeis", "Spooler"])["services"]
    assert names.count("MSExchangeIS") == 1 and "msexchangeis" not in names and "Spooler" in names
    assert {"MSExchangeKMS", "wspsrv", "ClusSvc"} <= set(names)


def test_proxy_counts_unless_it_is_disabled() -> None:
    described = Described()
    assert proxy_here(server(described)) is None
    described.services["wspsrv"] = service("wspsrv", state="stopped")
    assert proxy_here(server(described)) is not None
    described.services["wspsrv"] = service("wspsrv", state="stopped", start_type="disabled")
    assert proxy_here(server(described)) is None


def test_a_drift_check_is_small() -> None:
    """40,000 bytes may be sent per host with NTLM; its overhead is 14.6 KB, and standard input counts 4/3."""
    common = {"version": 1, "op": "inspect", "computer": "EXCH1", "credential": None, "run": "0" * 36, "who": "me@here"}
    assert len(payload({**common, **inspection_request(Places())}, "0123456789abcdef")) < 18_500
