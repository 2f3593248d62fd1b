# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role decides between its tasks: who owes something, who is refused, what an audit says.

Private to this collection: names and shapes may change in any release.
Everything here is a pure function of what modules returned; the role's tasks only pass results on.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..module_utils._listeners import LISTENERS
from ..module_utils._probe_types import TAKEN
from ._sides import broken_side

JsonObject = Mapping[str, t.Any]

# A probe that ends like this says nothing about the proxy: this vantage point does not reach it at all.
BLIND_STATUSES = frozenset({"timeout", "unreachable", "unresolved"})

# What an audit's line shows of a difference; the whole text is shown by --diff.
CHANGED_LINES = 6

IN_FORCE = "in force"  # as wspcfg says it in predicted

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
        wanted: Targets of the port probe for everything that shall be open; of ports that nobody named, whatever they
            are now is good enough to begin.
        prove: Targets that must be as expected once what is done now is done.
        refusals: Risks of the restart that no option accepts, one sentence each.
    """

    owes: bool
    writes: bool
    restarts: tuple[JsonObject, ...]
    deferred: tuple[JsonObject, ...]
    topics: tuple[str, ...]
    wanted: tuple[JsonObject, ...]
    prove: tuple[JsonObject, ...]
    refusals: tuple[str, ...]

    def as_result(self) -> dict[str, t.Any]:
        """Return it as filters hand it to playbooks."""
        lists = ("restarts", "deferred", "topics", "wanted", "prove", "refusals")
        return {"owes": self.owes, "writes": self.writes, **{name: list(getattr(self, name)) for name in lists}}


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


@dataclass(frozen=True)
class Policy:
    """Which restarts are wanted now.

    Attributes:
        restart: ``publish_restart``: ``now``, ``defer`` or ``never``.
        window: ``publish_restart_window``.
        start_stopped: ``publish_start_stopped``.
        accepted: Names of the options of ``service_restart`` that accept a risk and are set.
    """

    restart: str = "now"
    window: str = ""
    start_stopped: bool = False
    accepted: Collection[str] = ()

    def postpones(self, entry: JsonObject, *, open_now: bool) -> str:
        """Why an owed restart is not acted on now; empty when it is."""
        if not entry["running"] and not entry.get("unfinished") and not self.start_stopped:
            return "the service is stopped, and publish_start_stopped is false"
        if self.restart != "now":
            return f"publish_restart is '{self.restart}'"
        if not open_now:
            return f"outside publish_restart_window '{self.window}'"
        return ""


def _service_of(protocol: str | None) -> str | None:
    listener = LISTENERS.get(protocol or "")
    return None if listener is None else listener.owner.service


def _target(port: JsonObject, expect: str) -> JsonObject:
    return {"host": port["host"], "port": port["port"], "protocol": port["protocol"] or "tcp", "expect": expect}


def _staying(plan: JsonObject, address: str) -> list[JsonObject]:
    """Ports that will be in force although nobody named them: after a restore, or beside what leaves the proxy."""
    ports = [port for port in plan["predicted"] if port["will"] == IN_FORCE and (port["host"] or address)]
    return [{**port, "host": port["host"] or address} for port in ports]


def _to_prove(
    plan: JsonObject, open_ports: Iterable[JsonObject], deferred: Iterable[JsonObject]
) -> Iterator[JsonObject]:
    """Targets without the ports of running services whose restart waits, unless those are in force already."""
    waiting = {entry["service"] for entry in deferred if entry["running"]}
    in_force = {_place(port) for port in plan["in_force"]}
    for port in open_ports:
        if _service_of(port["protocol"]) not in waiting or _place(port) in in_force:
            yield _target(port, "open")
    for port in plan["closed_targets"]:
        if not waiting or _service_of(port["protocol"]) not in {*waiting, None}:
            yield _target(port, "closed")


def unloaded(results: Iterable[JsonObject], info: JsonObject) -> tuple[JsonObject, ...]:
    """Debts of services of which nothing but their ports tells whether they have loaded their file.

    That is so once at most: a restart leaves a record, and from then on the record decides.

    Args:
        results: Results of ``port_probe``.
        info: Result of ``wspcfg_info`` with the inside view of the ports that failed.
    """
    undecided = {row["service"] for row in info.get("pending", ()) if row["known_by"] == "unknown" and row["running"]}
    failed: dict[str | None, list[JsonObject]] = {}
    for result in results:
        if not result["ok"] and result["expect"] == "open":
            failed.setdefault(_service_of(result["protocol"]), []).append(result)
    return tuple(
        {
            "service": service,
            "topic": f"Restart {service}",
            "reason": "nothing tells whether it has loaded its file, and its ports answer on the server only",
            "running": True,
        }
        for service, rows in failed.items()
        if service in undecided and all(_answers_inside_only(row, info) for row in rows)
    )


def _answers_inside_only(result: JsonObject, info: JsonObject) -> bool:
    return result["status"] == "refused" and broken_side(result, info.get("inside") or ()).side == "proxy"


def what_is_owed(plan: JsonObject, policy: Policy, *, more: Iterable[JsonObject] = (), address: str = "") -> Owes:
    """Divide what a plan found into what is done now and what waits.

    Args:
        plan: Result of ``wspcfg``, from check mode or from a real run.
        policy: Which restarts are wanted now.
        more: Debts that :func:`unloaded` found.
        address: The proxy's address for ports of which the plan knows none.

    Raises:
        RolloutError: The window cannot be read.
    """
    open_now = within_window(policy.window, plan["clock"])
    because = [(entry, policy.postpones(entry, open_now=open_now)) for entry in (*plan["owed"], *more)]
    now = tuple(entry for entry, reason in because if not reason)
    later = tuple({**entry, "because": reason} for entry, reason in because if reason)
    writes = any(file["action"] != "none" for file in plan["files"])
    named = plan["targets"]
    open_ports = named or _staying(plan, address)
    risks = [risk for risk in plan["restart"]["refusals"] if risk["option"] not in policy.accepted]
    return Owes(
        owes=writes or bool(now),
        writes=writes,
        restarts=now,
        deferred=later,
        topics=tuple(dict.fromkeys(entry["topic"] for entry in now)),
        wanted=tuple(_target(port, "open" if named else "any") for port in open_ports),
        prove=tuple(_to_prove(plan, open_ports, later)),
        refusals=tuple(f"{risk['cause']}. {risk['remedy']}" for risk in risks) if now else (),
    )


def _port(result: JsonObject) -> str:
    return f"{result['host'] or '*'}:{result['port']} ({result['protocol'] or 'tcp'})"


def _place(port: JsonObject) -> tuple[str, int]:
    return port["host"], port["port"]


def _who_answers(result: JsonObject) -> str:
    greeting = result.get("greeting") or ""
    return f"answers '{greeting}'" if greeting else "answers, but not as Exchange"


_APART = (
    "take the listener off one of them, or give one another publish_proxy_address (with publish_pin if it is a plain"
    " listener) or another port (publish_ports)"
)


def conflicts_of(host: str, conflicts: Iterable[JsonObject]) -> tuple[str, ...]:
    """Sentences for every (address, port) that ``host`` and another host of the inventory both claim."""
    sentences = []
    for conflict in conflicts:
        if host in conflict["hosts"]:
            others = ", ".join(name for name in conflict["hosts"] if name != host)
            sentences.append(
                f"publish_listeners ({', '.join(conflict['listeners'])}): {conflict['address']}:{conflict['port']} is"
                f" claimed by {others} as well, and a proxy grants it to one server only; {_APART}"
            )
    return tuple(sentences)


def refusals(
    host: str,
    owes: JsonObject,
    *,
    conflicts: Iterable[JsonObject] = (),
    results: Sequence[JsonObject] = (),
    blind: str = "refuse",
) -> tuple[str, ...]:
    """Say why nothing is done on a server, one sentence per reason.

    Args:
        host: Inventory name.
        owes: What :func:`what_is_owed` found.
        conflicts: Result of ``wspcfg_conflicts``.
        results: Results of ``port_probe``, taken before anything is written.
        blind: ``publish_blind``: ``refuse`` or ``proceed`` when nothing of the proxy can be seen from the probe host.
    """
    reasons = [*conflicts_of(host, conflicts), *owes["refusals"]]
    if not owes["owes"]:
        return tuple(reasons)
    wanted = [result for result in results if result["expect"] == "open"]
    taken = [result for result in wanted if result["status"] in TAKEN]
    reasons += [
        f"{_port(result)} is taken by another program on the proxy: it {_who_answers(result)}" for result in taken
    ]
    if is_blind(wanted) and blind == "refuse":
        ports = ", ".join(f"{_port(result)} {result['status']}" for result in wanted)
        reasons.append(
            f"the proxy cannot be seen from the probe host ({ports}), so nothing could be proven afterwards;"
            " choose another publish_probe_host, or set publish_blind: proceed"
        )
    return tuple(reasons)


def is_blind(results: Sequence[JsonObject]) -> bool:
    """Whether every probe ended without any sign of the proxy."""
    return bool(results) and all(result["status"] in BLIND_STATUSES for result in results)


@dataclass(frozen=True)
class Case:
    """Everything that is known about a server whose ports are not as expected.

    Attributes:
        host: Inventory name.
        results: Results of ``port_probe`` that were judged.
        inside: The server's own view of its ports, ``inside`` of ``wspcfg_info``.
        causes: What its event log says, ``causes`` of ``wspcfg_info``.
        deferred: Restarts that wait, as ``what_is_owed`` found them.
        restarted: Result of ``service_restart``, None when nothing was restarted.
        verdict: What ``wspcfg_judge`` decided, None when this run changed nothing.
        undone: Result of the ``wspcfg`` task that put the file of before back, None without.
        afterwards: Results of ``port_probe`` after that.
    """

    host: str
    results: Sequence[JsonObject] = ()
    inside: Sequence[JsonObject] = ()
    causes: Sequence[str] = ()
    deferred: Sequence[JsonObject] = ()
    restarted: JsonObject | None = None
    verdict: JsonObject | None = None
    undone: JsonObject | None = None
    afterwards: Sequence[JsonObject] = ()


def _file_fate(case: Case) -> Iterator[str]:
    """What became of the file that this run wrote."""
    verdict = case.verdict
    if verdict is None or verdict["action"] == "none":
        return
    because = "; ".join(verdict["because"])
    if verdict["action"] == "keep":
        yield f"Nothing was rolled back: {because}."
    elif case.undone is None or case.undone.get("failed") or "files" not in case.undone:
        why = (case.undone or {}).get("msg", "no answer")
        yield f"Rolling back failed ({why}); it was due because {because}."
    else:
        ports = ", ".join(f"{_port(result)} {result['status']}" for result in case.afterwards)
        yield f"The file of before was put back, because {because}. Now: {ports or 'ports not checked'}."


def _restart_fate(restarted: JsonObject | None) -> Iterator[str]:
    """What went wrong with the restart, and what to do."""
    if not restarted:
        return
    if restarted.get("problems") or restarted.get("unreachable"):
        yield f"Restart: {restarted.get('msg', 'no answer')}"
    yield from restarted.get("advice", ())


def report(case: Case) -> str:
    """Say what is wrong, on which side, why, and what became of the file; one sentence per line."""
    wrong = [result for result in case.results if not result["ok"]]
    count = f"{len(wrong)} of {len(case.results)} ports are not as expected" if case.results else "ports not checked"
    lines = [
        f"{case.host}: {count}.",
        *(f"{_port(result)}: {broken_side(result, case.inside).explanation}." for result in wrong),
        *(f"Event log: {cause}" for cause in case.causes),
        *(f"{entry['service']}: {entry['reason']}; not done: {entry['because']}." for entry in case.deferred),
        *_restart_fate(case.restarted),
        *_file_fate(case),
    ]
    return "\n".join(lines)


def with_withdrawn(plan: JsonObject, targets: Iterable[JsonObject]) -> dict[str, t.Any]:
    """Return the plan with everything that must be closed, also what left the file in an earlier run.

    When that run deferred its restart, the file has nothing left to tell, and the variables do. What no debt of a
    service stands for was proven before, or was never there.

    Args:
        plan: Result of ``wspcfg`` with ``state: absent``.
        targets: Where the listeners were that are off the proxy now.
    """
    owed = {entry["service"] for entry in plan["owed"]}
    staying = [port for port in plan["predicted"] if port["will"] == IN_FORCE]
    known = {_place(port) for port in (*plan["closed_targets"], *plan["targets"], *staying)}
    more = [target for target in targets if _service_of(target["protocol"]) in owed and _place(target) not in known]
    closed = [{name: target[name] for name in ("host", "port", "protocol")} for target in more]
    return {**plan, "closed_targets": [*plan["closed_targets"], *closed]}


# Findings about how a file looks that change nothing for anybody; an audit does not repeat them.
COSMETIC = frozenset({"blank_line", "text_before_section", "lookalike"})


@dataclass(frozen=True)
class AuditRow:
    """One line of an audit.

    Attributes:
        host: Inventory name.
        state: ``ok``, ``drift``, ``error`` or ``unknown``.
        findings: What differs, or the error; empty when ``ok``.
        notes: What somebody should know although it is as wanted.
    """

    host: str
    state: str
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The line behind the host's name; a finding with several lines stays on this one."""
        words = [*self.findings, *(f"note: {note}" for note in self.notes)]
        said = "; ".join(_one_line(word) for word in words)
        return WORDS[self.state] + (": " if said else "") + said


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


@dataclass(frozen=True)
class Looked:
    """What an audit found out about one host, and under which options of the role.

    Attributes:
        plan: Result of ``wspcfg``.
        checked: Result of ``port_probe``; empty when no port was checked.
        conflicts: Result of ``wspcfg_conflicts``.
        probe: ``publish_probe``.
        restart: ``publish_restart``.
    """

    plan: JsonObject
    checked: JsonObject
    conflicts: Sequence[JsonObject] = ()
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
        return [port for port in ports if self.differing or _service_of(port["protocol"]) not in silent]


def _changed_lines(difference: JsonObject) -> str:
    """Lines that leave and come, as a diff marks them."""
    before, after = (str(difference.get(side) or "").splitlines() for side in ("before", "after"))
    lines = [
        line.rstrip()
        for line in difflib.ndiff(before, after)
        if line[:1] in "+-" and line[2:].strip() and line[2:3] != "["
    ]
    shown = [line[0] + line[2:] for line in lines[:CHANGED_LINES]]
    return " ".join(shown) + (f" and {len(lines) - len(shown)} lines more" if len(lines) > len(shown) else "")


def _file_findings(looked: Looked) -> list[str]:
    """Files that differ, why where the reader says so, and what the difference is on the proxy."""
    plan = looked.plan
    paths = {file["path"] for file in looked.differing}
    seen_open = {_place(result) for result in looked.checked.get("results", ()) if result["status"] == "open"}
    lines = [_changed_lines(difference) for difference in plan.get("diff") or ()]
    opens = [_port(port) for port in looked.turned if port["will"] == IN_FORCE and _place(port) not in seen_open]
    closes = [_port(port) for port in looked.turned if port["will"] != IN_FORCE]
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
    if probe.get("unreachable") or (probe.get("failed") and "results" not in probe):
        return [f"ports not checked: {probe.get('msg', 'the probe host gave no answer')}"]
    expected = {_place(port) for port in looked.plan["predicted"] if port["now"] != port["will"]}
    wrong = [
        result
        for result in probe.get("results", ())
        if not result["ok"] and (result["status"] in TAKEN or _place(result) not in expected)
    ]
    return [
        f"{_port(result)} {_who_answers(result) if result['status'] in TAKEN else result['status']}" for result in wrong
    ]


def _unproven_findings(looked: Looked) -> list[str]:
    """What is wanted open and could not be checked, because its place on the proxy is unknown."""
    rows = [row for row in looked.plan.get("unproven", ()) if row["expect"] == "open"] if looked.probe else []
    ports = ", ".join(f"{row['port']} ({row['protocol']})" for row in rows)
    return [f"ports not checked, because publish_proxy_address is not given: {ports}"] if rows else []


def _notes(looked: Looked) -> list[str]:
    paths = {file["path"] for file in looked.differing}
    about_files = [
        f"{finding['path']}: {finding['message']}"
        for finding in looked.plan["findings"]
        if finding["path"] not in paths and finding["code"] not in COSMETIC
    ]
    return [*about_files, *([] if looked.probe else [NOTHING_PROVEN])]


NOTHING_PROVEN = "publish_probe is false, so no port was checked and nothing is proven"


def audit_row(host: str, variables: JsonObject) -> AuditRow:
    """Judge one host by what the plan and the port check left in its variables.

    Args:
        host: Inventory name.
        variables: Host variables; ``publish_audit_error``, ``__publish_plan``, ``__publish_checked``,
            ``__publish_conflicts`` and ``__publish_audited`` (options of the role) are read.
    """
    plan = variables.get("__publish_plan") or {}
    if plan.get("unreachable"):
        return AuditRow(host, "unknown", ("unreachable",))
    error = variables.get("publish_audit_error") or plan.get("msg" if plan.get("failed") else "")
    if error or "files" not in plan:
        return AuditRow(host, "error", (_one_line(str(error or "no plan was made; the messages above say why")),))
    looked = Looked(
        plan=plan,
        checked=variables.get("__publish_checked") or {},
        conflicts=variables.get("__publish_conflicts") or (),
        **(variables.get("__publish_audited") or {}),
    )
    findings = [
        *conflicts_of(host, looked.conflicts),
        *_file_findings(looked),
        *_restart_findings(looked),
        *_port_findings(looked),
        *_unproven_findings(looked),
    ]
    return AuditRow(host, "drift" if findings else "ok", tuple(findings), tuple(_notes(looked)))


WORDS = {"ok": "ok", "drift": "drift", "error": "ERROR", "unknown": "UNKNOWN"}


def audit(variables: Mapping[str, JsonObject]) -> dict[str, t.Any]:
    """Make the table: one line per host in the given order, and a line of totals.

    Args:
        variables: Host variables by inventory name.

    Returns:
        ``lines`` for people, ``rows`` (host, state, findings, notes, line) for programs.
    """
    rows = [audit_row(host, of_host) for host, of_host in variables.items()]
    width = max((len(row.host) for row in rows), default=0)
    lines = [f"{row.host:<{width}}  {row.text}" for row in rows]
    count = {state: sum(row.state == state for row in rows) for state in WORDS}
    totals = ", ".join(f"{number} {state}" for state, number in count.items() if number or state == "ok")
    return {
        "lines": [*lines, f"{len(rows)} servers: {totals}"],
        "rows": [
            {
                "host": row.host,
                "state": row.state,
                "findings": list(row.findings),
                "notes": list(row.notes),
                "line": lines[index],
            }
            for index, row in enumerate(rows)
        ],
    }
