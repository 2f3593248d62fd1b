# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan and the audit as text: only what differs, servers alike as one entry, the counts last.

Lines are ASCII and at most 100 characters wide; a longer sentence is wrapped below itself.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...module_utils.listeners import LISTENERS
from ...module_utils.probe.greetings import EXCHANGE
from ...module_utils.probe.model import TAKEN, said_of
from ..exchange.restart_plan import monitor_warnings
from ..shapes import Json, JsonObject
from .changes import changed_lines, changes_of, first_lines
from .plan import BROKEN, IN_ORDER, OWES, REFUSED, UNREACHED, FleetPlan, Row
from .wording import ascii_text, place, who_answers

WIDTH = 100
NAMES_WIDTH = 12  # a longer name of a server has a line of its own
VERB_WIDTH = 8


@dataclass(frozen=True)
class PlanLine:
    """One thing that a plan says about a server.

    Attributes:
        verb: What happens: ``write delete restart start open close keep foreign wait refuse note``; empty for a detail.
        text: The rest of the line.
        indent: Columns beyond the verbs, for details.
    """

    verb: str
    text: str
    indent: int = 0


# -- one server -----------------------------------------------------------------------------------------------------


def port_title(port: JsonObject) -> str:
    """Return a port with its protocol, such as ``110 POP3``."""
    protocol = port.get("protocol") or "tcp"
    return f"{port['port']} {protocol.upper() if protocol in LISTENERS else protocol}"


def answer_title(result: JsonObject) -> str:
    """Say what a port answered, in a few words that are a fact."""
    if result["status"] != "open":
        return said_of(result["status"])
    if result.get("product") == EXCHANGE:
        return f"answers as Exchange {result['version']}" if result.get("version") else "answers as Exchange"
    return "answers"


def _grouped(verb: str, rows: Iterable[tuple[JsonObject, str]]) -> Iterator[PlanLine]:
    """One line for the ports of one address of which the same is said."""
    groups: dict[tuple[str, str], list[str]] = {}
    for port, said in rows:
        groups.setdefault((str(port["host"] or "any address of the proxy"), said), []).append(port_title(port))
    for (host, said), titles in groups.items():
        yield PlanLine(verb, f"{host}: {', '.join(titles)}{said}")


def _file_lines(row: Row) -> Iterator[PlanLine]:
    verbs = {"create": "write", "replace": "write", "delete": "delete"}
    differing = [file for file in row.plan["files"] if file["action"] != "none"]
    for file, difference in zip(differing, row.plan.get("diff") or (), strict=False):
        new = " (new)" if file["action"] == "create" else ""
        yield PlanLine(verbs[file["action"]], f"{file['path']}{new}")
        section = None
        changes = changes_of(difference)
        width = max((len(change.key) for change in changes), default=0)
        for change in changes:
            if change.section != section:
                section = change.section
                yield PlanLine("", f"[{section}]", 2)
            value = change.before if change.after is None else change.after
            shown = f"{change.before} -> {change.after}" if change.mark == "~" else value
            yield PlanLine("", f"{change.mark} {change.key:<{width}}  {shown}", 2)
        headers = (difference.get("before_header"), difference.get("after_header"))
        if headers[0] != headers[1]:
            yield PlanLine("", f"~ {headers[0]} -> {headers[1]}", 2)
        elif not changes:
            for text in first_lines(changed_lines(difference)):
                yield PlanLine("", text, 2)


def _restart_lines(row: Row) -> Iterator[PlanLine]:
    owes = row.owes
    if owes is None:
        return
    down = ", ".join(owes.restart.get("takes_down") or ())
    for number, entry in enumerate(owes.restarts, 1):
        takes = f"; takes down {down} (runs again after)" if down and number == len(owes.restarts) else ""
        verb = "restart" if entry["running"] else "start"
        yield PlanLine(verb, f"{entry['service']}, because {entry['reason']}{takes}")
    for entry in owes.deferred:
        yield PlanLine("wait", f"{entry['service']}: {entry['reason']}; not done: {entry['because']}")


@dataclass(frozen=True)
class PortChanges:
    """What becomes of a server's ports, each with what is said about it.

    Attributes:
        opens: Ports that will be open and are not, as far as was seen.
        closes: Ports that will be closed and are not, as far as was seen.
        keeps: Ports that are open and stay so.
        stays: Ports that nobody wants any more, and that a stranger answers on.
    """

    opens: tuple[tuple[JsonObject, str], ...]
    closes: tuple[tuple[JsonObject, str], ...]
    keeps: tuple[tuple[JsonObject, str], ...]
    stays: tuple[tuple[JsonObject, str], ...]


def port_changes(row: Row) -> PortChanges:
    """Say what becomes of a server's ports once everything that it owes is done."""
    opens, closes, keeps, stays = [], [], [], []
    seen = {place(result): result for result in row.ports}
    for target in row.owes.wanted if row.owes else ():
        result = seen.get(place(target))
        is_open = result is not None and result["status"] == "open"
        proven = row.owes is not None and target in row.owes.prove
        said = "" if proven else " after the restart that waits"
        said += "" if result is not None else "; was not asked"
        if target["expect"] != "open" and result is not None and not is_open:
            if result["status"] in TAKEN:
                stays.append((target, f", {who_answers(result)}"))
        elif target["expect"] == "any":
            closes.append((target, f" (predicted{said}; another server may answer there)"))
        elif target["expect"] == "closed":
            closes.append((target, f" (predicted{said})"))
        elif result is not None and is_open:
            keeps.append((target, f", {answer_title(result)}"))
        else:
            opens.append((target, f" (predicted{said})"))
    return PortChanges(tuple(opens), tuple(closes), tuple(keeps), tuple(stays))


def _port_lines(row: Row) -> Iterator[PlanLine]:
    changes = port_changes(row)
    yield from _grouped("open", changes.opens)
    yield from _grouped("close", changes.closes)
    yield from _grouped("keep", changes.keeps)
    yield from _grouped("foreign", changes.stays)


def plan_lines(row: Row) -> list[PlanLine]:
    """Return everything that is said about one server; nothing when it is in order."""
    if row.state in (REFUSED, BROKEN):
        return _reasons("refuse" if row.state == REFUSED else "broken", row)
    if row.state == UNREACHED:
        return [PlanLine("", f"not reached: {_without(row.host, text)}") for text in row.because]
    if row.owes is None or (row.state == IN_ORDER and not row.owes.deferred):
        return []
    return [*(_file_lines(row) if row.owes.writes else ()), *_restart_lines(row), *_port_lines(row)]


def _reasons(verb: str, row: Row) -> list[PlanLine]:
    """Return one line per sentence of each reason."""
    sentences = [_without(row.host, text).splitlines() for text in row.because]
    return [
        PlanLine("" if number else verb, sentence, VERB_WIDTH + 1 if number else 0)
        for of_reason in sentences
        for number, sentence in enumerate(of_reason)
    ]


def _without(host: str, text: str) -> str:
    return text.removeprefix(f"{host}: ")


# -- layout ---------------------------------------------------------------------------------------------------------


def laid_out(title: str, lines: Sequence[PlanLine]) -> list[str]:
    """Return an entry as text: the servers' name before its lines, verbs in a column.

    Args:
        title: Name of the server, or of several that are alike.
        lines: What is said about it.
    """
    start = 2 + NAMES_WIDTH
    texts: list[str] = []
    for line in lines:
        if line.verb:
            head, hang = f"{line.verb:<{VERB_WIDTH}} ", VERB_WIDTH + 1
        else:
            head, hang = " " * line.indent, line.indent + (2 if line.indent else 0)
        texts += textwrap.wrap(
            head + ascii_text(line.text),
            WIDTH - start,
            subsequent_indent=" " * hang,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [head.rstrip()]
    title = ascii_text(title)
    body = [f"{'':<{start}}{text}" for text in texts]
    if len(title) < NAMES_WIDTH and body:
        return [f"  {title:<{NAMES_WIDTH}}{texts[0]}", *body[1:]]
    return [*textwrap.wrap(title, WIDTH - 2, initial_indent="  ", subsequent_indent="    "), *body]


def entries(rows: Iterable[tuple[str, Sequence[PlanLine]]]) -> Iterator[list[str]]:
    """Yield the entries of a plan; servers of which the same is said are one."""
    groups: dict[tuple[PlanLine, ...], list[str]] = {}
    for host, lines in rows:
        if lines:
            groups.setdefault(tuple(lines), []).append(host)
    for lines, hosts in groups.items():
        title = hosts[0] if len(hosts) == 1 else f"{len(hosts)} servers alike: {' '.join(hosts)}"
        yield laid_out(title, lines)


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


# -- the plan -------------------------------------------------------------------------------------------------------


def evidence_of(port: JsonObject) -> PlanLine:
    """Return what a port said, word for word, and what it took to hear it."""
    heard = f"said '{port['greeting']}'" if port.get("greeting") else "said nothing that was kept"
    attempts = counted(int(port.get("attempts") or 0), "attempt")
    text = f"{port['host']}: {port_title(port)} {port['status']}, {heard}; {attempts}, {port.get('elapsed_ms') or 0} ms"
    return PlanLine("", text, VERB_WIDTH + 1)


def plan_text(plan: FleetPlan, *, acting: bool, meant: int = 0, evidence: bool = False) -> list[str]:
    """Return the plan as lines.

    Args:
        plan: The plan.
        acting: Whether it is carried out now; else the counts say that nothing was changed.
        meant: Servers of the whole play, which a batch of ``serial`` is only a part of.
        evidence: Whether the ports' own words are shown as well, of every server that has an entry.
    """
    rows = plan.rows.values()
    number = len(plan.rows)
    servers = f"{number} of the {meant} servers of this play" if meant > number else counted(number, "server")
    text = [f"Plan for {servers}; {_asked(rows)}"]
    for entry in entries((row.host, _with_evidence(row) if evidence else plan_lines(row)) for row in rows):
        text += ["", *entry]
    notes = list(entries((row.host, [PlanLine("note", note) for note in row.notes]) for row in rows))
    for entry in notes:
        text += ["", *entry]
    for warning in fleet_warnings(plan):
        text += ["", *textwrap.wrap(ascii_text(warning), WIDTH, initial_indent="  ", subsequent_indent="  ")]
    return [*text, "", *_counts(plan, acting=acting)]


def _with_evidence(row: Row) -> list[PlanLine]:
    lines = plan_lines(row)
    return [*lines, *(evidence_of(port) for port in row.ports)] if lines else []


def _asked(rows: Iterable[Row]) -> str:
    vantages = list(dict.fromkeys(row.vantage for row in rows if row.asked))
    return f"ports asked from {', '.join(vantages)}" if vantages else "no port was asked"


def fleet_warnings(plan: FleetPlan, *, audit: bool = False) -> list[str]:
    """Return what is said once for all servers: what may restart a machine meanwhile, and what this run cannot see.

    Args:
        plan: The plan.
        audit: Whether nothing will be done, so that no machine is in danger.
    """
    owing = [] if audit else [row.owes for row in plan.rows.values() if row.owes and row.owes.restarts]
    restarting = [owes.restart for owes in owing]
    down = [entry["name"] for restart in restarting for entry in restart["services"] if restart["warnings"]]
    return [*monitor_warnings(down), *([plan.partial] if plan.partial else [])]


def _counts(plan: FleetPlan, *, acting: bool) -> list[str]:
    owing = [row for row in plan.rows.values() if row.state == OWES and row.owes]
    actions = [file["action"] for row in owing for file in row.plan["files"]]
    deleted = actions.count("delete")
    written = len(actions) - actions.count("none") - deleted
    restarts = sum(len(row.owes.restarts) for row in owing if row.owes)
    down = sum(len(row.owes.restart.get("takes_down") or ()) for row in owing if row.owes and row.owes.restarts)
    waits = sum(len(row.owes.deferred) for row in plan.rows.values() if row.owes and row.state in (OWES, IN_ORDER))
    changes = [port_changes(row) for row in owing]
    opens, closes = sum(len(change.opens) for change in changes), sum(len(change.closes) for change in changes)
    settled = [row for row in plan.rows.values() if row.state == IN_ORDER]
    answers = [port for row in settled for port in row.ports if port["status"] == "open"]
    said = [
        f"{counted(written, 'file')} to write",
        *([f"{deleted} to delete"] if deleted else []),
        f"{counted(restarts, 'restart')} now" + (f" ({counted(down, 'more service')} down)" if down else ""),
        *([f"{waits} {'waits' if waits == 1 else 'wait'}"] if waits else []),
        f"{counted(opens, 'port')} to open",
        f"{closes} to close",
    ]
    order = counted(len(settled), "server") + " in order"
    if answers:
        who = " as Exchange" if all(port.get("product") == EXCHANGE for port in answers) else ""
        order += f" ({counted(len(answers), 'port')} {'answers' if len(answers) == 1 else 'answer'}{who})"
    rest = [
        order,
        *(
            f"{number} {state}"
            for state, number in ((state, len(plan.named(state))) for state in (BROKEN, REFUSED, UNREACHED))
            if number
        ),
    ]
    end = "" if acting else " Nothing was changed."
    return textwrap.wrap(
        f"Plan: {', '.join(said)}; {', '.join(rest)}.{end}", WIDTH, subsequent_indent=" " * len("Plan: ")
    )


def counts_of(lines: Sequence[str]) -> str:
    """Return the counts that end a plan or an audit, as one sentence."""
    last = len(lines) - 1
    while last and lines[last].startswith(" "):
        last -= 1
    return " ".join(" ".join(lines[last:]).split())


# -- the audit ------------------------------------------------------------------------------------------------------

AUDIT_WORDS = {REFUSED: "refused", UNREACHED: "unknown"}


def audit_word(row: Row) -> str:
    """Return how an audit calls a server: ``ok``, ``drift``, ``refused`` or ``unknown``."""
    return AUDIT_WORDS.get(row.state) or ("drift" if row.drift else "ok")


def audit_findings(row: Row) -> tuple[str, ...]:
    """Return what an audit says of a server."""
    if row.state in AUDIT_WORDS:
        return tuple(" ".join(_without(row.host, text).split()) for text in row.because)
    return row.drift


def audit_rows(plan: FleetPlan) -> list[Json]:
    """Return one row per server for programs: host, state, findings, notes, and the line for people."""
    rows = list(plan.rows.values())
    width = max((len(row.host) for row in rows), default=0)
    return [
        {
            "host": row.host,
            "state": audit_word(row),
            "findings": list(audit_findings(row)),
            "notes": list(row.notes),
            "line": _audit_line(row, width),
        }
        for row in rows
    ]


def _audit_line(row: Row, width: int) -> str:
    said = [*audit_findings(row), *(f"note: {note}" for note in row.notes)]
    told = "; ".join([*(text.removesuffix(".") for text in said[:-1]), *said[-1:]])
    return ascii_text(f"{audit_word(row):<8} {row.host:<{width}}  {told}".rstrip())


def audit_text(plan: FleetPlan, *, everything: bool = False) -> list[str]:
    """Return one line per server that is not in order, then the counts.

    Args:
        plan: The plan, made for an audit.
        everything: Whether servers in order have their line, too.
    """
    rows = list(plan.rows.values())
    in_order = [row for row in rows if audit_word(row) == "ok"]
    shown = [row for row in rows if everything or row not in in_order]
    width = max((len(row.host) for row in shown), default=0)
    words = [audit_word(row) for row in rows]
    counts = [f"{words.count(word)} {name}" for word, name in _AUDIT_NAMES if words.count(word) or word == "ok"]
    ports = [port for row in rows for port in row.ports]
    right = sum(bool(port["ok"]) for port in ports)
    asked = f"{right} of {counted(len(ports), 'port')} as wanted; " if ports else ""
    return [
        *(_audit_line(row, width) for row in shown),
        *(() if everything else _noted(in_order)),
        *([plan.partial] if plan.partial else []),
        f"{counted(len(rows), 'server')}: {', '.join(counts)}; {asked}{_asked(rows)}",
    ]


def _noted(rows: Sequence[Row]) -> Iterator[str]:
    """One line for all servers in order of which the same is noted."""
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.notes:
            alike.setdefault(tuple(row.notes), []).append(row)
    for notes, noted in alike.items():
        name = noted[0].host if len(noted) == 1 else counted(len(noted), "server")
        said = "; ".join(f"note: {_without(noted[0].host, note)}" for note in notes)
        yield ascii_text(f"{'ok':<8} {name}  {said}")


_AUDIT_NAMES = (("ok", "in order"), ("drift", "drift"), ("refused", "refused"), ("unknown", "unknown"))
