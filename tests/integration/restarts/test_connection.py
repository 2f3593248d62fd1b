# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection is dropped before, inside and after every operation; no second run is needed for the services.

One server per place and mode, all of them in one run: what happens to one must not touch the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.lab.api import HostView, Lab
from tests.lab.faults import OPERATION_POINTS
from tests.lab.fleet import Fleet, HostSpec, ManagementSpec
from tests.support.pairs import BIN, LOADED, SPEED, TARGET, free_loopback_net, name, plain
from tests.support.playbook import COLLECTION, Playbooks, Run

WHOLE = {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
# A plain run sends three commands: inspect, apply, restart.
COMMANDS = {"inspect": 0, "apply": 1, "restart": 2}
WIRE = ("command.before", "command.after", "send.before", "send.after", "receive.before", "receive.after")
NEVER_HERE = {"apply.file2.before", "apply.file2.after"}  # only one file is written


@dataclass(frozen=True)
class Drop:
    """Where the connection is dropped: at a point of an operation, or at a point of the wire in its n-th passing."""

    point: str
    passing: int | None = None


DROPS: dict[str, Sequence[Drop]] = {
    "inside-operations": [Drop(point) for point in OPERATION_POINTS if point not in NEVER_HERE],
    "around-operations": [Drop(point, passing) for passing in COMMANDS.values() for point in WIRE],
}


# Reached directly by winrm, through a management host by winrm, and directly by psrp. How often psrp passes a point of
# the wire is its own affair.
MODES = {"inside-operations": "DCP", "around-operations": "DC"}


def hosts(net: str, count: int) -> Iterator[HostSpec]:
    for number in range(1, count + 1):
        yield HostSpec(f"D{number}", address=f"{net}.2.{number}", files={BIN: LOADED})
        yield HostSpec(f"C{number}", via=f"M{number}", files={BIN: LOADED})
        yield HostSpec(f"P{number}", address=f"{net}.4.{number}", files={BIN: LOADED}, connection="psrp")


@contextlib.contextmanager
def lab_for(drops: Sequence[Drop]) -> Iterator[Lab]:
    """Servers for each drop, one per mode; every managed one has a management host of its own."""
    net, reservation = free_loopback_net()
    with reservation:
        management = tuple(ManagementSpec(f"M{number}", f"{net}.1.{number}") for number in range(1, len(drops) + 1))
        with Lab(Fleet(tuple(hosts(net, len(drops))), (), management, speed=SPEED)) as lab:
            yield lab


def arm(lab: Lab, server: HostView, drop: Drop) -> int | None:
    """Arm one drop; returns the fault's number where the lab counts its hits."""
    machine = server.machine.name
    if drop.passing is None:
        if drop.point.startswith("restart_status"):  # only a restart that takes longer is asked how far it is
            lab.inject("service", machine, name="MSExchangeIS", stop_ms=120_000)
        return lab.inject("drop_here", machine, at=drop.point)
    runner = machine if server.machine.address else f"M{machine[1:]}"
    lab.inject("drop", runner, point=drop.point, skip=drop.passing)
    return None


def play(lab: Lab, work: Path, names: Sequence[str]) -> Run:
    playbooks = Playbooks(lab.inventory, work, {"ANSIBLE_FORKS": "12"})
    modules = {f"{COLLECTION}.{module}": TARGET for module in ("wspcfg", "service_restart")}
    play = {"name": "Test", "hosts": list(names), "gather_facts": False, "module_defaults": modules, "tasks": plain()}
    return playbooks.run(playbooks.write("play.yml", yaml.safe_dump([play])))


def complaints(server: HostView, before: dict[str, int], run: Run) -> Iterator[str]:
    if run.messages(name(server)):
        yield run.messages(name(server))
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


@pytest.mark.parametrize("kind", DROPS)
def test_a_dropped_connection_costs_no_service_and_no_second_run(kind: str, tmp_path: Path) -> None:
    drops = DROPS[kind]
    with lab_for(drops) as lab:
        servers = {f"{mode}{number}": drop for number, drop in enumerate(drops, 1) for mode in MODES[kind]}
        views = {machine: lab.host(machine) for machine in servers}
        before = {machine: view.process_ids() for machine, view in views.items()}
        numbers = {machine: arm(lab, views[machine], drop) for machine, drop in servers.items()}
        run = play(lab, tmp_path, [name(view) for view in views.values()])
        wrong = [
            f"{machine} {servers[machine]}: {text}"
            for machine, view in views.items()
            for text in complaints(view, before[machine], run)
        ]
        wrong += [f"{one} {servers[one]}: never happened" for one, hit in numbers.items() if hit and not lab.hits(hit)]
        assert wrong == []
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
