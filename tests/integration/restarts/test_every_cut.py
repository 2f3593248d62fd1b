# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts that end at every single place at which one can end, and what the next run makes of it.

A first, undisturbed run counts the places: every named point of the worker, before and after each thing that it does,
the moment at which the journal is there and the worker is not, and every moment just before the journal is written.
Then the restart is made once for each of them and cut there. The
next plain run has to end with exactly those services running that ran before, the one after that has nothing to do.
Nothing is sampled.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.target.state import KEY
from tests.lab.target.worker import Cut
from tests.support.unwired import ControllerGone, Json, Server

MODES = ("direct", "computer")
ALL = ("ES", "INS", "KMS", "DX", "FB", "MSMI")
LOADED = "[STORE]\nServerBindTcpPorts=143\nPersistent=1\nKillOldSession=1\n"
PENDING_MS = 300


@dataclass(frozen=True)
class Scenario:
    """What is wanted, what has to restart for it, and which services do not run before."""

    wanted: Json
    roots: frozenset[str]
    services: tuple[str, ...] = ("ES", "FB")
    stopped: tuple[str, ...] = ()


SCENARIOS = {
    "directory": Scenario({"listeners": ["imap4", "ldap"]}, frozenset({"MSExchangeDS"}), ALL),
    "directory-and-store": Scenario(
        {"listeners": ["pop3", "ldap"]},
        frozenset({"MSExchangeDS", "MSExchangeIS"}),
        stopped=("MSExchangeES", "MSExchangeIMC"),
    ),
    "store-and-mta": Scenario(
        {"listeners": ["pop3"], "mta_direct": "true"}, frozenset({"MSExchangeIS", "MSExchangeMTA"})
    ),
    "mail": Scenario({"listeners": ["imap4", "smtp"]}, frozenset({"MSExchangeIMC"})),
}
ONE = Scenario({"listeners": ["imap4", "smtp"]}, frozenset({"MSExchangeIMC"}), services=())
TWO = Scenario({"listeners": ["pop3"]}, frozenset({"MSExchangeIS"}), services=())


def servers(scenario: Scenario, mode: str) -> Server:
    server = Server(mode, services=scenario.services, stopped=scenario.stopped, text=LOADED)
    for service in server.machine.services:
        service.behaviour.stop_ms = service.behaviour.start_ms = PENDING_MS
    return server


def running(server: Server) -> set[str]:
    return {name for name, state in server.states().items() if state == "running"}


# -- places ---------------------------------------------------------------------------------------------------------
class Places:
    """Counts places, and cuts at one of them.

    Args:
        cut: Number of the place; None: nowhere.
        alone: Whether the worker goes alone and the controller lives on.
    """

    def __init__(self, server: Server, cut: int | None = None, *, alone: bool = False) -> None:
        self.server = server
        self.seen: list[str] = []
        self._cut = cut
        self._alone = alone
        self._forget = server.on_point(self._point)
        self._set = server.machine.registry.set
        server.machine.registry.set = self._write  # type: ignore[method-assign]

    def stop(self) -> None:
        self._forget()
        self.server.machine.registry.set = self._set  # type: ignore[method-assign]

    def _point(self, point: str, service: str) -> None:
        if point.startswith("worker.") or point == "restart.recorded":
            self._at(f"{point} {service}".strip())

    def _write(self, key: str, name: str, data: t.Any, **more: t.Any) -> None:
        if (key, name) != (KEY, "journal"):
            self._set(key, name, data, **more)
            return
        self._at("before the journal says so")
        self._set(key, name, data, **more)

    def _at(self, place: str) -> None:
        number = len(self.seen)
        self.seen.append(place)
        if number == self._cut:
            if not self._alone:
                self.server.lose_controller()
            raise Cut


def places_of(scenario: Scenario, mode: str, *, alone: bool = False) -> list[str]:
    server = servers(scenario, mode)
    places = Places(server, alone=alone)
    plain(server, scenario)
    places.stop()
    server.close()
    return places.seen


def plain(server: Server, scenario: Scenario) -> tuple[Json, Json]:
    return server.plain_run(**scenario.wanted)


def cut_at(server: Server, scenario: Scenario, number: int) -> list[str]:
    """Make a run, and end worker and controller at a place; returns the places up to there."""
    places = Places(server, number)
    with pytest.raises(ControllerGone):
        plain(server, scenario)
    places.stop()
    return places.seen


# -- what has to hold -----------------------------------------------------------------------------------------------
def complaints(server: Server, scenario: Scenario, before: set[str], *restarts: Json) -> Iterator[str]:
    """Say what is wrong after these runs, and make one more, which should have nothing to do."""
    for restarted in restarts:
        if restarted.get("failed"):
            yield f"the next run failed: {restarted['msg']}"
    server.sleep(60)
    if running(server) != before:
        yield f"down: {sorted(before - running(server))}, up: {sorted(running(server) - before)}"
    again, nothing = plain(server, scenario)
    if again["changed"] or again["owed"] or nothing["changed"]:
        yield f"the run after it found {again['owed']} to do"
    if again["in_force"] != again["targets"]:
        yield f"in force is {again['in_force']}, wanted is {again['targets']}"


def wait_for_launch(server: Server, scenario: Scenario) -> None:
    """Where the journal says that a worker is being launched, nobody else starts one for a minute."""
    journal = server.journal()
    if journal is None or journal["phase"] != "launching" or server.machine.clock.now() - journal["updated"] > 60:
        return
    _written, restarted = plain(server, scenario)
    assert restarted["error"]["code"] == "busy"
    assert not restarted["changed"]
    assert "tester@controller" in restarted["msg"]
    server.sleep(61)


# A run that follows at once meets services on their way down or up, one that follows later does not.
FIRST_CUTS = [(mode, name, wait) for name in SCENARIOS for mode in MODES for wait in (0, 300)]


@pytest.mark.parametrize(("mode", "name", "wait"), FIRST_CUTS)
def test_after_a_cut_at_every_place_the_next_run_brings_back_what_ran(mode: str, name: str, wait: int) -> None:
    scenario = SCENARIOS[name]
    places = places_of(scenario, mode)
    assert {f"worker.stopped {root}" for root in scenario.roots} < set(places)
    wrong = []
    for number, place in enumerate(places):
        server = servers(scenario, mode)
        before = running(server)
        cut_at(server, scenario, number)
        wait_for_launch(server, scenario)
        server.sleep(wait)
        _written, restarted = plain(server, scenario)
        wrong += [f"{number} {place}: {text}" for text in complaints(server, scenario, before, restarted)]
        server.close()
    assert wrong == []


def twice_cut(scenario: Scenario, mode: str, first: int) -> Iterator[tuple[str, list[str]]]:
    """Cut a run at a place, and the next one at every place that it comes to; yields place and complaints."""
    for second in range(1000):
        server = servers(scenario, mode)
        before = running(server)
        cut_at(server, scenario, first)
        wait_for_launch(server, scenario)
        places = Places(server, second)
        with contextlib.suppress(ControllerGone):
            plain(server, scenario)
        places.stop()
        wait_for_launch(server, scenario)
        _written, restarted = plain(server, scenario)
        found = list(complaints(server, scenario, before, restarted))
        server.close()
        if len(places.seen) <= second:
            return
        yield places.seen[-1], found


# With two services only what the first cut leaves down tells a new story: that is between the first stop and the end.
TWICE = [
    (ONE, "direct", "worker.begin"),
    (ONE, "computer", "worker.begin"),
    (TWO, "direct", "worker.stopping MSExchangeIMC"),
]


@pytest.mark.parametrize(("scenario", "mode", "begin"), TWICE, ids=["direct", "computer", "direct-two-services"])
def test_the_run_that_brings_them_back_may_be_cut_at_every_place_too(scenario: Scenario, mode: str, begin: str) -> None:
    wrong, pairs = [], 0
    places = places_of(scenario, mode)
    for first in range(places.index(begin), len(places)):
        for second, found in twice_cut(scenario, mode, first):
            pairs += 1
            wrong += [f"{first} {places[first]}, then {second}: {text}" for text in found]
    assert wrong == []
    assert pairs > 100


@pytest.mark.parametrize("mode", MODES)
def test_a_controller_that_lives_on_heals_a_cut_at_every_place_within_the_same_task(mode: str) -> None:
    scenario = SCENARIOS["directory-and-store"]
    wrong = []
    for number, place in enumerate(places_of(scenario, mode, alone=True)):
        server = servers(scenario, mode)
        before = running(server)
        places = Places(server, number, alone=True)
        _written, restarted = plain(server, scenario)
        places.stop()
        server.sleep(60)
        if running(server) != before:
            wrong.append(f"{number} {place}: down: {before - running(server)}, up: {running(server) - before}")
        if restarted.get("failed") and restarted["error"]["code"] not in ("interrupted", "worker_failed"):
            wrong.append(f"{number} {place}: {restarted['msg']}")
        _written, second = plain(server, scenario)
        wrong += [f"{number} {place}: {text}" for text in complaints(server, scenario, before, second)]
        server.close()
    assert wrong == []


# -- a completion that does not last --------------------------------------------------------------------------------
def dies_after_completion(scenario: Scenario, mode: str, number: int, service: str) -> Iterator[str]:
    """Cut a run; in the next one a service dies as soon as it is up, in the one after that it does not."""
    server = servers(scenario, mode)
    before = running(server)
    cut_at(server, scenario, number)
    wait_for_launch(server, scenario)
    # What the cut left on its way up or down comes to rest: it must be the next run that starts it.
    server.sleep(60)
    server.machine.services.open(service).behaviour.start = "die"
    _written, second = plain(server, scenario)
    server.sleep(60)
    down = before - running(server)
    if down != set(second.get("down") or ()) or bool(down) is not bool(second.get("failed")):
        yield f"down are {sorted(down)}, told was {second.get('down')} ({second.get('msg')})"
    if second.get("completed") and down & set(second["completed"]):
        yield f"told as completed and down: {sorted(down & set(second['completed']))}"
    server.machine.services.open(service).behaviour.start = "ok"
    _written, third = plain(server, scenario)
    yield from complaints(server, scenario, before, third)
    server.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("service", ["MSExchangeIS", "MSExchangeIMC"])
def test_what_dies_after_it_was_brought_back_is_told_and_still_owed(mode: str, service: str) -> None:
    wrong = []
    for number, place in enumerate(places_of(TWO, mode)):
        wrong += [f"{number} {place}: {text}" for text in dies_after_completion(TWO, mode, number, service)]
    assert wrong == []


# -- restarts by name -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Order:
    """A restart that is asked for by name.

    Attributes:
        options: Of ``service_restart``.
        stopped: Services that do not run before.
        crashed: Services that are gone although what depends on them runs.
        started: What runs afterwards and did not before.
        left: What ran before and may be stopped afterwards.
    """

    options: Json
    stopped: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    started: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


ORDERS = {
    "dependencies": Order(
        {"names": ["MSExchangeIS"], "start_dependencies": True},
        crashed=("MSExchangeDS",),
        started=frozenset({"MSExchangeDS"}),
    ),
    "start": Order(
        {"names": ["MSExchangeMTA", "MSExchangeES"], "start": True},
        stopped=("MSExchangeES",),
        started=frozenset({"MSExchangeES"}),
    ),
    "leave-stopped": Order(
        {"names": ["MSExchangeIS"], "dependents": "leave_stopped"}, left=frozenset({"MSExchangeES", "MSExchangeIMC"})
    ),
}


def ordered(order: Order, mode: str) -> Server:
    server = servers(Scenario({}, frozenset(), ("ES",), order.stopped), mode)
    for name in order.crashed:
        server.machine.services.crash(name)
    return server


def cut_order(order: Order, mode: str, number: int | None) -> tuple[Server, list[str], set[str]]:
    """Make a restart and cut it at a place; returns the server, the places up to there, and what ran before."""
    server = ordered(order, mode)
    before = running(server)
    places = Places(server, number)
    with contextlib.suppress(ControllerGone):
        server.service_restart(**order.options)
    places.stop()
    return server, places.seen, before


def order_complaints(order: Order, mode: str, number: int, *, decided: bool) -> Iterator[str]:
    server, _places, before = cut_order(order, mode, number)
    server.sleep(61)
    restarted = server.service_restart(**order.options)
    server.sleep(60)
    now = running(server)
    if restarted.get("failed"):
        yield f"the next run failed: {restarted['msg']}"
    if not before - order.left <= now or not order.started <= now:
        yield f"down: {sorted((before | order.started) - now)}"
    if now - before - order.started:
        yield f"up: {sorted(now - before)}"
    if decided and order.left & now:
        yield f"was to stay down: {sorted(order.left & now)}"
    journal = server.journal()
    if journal is None or journal["phase"] != "done":
        yield f"the journal says {journal and journal['phase']}"
    server.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ORDERS)
def test_a_restart_by_name_may_be_cut_at_every_place(mode: str, name: str) -> None:
    order = ORDERS[name]
    server, places, _before = cut_order(order, mode, None)
    server.close()
    assert "restart.recorded" in places
    # From the first start on it is written down who was to stay down.
    first = next(number for number, place in enumerate(places) if place.startswith("worker.starting"))
    wrong = []
    for number, place in enumerate(places):
        found = order_complaints(order, mode, number, decided=bool(order.left) and number >= first)
        wrong += [f"{number} {place}: {text}" for text in found]
    assert wrong == []
