# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server: many loopback addresses in one asyncio process, each a simulated machine's WinRM service."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from tests.lab.wire.api import Action, Binding, CommandHandler, HostCounters, Interceptor, Proceed, WireSettings
from tests.lab.wire.auth import Accounts
from tests.lab.wire.certificates import CertificateAuthority
from tests.lab.wire.connection import Connection
from tests.lab.wire.execution import Failure, Runner
from tests.lab.wire.http import HEAD_LIMIT
from tests.lab.wire.service import HostService


class NoInterceptor:
    """The interceptor of a lab without faults."""

    async def at(self, point: str, host: str, detail: Mapping[str, str]) -> Action:
        """Let everything through."""
        return Proceed()


@dataclass(frozen=True)
class Endpoint:
    """Where a host answers. A port is None when its scheme is not served."""

    address: str
    http_port: int | None
    https_port: int | None


@dataclass
class WireServer:
    """WinRM for any number of loopback addresses.

    handler: what executes commands. users: account to password. interceptor: injects faults.
    directory: where a folder for keys and accounts is made, which ``stop`` removes; by default the system's temporary
        directory. A server that is killed leaves the folder behind.

    counters: by address. failures: mistakes of the handler or of the lab itself, which a test should find empty.
    """

    handler: CommandHandler
    users: Mapping[str, str]
    interceptor: Interceptor = field(default_factory=NoInterceptor)
    settings: WireSettings = field(default_factory=WireSettings)
    directory: Path | None = None
    endpoints: dict[str, Endpoint] = field(default_factory=dict, init=False)
    counters: dict[str, HostCounters] = field(default_factory=dict, init=False)
    failures: list[Failure] = field(default_factory=list, init=False)
    _folder: Path | None = field(default=None, init=False)
    _accounts: Accounts | None = field(default=None, init=False)
    _authority: CertificateAuthority | None = field(default=None, init=False)
    _services: dict[str, HostService] = field(default_factory=dict, init=False)
    _listeners: list[asyncio.Server] = field(default_factory=list, init=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    @property
    def authority(self) -> CertificateAuthority:
        """The authority that signs the certificates of all hosts."""
        if self._authority is None:
            raise RuntimeError("the server has not been started")
        return self._authority

    @property
    def ca_file(self) -> Path:
        """The authority's certificate as a PEM file; it is gone after ``stop``."""
        return self.authority.ca_file

    async def start(self, bindings: Sequence[Binding]) -> None:
        """Listen on all bindings, or on none.

        :raises ValueError: an address that is not a loopback address, or is bound twice.
        :raises OSError: an address or port cannot be bound.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="lab-wire-", dir=self.directory))
            self._accounts = Accounts(self.users, self._folder)
            self._authority = CertificateAuthority(self._folder)
        try:
            for binding in bindings:
                await self._bind(binding)
        except (OSError, ValueError):
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close listeners and connections, end all shells and commands, and remove what was written."""
        for listener in self._listeners:
            listener.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # transports say goodbye in a callback
        for service in self._services.values():
            await service.close()
        self._listeners.clear()
        self._services.clear()
        self.endpoints.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = self._accounts = self._authority = None

    def reset_counters(self) -> None:
        """Count from zero again; what is open now stays counted as open."""
        for counters in self.counters.values():
            fresh = HostCounters(
                connections_open=counters.connections_open, shells_open=counters.shells_open, running=counters.running
            )
            vars(counters).update(vars(fresh))

    async def _bind(self, binding: Binding) -> None:
        if not ip_address(binding.address).is_loopback:
            raise ValueError(f"{binding.address} is not a loopback address; the lab serves nobody else")
        if binding.address in self.endpoints:
            raise ValueError(f"{binding.address} is bound twice")
        counters = self.counters[binding.address] = HostCounters()
        runner = Runner(self.handler, counters, self.failures)
        self._services[binding.address] = HostService(binding.address, self.settings, counters, runner)
        http_port = await self._listen(binding.address, binding.http_port, tls=False)
        https_port = await self._listen(binding.address, binding.https_port, tls=True)
        self.endpoints[binding.address] = Endpoint(binding.address, http_port, https_port)

    async def _listen(self, address: str, port: int | None, *, tls: bool) -> int | None:
        if port is None:
            return None
        accept = partial(self._accept, address, tls)
        listener = await asyncio.start_server(accept, address, port, limit=HEAD_LIMIT, backlog=32)
        self._listeners.append(listener)
        chosen: int = listener.sockets[0].getsockname()[1]
        return chosen

    def _accept(self, address: str, tls: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of our own: asyncio complains when a task of its streams is cancelled."""
        if self._accounts is None:
            raise RuntimeError("a connection came in outside of the server's life")
        identity = self.authority.identity(address) if tls else None
        service = self._services[address]
        connection = Connection(
            reader, writer, service, self._accounts, self.settings, self.interceptor, identity, self.failures
        )
        task = asyncio.create_task(connection.run())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
