# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection is dropped before, inside and after every operation; no second run is needed for the services.

One server per place and mode, all of them in one run: what happens to one must not touch the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.lab.api import HostView, Lab
from tests.lab.faults import OPERATION_POINTS
from tests.lab.fleet import Fleet, HostSpec, ManagementSpec, free_net
from tests.support.pairs import BIN, LOADED, SPEED, TARGET, name, plain, states, told_truly
from tests.support.playbook import COLLECTION, Playbooks, Run

WHOLE = {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
NEVER_HERE = {"apply.file2.before", "apply.file2.after"}  # only one file is written


@dataclass(frozen=True)
class Drop:
    """Where the connection is dropped: at a point of an operation, or at a point of the wire in its n-th passing.

    Attributes:
        slow: Whether the restart takes so long that it has to be asked how far it is.
    """

    point: str
    passing: int | None = None
    slow: bool = False


# Passings of each point of the wire that belong to the three commands of a plain run, and one of the first
# restart_status. psrp receives while it opens its pool, too: what is dropped there has never been sent.
WINRM = dict.fromkeys(("command", "send", "receive", "signal"), ((0, 1, 2), 3))
PSRP = {"command": ((0, 1, 2), 3), "send": ((0, 1, 2), 3), "receive": ((1, 2, 4), 5), "signal": ((0,), 1)}


def wire(verbs: Mapping[str, tuple[tuple[int, ...], int]]) -> list[Drop]:
    """A drop before and after each of these, and where both tasks delete their shell."""
    ends = ("before", "after")
    drops = [
        Drop(f"{verb}.{end}", passing) for verb, (fast, dummy) in verbs.items() for passing in fast for end in ends
    ]
    drops += [Drop(f"{verb}.{end}", status, slow=True) for verb, (dummy, status) in verbs.items() for end in ends]
    return drops + [Drop(f"delete.{end}", passing) for passing in range(2) for end in ends]


DROPS: dict[str, Sequence[Drop]] = {
    "inside-operations": [
        Drop(p, slow=p.startswith("restart_status")) for p in OPERATION_POINTS if p not in NEVER_HERE
    ],
    "around-operations": wire(WINRM),
    "around-operations-psrp": wire(PSRP),
}


# Reached directly by winrm, through a management host by winrm, and directly by psrp.
MODES = {"inside-operations": "DCP", "around-operations": "DC", "around-operations-psrp": "P"}


def hosts(net: str, count: int) -> Iterator[HostSpec]:
    for number in range(1, count + 1):
        yield HostSpec(f"D{number}", address=f"{net}.2.{number}", files={BIN: LOADED})
        yield HostSpec(f"C{number}", via=f"M{number}", files={BIN: LOADED})
        yield HostSpec(f"P{number}", address=f"{net}.4.{number}", files={BIN: LOADED}, connection="psrp")


@contextlib.contextmanager
def lab_for(drops: Sequence[Drop]) -> Iterator[Lab]:
    """Servers for each drop, one per mode; every managed one has a management host of its own."""
    net, reservation = free_net()
    with reservation:
        management = tuple(ManagementSpec(f"M{number}", f"{net}.1.{number}") for number in range(1, len(drops) + 1))
        with Lab(Fleet(tuple(hosts(net, len(drops))), (), management, speed=SPEED)) as lab:
            yield lab


def arm(lab: Lab, server: HostView, drop: Drop) -> Callable[[], bool]:
    """Arm one drop; returns what tells whether it has happened."""
    machine = server.machine.name
    if drop.slow:
        lab.inject("service", machine, name="MSExchangeIS", stop_ms=120_000)
    if drop.passing is None:
        number = lab.inject("drop_here", machine, at=drop.point)
        return lambda: lab.hits(number) > 0
    runner = machine if server.machine.address else f"M{machine[1:]}"
    lab.inject("drop", runner, point=drop.point, skip=drop.passing)
    rule = lab.world.interceptor.rules[-1]
    return lambda: rule.times == 0


def play(lab: Lab, work: Path, names: Sequence[str]) -> Run:
    playbooks = Playbooks(lab.inventory, work, {"ANSIBLE_FORKS": "12"})
    modules = {f"{COLLECTION}.{module}": TARGET for module in ("wspcfg", "service_restart")}
    play = {"name": "Test", "hosts": list(names), "gather_facts": False, "module_defaults": modules, "tasks": plain()}
    return playbooks.run(playbooks.write("play.yml", yaml.safe_dump([play])))


def complaints(server: HostView, before: dict[str, int], run: Run) -> Iterator[str]:
    now = server.process_ids()
    if set(now) != set(before):
        yield f"down: {sorted(set(before) - set(now))}"
    moved = {service for service in before if now.get(service) != before[service]}
    if moved != WHOLE:
        yield f"restarted: {sorted(moved)}"
    if server.in_force().get("STORE") != (110, 143):
        yield f"in force: {server.in_force()}"
    journal = server.journal() or {}
    if journal.get("phase") != "done":
        yield f"the journal says {journal.get('phase')}"
    if run.messages(name(server)):
        yield run.messages(name(server))
    else:
        yield from untruths(server, before, run)


def untruths(server: HostView, before: dict[str, int], run: Run) -> Iterator[str]:
    """What the first run itself says of its success."""
    written, result = (run.last(name(server), module) for module in ("wspcfg", "service_restart"))
    if not written["changed"]:
        yield "nothing was written, says the result"
    said = {key: result[key] for key in ("changed", "outcome", "down", "completed", "advice")}
    if said != {"changed": True, "outcome": "restarted", "down": [], "completed": [], "advice": []}:
        yield f"the result says {said}"
    if states(result) != dict.fromkeys(WHOLE, ("running", "running")):
        yield f"the result says {states(result)}"
    try:
        told_truly(server, result, before)
    except AssertionError as error:
        yield f"the result is not true: {error}"


@pytest.mark.parametrize("kind", DROPS)
def test_a_dropped_connection_costs_no_service_and_no_second_run(kind: str, tmp_path: Path) -> None:
    drops = DROPS[kind]
    with lab_for(drops) as lab:
        servers = {f"{mode}{number}": drop for number, drop in enumerate(drops, 1) for mode in MODES[kind]}
        views = {machine: lab.host(machine) for machine in servers}
        before = {machine: view.process_ids() for machine, view in views.items()}
        happened = {machine: arm(lab, views[machine], drop) for machine, drop in servers.items()}
        run = play(lab, tmp_path, [name(view) for view in views.values()])
        wrong = [
            f"{machine} {servers[machine]}: {text}"
            for machine, view in views.items()
            for text in complaints(view, before[machine], run)
        ]
        wrong += [f"{machine} {servers[machine]}: never happened" for machine, did in happened.items() if not did()]
        assert wrong == [], "\n".join(wrong)
        assert lab.mistakes == []
        again = play(lab, tmp_path, [name(view) for view in views.values()])
        assert [again.changed(name(view)) for view in views.values()] == [0] * len(views)


@pytest.mark.parametrize("point", ["connect", "authenticate", "create.before"])
def test_a_host_that_was_never_reached_is_unreachable_and_untouched(point: str, tmp_path: Path) -> None:
    with lab_for([Drop(point, 0)]) as lab:
        views = [lab.host("D1"), lab.host("C1")]
        before = [view.process_ids() for view in views]
        for runner in ("D1", "M1"):
            lab.inject("drop", runner, point=point, times=-1)
        run = play(lab, tmp_path, ["c1", "d1"])
        assert run.unreachable() == ["c1", "d1"]
        assert [view.process_ids() for view in views] == before
        assert [view.file(BIN) for view in views] == [LOADED.replace("\n", "\r\n").encode()] * 2
        lab.clear()
        run = play(lab, tmp_path, ["c1", "d1"])
        assert (run.status, [run.changed(name(view)) for view in views]) == (0, [2, 2])
