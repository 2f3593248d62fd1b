# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab made for one test module, and the playbooks that run against it.

Every server has a proxy with an external address of its own, so that servers disturb each other only where a test says
so, and every server that is reached through a management host has a management host of its own, for faults on its wire.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.lab.api import HostView, Lab
from tests.lab.fleet import Fleet, HostSpec, ManagementSpec, ProxySpec, free_net
from tests.lab.wire.api import WireSettings
from tests.support.fleets import PORTS, moved, port_offset, started
from tests.support.playbook import Playbooks

BIN = "C:\\exchsrvr\\bin\\Wspcfg.ini"
IMC = "C:\\exchsrvr\\connect\\msexcimc\\bin\\Wspcfg.ini"
DIRECT, COMPUTER = "direct", "computer"
MODES = (DIRECT, COMPUTER)
SPEED = 60.0  # simulated seconds per real second
QUICK: Mapping[str, t.Any] = {"probe_timeout": 5.0, "probe_deadline": 6.0, "probe_delay": 0.2}


@dataclass(frozen=True)
class Wish:
    """One server of a site.

    Attributes:
        name: Name of the machine; its lower-case form is the inventory's.
        mode: ``direct`` or ``computer``.
        publish: Variables without their prefix.
        spec: Further fields of ``tests.lab.fleet.HostSpec``.
        share: Name of another server whose proxy and external address this one has, too.
    """

    name: str
    mode: str = DIRECT
    publish: Mapping[str, t.Any] = field(default_factory=dict)
    spec: Mapping[str, t.Any] = field(default_factory=dict)
    share: str = ""


@dataclass
class Site:
    """A running lab and its playbooks.

    Attributes:
        offset: What is added to every port number where low ones are not allowed.
    """

    lab: Lab
    play: Playbooks
    offset: int

    def host(self, name: str) -> HostView:
        return self.lab.host(name)

    def wire(self, name: str) -> HostView:
        """The machine that WinRM leads to for a server."""
        via = next(spec.via for spec in self.lab.fleet.hosts if spec.name == name)
        return self.lab.host(via or name)

    def executions(self, name: str) -> int:
        return self.wire(name).counters.executions

    def address(self, name: str) -> str:
        """External address that a server is published on."""
        spec = next(spec for spec in self.lab.fleet.hosts if spec.name == name)
        return str(spec.publish["proxy_address"])

    def proxy(self, name: str) -> str:
        return next(spec.proxy for spec in self.lab.fleet.hosts if spec.name == name)

    def port(self, protocol: str) -> int:
        return PORTS[protocol] + self.offset

    def let_pass(self, name: str, seconds: float) -> None:
        """Wait until so many simulated seconds have passed on a server."""
        self.lab.wait(self.host(name).machine.clock.sleep(seconds))


def _specs(net: str, wishes: Sequence[Wish]) -> Iterator[HostSpec]:
    numbers = {wish.name: number for number, wish in enumerate(wishes, 1)}
    for number, wish in enumerate(wishes, 1):
        home = numbers.get(wish.share, number)
        reached = {"address": f"{net}.2.{number}"} if wish.mode == DIRECT else {"via": f"M{wish.name}"}
        publish = {"proxy_address": f"{net}.0.{home}", "proxy": f"PROXY{home}", **QUICK, **wish.publish}
        yield replace(
            HostSpec(wish.name, lan=f"{net}.3.{number}", proxy=f"PROXY{home}", publish=publish, **reached),
            **t.cast("dict[str, t.Any]", dict(wish.spec)),
        )


def fleet_of(net: str, wishes: Sequence[Wish], speed: float = SPEED) -> Fleet:
    """The fleet that these servers make up."""
    managers = [f"M{wish.name}" for wish in wishes if wish.mode == COMPUTER]
    return Fleet(
        hosts=tuple(_specs(net, wishes)),
        proxies=tuple(ProxySpec(f"PROXY{number}", (f"{net}.0.{number}",)) for number in range(1, len(wishes) + 1)),
        management=tuple(ManagementSpec(name, f"{net}.1.{number}") for number, name in enumerate(managers, 1)),
        speed=speed,
    )


@contextmanager
def site(
    work: Path, wishes: Sequence[Wish], *, speed: float = SPEED, settings: WireSettings | None = None
) -> Iterator[Site]:
    """Run a lab with these servers; a mistake of the lab itself fails the test.

    Args:
        work: Directory for inventory and playbooks' leavings.
        wishes: The servers.
        speed: Simulated seconds per real second.
        settings: Limits of the simulated WinRM services.
    """
    offset = port_offset()
    net, reservation = free_net()
    fleet = moved(fleet_of(net, wishes, speed), offset)
    with reservation, started(Lab(fleet, directory=work / "lab", settings=settings)) as lab:
        try:
            yield Site(lab, Playbooks(lab.inventory, work / "runs"), offset)
        finally:
            assert lab.mistakes == []
