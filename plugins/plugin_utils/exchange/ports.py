# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports on the proxy, before and after a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ...module_utils.listeners import LISTENERS, Owner
from ..shapes import Json
from .content import Content
from .debts import Debt
from .file import FilePlan
from .section import PORTS, PUBLISHERS, bind_addresses, single_ports
from .wanted import Wanted

# How a result says whether a process offers a port.
IN_FORCE, NOT_IN_FORCE = "in force", "not"


@dataclass(frozen=True)
class Port:
    """One port on the proxy, before and after.

    Attributes:
        host: The proxy's address, None when nothing tells it.
        port: TCP port.
        protocol: Name of the listener, None for a port that is no listener's.
        now: Whether the running process surely offers it.
        will: Whether it will, once the plan is carried out and what is owed has restarted.
        leaves: Whether the plan takes it out of the file; it must be closed then, whatever the process offers now.
    """

    host: str | None
    port: int
    protocol: str | None
    now: bool
    will: bool
    leaves: bool = False

    def as_target(self) -> Json:
        return {"host": self.host, "port": self.port, "protocol": self.protocol}

    def as_result(self) -> Json:
        words = {True: IN_FORCE, False: NOT_IN_FORCE}
        return {**self.as_target(), "now": words[self.now], "will": words[self.will]}


def _listener_name(owner: Owner, port: int, ports: Mapping[str, int]) -> str | None:
    """Return the listener that a port of a section is: as the user moved them, else by the table."""
    rows = [row for row in LISTENERS.values() if row.owner == owner]
    for row in rows:
        if ports.get(row.name, row.port) == port:
            return row.name
    return next((row.name for row in rows if row.port == port), None)


@dataclass(frozen=True)
class _Place:
    """Where a file surely publishes a listener; an address of None is unknown."""

    host: str | None
    port: int
    protocol: str | None

    @property
    def order(self) -> tuple[int, str]:
        return self.port, self.host or ""


def _given_address(wanted: Wanted | None, name: str | None) -> str | None:
    """Return where the user says that an unpinned port is: the listener's address, or for any other port the common."""
    if wanted is None:
        return None
    return wanted.address if name is None else wanted.addresses.get(name)


def _places(content: Content | None, owner: Owner, wanted: Wanted | None) -> dict[_Place, bool]:
    """Return the places that a file surely publishes for a process, and whether each is pinned."""
    if content is None:
        return {}
    reading = content.strict
    pinned = bind_addresses(reading, owner.section)
    found: dict[_Place, bool] = {}
    for port in single_ports(reading.get(owner.section, PORTS) or ""):
        name = _listener_name(owner, port, {} if wanted is None else wanted.ports)
        found[_Place(pinned.get(port) or _given_address(wanted, name), port, name)] = port in pinned
    return found


@dataclass(frozen=True)
class _Shift:
    """The places of one process, before and after."""

    debt: Debt | None
    before: Mapping[_Place, bool]
    after: Mapping[_Place, bool]

    def leaves(self, place: _Place) -> bool:
        """Whether it is no longer offered there: the port is gone, or pinned to another address.

        A port that is no longer pinned may still be there: the proxy binds it where it likes (Q181420).
        """
        staying = [pinned for other, pinned in self.after.items() if other.port == place.port]
        return place not in self.after and all(staying)

    def ports(self, taken: Collection[tuple[str | None, int]]) -> Iterable[Port]:
        """Return the ports; a place among ``taken``, which is everybody's afterwards, is closed by nobody's leaving."""
        debt = self.debt
        now = debt is not None and debt.running and not debt.verdict.pending
        comes = debt is not None and (debt.running or debt.returns)
        for place in sorted({**self.before, **self.after}, key=lambda item: item.order):
            leaves = self.leaves(place) and (place.host, place.port) not in taken
            is_now, will = now and place in self.before, comes and place in self.after
            yield Port(place.host, place.port, place.protocol, is_now, will, leaves)


def ports_of(files: Iterable[FilePlan], debts: Iterable[Debt], wanted: Wanted | None) -> tuple[Port, ...]:
    by_owner = {debt.owner: debt for debt in debts}
    shifts = [
        _Shift(by_owner.get(owner), *(_places(content, owner, wanted) for content in (file.before, file.after)))
        for file in files
        for owner in PUBLISHERS
        if owner.file_id == file.state.id
    ]
    taken = {(place.host, place.port) for shift in shifts for place in shift.after}
    return tuple(port for shift in shifts for port in shift.ports(taken))


def targets_of(wanted: Wanted) -> tuple[Json, ...]:
    if not wanted.present:
        return ()
    return tuple(
        {"host": item.address, "port": item.port, "protocol": item.listener.name}
        for item in wanted.published
        if item.address is not None
    )


def unproven_of(wanted: Wanted | None, ports: Iterable[Port]) -> tuple[Json, ...]:
    """Return what should be proven and cannot be, because nothing tells at which address of the proxy."""
    published = wanted.published if wanted is not None and wanted.present else ()
    rows = [_unproven(item.port, item.listener.name, "open") for item in published if item.address is None]
    rows += [_unproven(port.port, port.protocol, "closed") for port in ports if port.leaves and port.host is None]
    return tuple(rows)


def _unproven(port: int, protocol: str | None, expect: str) -> Json:
    return {"port": port, "protocol": protocol, "expect": expect}
