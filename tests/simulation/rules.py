# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold at the end of every scenario. Pure functions of what was played; they share no code with the script.

What happened is read from the world's own log: lines of time in ms, who did it (a run, ``service``, ``other``,
``boot``), what, and to what.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.simulation.scenarios import LIMITS, LOADED, SECTION, TOLD, Family, digest

Json: t.TypeAlias = Mapping[str, t.Any]
Line: t.TypeAlias = Sequence[t.Any]

_ODD: t.Final = ("crashed", "endless", "internal")
_RUN: t.Final = re.compile(r"[0-9a-f]{8}")
#: Beyond the deadline: what comes back has its own limit whole, then settling, looks, and 20 tries to write the end.
_SLACK_S: t.Final = 20.0
_TEMPORARY: t.Final = re.compile(r"\.tmp~?$")


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold.

    Attributes:
        rule: which.
        scenario: family, cuts and branch: what replays it.
        what: what was seen.
    """

    rule: str
    scenario: str
    what: str


@dataclass(frozen=True)
class Played:
    """One scenario and its end."""

    family: Family
    result: Json

    @property
    def name(self) -> str:
        """What replays it."""
        *cuts, branch = self.result["cuts"]
        return " | ".join([self.family.id, *map(str, cuts), self.family.branches[branch]])

    @property
    def branch(self) -> str:
        return self.family.branches[int(self.result["cuts"][-1])]

    @property
    def trail(self) -> Sequence[Json]:
        return t.cast("Sequence[Json]", self.result["trail"])

    @property
    def log(self) -> Sequence[Line]:
        return t.cast("Sequence[Line]", self.result["log"])

    @functools.cached_property
    def steps(self) -> Sequence[Json]:
        """What was asked, step by step; as many as the trail has."""
        data = self.family.data
        return [*data["steps"], *data["then"][self.result["cuts"][-1]]]

    @functools.cached_property
    def answers(self) -> list[Json | None]:
        """What each step answered."""
        return [json.loads(step["answer"]) if step.get("answer") else None for step in self.trail]

    @functools.cached_property
    def journal(self) -> Json | None:
        text = self.trail[-1]["journal"]
        return json.loads(text) if text else None


def judge(played: Played) -> list[Violation]:
    """Return every rule that does not hold in a scenario."""
    rules = _RESTART if played.family.op == "restart" else _APPLY
    return [Violation(name, played.name, what) for name, rule in rules.items() for what in rule(played)]


# ---- restart ----


@dataclass
class History:
    """What the log says of one service."""

    ran: bool
    owner: str = ""  # who has stopped it, as long as nobody started it
    touched: bool = False
    disabled: bool = False
    removed: bool = False


def _by_run(who: str) -> bool:
    return _RUN.fullmatch(who) is not None


def _histories(played: Played) -> tuple[dict[str, History], list[str]]:
    """How each service fared, and what was done to one that should not have been."""
    services = played.family.data["world"]["services"]
    found = {item["name"]: History(item["state"] == "running") for item in services}
    needed = {need for item in services for need in item["depends_on"]}
    wrong: list[str] = []
    stops: set[tuple[str, str]] = set()
    for at, who, what, name, *dummy in played.log:
        history = found.get(name)
        if what == "boot":
            for item in found.values():
                item.owner, item.touched = "", False
        if history is None:
            continue
        if what == "stop":
            history.owner = "us" if _by_run(who) else "other"
            if not _by_run(who):
                continue
            history.touched = True
            if (who, name) in stops:
                wrong.append(f"{name} was stopped twice by run {who}, at {at} ms")
            stops.add((who, name))
            if name not in _asked(played, who):
                wrong.append(f"{name} was stopped by run {who}, whose request does not name it, at {at} ms")
        elif what == "start":
            if _by_run(who):
                history.touched = True
                if history.owner == "other":
                    wrong.append(f"{name} was started by run {who} although somebody else had stopped it, at {at} ms")
                if not history.ran and name not in needed:
                    wrong.append(f"{name} was started by run {who} although it did not run, at {at} ms")
                if history.disabled:
                    wrong.append(f"{name} was started by run {who} although it is Disabled, at {at} ms")
            history.owner = ""
        elif what == "disable":
            history.disabled = True
        elif what == "remove":
            history.removed = True
    return found, wrong


def _asked(played: Played, run: str) -> set[str]:
    return {
        item["name"]
        for step in played.steps
        if "request" in step and step["request"]["run"] == run
        for item in step["request"]["services"]
    }


def _touches(played: Played) -> Iterator[str]:
    """Nothing starts that did not run, nothing stops that was not asked for, nobody twice."""
    yield from _histories(played)[1]


def _owed(journal: Json | None) -> set[str]:
    """What the next run has to bring up, by the journal alone."""
    if journal is None or journal["phase"] == "done":
        return set()
    rows = [*journal["services"], *((journal.get("previous") or {}).get("services") or [])]
    return {item["name"] for item in rows}


def _named(answer: Json) -> set[str]:
    return {*answer.get("down", ()), *((answer.get("previous") or {}).get("down") or ())}


def _down(played: Played) -> Iterator[str]:
    """What ran before runs at the end, or it is owed; and the last answer has named it."""
    found, dummy = _histories(played)
    states = played.trail[-1]["services"]
    lost = [
        name
        for name, history in found.items()
        if history.ran
        and history.touched
        and history.owner != "other"
        and not history.disabled
        and not history.removed
        and states[name] != "running"
    ]
    # What a run of yesterday, or before a boot, has left is named once and is the administrator's from then on.
    told = {name for answer in played.answers if answer for name in (answer.get("previous") or {}).get("down") or ()}
    for name in lost:
        if name not in _owed(played.journal) and name not in told:
            phase = "there is none" if played.journal is None else f"phase {played.journal['phase']}"
            yield f"{name} is {states[name]} and nobody owes it (journal: {phase})"
    last = played.answers[-1] if played.answers else None
    if last is not None and last.get("done") and "cut" not in played.trail[-1]:
        yield from (
            f"{name} is {states[name]} and the last answer does not say so" for name in lost if name not in _named(last)
        )


def _well(played: Played) -> Iterator[str]:
    """Where all ends well everything runs after two further runs, and the one after does nothing."""
    if not played.family.well or played.branch == TOLD:
        return
    states = played.trail[-1]["services"]
    found, dummy = _histories(played)
    for name, history in found.items():
        if history.ran and history.owner != "other" and not history.removed and states.get(name) != "running":
            yield f"{name} is {states.get(name)} at the very end"
    last = played.steps[-1]
    if "request" in last:
        run = last["request"]["run"]
        yield from (
            f"the last run still {what}s {name}"
            for dummy, who, what, name, *more in played.log
            if who == run and what in ("start", "stop")
        )
        answer = played.answers[-1] or {}
        if answer.get("error"):
            yield f"the last run says {answer['error']['code']}"


def _undisturbed(played: Played) -> Iterator[str]:
    """Where nothing is odd and nothing is cut, what was asked for is done at once."""
    alone = all(cut == "-" for cut in played.result["cuts"][:-1])
    answer = played.answers[0] or {}
    if played.family.facts.get("undisturbed") and alone and answer.get("error"):
        yield f"the first run says {answer['error']['code']}"


def _loaded(played: Played) -> Iterator[str]:
    """`loaded` is what the process really read, or empty."""
    for name, record in played.result["records"].items():
        if not record.get("loaded") and not record.get("file"):
            continue
        process = played.result["processes"].get(name)
        if record.get("process") and record["process"] != process:
            continue  # of a process that is gone: everybody sees that
        reads = [line[4] for line in played.log if line[2] == "read" and line[3] == name]
        if not record.get("process") and (
            not reads or sum(line[2] == "start" and line[3] == name for line in played.log) > 1
        ):
            continue  # nobody can tell which process that was
        read = reads[-1] if reads else None
        if record.get("file") and record["file"] != read:
            yield f"{name}: the record says that it read {record['file'][:8]}, it read {str(read)[:8]}"
        if record.get("loaded") == LOADED and read != digest(SECTION):
            yield f"{name}: nothing is pending, and the process has read {str(read)[:8]}"


def _times(played: Played) -> Iterator[str]:
    """No worker lasts longer than its deadline, and what its last step takes for each service."""
    services = len(played.family.data["world"]["services"])
    limit = (
        LIMITS["deadline"]
        + (services + 1) * (LIMITS["start_timeout"] + 0.5)
        + LIMITS["settle"]
        + _SLACK_S
        + 5.0 * services
    )
    begun: dict[str, int] = {}
    for at, who, what, name, *dummy in played.log:
        if not _by_run(who):
            continue
        if what == "begin":
            begun[who + name] = at
        elif what == "end" and (at - begun.get(who + name, at)) / 1000 > limit + (WAITING_S if name == "1" else 0):
            yield f"run {who} lasted {(at - begun[who + name]) / 1000:.1f} s, more than {limit:.1f} s"


WAITING_S: t.Final = 100.0


def _odd(answer: Json) -> Iterator[str]:
    """An error that the script has not foreseen; a code of Windows that its table does not have is none."""
    error = answer.get("error") or {}
    if error.get("code") in _ODD and (error.get("detail") or {}).get("native") is None:
        yield f"{error['code']}: {error.get('message')} {error.get('detail')}"


def _truth(played: Played) -> Iterator[str]:
    """An answer says nothing that was not seen."""
    for step, asked, answer in zip(played.trail, played.steps, played.answers, strict=True):
        if answer is None:
            continue
        yield from _odd(answer)
        if not answer.get("done"):
            continue
        run = asked["request"]["run"]
        did = {(what, name) for dummy, who, what, name, *more in played.log if who == run and what in ("start", "stop")}
        happened = {(what, name) for at, who, what, name, *more in played.log if at <= step["at"]}
        for item in answer.get("services", ()):
            name = item["name"]
            if item["stop_ms"] is not None and ("stopped", name) not in happened and item["step"] == "stopped":
                yield f"{name} is said to have stopped, and it has not"
            if item["start_ms"] is not None and ("start", name) not in happened and item["step"] == "running":
                yield f"{name} is said to have been started, and it was not"
        if answer["outcome"] == "nothing" and did:
            yield f"the outcome is nothing, and the run did {sorted(did)}"
        if answer["outcome"] == "restarted" and not did and not answer.get("finished"):
            yield "the outcome is restarted, and the run did nothing"
        unseen = {item["name"] for item in answer.get("services", ()) if item["after"] == "unknown"}
        for name in answer.get("down", ()):
            if step["services"].get(name) == "running" and name not in unseen:
                yield f"{name} is said to be down, and it runs"
        for item in answer.get("services", ()):
            if (
                item["ran"]
                and item["name"] in step["services"]
                and step["services"][item["name"]] != "running"
                and item["name"] not in answer["down"]
            ):
                yield f"{item['name']} is down, and the answer does not say so"


def _let_go(played: Played) -> Iterator[str]:
    """No process of ours holds anything at the end."""
    if played.result["held"]:
        yield f"{played.result['held']} files are held by nobody who lives"


# ---- apply ----


def _files(played: Played) -> Mapping[str, str]:
    return {place.partition("|")[2]: text for place, text in played.result["files"].items()}


def _expected(played: Played) -> Mapping[str, Sequence[str | None]]:
    return t.cast("Mapping[str, Sequence[str | None]]", played.family.facts["files"])


def _whole(played: Played) -> Iterator[str]:
    """Every file is old or new, or somebody else's; a torn one is put right by the next run."""
    if played.branch == "nothing" and "cut" in played.trail[-1]:
        return
    files, left = _files(played), _left(played)
    for path, (old, new) in _expected(played).items():
        allowed = [old, new, *([played.family.facts["foreign"]] if played.family.facts["foreign_of"] else [])]
        if files.get(path) not in allowed and path not in left:
            yield f"{path} is neither old nor new: {files.get(path)!r}"


def _left(played: Played) -> set[str]:
    last = played.answers[-1] or {}
    return set(last.get("left", ()))


def _original(played: Played) -> Iterator[str]:
    """The first original is somewhere, whole."""
    texts = set(_files(played).values())
    for path, (old, dummy) in _expected(played).items():
        if old is not None and old not in texts and not played.family.facts["foreign_of"]:
            yield f"what was in {path} is lost"


def _temporary(played: Played) -> Iterator[str]:
    """Nothing temporary stays after the next run, unless the answer names it."""
    if played.branch == "nothing" and ("cut" in played.trail[-1] or played.family.data["world"]["faults"]):
        return
    left = _left(played)
    yield from (f"{path} has stayed" for path in _files(played) if _TEMPORARY.search(path) and path not in left)


def _said(played: Played) -> Iterator[str]:
    """Success means new, everywhere; a failure that was not cut off leaves what was, or says so."""
    files = _files(played)
    for answer in filter(None, played.answers):
        yield from _odd(answer)
    last = played.answers[-1]
    if last is None:
        return
    for path, (dummy, new) in _expected(played).items():
        foreign = played.family.facts["foreign_of"] and files.get(path) == played.family.facts["foreign"]
        if not last.get("error") and files.get(path) != new and not foreign:
            yield f"the last answer is success, and {path} is {files.get(path)!r}"
    if last.get("error") and len(played.trail) == 1:
        for path, (old, dummy) in _expected(played).items():
            if files.get(path) != old and path not in last["left"] and not played.family.facts["foreign_of"]:
                yield f"{last['error']['code']}, and {path} is {files.get(path)!r} and not named in `left`"
        if played.result["records"] and not any("records" in item for item in last["left"]):
            yield f"{last['error']['code']}, and the records have changed"
    if played.branch != "nothing" and last.get("error"):
        yield f"all is well again, and the last run says {last['error']['code']} {last['error'].get('detail')}"


_Rule: t.TypeAlias = t.Callable[[Played], Iterator[str]]
_RESTART: t.Final[Mapping[str, _Rule]] = {
    "nothing stays down unowed": _down,
    "only what may is touched": _touches,
    "what nothing disturbs succeeds at once": _undisturbed,
    "two further runs bring everything up": _well,
    "loaded is what was read": _loaded,
    "time is bounded": _times,
    "an answer is true": _truth,
    "nothing is held": _let_go,
}
_APPLY: t.Final[Mapping[str, _Rule]] = {
    "every file is whole": _whole,
    "the original is kept": _original,
    "nothing temporary stays": _temporary,
    "an answer is true": _said,
    "time is bounded": _times,
    "nothing is held": _let_go,
}
RULES: t.Final = tuple(dict.fromkeys([*_RESTART, *_APPLY]))
