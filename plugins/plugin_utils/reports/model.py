# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run found out and did, as one value that every form of a report is made from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...module_utils.listeners import LISTENERS
from ...module_utils.probe.model import SATISFYING, TAKEN, Status
from ..exchange.ports import IN_FORCE
from ..fleet.look import Look
from ..fleet.plan import BROKEN, IN_ORDER, OWES, REFUSED, UNREACHED
from ..fleet.wording import place
from ..shapes import JsonObject

# What a report calls a server, and what that means.
DONE, FAILED, PLANNED, NOT_STARTED, DRIFT = "done", "failed", "planned", "not started", "drift"
SERVER_STATES: Mapping[str, str] = {
    FAILED: "was worked on, and something is not as expected",
    BROKEN: "a port is not as wanted although nothing is owed",
    REFUSED: "nothing was done, for the reason given",
    UNREACHED: "the server could not be asked",
    NOT_STARTED: "would have been worked on; the run had not come to it",
    DRIFT: "differs from what is wanted",
    PLANNED: "would be worked on",
    DONE: "was worked on, and everything is as expected",
    IN_ORDER: "is as wanted",
}

# What a report calls a port.
PROVEN, CLOSED, PREDICTED, CLOSING, WAITING = "proven", "closed", "predicted", "closing", "waiting"
FOREIGN, CLOSED_WRONGLY, SILENT, STILL_OPEN, WRONG = "foreign", "refused", "silent", "still open", "wrong"
UNASKED, ELSEWHERE = "not asked", "elsewhere"
PORT_STATES: Mapping[str, str] = {
    PROVEN: "open, and answers as Exchange",
    CLOSED: "closed, as wanted",
    PREDICTED: "will open",
    CLOSING: "will close",
    WAITING: "changes with a restart that waits",
    ELSEWHERE: "another server may answer here",
    UNASKED: "nobody asked the port",
    FOREIGN: "somebody else answers",
    CLOSED_WRONGLY: "refuses connections, and should be open",
    SILENT: "gives no answer, and should be open",
    STILL_OPEN: "open, and should be closed",
    WRONG: "answers, but not as it should",
}
BAD_PORTS = frozenset({FOREIGN, CLOSED_WRONGLY, SILENT, STILL_OPEN, WRONG})
_SILENT = frozenset({Status.TIMEOUT, Status.UNREACHABLE, Status.UNRESOLVED, Status.SILENT})


@dataclass(frozen=True)
class Port:
    """One port of the proxy.

    Attributes:
        address: External address of the proxy, None when nothing tells it.
        port: TCP port.
        protocol: Name of the listener, None for a port that is no listener's.
        wanted: ``open``, ``closed``, or ``any`` where another server may answer.
        state: A key of `PORT_STATES`.
        status: What the probe called it, None when nobody asked.
        greeting: First line heard.
        product: Product that greets.
        version: Its version.
        attempts: How many times it was asked.
        elapsed_ms: For how long.
        asked_at: When, in seconds since 1970; None when nobody asked.
    """

    address: str | None
    port: int
    protocol: str | None
    wanted: str
    state: str
    status: str | None = None
    greeting: str | None = None
    product: str | None = None
    version: str | None = None
    attempts: int = 0
    elapsed_ms: int = 0
    asked_at: float | None = None


@dataclass(frozen=True)
class File:
    """One file that differs, or did.

    Attributes:
        path: Path on the server.
        action: ``create``, ``replace`` or ``delete``.
        done: Whether this run did it.
        put_back: Whether this run took it back.
        backup: Where the text of before is kept.
        diff: Lines of a unified diff.
    """

    path: str
    action: str
    done: bool
    put_back: bool = False
    backup: str | None = None
    diff: tuple[str, ...] = ()


@dataclass(frozen=True)
class Downtime:
    """One service that this run stopped or started.

    Attributes:
        service: Its name.
        begin: When it began to stop, in seconds since 1970 by the clock of the machine that ran the script; None for
            one that was only started.
        end: When it ran again; None when it does not.
        seconds: For how long it was down, None when nothing tells.
        state: What it was in the end.
    """

    service: str
    begin: float | None
    end: float | None
    seconds: float | None
    state: str | None


@dataclass(frozen=True)
class Restart:
    """A restart that is owed.

    Attributes:
        service: The service.
        reason: Why.
        because: Why it waits; empty when it is due now.
    """

    service: str
    reason: str
    because: str = ""


@dataclass(frozen=True)
class Server:
    """What is told about one server.

    Attributes:
        host: Inventory name.
        state: A key of `SERVER_STATES`.
        reasons: Why it is refused, broken, failed or was not reached, with the remedy.
        findings: What differs from what is wanted.
        notes: What somebody should know besides.
        asked_from: From where its ports were asked.
        ports: Its ports.
        files: Its files that differ, or did.
        downtimes: Services that went down or up.
        restarts: Restarts that are owed, now or later.
        takes_down: Services that they take down besides.
    """

    host: str
    state: str
    reasons: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    asked_from: str = ""
    ports: tuple[Port, ...] = ()
    files: tuple[File, ...] = ()
    downtimes: tuple[Downtime, ...] = ()
    restarts: tuple[Restart, ...] = ()
    takes_down: tuple[str, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether nobody needs to look at it."""
        return self.state == IN_ORDER and not self.restarts and not self.notes


@dataclass(frozen=True)
class Made:
    """When, where and by whom a report was made.

    Attributes:
        at: Seconds since 1970.
        user: Account on the controller, or the user of AWX.
        controller: Its name.
    """

    at: float
    user: str
    controller: str


@dataclass(frozen=True)
class Report:
    """One run.

    Attributes:
        kind: ``publish``, ``unpublish``, ``restore``, ``audit`` or ``verify``.
        check_mode: Whether nothing was to be changed.
        complete: Whether the run had come to its end.
        headline: What came of it, in a sentence.
        made: When and by whom.
        seconds: How long the run took so far.
        servers: Every server.
        conflicts: Ports of an address that two servers claim, one sentence each.
        warnings: What holds for the fleet.
    """

    kind: str
    check_mode: bool
    complete: bool
    headline: str
    made: Made
    seconds: float
    servers: tuple[Server, ...]
    conflicts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return how many servers are in which state; states without a server are missing."""
        states = [server.state for server in self.servers]
        return {state: states.count(state) for state in SERVER_STATES if state in states}

    def port_counts(self) -> dict[str, int]:
        """Return how many ports are in which state; states without a port are missing."""
        states = [port.state for server in self.servers for port in server.ports]
        return {state: states.count(state) for state in PORT_STATES if state in states}

    @property
    def asked_from(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(server.asked_from for server in self.servers if server.asked_from))


# -- one server -----------------------------------------------------------------------------------------------------


def server_of_plan(
    look: Look,
    row: JsonObject,
    *,
    at: float,
    audit: bool = False,
    acting: bool = False,
    outcome: JsonObject | None = None,
) -> Server:
    """Return what a plan, and what came of it, tell about a server.

    Args:
        look: Its look.
        row: Its row in the result of ``publish_plan``.
        at: When the plan was made.
        audit: Whether nothing was going to be done.
        acting: Whether the plan is carried out.
        outcome: Result of ``publish_verdict``, None when the server was not worked on.
    """
    told: JsonObject = (outcome or {}).get("summary") or {}
    state = _server_state(row, audit=audit, acting=acting, outcome=outcome)
    asked = [_Asked(port, at) for port in row["ports"]]
    if outcome is not None:
        later = float(outcome.get("at") or at)
        asked += [_Asked(port, later) for port in (*told["proven"], *(told.get("wrong") or ()))]
    failed = str(told.get("failed") or "")
    return Server(
        host=look.host,
        state=state,
        reasons=_lines([failed] if failed else row["because"], look.host),
        findings=tuple(row["drift"]) if audit else (),
        notes=tuple(row["notes"]),
        asked_from=str(look.wishes.get("probe_host") or "") if asked else "",
        ports=tuple(_ports(look, row, asked, is_done=outcome is not None, audit=audit)),
        files=tuple(_files(row, told)),
        downtimes=tuple(map(_downtime, told.get("restarted") or ())),
        restarts=tuple(_restarts(row, told, is_done=outcome is not None)),
        takes_down=() if outcome is not None else tuple((row.get("restart") or {}).get("takes_down") or ()),
    )


def server_of_check(look: Look, checked: JsonObject, verdict: JsonObject, *, at: float) -> Server:
    """Return what a check from outside tells about a server.

    Args:
        look: Its look, which asked the server nothing.
        checked: Result of ``port_probe``; empty when the ports were not asked.
        verdict: Result of ``publish_verdict``; empty when all is well.
        at: When the ports were asked.
    """
    results = checked.get("results") or ()
    ports = [_port(row, _Asked(row, at), "") for row in results]
    if look.messages:
        state, reasons = (REFUSED if look.reached else UNREACHED), look.messages
    elif checked.get("ok"):
        state, reasons = IN_ORDER, ()
    elif results:
        state, reasons = BROKEN, (str(verdict.get("msg") or ""),)
    else:
        state, reasons = UNREACHED, (str(verdict.get("msg") or checked.get("msg") or "the ports were not asked"),)
    asked_from = str(look.wishes.get("probe_host") or "") if results else ""
    return Server(look.host, state, _lines(reasons, look.host), asked_from=asked_from, ports=_sorted(ports))


def _lines(reasons: Iterable[str], host: str) -> tuple[str, ...]:
    """Return sentences without the server's name, which stands above them."""
    texts = (text.removeprefix(f"{host}: ").strip() for reason in reasons for text in str(reason).splitlines())
    return tuple(text for text in texts if text)


def _server_state(row: JsonObject, *, audit: bool, acting: bool, outcome: JsonObject | None) -> str:
    if outcome is not None:
        return DONE if outcome["ok"] else FAILED
    state = str(row["state"])
    if audit and state not in (REFUSED, UNREACHED):
        return DRIFT if row["drift"] else IN_ORDER
    if state == OWES:
        return NOT_STARTED if acting else PLANNED
    return state


@dataclass(frozen=True)
class _Asked:
    result: JsonObject
    at: float


def _ports(look: Look, row: JsonObject, asked: Sequence[_Asked], *, is_done: bool, audit: bool) -> Sequence[Port]:
    """Return every port that the server is to have open or closed in the end."""
    seen = {place(each.result): each for each in asked}
    targets = {place(target): target for target in _targets(look, row)}
    proven = {place(target) for target in row.get("prove") or ()}
    waits = bool(row.get("deferred"))
    ports = []
    for where, target in targets.items():
        if row["state"] == OWES:
            pending = WAITING if where not in proven else "" if is_done or audit else PREDICTED
        else:
            pending = WAITING if waits and where not in proven else ""
        ports.append(_port(target, seen.get(where), pending))
    return _sorted(ports)


def _targets(look: Look, row: JsonObject) -> Iterator[JsonObject]:
    """Yield ports, each with what is wanted of it; a later one of the same place is the better one."""
    for port in look.found.get("predicted") or ():
        yield {**port, "expect": "open" if port["will"] == IN_FORCE else "closed"}
    yield from row["ports"]
    yield from row.get("wanted") or ()


def _sorted(ports: Iterable[Port]) -> tuple[Port, ...]:
    names = list(LISTENERS)
    return tuple(
        sorted(
            ports,
            key=lambda port: (
                names.index(port.protocol) if port.protocol in names else len(names),
                port.address or "",
                port.port,
            ),
        )
    )


def _port(target: JsonObject, asked: _Asked | None, pending: str) -> Port:
    wanted = str(target["expect"])
    result = {} if asked is None else asked.result
    return Port(
        address=target["host"],
        port=target["port"],
        protocol=target["protocol"],
        wanted=wanted,
        state=port_state(wanted, str(result["status"]) if result else None, pending),
        status=str(result["status"]) if result else None,
        greeting=result.get("greeting"),
        product=result.get("product"),
        version=result.get("version"),
        attempts=int(result.get("attempts") or 0),
        elapsed_ms=int(result.get("elapsed_ms") or 0),
        asked_at=None if asked is None else asked.at,
    )


def port_state(wanted: str, status: str | None, pending: str) -> str:
    """Return what a report calls a port.

    Args:
        wanted: ``open``, ``closed`` or ``any``.
        status: What the probe called it, None when nobody asked.
        pending: `PREDICTED` or `WAITING` where a change is still to come; else empty.
    """
    if wanted == "any":
        return ELSEWHERE
    if pending == PREDICTED and wanted == "closed":
        pending = CLOSING
    if status is None:
        return pending or UNASKED
    if status in SATISFYING[wanted]:
        return PROVEN if wanted == "open" else CLOSED
    if wanted == "open" and status in TAKEN:
        return FOREIGN
    if pending:
        return pending
    if wanted == "closed":
        return STILL_OPEN if status == Status.OPEN else WRONG
    if status == Status.REFUSED:
        return CLOSED_WRONGLY
    return SILENT if status in _SILENT else WRONG


def _files(row: JsonObject, told: JsonObject) -> Iterator[File]:
    plan: JsonObject = row.get("plan") or {}
    wrote = {each["path"]: each for each in told.get("wrote") or ()}
    differing = [file for file in plan.get("files") or () if file["action"] != "none"]
    for file, difference in zip(differing, plan.get("diff") or ({},) * len(differing), strict=False):
        done = wrote.get(file["path"])
        yield File(
            path=file["path"],
            action=file["action"],
            done=done is not None,
            put_back=done is not None and bool(told.get("put_back")),
            backup=(done or {}).get("backup"),
            diff=_diff(difference),
        )


def _diff(difference: JsonObject) -> tuple[str, ...]:
    before, after = (str(difference.get(side) or "").splitlines() for side in ("before", "after"))
    lines = difflib.unified_diff(before, after, lineterm="", n=3)
    return tuple(line for line in lines if not line.startswith(("---", "+++")))


def _downtime(row: JsonObject) -> Downtime:
    steps = row.get("steps") or {}
    return Downtime(row["service"], steps.get("stopping"), steps.get("running"), row.get("down_s"), row.get("state"))


def _restarts(row: JsonObject, told: JsonObject, *, is_done: bool) -> Iterator[Restart]:
    if not is_done:
        for entry in row.get("restarts") or ():
            yield Restart(entry["service"], entry["reason"])
    for entry in told.get("waits") or () if is_done else row.get("deferred") or ():
        yield Restart(entry["service"], entry["reason"], entry["because"])
