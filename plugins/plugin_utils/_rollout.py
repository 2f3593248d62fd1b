# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role decides between its tasks: who owes something, who is refused, what an audit says.

Private to this collection: names and shapes may change in any release.
Everything here is a pure function of what modules returned; the role's tasks only pass results on.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

JsonObject = Mapping[str, t.Any]

# A probe that ends like this says nothing about the proxy: this vantage point does not reach it at all.
BLIND_STATUSES = frozenset({"timeout", "unreachable", "unresolved"})

WINDOW = re.compile(r"(?P<from>(?:[01]\d|2[0-3]):[0-5]\d)-(?P<to>(?:[01]\d|2[0-3]):[0-5]\d)")


class RolloutError(ValueError):
    """An option of the role that cannot be understood; the text names it and the remedy."""


@dataclass(frozen=True)
class Owes:
    """What one server still needs.

    Attributes:
        owes: Whether anything has to be done now.
        writes: Whether a file differs from what is wanted.
        restarts: Entries of ``owed`` that are acted on now.
        deferred: Entries of ``owed`` that wait, each with ``because``.
        topics: Handler topics of ``restarts``, in the same order.
    """

    owes: bool
    writes: bool
    restarts: tuple[JsonObject, ...]
    deferred: tuple[JsonObject, ...]
    topics: tuple[str, ...]

    def as_result(self) -> dict[str, t.Any]:
        """Return it as filters hand it to playbooks."""
        return {
            "owes": self.owes,
            "writes": self.writes,
            "restarts": [dict(entry) for entry in self.restarts],
            "deferred": [dict(entry) for entry in self.deferred],
            "topics": list(self.topics),
        }


def _minutes(clock_time: str) -> int:
    hours, minutes = clock_time.split(":")
    return int(hours) * 60 + int(minutes)


def within_window(window: str, clock: JsonObject) -> bool:
    """Say whether a restart may begin now.

    Args:
        window: ``HH:MM-HH:MM``, over midnight when the end is not after the begin; empty: always.
        clock: ``now`` (seconds since 1970 UTC) and ``utc_offset_minutes`` of the machine that runs the script.

    Raises:
        RolloutError: The window cannot be read.
    """
    if not window:
        return True
    match = WINDOW.fullmatch(window.strip())
    if match is None:
        raise RolloutError(f"publish_restart_window is '{window}'; expected two times of day such as '22:00-05:00'")
    begin, end = _minutes(match["from"]), _minutes(match["to"])
    local = int(float(clock["now"]) // 60 + int(clock["utc_offset_minutes"])) % 1440
    if begin < end:
        return begin <= local < end
    return local >= begin or local < end


def _postponed(entry: JsonObject, *, restart: str, window: str, open_now: bool, start_stopped: bool) -> str:
    """Why an owed restart is not acted on now; empty when it is."""
    if not entry.get("running", True) and not start_stopped:
        return "the service is stopped, and publish_start_stopped is false"
    if restart != "now":
        return f"publish_restart is '{restart}'"
    if not open_now:
        return f"outside publish_restart_window '{window}'"
    return ""


def what_is_owed(plan: JsonObject, *, restart: str = "now", window: str = "", start_stopped: bool = False) -> Owes:
    """Divide what a plan found into what is done now and what waits.

    Args:
        plan: Result of ``wspcfg``, from check mode or from a real run.
        restart: ``publish_restart``: ``now``, ``defer`` or ``never``.
        window: ``publish_restart_window``.
        start_stopped: ``publish_start_stopped``.

    Raises:
        RolloutError: The window cannot be read.
    """
    open_now = within_window(window, plan.get("clock") or {"now": 0, "utc_offset_minutes": 0})
    now: list[JsonObject] = []
    later: list[JsonObject] = []
    for entry in plan.get("owed", ()):
        because = _postponed(entry, restart=restart, window=window, open_now=open_now, start_stopped=start_stopped)
        if because:
            later.append({**entry, "because": because})
        else:
            now.append(entry)
    writes = any(file.get("action", "none") != "none" for file in plan.get("files", ()))
    return Owes(
        owes=writes or bool(now),
        writes=writes,
        restarts=tuple(now),
        deferred=tuple(later),
        topics=tuple(entry["topic"] for entry in now),
    )


def _port(result: JsonObject) -> str:
    return f"{result['host']}:{result['port']} ({result['protocol']})"


def _who_answers(result: JsonObject) -> str:
    greeting = result.get("greeting") or ""
    return f"answers '{greeting}'" if greeting else "answers, but not as Exchange"


def conflicts_of(host: str, conflicts: Iterable[JsonObject]) -> tuple[str, ...]:
    """Sentences for every (address, port) that ``host`` and another host of the inventory both claim."""
    sentences = []
    for conflict in conflicts:
        if host in conflict["hosts"]:
            others = ", ".join(name for name in conflict["hosts"] if name != host)
            sentences.append(f"{conflict['address']}:{conflict['port']} is claimed by {others} as well")
    return tuple(sentences)


def baseline_refusals(results: Sequence[JsonObject], *, blind: str = "refuse") -> tuple[str, ...]:
    """Say why nothing may be written, from one probe of the wanted ports taken before.

    Args:
        results: Results of ``port_probe`` for the wanted ports.
        blind: ``publish_blind``: ``refuse`` or ``proceed`` when nothing of the proxy can be seen from here.
    """
    taken = [result for result in results if result["status"] == "foreign"]
    refusals = [f"{_port(result)} is taken by another program: it {_who_answers(result)}" for result in taken]
    if is_blind(results) and blind == "refuse":
        ports = ", ".join(f"{_port(result)} {result['status']}" for result in results)
        refusals.append(
            f"the proxy cannot be seen from the probe host ({ports}), so nothing could be proven afterwards;"
            " choose another publish_probe_host, or set publish_blind: proceed"
        )
    return tuple(refusals)


def is_blind(results: Sequence[JsonObject]) -> bool:
    """Whether every probe ended without any sign of the proxy."""
    return bool(results) and all(result["status"] in BLIND_STATUSES for result in results)


@dataclass(frozen=True)
class AuditRow:
    """One line of an audit.

    Attributes:
        host: Inventory name.
        state: ``ok``, ``drift``, ``error`` or ``unknown``.
        findings: What differs, or the error; empty when ``ok``.
    """

    host: str
    state: str
    findings: tuple[str, ...]


def _file_findings(plan: JsonObject) -> list[str]:
    findings = [
        f"{file['path']} has to be {file['action']}d".replace("eed", "ed")
        for file in plan.get("files", ())
        if file.get("action", "none") != "none"
    ]
    opens = [
        _port(port) for port in plan.get("predicted", ()) if port["will"] == "in force" and port["now"] != "in force"
    ]
    if opens:
        findings.append("not in force: " + ", ".join(opens))
    return findings


def _restart_findings(plan: JsonObject) -> list[str]:
    return [f"{entry['service']}: {entry['reason']}" for entry in plan.get("owed", ())]


def _port_findings(probe: JsonObject) -> list[str]:
    """What the port check found wrong; a check that could not be made is a finding too."""
    if probe.get("unreachable") or (probe.get("failed") and "results" not in probe):
        return [f"ports not checked: {probe.get('msg', 'the probe host gave no answer')}"]
    wrong = [result for result in probe.get("results", ()) if not result["ok"]]
    return [
        f"{_port(result)} {_who_answers(result) if result['status'] == 'foreign' else result['status']}"
        for result in wrong
    ]


def audit_row(host: str, variables: JsonObject) -> AuditRow:
    """Judge one host by what the plan and the port check left in its variables.

    Args:
        host: Inventory name.
        variables: Host variables; ``publish_audit_error``, ``__publish_plan``, ``__publish_checked`` and
            ``__publish_conflicts`` are read.
    """
    plan = variables.get("__publish_plan") or {}
    if plan.get("unreachable"):
        return AuditRow(host, "unknown", ("unreachable",))
    error = variables.get("publish_audit_error") or plan.get("msg" if plan.get("failed") else "")
    if error or "files" not in plan:
        return AuditRow(host, "error", (str(error or "no plan was made; the messages above say why"),))
    findings = [
        *conflicts_of(host, variables.get("__publish_conflicts") or ()),
        *_file_findings(plan),
        *_restart_findings(plan),
        *_port_findings(variables.get("__publish_checked") or {}),
    ]
    return AuditRow(host, "drift" if findings else "ok", tuple(findings))


WORDS = {"ok": "ok", "drift": "drift: ", "error": "ERROR: ", "unknown": "UNKNOWN: "}


def audit(variables: Mapping[str, JsonObject]) -> dict[str, t.Any]:
    """Make the table: one line per host in the given order, and a line of totals.

    Args:
        variables: Host variables by inventory name.

    Returns:
        ``lines`` for people, ``rows`` (host, state, findings, line) for programs.
    """
    rows = [audit_row(host, of_host) for host, of_host in variables.items()]
    width = max((len(row.host) for row in rows), default=0)
    lines = [f"{row.host:<{width}}  {WORDS[row.state]}{'; '.join(row.findings)}" for row in rows]
    count = {state: sum(row.state == state for row in rows) for state in WORDS}
    totals = ", ".join(f"{number} {state}" for state, number in count.items() if number or state == "ok")
    return {
        "lines": [*lines, f"{len(rows)} servers: {totals}"],
        "rows": [
            {"host": row.host, "state": row.state, "findings": list(row.findings), "line": lines[index]}
            for index, row in enumerate(rows)
        ],
    }
