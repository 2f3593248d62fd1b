# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One running lab: machines, proxies, the wire in front of them, and the faults that are armed."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import typing as t
from collections.abc import Coroutine

from .builder import build_server
from .dispatcher import Dispatcher
from .doors import Doors
from .exchange.programs import ExchangeProgram
from .fleet import Fleet, FleetError, HostSpec
from .interceptor import FaultInterceptor
from .machines.clock import Clock
from .machines.machine import Machine, Network
from .proxy import Proxy
from .wire.api import Binding, HostCounters, WireSettings
from .wire.server import WireServer

PROXY_PORTS: t.Final = (25, 110, 119, 143, 389, 563, 636, 993, 995)


class World:
    """Everything that one fleet simulates. It executes no PowerShell.

    Attributes:
        network: Machines by name and address.
        proxies: Proxies by name.
        wire: The WinRM server in front of all machines that have an address.
    """

    def __init__(self, fleet: Fleet, *, doors: Doors | None = None, settings: WireSettings | None = None) -> None:
        self.fleet = fleet
        self.doors = doors or Doors.from_environment()
        self.network = Network()
        self.dispatcher = Dispatcher(self.network)
        self.interceptor = FaultInterceptor(self.network, self.dispatcher)
        self.proxies = {spec.name: Proxy(spec.name, spec.addresses, self.doors) for spec in fleet.proxies}
        users = {fleet.username: fleet.password}
        self.wire = WireServer(self.dispatcher, users, self.interceptor, settings or WireSettings())
        self._tasks: set[asyncio.Task[t.Any]] = set()

    async def start(self) -> None:
        """Build every machine and open every socket."""
        _allow_many_sockets()
        await self.wire.start([])  # makes the authority that signs every certificate
        for manager in self.fleet.management:
            clock = Clock(speed=self.fleet.speed)
            windows = "Microsoft Windows NT 10.0.17763.0"
            machine = Machine(manager.name, clock, manager.address, windows, manager.powershell, "C:\\Windows")
            self.network.add(machine)
        for spec in self.fleet.hosts:
            self.network.add(self._server(spec))
        await self.wire.start([Binding(machine.address) for machine in self.network if machine.address])

    async def stop(self) -> None:
        """Close every socket and forget everything; what fails on the way keeps nothing else open."""
        async with contextlib.AsyncExitStack() as stack:  # the last line is done first
            stack.push_async_callback(asyncio.sleep, 0)
            stack.push_async_callback(self.wire.stop)
            for proxy in self.proxies.values():
                stack.callback(proxy.close)
            for machine in self.network:
                stack.callback(machine.services.power_off)
                stack.callback(machine.clock.close)
                for work in machine.tasks.values():
                    stack.callback(work.cancel)
            for task in self._tasks:
                stack.callback(task.cancel)

    def machine(self, name: str) -> Machine:
        """A machine by name.

        Raises:
            FleetError: There is no such machine.
        """
        machine = self.network.by_name(name)
        if machine is None:
            raise FleetError(f"there is no machine {name}; known are {[known.name for known in self.network]}")
        return machine

    def proxy(self, name: str) -> Proxy:
        """A proxy by name, or by one of its addresses."""
        for proxy in self.proxies.values():
            if name.lower() == proxy.name.lower() or name in proxy.addresses:
                return proxy
        raise FleetError(f"there is no proxy {name}; known are {list(self.proxies)}")

    def counters(self, machine: Machine) -> HostCounters:
        """What the wire counted for a machine; all zero for one without WinRM."""
        return self.wire.counters.get(machine.address) or HostCounters()

    def spawn(self, work: Coroutine[t.Any, t.Any, t.Any]) -> None:
        """Do something beside whatever asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _server(self, spec: HostSpec) -> Machine:
        machine = build_server(
            spec,
            Clock(speed=self.fleet.speed),
            proxy=self.proxies[spec.proxy] if spec.proxy else None,
            doors=self.doors,
            certificate=self._context,
        )
        machine.accepts = {self.fleet.username: self.fleet.password}
        machine.delegation_required = True
        return machine

    def _context(self, address: str) -> ssl.SSLContext:
        return self.wire.authority.identity(address).context


def programs(machine: Machine) -> list[ExchangeProgram]:
    """The Exchange processes of a machine that bind ports."""
    found = [service.program for service in machine.services]
    return [program for program in found if isinstance(program, ExchangeProgram)]


def _allow_many_sockets() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))
