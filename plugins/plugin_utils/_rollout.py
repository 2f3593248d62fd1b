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
from ._errors import problem_of
from ._events import causes
from ._judge import is_blind
from ._sides import broken_side
from ._window import REMEDY, WindowError, read_window, wall_time

JsonObject = Mapping[str, t.Any]

# What an audit's line shows of a difference; the whole text is shown by --diff.
CHANGED_LINES = 6

# What the time of a file on FAT is rounded to, and a little more.
FILE_TIME_GRAIN_S = 5.0

IN_FORCE = "in force"  # as wspcfg says it in predicted

# Options of the modules as the role calls them, for whoever uses the role reads what the modules advise.
# "start: true" is the module's way to say it; a bare "window" or "start" may be any other word.
ROLE_WORDS: t.Mapping[str, str] = {
    "allow_kms": "publish_allow_kms",
    "allow_cluster": "publish_allow_cluster",
    "allow_disabled": "publish_allow_disabled",
    "start_dependencies": "publish_start_dependencies",
    "stop_timeout": "publish_stop_timeout",
    "start_timeout": "publish_start_timeout",
    "lock_wait": "publish_lock_wait",
    "target_deadline": "publish_target_deadline",
    "computer_username": "publish_computer_username",
    "computer_password": "publish_computer_password",
    "mta_direct": "publish_mta_direct",
    "ports.ldaps": "publish_ports.ldaps",
    "ports.ldap": "publish_ports.ldap",
    "option window": "option publish_restart_window",
    "option deadline": "option publish_restart_deadline",
    "start: true": "publish_start_stopped: true",
    "finish: any": "publish_finish: any",
}
_ROLE_WORDS = re.compile(rf"(?<![\w.])(?:{'|'.join(re.escape(word) for word in ROLE_WORDS)})(?!\w)")


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
        restart: The plan for ``service_restart``; where everything that may restart waits, it only completes what an
            interrupted restart has left.
        window: In which window it must begin; empty: always.
        wanted: Targets of the port probe before anything is written: everything that shall be open or closed then.
        prove: Targets that must be as expected once what is done now is done.
        refusals: Risks of the restart that no option accepts, one sentence each.
    """

    owes: bool
    writes: bool
    restarts: tuple[JsonObject, ...]
    deferred: tuple[JsonObject, ...]
    topics: tuple[str, ...]
    restart: JsonObject
    window: str
    wanted: tuple[JsonObject, ...]
    prove: tuple[JsonObject, ...]
    refusals: tuple[str, ...]

    def as_result(self) -> dict[str, t.Any]:
        """Return it as filters hand it to playbooks."""
        lists = ("restarts", "deferred", "topics", "wanted", "prove", "refusals")
        single = {"owes": self.owes, "writes": self.writes, "restart": dict(self.restart), "window": self.window}
        return {**single, **{name: list(getattr(self, name)) for name in lists}}


def role_words(text: str) -> str:
    """Return a sentence of a module with the options as the role names them."""
    return _ROLE_WORDS.sub(lambda found: ROLE_WORDS[found[0]], text)


@dataclass(frozen=True)
class Policy:
    """Which restarts are wanted now.

    Attributes:
        restart: ``publish_restart``: ``now``, ``defer`` or ``never``.
        window: ``publish_restart_window``.
        start_stopped: ``publish_start_stopped``.
        accepted: Names of the options of ``service_restart`` that accept a risk and are set.
        finish: ``publish_finish``: ``same_boot`` or ``any``.
    """

    restart: str = "now"
    window: str = ""
    start_stopped: bool = False
    accepted: Collection[str] = ()
    finish: str = "same_boot"

    def postpones(self, entry: JsonObject, *, outside: str) -> str:
        """Why an owed restart is not acted on now; empty when it is.

        Completing an interrupted restart stops nothing and is what was allowed when that began: it never waits.
        """
        if entry.get("unfinished"):
            return ""
        if not entry["running"] and not self.start_stopped:
            return "the service is stopped, and publish_start_stopped is false"
        return f"publish_restart is '{self.restart}'" if self.restart != "now" else outside


def outside_window(text: str, clock: JsonObject) -> str:
    """Say why a restart may not begin now: empty inside the window, or without one.

    Args:
        text: ``publish_restart_window``: ``HH:MM-HH:MM``, over midnight when the end is before the beginning.
        clock: ``now`` (seconds since 1970 UTC), ``utc_offset_minutes`` and ``machine`` of the one that runs the script.

    Raises:
        RolloutError: The window cannot be read.
    """
    try:
        window = read_window(text)
    except WindowError as error:
        raise RolloutError(f"publish_restart_window is '{text}'. {REMEDY}") from error
    if window is None or window.contains(clock):
        return ""
    machine = clock.get("machine") or "the machine that runs the script"
    return f"outside publish_restart_window '{text}', for it is {wall_time(clock)} on {machine}"


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


def _debts(plan: JsonObject, policy: Policy, more: Iterable[JsonObject]) -> list[JsonObject]:
    """Everything that is owed; what is started to complete an older restart is not owed a start besides."""
    left = plan.get("unfinished") or {}
    older = left.get("owed", ()) if policy.finish == "any" and not left.get("same_boot") else ()
    names = {entry["service"] for entry in older}
    return [*(entry for entry in plan["owed"] if entry["service"] not in names), *more, *older]


def _completion(restart: JsonObject) -> JsonObject:
    """The plan that stops nothing and only completes an interrupted restart."""
    lists = ("services", "roots", "takes_down", "stopped", "refusals", "refusals_if_started", "warnings")
    return {**restart, **{name: [] for name in lists}}


def _risks(plan: JsonObject, policy: Policy) -> Iterator[str]:
    """Why the restart would be refused once the file is written."""
    if (plan.get("unfinished") or {}).get("corrupt"):
        problem = problem_of("journal_corrupt")
        yield f"{problem.cause}. {problem.remedy}"
    for risk in plan["restart"].get("refusals_if_started" if policy.start_stopped else "refusals", ()):
        if risk["option"] not in policy.accepted:
            yield role_words(f"{risk['cause']}. {risk['remedy']}")


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
    outside = outside_window(policy.window, plan["clock"])
    because = [(entry, policy.postpones(entry, outside=outside)) for entry in _debts(plan, policy, more)]
    now = tuple(entry for entry, reason in because if not reason)
    later = tuple({**entry, "because": reason} for entry, reason in because if reason)
    asked = any(not entry.get("unfinished") for entry in now)
    writes = any(file["action"] != "none" for file in plan["files"])
    open_ports = plan["targets"] or _staying(plan, address)
    return Owes(
        owes=writes or bool(now),
        writes=writes,
        restarts=now,
        deferred=later,
        topics=tuple(dict.fromkeys(entry["topic"] for entry in now)),
        restart=plan["restart"] if asked else _completion(plan["restart"]),
        window=policy.window if asked else "",
        wanted=(
            *(_target(port, "open") for port in open_ports),
            *(_target(port, "closed") for port in plan["closed_targets"]),
        ),
        prove=tuple(_to_prove(plan, open_ports, later)),
        refusals=tuple(_risks(plan, policy)) if asked else (),
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
    probed: JsonObject | None = None,
    probe_host: str = "localhost",
    blind: str = "refuse",
) -> tuple[str, ...]:
    """Say why nothing is done on a server, one sentence per reason.

    Args:
        host: Inventory name.
        owes: What :func:`what_is_owed` found.
        conflicts: Result of ``wspcfg_conflicts``.
        probed: Result of ``port_probe``, taken before anything is written; None without.
        probe_host: ``publish_probe_host``.
        blind: ``publish_blind``: ``refuse`` or ``proceed`` when nothing of the proxy can be seen from the probe host.
    """
    reasons = [*conflicts_of(host, conflicts), *owes["refusals"]]
    missing = unprobed(probed, probe_host)
    if missing:
        return (*reasons, missing)
    results = (probed or {}).get("results", ())
    if owes["owes"]:
        reasons += _taken(results)
    if owes["owes"] and blind == "refuse" and is_blind(results):
        ports = ", ".join(f"{_port(result)} {result['status']}" for result in results)
        reasons.append(
            f"the proxy cannot be seen from publish_probe_host '{probe_host}' ({ports}), so nothing could be proven "
            "afterwards; choose another publish_probe_host, or set publish_blind: proceed"
        )
    return tuple(reasons)


def _taken(results: Iterable[JsonObject]) -> Iterator[str]:
    """Name the programs that answer on the proxy where Exchange shall."""
    for result in results:
        if result["expect"] == "open" and result["status"] in TAKEN:
            yield (
                f"{_port(result)} is taken by another program on the proxy: it {_who_answers(result)}. Stop or move "
                f"that program (Q222553, Q271275), or take {result['protocol']} out of publish_listeners"
            )


def unprobed(probed: JsonObject | None, probe_host: str) -> str:
    """Say why the ports could not be checked, and what to do; empty when they were, or when nobody wanted it.

    Args:
        probed: Result of ``port_probe``, which never fails for a port in the role.
        probe_host: ``publish_probe_host``.
    """
    if not probed or probed.get("skipped"):
        return ""
    if not probed.get("unreachable") and (probed.get("results") or probed.get("ok")):
        return ""
    return (
        f"publish_probe_host '{probe_host}' could not check the ports: {_why(probed)}. Give an inventory host that "
        "Ansible reaches and that has Python (localhost is the controller), or see why it does not answer"
    )


def _why(failed: JsonObject) -> str:
    """What a task said that failed, without what newer versions of Ansible put before it."""
    return str(failed.get("msg") or "no answer").strip().removeprefix("Task failed: ").rstrip(".")


@dataclass(frozen=True)
class Back:
    """How the file of before was put back.

    Attributes:
        undone: Result of the ``wspcfg`` task that did it.
        restarted: Result of the restart that followed, None without.
        deferred: Restarts that wait, as :func:`what_is_owed` found them then.
        results: Results of ``port_probe`` after that.
    """

    undone: JsonObject
    restarted: JsonObject | None = None
    deferred: Sequence[JsonObject] = ()
    results: Sequence[JsonObject] = ()


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
        unprobed: Why the ports could not be checked, from :func:`unprobed`; empty when they were.
        back: How the file of before was put back, None without.
    """

    host: str
    results: Sequence[JsonObject] = ()
    inside: Sequence[JsonObject] = ()
    causes: Sequence[str] = ()
    deferred: Sequence[JsonObject] = ()
    restarted: JsonObject | None = None
    verdict: JsonObject | None = None
    unprobed: str = ""
    back: Back | None = None


def causes_since(info: JsonObject, written: JsonObject, *, remote: bool) -> list[str]:
    """Return what the event log says about this run: a sentence per known cause.

    Events carry the server's time, results that of the machine that runs the script; through a management host their
    clocks may differ. The server's own mark is the time of the file that this run wrote.

    Args:
        info: Result of ``wspcfg_info`` with its events.
        written: Result of the ``wspcfg`` task; empty when events of every age count.
        remote: Whether another machine runs the script.
    """
    events = info.get("events")
    if events is None:
        return list(info.get("causes") or ())
    paths = {file["path"].lower() for file in written.get("files") or () if file["action"] != "none"}
    stamps = [file.get("modified") for file in info.get("files") or () if (file.get("path") or "").lower() in paths]
    marks = [float(stamp) for stamp in stamps if stamp is not None]
    if not marks and not remote and written.get("clock"):
        marks = [float(written["clock"]["now"])]
    since = max(marks) - FILE_TIME_GRAIN_S if marks else 0.0
    return causes(event for event in events if event["at"] >= since)


def _file_fate(case: Case) -> Iterator[str]:
    """What became of the file that this run wrote."""
    verdict = case.verdict
    if verdict is None or verdict["action"] == "none":
        return
    because = "; ".join(verdict["because"])
    if verdict["action"] == "keep":
        yield f"Nothing was rolled back: {because}."
    elif case.back is None or not _is_written(case.back.undone):
        why = "no answer" if case.back is None else role_words(case.back.undone.get("msg", "no answer"))
        yield f"Rolling back failed ({why}); it was due because {because}."
    else:
        ports = ", ".join(f"{_port(result)} {result['status']}" for result in case.back.results)
        yield f"The file of before was put back, because {because}. Now: {ports or 'ports not checked'}."
        yield from _restart_fate("Restart after that", case.back.restarted)
        yield from _waiting(case.back.deferred)


def _is_written(undone: JsonObject) -> bool:
    """Whether a task of ``wspcfg`` did its work; the role lets none fail there, so its problems tell."""
    return "files" in undone and not undone.get("problems") and not undone.get("failed")


def _restart_fate(title: str, restarted: JsonObject | None) -> Iterator[str]:
    """What went wrong with a restart, and what to do."""
    if not restarted:
        return
    if restarted.get("problems") or restarted.get("unreachable"):
        yield f"{title}: {role_words(restarted.get('msg', 'no answer'))}"
    yield from map(role_words, restarted.get("advice", ()))


def _waiting(deferred: Iterable[JsonObject]) -> Iterator[str]:
    """Restarts that are owed and not made."""
    for entry in deferred:
        yield f"{entry['service']}: {entry['reason']}; not done: {entry['because']}."


def report(case: Case) -> str:
    """Say what is wrong, on which side, why, and what became of the file; one sentence per line."""
    wrong = [result for result in case.results if not result["ok"]]
    count = f"{len(wrong)} of {len(case.results)} ports are not as expected" if case.results else "ports not checked"
    lines = [
        f"{case.host}: {count}.",
        *([f"{case.unprobed}."] if case.unprobed else []),
        *(f"{_port(result)}: {broken_side(result, case.inside).explanation}." for result in wrong),
        *(f"Event log: {role_words(cause)}" for cause in case.causes),
        *_waiting(case.deferred),
        *_restart_fate("Restart", case.restarted),
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
        return [f"ports not checked, see publish_probe_host: {_why(probe)}"]
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
