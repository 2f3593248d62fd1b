# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between a server and what is wanted of it, as an audit says it."""

from __future__ import annotations

from dataclasses import dataclass

from ...module_utils.probe.model import TAKEN, said_of
from ..exchange.ports import IN_FORCE
from ..shapes import JsonObject
from .changes import changed_lines, first_lines
from .owed import service_of
from .wording import place, port_name, who_answers, why

# Findings about how a file looks that change nothing for anybody; an audit does not repeat them.
COSMETIC = frozenset({"blank_line", "text_before_section", "leftover", "lookalike"})


@dataclass(frozen=True)
class Looked:
    """What an audit found out about one host, and under which options of the role.

    Attributes:
        plan: Result of ``wspcfg``.
        checked: Result of ``port_probe``; empty when no port was checked.
        probe: ``publish_probe``.
        restart: ``publish_restart``.
    """

    plan: JsonObject
    checked: JsonObject
    probe: bool = True
    restart: str = "now"

    @property
    def differing(self) -> list[JsonObject]:
        return [file for file in self.plan["files"] if file["action"] != "none"]

    @property
    def owed(self) -> list[JsonObject]:
        """Debts to report; restarts that are never wanted are none, a service that does not run is."""
        return [entry for entry in self.plan["owed"] if self.restart != "never" or not entry["running"]]

    @property
    def turned(self) -> list[JsonObject]:
        """Ports that the plan opens or closes; with the right file, those of debts that are not reported are none."""
        silent = {entry["service"] for entry in self.plan["owed"]} - {entry["service"] for entry in self.owed}
        ports = [port for port in self.plan["predicted"] if port["now"] != port["will"]]
        return [port for port in ports if self.differing or service_of(port["protocol"]) not in silent]


def drift_of(looked: Looked) -> tuple[str, ...]:
    """Return what differs from what is wanted, one line each; empty when nothing does."""
    findings = [
        *_file_findings(looked),
        *_restart_findings(looked),
        *_port_findings(looked),
        *_unproven_findings(looked),
    ]
    return tuple(map(_one_line, findings))


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _key_lines(difference: JsonObject) -> str:
    """Lines of keys that leave and come; sections and blank lines need no words."""
    lines = [line[0] + line[2:] for line in changed_lines(difference) if line[2:] and line[2] != "["]
    return " ".join(first_lines(lines))


def _file_findings(looked: Looked) -> list[str]:
    """Files that differ, why where the reader says so, and what the difference is on the proxy."""
    plan = looked.plan
    paths = {file["path"] for file in looked.differing}
    seen_open = {place(result) for result in looked.checked.get("results", ()) if result["status"] == "open"}
    lines = [_key_lines(difference) for difference in plan.get("diff") or ()]
    opens = [port_name(port) for port in looked.turned if port["will"] == IN_FORCE and place(port) not in seen_open]
    closes = [port_name(port) for port in looked.turned if port["will"] != IN_FORCE]
    return [
        *(f"{file['path']} has to be {file['action']}d" for file in looked.differing),
        *(line for line in lines if line),
        *(finding["message"] for finding in plan["findings"] if finding["path"] in paths),
        *(["not in force: " + ", ".join(opens)] if opens else []),
        *(["in force and not wanted: " + ", ".join(closes)] if closes else []),
    ]


def _restart_findings(looked: Looked) -> list[str]:
    return [f"{entry['service']}: {entry['reason']}" for entry in looked.owed]


def _port_findings(looked: Looked) -> list[str]:
    """What the port check found wrong; a check that could not be made is a finding too.

    That a port is closed which the plan will open is no news.
    """
    probe = looked.checked
    if probe and not probe.get("results") and not probe.get("ok"):
        return [f"ports not checked, see publish_probe_host: {why(probe)}"]
    expected = {place(port) for port in looked.plan["predicted"] if port["now"] != port["will"]}
    wrong = [
        result
        for result in probe.get("results", ())
        if not result["ok"] and (result["status"] in TAKEN or place(result) not in expected)
    ]
    return [
        f"{port_name(result)} {who_answers(result) if result['status'] in TAKEN else said_of(result['status'])}"
        for result in wrong
    ]


def _unproven_findings(looked: Looked) -> list[str]:
    """What is wanted open and could not be checked, because its place on the proxy is unknown."""
    rows = [row for row in looked.plan.get("unproven", ()) if row["expect"] == "open"] if looked.probe else []
    ports = ", ".join(f"{row['port']} ({row['protocol']})" for row in rows)
    return [f"ports not checked, because publish_proxy_address is not given: {ports}"] if rows else []


def file_notes(looked: Looked) -> tuple[str, ...]:
    """Return what somebody should know about files that are as wanted."""
    paths = {file["path"] for file in looked.differing}
    return tuple(
        f"{finding['path']}: {finding['message']}"
        for finding in looked.plan["findings"]
        if finding["path"] not in paths and finding["code"] not in COSMETIC
    )
