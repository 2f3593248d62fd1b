# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the lab's wire share: a scripted handler and interceptor, and clients without a proxy."""

from __future__ import annotations

import asyncio
import socket
import threading
import typing as t
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from winrm.protocol import Protocol

from tests.lab.wire.api import Action, Binding, Call, Emit, Proceed, WireSettings
from tests.lab.wire.server import Endpoint, WireServer
from tests.lab.wire.threaded import ServerThread, running

HOST = "127.0.0.1"
USERS = {"admin": "S3cret pass", "LAB\\operator": "other"}
DEADLINE_S = 20.0  # how long a test waits for something that must happen
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass
class ScriptedHandler:
    """Answers a handful of commands, and tells what became of those that take long.

    ``echo TEXT`` prints TEXT; ``both`` prints on both streams; ``exit N`` ends with N; ``cat`` prints its input;
    ``big N`` prints N bytes; ``whoami``; ``raise`` fails; ``hang`` waits for ``release``, and prints ``released``.
    Anything else that comes with input, as Ansible's modules do, is answered with ``module_answer``.
    """

    module_answer: t.ClassVar[bytes] = b'{"failed": true, "msg": "this lab executes no PowerShell"}'

    calls: list[Call] = field(default_factory=list)
    hanging: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    cancelled: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, call: Call, emit: Emit) -> int:
        self.calls.append(call)
        line = call.powershell if call.powershell is not None else call.command
        verb, argument = line.partition(" ")[::2]
        if verb == "hang":
            return await self._hang(emit)
        return self._at_once(verb, argument, call, emit)

    def _at_once(self, verb: str, argument: str, call: Call, emit: Emit) -> int:
        if verb == "raise":
            raise LookupError("a mistake in the lab")
        if verb == "exit":
            return int(argument.split()[0])
        if call.stdin and verb != "cat":
            emit.stdout(self.module_answer)
            return 0
        if verb == "both":
            emit.stderr(b"to stderr\r\n")
        text = {"cat": call.stdin, "big": b"0123456789abcdef" * (int(argument) // 16 if verb == "big" else 0)}
        who = f"{call.user} {call.authentication} {call.transport}".encode()
        emit.stdout({**text, "both": b"to stdout\r\n", "whoami": who}.get(verb, argument.encode()))
        return 0

    async def _hang(self, emit: Emit) -> int:
        emit.stdout(b"started\r\n")
        self.hanging.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        emit.stdout(b"released\r\n")
        return 7


@dataclass
class ScriptedInterceptor:
    """Does ``actions[point]`` each time that point is passed, and keeps what it was asked."""

    actions: dict[str, Action] = field(default_factory=dict)
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)

    async def at(self, point: str, host: str, detail: Mapping[str, str]) -> Action:
        self.asked.append((point, host, dict(detail)))
        return self.actions.get(point, Proceed())


@dataclass(frozen=True)
class Lab:
    """A running server with one host on free ports."""

    serving: ServerThread
    handler: ScriptedHandler
    interceptor: ScriptedInterceptor

    @property
    def server(self) -> WireServer:
        return self.serving.server

    @property
    def endpoint(self) -> Endpoint:
        return self.server.endpoints[HOST]

    @property
    def http_port(self) -> int:
        assert self.endpoint.http_port is not None
        return self.endpoint.http_port

    @property
    def https_port(self) -> int:
        assert self.endpoint.https_port is not None
        return self.endpoint.https_port

    def protocol(
        self, transport: str = "ntlm", *, scheme: str = "http", user: str = "admin", **options: t.Any
    ) -> Protocol:
        """Make a pywinrm client of this host."""
        port = self.http_port if scheme == "http" else self.https_port
        options.setdefault("password", USERS.get(user, ""))
        trust = options.pop("ca_trust_path", str(self.server.ca_file))
        return Protocol(f"{scheme}://{HOST}:{port}/wsman", transport, user, proxy=None, ca_trust_path=trust, **options)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait in the server's loop until something has become true, and fail when it does not."""

        async def wait() -> None:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    await asyncio.sleep(0.01)

        try:
            self.serving.call(wait())
        except TimeoutError:
            pytest.fail(f"never happened: {what}")

    def let_go(self) -> None:
        """End every ``hang``."""
        self.serving.loop.call_soon_threadsafe(self.handler.release.set)


@contextmanager
def lab(settings: WireSettings | None = None, users: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """Run a server with one host, and find no mistakes of the handler at its end but those that ``raise`` made."""
    handler, interceptor = ScriptedHandler(), ScriptedInterceptor()
    server = WireServer(handler, users or USERS, interceptor, settings or WireSettings())
    with running(server, [Binding(HOST, http_port=0, https_port=0)]) as serving:
        yield Lab(serving, handler, interceptor)
    assert [failure for failure in server.failures if failure.what != "raise"] == []


def run(protocol: Protocol, command: str, *arguments: str) -> tuple[str, str, int]:
    """Run one command in a shell of its own; return standard output, standard error and exit code."""
    shell = protocol.open_shell()
    command_id = protocol.run_command(shell, command, arguments)
    out, err, code = protocol.get_command_output(shell, command_id)
    protocol.cleanup_command(shell, command_id)
    protocol.close_shell(shell)
    return out.decode(), err.decode(), code


def raw_request(port: int, data: bytes) -> bytes:
    """Send bytes to the host and return everything that it answers until it closes, or resets, the connection."""
    received = bytearray()
    with socket.create_connection((HOST, port), timeout=DEADLINE_S) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    return bytes(received)
