# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sees of everything that keeps Ansible from a host, over winrm and psrp alike."""

from __future__ import annotations

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.advice import ADVICE
from tests.support.port_symptoms import Port, observe_ports
from tests.support.symptoms import Seen, observe
from tests.tools.symptoms import PAGE, page

# What ran there and did not answer is a failure; where nothing ran, the host is unreachable.
FAILED = {"constrained_language", "printed_instead", "no_answer"}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    return observe(tmp_path_factory.mktemp("symptoms"))


@pytest.fixture(scope="module")
def ports() -> list[Port]:
    return observe_ports()


def test_the_page_shows_what_is_seen(seen: list[Seen], ports: list[Port]) -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert page(seen, ports) == written, "write it anew: python -m tests.tools.symptoms"


def test_each_says_its_own_cause_and_remedy(seen: list[Seen]) -> None:
    wrong = [row for row in seen if row.code and _first_words(row.code) not in row.message]
    assert not wrong


def _first_words(code: str) -> str:
    """What a cause begins with, up to what is filled in."""
    return ADVICE[code].cause.partition("{")[0]


def test_both_connections_end_alike(seen: list[Seen]) -> None:
    outcomes = {(row.symptom, row.connection): row.outcome for row in seen}
    expected = {
        (row.symptom, row.connection): "ok" if not row.code else "failed" if row.code in FAILED else "unreachable"
        for row in seen
    }
    assert outcomes == expected
    assert {row.connection for row in seen} == {"winrm", "psrp"}


def test_every_message_names_host_option_and_remedy(seen: list[Seen]) -> None:
    for row in seen:
        if row.code:
            assert f"{row.host}: option " in row.message, row
            assert row.message.rstrip().endswith("."), row
            other = "psrp" if row.connection == "winrm" else "winrm"
            assert f"ansible_{other}_" not in row.text.replace("ansible_psrp_configuration_name", ""), row


def test_the_proxy_is_named_and_its_password_is_not(seen: list[Seen]) -> None:
    rows = [row for row in seen if row.code == "proxy_in_the_way"]
    assert len(rows) == 4
    for row in rows:
        assert "http://127.0.0.1:PORT" in row.text and "no_proxy" in row.message
        assert "secret" not in row.message


def test_every_answer_of_a_port_is_told_apart(ports: list[Port]) -> None:
    assert [(port.what, port.status) for port in ports] == [(port.what, port.expected) for port in ports]
    assert all(port.said for port in ports)
