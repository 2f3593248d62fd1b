# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts that end at every single place at which one can end, and what the next run makes of it.

A first, undisturbed run counts the places: every named point of the worker, and every time that the journal is written,
just before and just after. Then the restart is made once for each of them and cut there: the worker is gone, and so is
the controller. The next plain run has to end with exactly those services running that ran before, the one after that
has nothing to do. Nothing is sampled.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator
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
SMALL = Scenario({"listeners": ["pop3"]}, frozenset({"MSExchangeIS"}), services=("ES",))


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
        if point.startswith("worker."):
            self._at(f"{point} {service}".strip())

    def _write(self, key: str, name: str, data: t.Any, **more: t.Any) -> None:
        if (key, name) != (KEY, "journal"):
            self._set(key, name, data, **more)
            return
        self._at("before a journal")
        self._set(key, name, data, **more)
        self._at("after a journal")

    def _at(self, place: str) -> None:
        number = len(self.seen)
        self.seen.append(place)
        if number == self._cut:
            if not self._alone:
                self.server.lose_controller()
            raise Cut


def places_of(scenario: Scenario, mode: str) -> list[str]:
    server = servers(scenario, mode)
    places = Places(server)
    plain(server, scenario)
    places.stop()
    server.close()
    return places.seen


def plain(server: Server, scenario: Scenario) -> tuple[Json, Json]:
    return server.plain_run(**scenario.wanted)


def cut_at(server: Server, scenario: Scenario, number: int) -> Places:
    """Make the run and end worker and controller at a place."""
    places = Places(server, number)
    with pytest.raises((ControllerGone, Cut)):
        plain(server, scenario)
    places.stop()
    return places


# -- what has to hold -----------------------------------------------------------------------------------------------
def complaints(server: Server, scenario: Scenario, before: set[str], wait: float) -> Iterator[str]:
    """Make the next run, and the one after it; say what is wrong afterwards."""
    server.sleep(wait)
    written, restarted = plain(server, scenario)
    if restarted.get("failed") or written.get("failed"):
        yield f"the next run failed: {written.get('msg')} {restarted.get('msg')}"
    if running(server) != before:
        yield f"down: {sorted(before - running(server))}, up: {sorted(running(server) - before)}"
    again, nothing = plain(server, scenario)
    if again["changed"] or again["owed"] or nothing["changed"]:
        yield f"the run after it found {again['owed']} to do"
    if again["in_force"] != again["targets"]:
        yield f"in force is {again['in_force']}, wanted is {again['targets']}"


def respected(server: Server, scenario: Scenario) -> bool:
    """Whether a worker is being launched, as far as the journal knows; nobody else starts one for a minute then."""
    if (server.journal() or {}).get("phase") != "launching":
        return False
    _written, restarted = plain(server, scenario)
    assert restarted["error"]["code"] == "busy"
    assert not restarted["changed"]
    assert "tester@controller" in restarted["msg"]
    return True


# A run that follows at once sees services on their way down or up, one that follows later does not.
WAITS = {"at-once": 0.0, "later": 300.0}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("mode", MODES)
def test_after_a_cut_at_every_place_the_next_run_brings_back_what_ran(mode: str, name: str, wait: str) -> None:
    scenario = SCENARIOS[name]
    places = places_of(scenario, mode)
    assert {f"worker.stopped {root}" for root in scenario.roots} < set(places)
    wrong = []
    for number, place in enumerate(places):
        server = servers(scenario, mode)
        before = running(server)
        cut_at(server, scenario, number)
        pause = WAITS["later"] if respected(server, scenario) else WAITS[wait]
        wrong += [f"{number} {place}: {text}" for text in complaints(server, scenario, before, pause)]
        server.close()
    assert wrong == []
