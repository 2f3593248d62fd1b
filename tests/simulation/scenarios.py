# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is played: every graph, every odd service, every behaviour, every cut, and what comes then.

A family is one beginning. It is played once, copied after each effect, and each copy goes on in each of its branches;
every end of a branch is a scenario.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Json: t.TypeAlias = dict[str, t.Any]

FILE: t.Final = "C:\\exchsrvr\\bin\\Wspcfg.ini"
SECTION: t.Final = "[A]\r\nServerBindTcpPorts=110\r\n"
LOADED: t.Final = "c" * 64
#: Limits of every restart, in seconds. Small ones, for each look at a service costs time.
LIMITS: t.Final[Mapping[str, float]] = {"stop_timeout": 3, "start_timeout": 3, "deadline": 12, "settle": 1}
WAIT: t.Final = 40
#: The branch whose run is only to tell what one of yesterday has left.
TOLD: t.Final = "a day later, only told"


def digest(text: str) -> str:
    """sha256 of a file's text."""
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


@dataclass(frozen=True)
class Behaviour:
    """How one service, or Windows, behaves oddly.

    Attributes:
        name: what it is called.
        well: whether everything runs in the end, after two further runs at most.
        stop, start: how the service takes that control (``world.cs``, ``Manner``).
        faults: what goes wrong or what somebody does; ``{it}`` stands for the service.
        remote: only with a server that another machine manages.
    """

    name: str
    well: bool = True
    stop: Mapping[str, t.Any] | None = None
    start: Mapping[str, t.Any] | None = None
    faults: Sequence[Mapping[str, t.Any]] = ()
    remote: bool = False


def _both(name: str, control: str, code: int) -> Iterator[Behaviour]:
    """A code that says nothing of whether the control took effect."""
    for took in (True, False):
        manner = {"kind": "unsure", "code": code, "took": took, "times": 1}
        word = "took effect" if took else "did not"
        if control == "stop":
            yield Behaviour(f"{name}, {word}", stop=manner)
        else:
            yield Behaviour(f"{name}, {word}", start=manner)


BEHAVIOURS: t.Final[tuple[Behaviour, ...]] = (
    Behaviour("as it should"),
    Behaviour("stops slowly", stop={"kind": "ok", "ms": 2000}),
    Behaviour("stop taken, takes effect late", stop={"kind": "late", "ms": 1500}),
    Behaviour("stop taken, takes effect after its limit", stop={"kind": "late", "ms": 5000}),
    Behaviour("stop taken, takes effect after the deadline", stop={"kind": "late", "ms": 20000}),
    Behaviour("hangs stopping for a while", stop={"kind": "ok", "ms": 5000}),
    Behaviour("hangs stopping beyond the deadline", stop={"kind": "ok", "ms": 20000}),
    Behaviour("hangs stopping for ever", False, stop={"kind": "hang"}),
    Behaviour("refuses to stop", stop={"kind": "refuse", "code": 5}),
    Behaviour("takes no control now", stop={"kind": "refuse", "code": 1052, "times": 2}),
    Behaviour("takes no stop now", stop={"kind": "refuse", "code": 1061, "times": 1}),
    *_both("stop 1053", "stop", 1053),
    *_both("stop 1722", "stop", 1722),
    Behaviour("starts slowly", start={"kind": "ok", "ms": 2000}),
    Behaviour("starts after its limit", start={"kind": "ok", "ms": 5000}),
    Behaviour("starts after the deadline", start={"kind": "ok", "ms": 25000}),
    Behaviour("hangs starting for ever", False, start={"kind": "hang"}),
    Behaviour("start fails once", start={"kind": "fails", "times": 1}),
    Behaviour("start fails for ever", False, start={"kind": "fails"}),
    Behaviour("start refused once", start={"kind": "refuse", "code": 1069, "times": 1}),
    Behaviour("start refused for ever", False, start={"kind": "refuse", "code": 1069}),
    Behaviour("start waits for the manager's lock", start={"kind": "refuse", "code": 1055, "times": 2}),
    *_both("start 1053", "start", 1053),
    *_both("start 1722", "start", 1722),
    Behaviour("dies in its settle time once", start={"kind": "dies", "ms": 500, "times": 1}),
    Behaviour("dies in its settle time each time", False, start={"kind": "dies", "ms": 500}),
    Behaviour("somebody else starts it", start={"kind": "other", "times": 1}),
    Behaviour(
        "set to Disabled in between",
        False,
        faults=[{"kind": "service.stop", "of": "{it}", "do": "disable", "name": "{it}"}],
    ),
    Behaviour(
        "set to Disabled before its start",
        False,
        faults=[{"kind": "service.start", "of": "{it}", "do": "disable", "name": "{it}"}],
    ),
    Behaviour(
        "deleted in between", False, faults=[{"kind": "service.start", "of": "{it}", "do": "remove", "name": "{it}"}]
    ),
    Behaviour(
        "somebody restarts it while others stop", faults=[{"kind": "service.stop", "do": "restart", "name": "{it}"}]
    ),
    Behaviour(
        "its file changes before it starts",
        faults=[{"kind": "service.start", "of": "{it}", "do": "write", "name": "EXCH1|" + FILE, "text": "[A]\r\n"}],
    ),
    Behaviour(
        "its file changes while it starts",
        faults=[
            {
                "kind": "service.status",
                "of": "{it}",
                "skip": 3,
                "do": "write",
                "name": "EXCH1|" + FILE,
                "text": "[A]\r\n",
            }
        ],
    ),
    *(
        Behaviour(
            f"journal is not written, {word} from write {skip}",
            times > 0,
            faults=[{"kind": "key.set", "of": "\\journal", "skip": skip, "times": times, "code": 5}],
        )
        for skip, (word, times) in itertools.product((1, 4, 6, 8), (("once", 1), ("three times", 3)))
    ),
    *(
        Behaviour(
            f"journal write {skip} dies, and {'had' if took else 'had not'} its effect",
            faults=[{"kind": "key.set", "of": "\\journal", "skip": skip, "code": 1726, "took": took}],
        )
        for skip, took in itertools.product((1, 4, 6, 8), (True, False))
    ),
    *(
        Behaviour(
            f"outage of {ms} ms at look {skip}",
            faults=[{"kind": "service.status", "skip": skip, "do": "outage", "ms": ms}],
            remote=True,
        )
        for skip, ms in itertools.product((3, 5, 9), (1500, 8000))
    ),
    *(
        Behaviour(
            f"registry's handle dies at read {skip}",
            faults=[{"kind": "key.get", "of": "\\journal", "skip": skip, "do": "outage", "ms": 0}],
            remote=True,
        )
        for skip in (0, 1, 3, 6)
    ),
)


@dataclass(frozen=True)
class Graph:
    """Services of a server: name to what it depends on; in start order."""

    name: str
    needs: Mapping[str, Sequence[str]]
    roots: Sequence[str]
    down: Sequence[str] = ()

    @property
    def rows(self) -> list[Json]:
        """The request's services; what is down is a dependency that nobody asked for."""
        return [
            row(name, needs, root=name in self.roots) for name, needs in self.needs.items() if name not in self.down
        ]


def row(name: str, needs: Sequence[str], *, root: bool) -> Json:
    """One service of a request; roots have a section."""
    file = (
        {"file": FILE, "file_sha256": digest(SECTION), "loaded": LOADED}
        if root
        else dict.fromkeys(("file", "file_sha256", "loaded"))
    )
    return {"name": name, "role": "root" if root else "dependent", "depends_on": list(needs), **file}


GRAPHS: t.Final = (
    Graph("one", {"A": ()}, ("A",)),
    Graph("chain", {"A": (), "B": ("A",), "C": ("B",)}, ("A",)),
    Graph("diamond", {"A": (), "B": ("A",), "C": ("A",), "D": ("B", "C")}, ("A",)),
    Graph("two roots", {"A": (), "E": (), "B": ("A", "E")}, ("A", "E")),
    Graph("dependency down", {"Z": (), "A": ("Z",), "B": ("A",)}, ("A",), down=("Z",)),
)


def envelope(op: str, number: int, *, remote: bool, who: str = "me@here") -> Json:
    """What every request has."""
    computer = "EXCH1" if remote else None
    return {"version": 1, "op": op, "computer": computer, "credential": None, "run": f"{number:08x}", "who": who}


def restart(number: int, rows: Sequence[Json], *, remote: bool, who: str = "me@here", **more: t.Any) -> Json:
    """A step that asks for a restart."""
    request = {
        **envelope("restart", number, remote=remote, who=who),
        "services": list(rows),
        "start": [],
        "dependents": "restore",
        **LIMITS,
        "wait": WAIT,
        "lock_wait": 0,
        "allow_disabled": False,
        "start_dependencies": True,
        "window": None,
        "finish": "same_boot",
        **more,
    }
    return {"do": "request", "script": "restart remote" if remote else "restart", "request": request}


def _branches(graph: Graph, *, remote: bool) -> dict[str, list[Json]]:
    """What comes after the first run. Each ends with a run that finds nothing to do."""

    def finish(number: int, **more: t.Any) -> Json:
        return restart(number, [], remote=remote, **more)

    rows = graph.rows
    minute, heal = {"do": "wait", "s": 70}, {"do": "heal"}

    def asked(who: str) -> Json:
        return restart(2, rows, remote=remote, who=who)

    return {
        "nothing for an hour": [{"do": "wait", "s": 3600}, finish(2), minute, heal, finish(3), finish(4)],
        "the same again": [asked("me@here"), minute, heal, finish(3), finish(4)],
        "only finishing": [finish(2), minute, heal, finish(3), minute, finish(4), finish(5)],
        "another controller": [asked("you@there"), minute, heal, finish(3), finish(4)],
        "a boot": [{"do": "boot"}, finish(2, finish="any"), minute, finish(3, finish="any"), finish(4)],
        "a day later": [
            {"do": "wait", "s": 90000},
            finish(2, finish="any"),
            minute,
            heal,
            finish(3, finish="any"),
            finish(4),
        ],
        TOLD: [{"do": "wait", "s": 90000}, finish(2)],
    }


def _placed(behaviour: Behaviour, service: str) -> list[Json]:
    return t.cast("list[Json]", json.loads(json.dumps(list(behaviour.faults)).replace("{it}", service)))


def _restart_world(graph: Graph, odd: Mapping[str, Behaviour], *, remote: bool, cim: bool = True) -> Json:
    services = []
    for name, needs in graph.needs.items():
        behaviour = odd.get(name)
        services.append(
            {
                "name": name,
                "depends_on": list(needs),
                "state": "stopped" if name in graph.down else "running",
                "start_type": 3 if name in graph.down else 2,
                **({"section": FILE} if name in graph.roots else {}),
                **({"stop": behaviour.stop} if behaviour and behaviour.stop else {}),
                **({"start": behaviour.start} if behaviour and behaviour.start else {}),
            }
        )
    faults = [fault for name, behaviour in odd.items() for fault in _placed(behaviour, name)]
    return {
        "remote": remote,
        "no_cim": not cim,
        "files": {FILE: {"text": SECTION}},
        "services": services,
        "faults": faults,
    }


@dataclass(frozen=True)
class Family:
    """One beginning, with what is known of it.

    Attributes:
        id: its name; what replays it.
        op: ``restart`` or ``apply``.
        data: what the theatre plays.
        branches: names of the branches, in order.
        well: whether everything ends well.
        facts: what the rules need besides.
    """

    id: str
    op: str
    data: Json
    branches: tuple[str, ...]
    well: bool = True
    facts: Json = field(default_factory=dict)


def _restart_family(graph: Graph, odd: Mapping[str, Behaviour], *, remote: bool, cim: bool = True) -> Family:
    branches = _branches(graph, remote=remote)
    words = " + ".join(f"{name}: {behaviour.name}" for name, behaviour in odd.items())
    mode = "computer" if remote else "direct"
    name = f"restart | {graph.name} | {words} | {mode}" + ("" if cim else " | Start-Process")
    first = {**restart(1, graph.rows, remote=remote), "cuts": {}}
    data = {
        "id": name,
        "world": _restart_world(graph, odd, remote=remote, cim=cim),
        "steps": [first],
        "then": list(branches.values()),
    }
    undisturbed = not graph.down and all(behaviour == BEHAVIOURS[0] for behaviour in odd.values())
    well = all(behaviour.well for behaviour in odd.values())
    return Family(name, "restart", data, tuple(branches), well, {"undisturbed": undisturbed})


def restarts() -> Iterator[Family]:
    """Each graph, each odd service, each behaviour; both ways to reach a server where that differs."""
    for graph, behaviour in itertools.product(GRAPHS, BEHAVIOURS):
        plain = behaviour == BEHAVIOURS[0]
        for name in graph.needs:
            if (
                plain or not (behaviour.stop or behaviour.start or "{it}" in str(behaviour.faults))
            ) and name != graph.roots[0]:
                continue  # it is not about one service
            if name in graph.down and behaviour.stop:
                continue  # it does not run
            yield _restart_family(graph, {name: behaviour}, remote=behaviour.remote)
            if graph.name == "chain" and not behaviour.remote and name == "A":
                yield _restart_family(graph, {name: behaviour}, remote=True)
            if plain:
                yield _restart_family(graph, {name: behaviour}, remote=False, cim=False)


def pairs(seed: int, count: int) -> Iterator[Family]:
    """Two odd services of one chain, seeded."""
    dice = random.Random(seed)
    local = [behaviour for behaviour in BEHAVIOURS[1:] if not behaviour.remote]
    for dummy in range(count):
        first, second = dice.sample(["A", "B", "C"], 2)
        yield _restart_family(GRAPHS[1], {first: dice.choice(local), second: dice.choice(local)}, remote=False)


# ---- apply ----

OLD: t.Final = "[A]\r\nx=1\r\n"
NEW: t.Final = "[A]\r\nx=22\r\n[B]\r\n"
FOREIGN: t.Final = "[A]\r\nx=333\r\n"
_PLACES: t.Final = ("C:\\exchsrvr\\bin\\one.ini", "C:\\exchsrvr\\bin\\two.ini", "C:\\other\\three.ini")
_OPS: t.Final[Mapping[str, tuple[str | None, str | None]]] = {
    "create": (None, NEW),
    "replace": (OLD, NEW),
    "shorten": (NEW, OLD),
    "delete": (OLD, None),
}
#: Which contact fails, with which codes.
_CODES: t.Final[Mapping[str, Sequence[int]]] = {
    "file.open": (5, 32, 112),
    "file.create": (5, 112),
    "file.length": (112,),
    "file.write": (112, 64),
    "file.flush": (112, 64),
    "file.read": (64,),
    "file.move": (5, 32),
    "file.replace": (5, 32, 1175, 1176, 1177),
    "file.delete": (5, 32),
    "folder.create": (5, 112),
    "key.set": (5, 1726),
    "key.create": (5,),
}


_TOLD: t.Final = ("kind", "code", "times", "skip", "took", "do", "share")


def _content(text: str | None) -> str | None:
    import base64

    return None if text is None else base64.b64encode(text.encode("latin-1")).decode()


def apply(
    number: int, files: Sequence[Json], *, remote: bool, records: Sequence[Json] = (), do: str = "request"
) -> Json:
    """A step that asks for files; ``again`` looks at them first, as a controller does."""
    request = {
        **envelope("apply", number, remote=remote),
        "files": list(files),
        "records": list(records),
        "lock_wait": 0,
        "lock": True,
    }
    return {"do": do, "script": "apply remote" if remote else "apply", "request": request}


def _wish(path: str, op: str) -> Json:
    old, new = _OPS[op]
    return {
        "path": path,
        "expect_sha256": None if old is None else digest(old),
        "content": _content(new),
        "from_backup": None,
        "backup": "store",
        "backup_path": None,
    }


def _apply_family(ops: Sequence[str], way: str, fault: Json | None, *, well: bool) -> Family:
    remote = way == "remote"
    files = [_wish(path, op) for path, op in zip(_PLACES, ops, strict=False)]
    record = {"service": "A", "loaded": None, "wanted": LOADED, "owned": "ServerBindTcpPorts"}
    world = {
        "remote": remote,
        "fat": way == "FAT",
        "files": {
            path: {"text": old} for path, op in zip(_PLACES, ops, strict=False) if (old := _OPS[op][0]) is not None
        },
        "services": [{"name": "A", "section": FILE}],
        "faults": [fault] if fault else [],
    }

    def ask(number: int, do: str = "request") -> Json:
        return apply(number, files, remote=remote, records=[record], do=do)

    heal, moment = {"do": "heal"}, {"do": "wait", "s": 2}
    branches = {
        "nothing": [],
        "the same again": [heal, moment, ask(1), ask(2, "again"), ask(3, "again")],
        "looked at and again": [heal, moment, ask(2, "again"), ask(3, "again")],
    }
    words = (
        "as it should" if fault is None else " ".join(f"{key}={value}" for key, value in fault.items() if key in _TOLD)
    )
    name = f"apply | {'+'.join(ops)} | {way} | {words}"
    first = {**ask(1), "cuts": {}}
    facts = {
        "files": {path: list(_OPS[op]) for path, op in zip(_PLACES, ops, strict=False)},
        "foreign": FOREIGN,
        "foreign_of": (fault or {}).get("do") == "write",
    }
    return Family(
        name,
        "apply",
        {"id": name, "world": world, "steps": [first], "then": list(branches.values())},
        tuple(branches),
        well,
        facts,
    )


def applies() -> Iterator[Family]:
    """Files 1 to 3; NTFS, in place on FAT and through a share; each operation with each code, a writer, a scanner."""
    combinations = [
        *((op,) for op in _OPS),
        ("replace", "create"),
        ("delete", "replace"),
        ("create", "delete", "shorten"),
    ]
    for ops, way in itertools.product(combinations, ("NTFS", "FAT", "remote")):
        yield _apply_family(ops, way, None, well=True)
        if len(ops) == 3 and way == "remote":
            continue
        for kind, codes in _CODES.items():
            for code, times, skip in itertools.product(codes, (1, -1), (0, 1, 3)):
                yield _apply_family(ops, way, {"kind": kind, "code": code, "times": times, "skip": skip}, well=True)
        for kind, took in itertools.product(("file.move", "file.delete", "key.set", "file.replace"), (True,)):
            yield _apply_family(ops, way, {"kind": kind, "code": 64, "took": took}, well=True)
        for kind, skip in itertools.product(
            ("file.open", "file.look", "file.replace", "file.create", "file.read"), (0, 1, 2, 3)
        ):
            somebody = {"kind": kind, "skip": skip, "name": "EXCH1|" + _PLACES[0]}
            yield _apply_family(ops, way, {**somebody, "do": "write", "text": FOREIGN}, well=True)
            yield _apply_family(ops, way, {**somebody, "do": "hold", "share": "Read", "ms": 500}, well=True)
            yield _apply_family(
                ops, way, {**somebody, "do": "hold", "share": "ReadWrite, Delete", "ms": 500}, well=True
            )


def every(seed: int = 0, pair_count: int = 60) -> list[Family]:
    """Every family there is."""
    return [*restarts(), *pairs(seed, pair_count), *applies()]


def thinned(families: Iterable[Family], *, restart_cuts: int, apply_cuts: int, seed: int) -> list[Family]:
    """The same families, each with every n-th cut only; which ones comes from the seed.

    Args:
        families: what to thin out.
        restart_cuts, apply_cuts: n.
        seed: where it begins.
    """
    made = []
    for number, family in enumerate(families):
        of = restart_cuts if family.op == "restart" else apply_cuts
        made.append(with_cuts(family, {"of": of, "from": (seed + number) % of}))
    return made


def with_cuts(family: Family, cuts: Json) -> Family:
    """The same family with other cuts of its first step."""
    first = {**family.data["steps"][0], "cuts": cuts}
    return Family(
        family.id,
        family.op,
        {**family.data, "steps": [first, *family.data["steps"][1:]]},
        family.branches,
        family.well,
        family.facts,
    )


def only_branch(family: Family, name: str) -> Family:
    """The same family with one of its branches only."""
    then = [family.data["then"][family.branches.index(name)]]
    return Family(family.id, family.op, {**family.data, "then": then}, (name,), family.well, family.facts)


def talkative(family: Family) -> Family:
    """The same family, whose log has every effect."""
    data = {**family.data, "world": {**family.data["world"], "talk": True}}
    return Family(family.id, family.op, data, family.branches, family.well, family.facts)
