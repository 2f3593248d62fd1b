# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated Windows machine, and the network of them."""

from __future__ import annotations

import asyncio
import re
import typing as t
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from .clock import Clock
from .files import FileSystem
from .registry import Registry
from .services import ServiceManager

BOOT_S = 60.0
_VARIABLE = re.compile(r"%([^%]+)%")


@dataclass(frozen=True)
class Event:
    """One entry of an event log; ``strings`` are the insertion strings."""

    log: str
    at: float
    source: str
    id: int
    type: str = "information"
    message: str = ""
    strings: tuple[str, ...] = ()


class Port(t.Protocol):
    """A port on which a program of the machine listens."""

    async def converse(self, sent: bytes | None) -> bytes:
        """What the program sends on a new connection, after ``sent`` where the client speaks first."""


# What a test injects at a named point of an operation: it may wait, change the machine, or raise.
Hook: t.TypeAlias = Callable[["Machine", str, Mapping[str, str]], Awaitable[None]]


@dataclass(eq=False)
class Machine:
    """State of one machine; nothing in it knows about WinRM or about the collection.

    Attributes:
        name: NetBIOS name. address: loopback address of its WinRM service, when it has one.
        powershell: Version, None where there is none (the machine is then reached through a management host).
        up: Whether it answers on the network.
        accepts: Accounts that may open a session from another machine, with their passwords; None: any caller.
        delegation_required: Whether callers without credentials of their own are refused.
        has_wmi: Whether WMI starts that; else it stays in the job of the connection.
        can_detach: Whether detached work can be started (WMI and process creation allowed).
        tasks: Detached work (the restart worker), by run; it ends when the machine does.
    """

    name: str
    clock: Clock
    address: str = ""
    os: str = "Microsoft Windows NT 5.0"
    powershell: str | None = "5.1.19041.1"
    system_root: str = "C:\\WINNT"
    up: bool = True
    accepts: dict[str, str] | None = None
    delegation_required: bool = False
    hooks: list[Hook] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    event_errors: dict[str, str] = field(default_factory=dict)
    ports: dict[int, Port] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    tokens: int = 0
    can_detach: bool = True
    has_wmi: bool = True

    def __post_init__(self) -> None:
        self.files = FileSystem(self.clock)
        self.registry = Registry()
        self.services = ServiceManager(self.clock)
        self.files.mkdir(self.system_root + "\\System32")

    def expand(self, text: str) -> str:
        """Replace ``%SystemRoot%`` and the like; unknown names stay as they are, as Windows does."""
        known = {"systemroot": self.system_root, "windir": self.system_root, "systemdrive": self.system_root[:2]}
        return _VARIABLE.sub(lambda match: known.get(match[1].lower(), match[0]), text)

    def log(self, source: str, event_id: int, kind: str, message: str, *, log: str = "Application") -> None:
        """Write an event."""
        self.events.append(Event(log, self.clock.now(), source, event_id, kind, message))

    def new_token(self) -> str:
        """A GUID that is the same in every run with the same seed."""
        self.tokens += 1
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}/{self.tokens}"))

    async def at(self, point: str, **detail: str) -> None:
        """Give everybody who waits for a point of an operation the chance to act."""
        for hook in list(self.hooks):
            await hook(self, point, detail)
        if self.hooks:
            await asyncio.sleep(0)  # whoever was switched off by a hook gets no further

    def detach(self, run: str, work: Coroutine[t.Any, t.Any, None]) -> asyncio.Task[None]:
        """Start work that outlives the shell and the connection that asked for it."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}:{run}")
        self.tasks[run] = task
        task.add_done_callback(lambda _done: self.tasks.pop(run, None))
        return task

    async def power_on(self, *, seconds: float = BOOT_S) -> None:
        """Boot, which takes so many simulated seconds; automatic services start."""
        await self.clock.sleep(seconds)
        self.up = True
        self.services.boot()

    def power_off(self) -> None:
        """Processes, detached work, volatile keys and open handles are gone at once."""
        self.up = False
        for task in list(self.tasks.values()):
            task.cancel()
        self.services.power_off()
        self.registry.boot()
        for node in self.files.files():
            node.holds.clear()


class Network:
    """Machines by name and by address, as other machines reach them."""

    def __init__(self) -> None:
        self._names: dict[str, Machine] = {}
        self._addresses: dict[str, Machine] = {}

    def __iter__(self) -> t.Iterator[Machine]:
        return iter(self._names.values())

    def add(self, machine: Machine) -> Machine:
        self._names[machine.name.lower()] = machine
        if machine.address:
            self._addresses[machine.address] = machine
        return machine

    def by_name(self, name: str) -> Machine | None:
        """A machine by NetBIOS or DNS name."""
        return self._names.get(name.lower()) or self._names.get(name.lower().partition(".")[0])

    def by_address(self, address: str) -> Machine | None:
        return self._addresses.get(address)
