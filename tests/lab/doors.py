# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real listening sockets on loopback for the simulated servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

from .exchange.conversations import Conversation

MAPPED_OFFSET: t.Final = 20000
FIRST_FREE_PORT: t.Final = 1024
HANDSHAKE_LIMIT_S: t.Final = 15.0
FILLERS: t.Final = 3


@dataclass
class Manner:
    """How a listener treats whoever connects; a test may change it while the listener is open.

    Attributes:
        delay_s: Real seconds before the greeting, as a slow reverse lookup causes (Q258745).
        line: Greeting instead of the server's own.
    """

    delay_s: float = 0.0
    line: str | None = None


@dataclass(frozen=True)
class Service:
    """What listens behind a door.

    Attributes:
        converse: Makes the conversation of one connection.
        tls: Context of a port on which TLS starts with the connection.
        manner: Shared with whoever wants to change it.
    """

    converse: Callable[[], Conversation]
    tls: ssl.SSLContext | None = None
    manner: Manner = field(default_factory=Manner)


class _Connection(asyncio.Protocol):
    """One connection of a client to a simulated server."""

    def __init__(self, service: Service, open_now: set[asyncio.Transport]) -> None:
        self._open_now = open_now
        self._conversation = service.converse()
        self._manner = service.manner
        self._transport: asyncio.Transport | None = None
        self._greeting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = t.cast(asyncio.Transport, transport)
        self._open_now.add(self._transport)
        if self._manner.delay_s:
            self._greeting = asyncio.get_running_loop().call_later(self._manner.delay_s, self._greet)
        else:
            self._greet()

    def data_received(self, data: bytes) -> None:
        self._send(self._conversation.feed(data))
        if self._conversation.closed and self._transport is not None:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport is not None:
            self._open_now.discard(self._transport)
            self._transport = None
        if self._greeting is not None:
            self._greeting.cancel()

    def _greet(self) -> None:
        line = self._manner.line
        self._send(self._conversation.greeting() if line is None else line.encode("latin-1") + b"\r\n")

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)


class Door:
    """One listening socket; ``close`` frees the port at once and resets whoever is connected."""

    def __init__(self, listener: socket.socket, service: Service | None) -> None:
        self._listener = listener
        self._fillers: list[socket.socket] = []
        self._connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        if service is None:
            self._fill()
        else:
            self._opening = asyncio.get_running_loop().create_task(self._serve(service))

    def close(self) -> None:
        for filler in self._fillers:
            filler.close()
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            self._server.close()
        for transport in list(self._connections):
            transport.abort()
        self._listener.close()

    async def _serve(self, service: Service) -> None:
        limit = HANDSHAKE_LIMIT_S if service.tls else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(service, self._connections),
            sock=self._listener,
            ssl=service.tls,
            ssl_handshake_timeout=limit,
        )

    def _fill(self) -> None:
        """Fill the backlog: whoever connects now gets no answer at all, as from a host that is gone."""
        for _number in range(FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(self._listener.getsockname())
            self._fillers.append(filler)


@dataclass(frozen=True)
class Doors:
    """Opens doors, at the real port numbers or at mapped ones.

    Attributes:
        offset: Added to every port number below 1024 where those are not allowed.
        real: False: nothing is opened; for simulations without a network.
    """

    offset: int = 0
    real: bool = True

    @classmethod
    def from_environment(cls) -> Doors:
        """Doors at mapped ports when ``WSP_LAB_MAPPED_PORTS=1``, or where low ports are not allowed."""
        mapped = os.environ.get("WSP_LAB_MAPPED_PORTS") == "1" or not low_ports_allowed()
        return cls(offset=MAPPED_OFFSET if mapped else 0)

    def number(self, port: int) -> int:
        """The port number that a socket really gets."""
        return port + self.offset if port < FIRST_FREE_PORT else port

    def open(self, address: str, port: int, service: Service | None) -> Door | None:
        """Listen; ``service`` None: a port that swallows connections without any answer.

        Raises:
            OSError: The port cannot be bound on this machine.
        """
        if not self.real:
            return None
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, self.number(port)))
            listener.listen(0 if service is None else 128)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return Door(listener, service)


def low_ports_allowed() -> bool:
    """Whether this process may bind a port below 1024, found out by binding one."""
    with socket.socket() as trial:
        try:
            trial.bind(("127.255.254.253", 1))
        except PermissionError:
            return False
        except OSError:
            return True
    return True
