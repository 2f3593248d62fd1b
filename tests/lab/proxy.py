# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated Proxy Server 2.0: it owns external addresses and grants each (address, port) once."""

from __future__ import annotations

import errno
import typing as t
from dataclasses import dataclass, field

from .doors import Door, Doors, Service
from .exchange.conversations import Banner

GRANTED: t.Final = 0
ADDRESS_IN_USE: t.Final = 10048
ADDRESS_NOT_AVAILABLE: t.Final = 10049
NETWORK_DOWN: t.Final = 10050
Condition = t.Literal["up", "down", "gone"]


@dataclass(eq=False)
class Claim:
    """What a process asked the proxy to bind.

    Attributes:
        owner: Who asks, such as ``EX1:MSExchangeIS``; a claim of an owner that died is stale.
        port, address: What is wanted; no address: every external address of the proxy.
        tls: TLS ports are not granted without an address (Q178532).
        service: What answers there.
        persistent: Ask again when the proxy comes back. kill_old: drop a stale session of the same owner.
        stale: The process is gone, and nobody has told the proxy.
    """

    owner: str
    port: int
    address: str | None
    tls: bool
    service: Service
    persistent: bool = False
    kill_old: bool = False
    stale: bool = False
    doors: dict[str, Door | None] = field(default_factory=dict)


class Proxy:
    """One proxy.

    Attributes:
        condition: ``up``; ``down``: the service is stopped, its addresses refuse; ``gone``: nothing answers at all.
    """

    def __init__(self, name: str, addresses: t.Sequence[str], doors: Doors) -> None:
        self.name = name
        self.addresses = tuple(addresses)
        self.condition: Condition = "up"
        self._doors = doors
        self._claims: list[Claim] = []
        self._silent: list[Door | None] = []
        self._foreign: dict[tuple[str, int], Claim] = {}

    @property
    def claims(self) -> list[Claim]:
        """Everything that is bound or waits to be bound."""
        return list(self._claims)

    def owner(self, address: str, port: int) -> str | None:
        """Who has a port of an address, None when it is free."""
        return next((claim.owner for claim in self._claims if claim.port == port and address in claim.doors), None)

    def ask(self, claim: Claim) -> int:
        """Bind what a process wants; return 0 or the WinSock error that it gets."""
        if self.condition != "up":
            if claim.persistent:
                self._claims.append(claim)
            return NETWORK_DOWN
        if claim.kill_old:
            self._drop(
                [old for old in self._claims if old.stale and old.owner == claim.owner and old.port == claim.port]
            )
        code = self._grant(claim)
        if code == GRANTED:
            self._claims.append(claim)
        return code

    def let_go(self, owner: str, *, graceful: bool) -> None:
        """A process ended: its ports are free, or its sessions are stale when it crashed."""
        mine = [claim for claim in self._claims if claim.owner == owner]
        if graceful:
            self._drop(mine)
            return
        for claim in mine:
            claim.stale = True
            self._close(claim, keep=True)

    def take(self, address: str, port: int, *, program: str, line: str) -> None:
        """Another program of the proxy machine binds a port, and throws out whoever had it."""
        self._drop([claim for claim in self._claims if claim.port == port and address in claim.doors])
        claim = Claim(program, port, address, False, Service(lambda: Banner(line)))
        self._foreign[(address, port)] = claim
        self._claims.append(claim)
        claim.doors[address] = self._doors.open(address, port, claim.service)

    def give_back(self, address: str, port: int) -> None:
        """That program ends."""
        claim = self._foreign.pop((address, port), None)
        if claim is not None:
            self._drop([claim])

    def set_condition(self, condition: Condition, *, ports: t.Iterable[int] = ()) -> None:
        """Stop, vanish or come back; coming back binds what is persistent again.

        Args:
            condition: The new one.
            ports: Ports that swallow connections while the proxy is gone, beside those that are bound.
        """
        for door in self._silent:
            _close_door(door)
        self._silent.clear()
        bound = {(address, claim.port) for claim in self._claims for address in claim.doors}
        bound |= {(address, claim.port) for claim in self._claims for address in self._wanted(claim)}
        for claim in self._claims:
            self._close(claim)
        self.condition = condition
        if condition == "gone":
            everywhere = bound | {(address, port) for address in self.addresses for port in ports}
            self._silent = [self._doors.open(address, port, None) for address, port in sorted(everywhere)]
        if condition == "up":
            self._restore()

    def restart(self) -> None:
        """Stop and start the proxy service."""
        self.set_condition("down")
        self.set_condition("up")

    def close(self) -> None:
        """Close every socket."""
        self._drop(list(self._claims))
        for door in self._silent:
            _close_door(door)
        self._silent.clear()

    def _restore(self) -> None:
        foreign = set(map(id, self._foreign.values()))
        waiting = sorted(self._claims, key=lambda claim: id(claim) not in foreign)
        self._claims = []
        for claim in waiting:
            if (claim.persistent or id(claim) in foreign) and not claim.stale and self._grant(claim) == GRANTED:
                self._claims.append(claim)

    def _wanted(self, claim: Claim) -> tuple[str, ...]:
        return self.addresses if claim.address is None else (claim.address,)

    def _grant(self, claim: Claim) -> int:
        if claim.tls and claim.address is None:
            return ADDRESS_NOT_AVAILABLE
        addresses = self._wanted(claim)
        if any(address not in self.addresses for address in addresses):
            return ADDRESS_NOT_AVAILABLE
        if any(self.owner(address, claim.port) is not None for address in addresses):
            return ADDRESS_IN_USE
        try:
            for address in addresses:
                claim.doors[address] = self._doors.open(address, claim.port, claim.service)
        except OSError as error:
            self._close(claim)
            if error.errno != errno.EADDRINUSE:
                raise
            return ADDRESS_IN_USE
        return GRANTED

    def _close(self, claim: Claim, *, keep: bool = False) -> None:
        for address, door in claim.doors.items():
            _close_door(door)
            claim.doors[address] = None
        if not keep:
            claim.doors.clear()

    def _drop(self, claims: t.Iterable[Claim]) -> None:
        for claim in claims:
            self._close(claim)
            self._claims.remove(claim)


def _close_door(door: Door | None) -> None:
    if door is not None:
        door.close()
