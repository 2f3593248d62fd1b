# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab for tests: ``with Lab("demo") as lab: ...`` runs it on a thread of this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import threading
import typing as t
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from .control import status
from .doors import Doors
from .fleet import Fleet, Json, free_net, load
from .injection import Faults, Pause
from .inventory import ENVIRONMENT, inventory, write_inventory
from .machines.machine import Event, Machine
from .machines.services import State
from .target.state import Store
from .wire.api import HostCounters, WireSettings
from .wire.execution import Failure
from .world import World, programs

Result = t.TypeVar("Result")
CALL_LIMIT_S: t.Final = 60.0


class Lab:
    """A running lab.

    Args:
        fleet: A fleet, or what :func:`tests.lab.fleet.load` takes. Built-in fleets get a loopback net that no other lab
            of this machine uses, so that labs can run side by side.
        speed: Simulated seconds per real second, instead of the fleet's.
        directory: Where the inventory is written; None: a temporary directory that goes at the end.
        settings: Limits of the simulated WinRM services.
    """

    def __init__(
        self,
        fleet: Fleet | str = "demo",
        *,
        speed: float | None = None,
        directory: Path | None = None,
        settings: WireSettings | None = None,
    ) -> None:
        self._reservation: socket.socket | None = None
        if isinstance(fleet, str):
            net, self._reservation = free_net()
            fleet = load(fleet, net)
        self.fleet = fleet if speed is None else replace(fleet, speed=speed)
        self._settings = settings
        self._own_directory = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="lab-")) if directory is None else directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab", daemon=True)

    def __enter__(self) -> Lab:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        try:
            self.world: World = self._call(self._start())
        except BaseException:
            self._end()
            raise
        self.faults = Faults(self.world)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call(self.world.stop())
        finally:
            self._end()

    # what tests look at
    @property
    def inventory(self) -> Path:
        """The inventory file."""
        return self.directory / "inventory.yml"

    @property
    def environment(self) -> dict[str, str]:
        """Environment for clients: this process's, without proxies and foreign certificate bundles."""
        return {**{key: value for key, value in os.environ.items() if key.lower() not in ENVIRONMENT}, "no_proxy": "*"}

    @property
    def ca_file(self) -> Path:
        """Certificate of the authority that signed every certificate of the lab."""
        return self.world.wire.ca_file

    @property
    def port_offset(self) -> int:
        """What listeners add to port numbers below 1024: 0, or 20000 where those are not allowed."""
        return self.world.doors.offset

    @property
    def mistakes(self) -> list[Failure]:
        """Where the lab itself failed; a test should find none."""
        return self.world.wire.failures

    def status(self) -> Json:
        return self.call(lambda: status(self.world, self.faults))

    def host(self, name: str) -> HostView:
        """A machine by name."""
        return HostView(self, self.world.machine(name))

    def reset_counters(self) -> None:
        self.call(self.world.wire.reset_counters)

    # faults
    def inject(
        self,
        fault: str,
        host: str | None = None,
        *,
        at: str | None = None,
        on: str | None = None,
        at_service: str | None = None,
        at_times: int = 1,
        at_skip: int = 0,
        **arguments: t.Any,
    ) -> int:
        """Inject a fault; see :meth:`tests.lab.injection.Faults.inject`. Returns its number."""
        injection = self.call(
            lambda: self.faults.inject(
                fault, host, at=at, on=on, service=at_service, times=at_times, skip=at_skip, arguments=arguments
            )
        )
        return injection.number

    def hits(self, number: int) -> int:
        """How often an armed fault has happened."""
        return self.call(lambda: next(one.hits for one in self.faults.active if one.number == number))

    def clear(self, host: str | None = None) -> None:
        """Undo all faults, or those of one machine."""
        self.call(lambda: self.faults.clear(host))

    def pause(self, host: str, at: str, *, service: str | None = None) -> PauseView:
        """Hold an operation on a server at a point, until it is released."""
        return PauseView(self, self.call(lambda: self.faults.pause(host, at, service=service)))

    # plumbing
    def call(self, function: t.Callable[[], Result]) -> Result:
        """Run a function in the lab's own loop and return its result."""

        async def run() -> Result:
            return function()

        return self._call(run())

    def wait(self, work: Coroutine[t.Any, t.Any, Result], seconds: float = CALL_LIMIT_S) -> Result:
        """Run a coroutine in the lab's loop, at most so many real seconds."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop).result(seconds + 5)

    def _call(self, work: Coroutine[t.Any, t.Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_LIMIT_S)

    async def _start(self) -> World:
        world = World(self.fleet, doors=Doors.from_environment(), settings=self._settings)
        try:
            await world.start()
        except BaseException:
            await world.stop()
            raise
        data = inventory(self.fleet, world.wire.endpoints, ca_file=world.wire.ca_file)
        write_inventory(self.inventory, data)
        return world

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_LIMIT_S)
        self._loop.close()
        if self._reservation is not None:
            self._reservation.close()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class PauseView:
    """An operation that is held at a point."""

    lab: Lab
    pause: Pause

    def reached(self, seconds: float = CALL_LIMIT_S) -> None:
        """Wait until the operation is there."""
        self.lab.wait(self.pause.reached.wait(), seconds)

    def release(self) -> None:
        """Let it go on."""
        self.lab.call(self.pause.released.set)


@dataclass(frozen=True)
class HostView:
    """One machine of a running lab, as a test sees and changes it."""

    lab: Lab
    machine: Machine

    @property
    def counters(self) -> HostCounters:
        """A copy of what the wire counted for this machine."""
        return self.lab.call(lambda: replace(self.lab.world.counters(self.machine)))

    def file(self, path: str) -> bytes | None:
        """A file's content, None when it does not exist."""

        def read() -> bytes | None:
            node = self.machine.files.node(path)
            return None if node is None else node.data

        return self.lab.call(read)

    def files(self) -> dict[str, bytes]:
        """Every file of the machine."""
        return self.lab.call(lambda: {node.path: node.data or b"" for node in self.machine.files.files()})

    def write(self, path: str, content: bytes | str) -> None:
        """Put a file there; text is written as ANSI."""
        data = content.encode("cp1252") if isinstance(content, str) else content
        self.lab.call(lambda: self.machine.files.put(path, data))

    def remove(self, path: str) -> None:
        self.lab.call(lambda: self.machine.files.remove(path))

    def modified(self, path: str) -> float:
        return self.lab.call(lambda: self.machine.files.modified(path))

    def service(self, name: str) -> State:
        """A service's state."""
        return self.lab.call(lambda: self.machine.services.open(name).state)

    def services(self) -> dict[str, State]:
        """States of all services."""
        return self.lab.call(lambda: {service.name: service.state for service in self.machine.services})

    def process_id(self, name: str) -> int | None:
        """Process id of a service, None while it has no process."""

        def find() -> int | None:
            process = self.machine.services.open(name).process
            return None if process is None else process.id

        return self.lab.call(find)

    def process_ids(self) -> dict[str, int]:
        """Process ids of all services that have one."""
        return self.lab.call(
            lambda: {service.name: service.process.id for service in self.machine.services if service.process}
        )

    def until_service(self, name: str, state: State, seconds: float = CALL_LIMIT_S) -> None:
        """Wait until a service is in a state, at most so many real seconds."""
        service = self.machine.services.open(name)
        reached = self.machine.services.changed.until(self.machine.clock, lambda: service.state == state, float("1e9"))
        self.lab.wait(reached, seconds)

    def restart(self, *names: str) -> None:
        """Somebody restarts services by hand: all stop in the order given, and start in the reverse order."""
        self.lab.wait(self._restart(names))

    async def _restart(self, names: tuple[str, ...]) -> None:
        manager = self.machine.services
        for name in names:
            manager.stop(name)
            await manager.reach(manager.open(name), "stopped", 3600)
        for name in reversed(names):
            manager.start(name)
            await manager.reach(manager.open(name), "running", 3600)

    def in_force(self) -> dict[str, tuple[int, ...]]:
        """Ports that each process's section put in force at its start, by section."""
        return self.lab.call(
            lambda: {program.section: program.settings.ports for program in programs(self.machine) if program.settings}
        )

    def registry(self, key: str, value: str) -> t.Any:
        """A registry value's data below HKEY_LOCAL_MACHINE, None when there is none."""

        def read() -> t.Any:
            found = self.machine.registry.get(key, value)
            return None if found is None else found.data

        return self.lab.call(read)

    def set_registry(self, key: str, value: str, data: t.Any) -> None:
        self.lab.call(lambda: self.machine.registry.set(key, value, data))

    def journal(self) -> Json | None:
        """The restart journal as it stands."""
        return self.lab.call(Store(self.machine).journal)

    def records(self) -> list[Json]:
        return self.lab.call(Store(self.machine).records)

    def events(self) -> list[Event]:
        return self.lab.call(lambda: list(self.machine.events))

    def forward(self, seconds: float) -> None:
        """Let simulated seconds pass at once."""
        self.lab.wait(self.machine.clock.forward(seconds))
