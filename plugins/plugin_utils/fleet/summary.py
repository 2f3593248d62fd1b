# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run: what was done and proven, what waits, what failed, and who was not started because it stopped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..shapes import Json, JsonObject
from .look import Look
from .plan import IN_ORDER, REFUSED, UNREACHED
from .show import WIDTH, PlanLine, answer_title, counted, entries, evidence_of, port_title
from .wording import ascii_text, duration

DONE = {"present": "Published", "absent": "Unpublished", "restore": "Restored"}


@dataclass(frozen=True)
class Play:
    """A play that makes its own plan, with ``serial`` one for each batch.

    Attributes:
        later: Hosts of its later batches.
        meant: How many hosts it has.
        percentage: Its ``max_fail_percentage``: 100 where it has none, 0 with ``any_errors_fatal``.
    """

    later: Sequence[str]
    meant: int
    percentage: float


@dataclass(frozen=True)
class Progress:
    """How far a run has come, at the end of one of its batches.

    Attributes:
        plan: Result of ``publish_plan``.
        outcomes: Results of ``publish_verdict`` by host, of every batch so far.
        batch: Hosts of this batch that the run has begun with.
        lost: Those of them that became unreachable, or dropped out otherwise, before they were judged.
        percentage: ``max_fail_percentage``: the run stops when more than these failed.
        seconds: Since the plan was made.
        wish: ``present``, ``absent`` or ``restore``.
        acting: Hosts that act, by this plan.
        play: The play, where the plan is its own; None where an earlier play has planned for all.
    """

    plan: JsonObject
    outcomes: Mapping[str, JsonObject]
    batch: Sequence[str]
    lost: Sequence[str] = ()
    percentage: float = 0.0
    seconds: float = 0.0
    wish: str = "present"
    acting: Sequence[str] = field(default_factory=tuple)
    play: Play | None = None

    @property
    def failed(self) -> list[str]:
        """Hosts of this batch that failed."""
        return [host for host in self.batch if host in self.lost or not self.outcomes[host]["ok"]]

    @property
    def waiting(self) -> list[str]:
        """Hosts of this plan that have not begun."""
        return [host for host in self.acting if host not in self.outcomes and host not in self.lost]

    @property
    def not_started(self) -> list[str]:
        """Hosts that the run does not come to, empty as long as it goes on."""
        later = () if self.play is None else self.play.later
        return [*self.waiting, *later] if self.stops else []

    @property
    def stops(self) -> bool:
        """Whether the run ends here because of failures: all of a batch, or more than the percentage of it.

        Hosts that were lost count for the first rule only; that is how Ansible counts.
        """
        judged = [host for host in self.failed if host not in self.lost]
        if self.play is None:
            everybody = bool(self.batch) and len(self.failed) == len(self.batch)
            return everybody or (bool(judged) and 100.0 * len(judged) / len(self.batch) > self.percentage)
        # A batch that has its own plan has servers besides that do not act: they may have failed before, or live on.
        whole = self.plan["servers"]
        bad = {*judged, *self.plan["refused"], *self.plan["broken"]}
        everybody = len({*bad, *self.lost, *self.plan["unreached"]}) == len(whole)
        return everybody or (bool(judged) and 100.0 * len(bad) / len(whole) > self.play.percentage)

    @property
    def is_last(self) -> bool:
        """Whether nothing more comes of this plan; a later batch of a play may have one of its own."""
        return not self.waiting or self.stops


def summary_text(progress: Progress, *, evidence: bool = False) -> list[str]:
    """Return the summary as lines; what needs nobody's attention is counted.

    Args:
        progress: How far the run has come.
        evidence: Whether the ports' own words and the steps and processes of every restart are shown as well.
    """
    outcomes = progress.outcomes
    text = [headline_of(progress)]
    rows = [
        (host, [*outcome_lines(host, outcome), *(_evidence(outcome) if evidence else ())])
        for host, outcome in outcomes.items()
    ]
    rows += [(host, [PlanLine("failed", "the connection was lost; see the messages above")]) for host in progress.lost]
    for entry in entries(rows):
        text += ["", *entry]
    rest = [*_not_started(progress), *_waiting(progress), *_others(progress)]
    return [*text, *([""] if rest else []), *rest]


def headline_of(progress: Progress) -> str:
    """Say in a sentence what the run came to."""
    good = sum(bool(outcome["ok"]) for outcome in progress.outcomes.values())
    servers = counted(len(progress.acting), "server")
    number = len(progress.plan["servers"])
    meant = 0 if progress.play is None else progress.play.meant
    part = f"; this batch has {number} of the {meant} servers of this play" if meant > number else ""
    return f"{DONE[progress.wish]} {good} of {servers} in {duration(progress.seconds)}{part}."


def outcome_lines(host: str, outcome: JsonObject) -> list[PlanLine]:
    """Return what was done on one server, and what was proven."""
    told = outcome["summary"]
    lines = []
    for row in told["wrote"]:
        verb = "deleted" if row["action"] == "delete" else "wrote"
        backup = str(row.get("backup") or "").rpartition("\\")[2].partition(".")[0][:8]
        kept = f" (the old one is kept: {backup})" if backup else ""
        lines.append(PlanLine(verb, f"{row['path']}{kept}"))
    if told["put_back"]:
        lines.append(PlanLine("put back", "the file of before"))
    for verb, started in (("restart", False), ("start", True)):
        services = [_service(row) for row in told["restarted"] if bool(row.get("started")) is started]
        lines += [PlanLine(verb, ", ".join(services))] if services else []
    lines += _proven(told)
    lines += [PlanLine("wait", f"{entry['service']}: {entry['reason']}; {entry['because']}") for entry in told["waits"]]
    if told["failed"]:
        parts = [part.removeprefix(f"{host}: ") for part in str(told["failed"]).splitlines() if part.strip()]
        lines += [
            PlanLine("failed" if number == 0 else "", part, 0 if number == 0 else 9)
            for number, part in enumerate(parts)
        ]
        if told["wrote"] and not told["put_back"]:
            lines.append(PlanLine("", "the file stays; the playbook restore puts the old one back:", 9))
            lines.append(PlanLine("", f"-e publish_restore=latest --limit {host}", 9))
    return lines


def _evidence(outcome: JsonObject) -> Iterator[PlanLine]:
    told = outcome["summary"]
    yield from map(evidence_of, told["proven"])
    for row in told["restarted"]:
        steps = ", ".join(f"{step} {_clock(at)}" for step, at in (row.get("steps") or {}).items())
        before, after = (number if number else "unknown" for number in row.get("processes") or (None, None))
        yield PlanLine("", f"{row['service']}: process {before} -> {after}; {steps}", 9)


def _clock(at: float) -> str:
    minutes, seconds = divmod(int(at) % 86400, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d} UTC"


def _service(row: JsonObject) -> str:
    if row.get("state") not in (None, "running"):
        return f"{row['service']} (is {row['state']})"
    return (
        f"{row['service']} (down {duration(row['down_s'])})" if row.get("down_s") is not None else str(row["service"])
    )


def _proven(told: JsonObject) -> Iterator[PlanLine]:
    groups: dict[str, list[str]] = {}
    for row in told["proven"]:
        said = f"{answer_title(row)} on {row['host']}" if row["status"] == "open" else f"closed on {row['host']}"
        groups.setdefault(said, []).append(port_title(row))
    for said, titles in groups.items():
        yield PlanLine("proven", f"{', '.join(titles)}: {said}, asked from {told['asked_from']}")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        ascii_text(text),
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _not_started(progress: Progress) -> Iterator[str]:
    hosts = progress.not_started
    if hosts:
        limit = f" (publish_max_fail_percentage {progress.percentage:g})" if progress.play is None else ""
        why = f"because {', '.join(progress.failed)} failed{limit}"
        yield from _wrapped(f"not started, {why}: {' '.join(hosts)}; run again after mending it")


def _waiting(progress: Progress) -> Iterator[str]:
    for host in progress.plan["in_order"]:
        for entry in progress.plan["servers"][host].get("deferred") or ():
            yield from _wrapped(f"waits: {host} {entry['service']}: {entry['because']}")


def _others(progress: Progress) -> Iterator[str]:
    names = (("broken", "broken"), ("refused", REFUSED), ("unreached", UNREACHED))
    said = [f"{word}: {' '.join(progress.plan[key])}" for key, word in names if progress.plan[key]]
    in_order = len(progress.plan["in_order"])
    yield from _wrapped("   ".join([*said, f"{IN_ORDER}: {in_order}"]))


def summary_result(progress: Progress) -> Json:
    """Return the summary as data."""
    outcomes = progress.outcomes
    return {
        "last": progress.is_last,
        "headline": headline_of(progress),
        "seconds": round(progress.seconds, 1),
        "good": [host for host, outcome in outcomes.items() if outcome["ok"]],
        "bad": [host for host, outcome in outcomes.items() if not outcome["ok"]] + list(progress.lost),
        "not_started": progress.not_started,
        "servers": {host: dict(outcome["summary"]) for host, outcome in outcomes.items()},
    }


def progress_of(
    plan: JsonObject,
    hosts: Sequence[str],
    *,
    outcomes: Mapping[str, JsonObject],
    started: Mapping[str, JsonObject],
    summed: Mapping[str, JsonObject],
    seconds: float,
    looks: Sequence[Look] = (),
    play: Play | None = None,
) -> Progress:
    """Read how far a run has come out of what its tasks registered; what an earlier plan left counts for nothing.

    Args:
        plan: Result of ``publish_plan``.
        hosts: Servers that act, in their order.
        outcomes: Results of ``publish_verdict`` by host.
        started: Results of ``publish_owed`` by host: with it a server's part begins.
        summed: Results of ``publish_summary`` by host: batches that have ended.
        seconds: Since the plan was made.
        looks: Their looks.
        play: The play, where the plan is its own; None where an earlier play has planned for all.
    """

    def mine(results: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
        return {host: row for host, row in results.items() if host in hosts and row.get("plan") == plan["id"]}

    judged = mine(outcomes)
    begun = [host for host in hosts if host in mine(started) or host in judged]
    return Progress(
        plan=plan,
        outcomes={host: judged[host] for host in hosts if host in judged},
        batch=[host for host in begun if host not in mine(summed)],
        lost=[host for host in begun if host not in judged],
        percentage=float(plan["max_fail_percentage"]),
        seconds=seconds,
        wish=wish_of(looks),
        acting=tuple(hosts),
        play=play,
    )


def wish_of(looks: Sequence[Look]) -> str:
    """Return what a run is to bring about: ``present``, ``absent`` or ``restore``, the same for all its servers."""
    wishes = looks[0].wishes if looks else {}
    return "restore" if wishes.get("restore") else str(wishes.get("state") or "present")
