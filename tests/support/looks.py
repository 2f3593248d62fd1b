# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at servers and answers of ports, as a plan over many servers gets them."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.inventory import validate
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.look import Look
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.plan import Answers, Vantage
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.wishes import Site, as_result, read_wishes
from tests.support.clocks import at

Json = dict[str, t.Any]

PATH = "C:\\exchsrvr\\bin\\Wspcfg.ini"
ADDRESS = "192.0.2.1"
GROUPS: Mapping[str, Sequence[str]] = {"all": ["a", "b", "c", "d", "e"], "exchange": ["a", "b", "c"]}


def wishes(
    host: str = "a", *, files: Sequence[str] = (), named: Sequence[str] = (), restoring: bool = False, **options: t.Any
) -> Json:
    """Options of the role as a look reads them, those of a server with POP3 unless said otherwise.

    Args:
        host: Inventory name.
        files: Files that the controller has.
        named: Variables of the server that begin as the role's do.
        restoring: Whether a backup must be chosen.
        **options: Options without their prefix.

    Raises:
        Refused: An option cannot be used.
    """
    site = Site("/plays", GROUPS, lambda path: path in files, lambda path: path.startswith("/srv/"), named)
    given = {"listeners": ["pop3"], "proxy_address": ADDRESS, **options}
    return as_result(read_wishes(given, host=host, site=site, validate=validate, restoring=restoring))


def plan(*, files: Sequence[str] = (), owed: Sequence[Json] = (), **more: t.Any) -> Json:
    """A result of ``wspcfg`` with these file actions and owed restarts."""
    return {
        "files": [{"path": PATH, "action": action} for action in files],
        "owed": list(owed),
        "clock": at("12:00"),
        "restart": {"refusals": [], "refusals_if_started": [], "warnings": [], "takes_down": [], "services": []},
        "targets": [],
        "closed_targets": [],
        "in_force": [],
        "predicted": [],
        "findings": [],
        **more,
    }


def owed(service: str, *, running: bool = True, unfinished: bool = False) -> Json:
    return {
        "service": service,
        "topic": f"Restart {service}",
        "reason": "its section differs",
        "running": running,
        "unfinished": unfinished,
    }


def port(number: int, protocol: str | None) -> Json:
    return {"host": ADDRESS, "port": number, "protocol": protocol}


def result(
    number: int,
    status: str,
    *,
    greeting: str | None = None,
    expect: str = "open",
    protocol: str = "pop3",
    **more: t.Any,
) -> Json:
    """What ``port_probe`` says of one target."""
    row = {**port(number, protocol), "status": status, "ok": status == expect, "greeting": greeting, "expect": expect}
    return {**row, "product": None, "version": None, **more}


def look(host: str = "a", found: Json | None = None, *, results: Sequence[Json] = (), **options: t.Any) -> Look:
    """A look at a server that was reached; ``results`` become the targets of its plan where that names none."""
    plan_of = plan() if found is None else found
    targets = [{name: row[name] for name in ("host", "port", "protocol")} for row in results if row["expect"] == "open"]
    return Look(host, True, (), wishes(host, **options), {**plan_of, "targets": plan_of["targets"] or targets})


def answers(*results: Json, probe_host: str = "localhost", timeout: float = 75.0) -> Answers:
    """What one vantage was answered."""
    return Answers({Vantage(probe_host, timeout): {"results": list(results), "ok": all(row["ok"] for row in results)}})
