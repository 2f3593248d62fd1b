# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a running lab is asked from outside: JSON lines over a unix socket in its directory."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .faults import FaultError
from .fleet import FleetError, Json
from .injection import Faults
from .machines.errors import WindowsFailure
from .machines.machine import Machine
from .world import World, programs

SOCKET: t.Final = "control.sock"
ANSWER_LIMIT_S: t.Final = 60.0


class ControlError(RuntimeError):
    """The lab cannot be reached, or it refused; the text says which and why."""


@contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """A path of the socket that is short however deep the directory lies: socket paths end at 107 bytes."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)


class Control:
    """Answers what is asked of one world."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.stopped = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def listen(self, directory: Path) -> None:
        """Serve ``control.sock`` in a directory."""
        (directory / SOCKET).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with _short_path(directory) as path:
            listener.bind(path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        try:
            answer = {"ok": True, "result": self.answer(json.loads(line))}
        except (
            FaultError,
            FleetError,
            WindowsFailure,
            KeyError,
            TypeError,
            ValueError,
            OSError,
            OverflowError,
        ) as error:
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    def answer(self, asked: Json) -> t.Any:
        """Do what one line asks: status, inject, clear, counters, reset_counters, stop."""
        command = asked["command"]
        if command == "status":
            return status(self.world, self.faults)
        if command == "inject":
            return self._inject(asked)
        if command == "clear":
            return self.faults.clear(asked.get("host"))
        if command == "counters":
            return {machine.name: vars(self.world.counters(machine)) for machine in self.world.network}
        if command == "reset_counters":
            return self.world.wire.reset_counters()
        if command == "stop":
            return self.stopped.set()
        raise ValueError(f"unknown command {command}")

    def _inject(self, asked: Json) -> int:
        injection = self.faults.inject(
            asked["fault"],
            asked.get("host"),
            at=asked.get("at"),
            on=asked.get("on"),
            service=asked.get("service"),
            times=int(asked.get("times", 1)),
            skip=int(asked.get("skip", 0)),
            arguments=asked.get("arguments"),
        )
        return injection.number


def ask(directory: Path, command: str, **values: t.Any) -> t.Any:
    """Ask the lab that runs in a directory.

    Raises:
        ControlError: No lab answers there, or it refused.
    """
    request = json.dumps({"command": command, **values}).encode() + b"\n"
    try:
        with _short_path(directory) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_LIMIT_S)
            connection.connect(path)
            connection.sendall(request)
            data = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        raise ControlError(f"no lab answers in {directory}: {error}") from error
    answer = json.loads(data)
    if not answer["ok"]:
        raise ControlError(answer["error"])
    return answer["result"]


def status(world: World, faults: Faults) -> Json:
    """What a person wants to see of a lab."""
    return {
        "machines": [_machine(world, machine) for machine in world.network],
        "proxies": [
            {
                "name": proxy.name,
                "condition": proxy.condition,
                "addresses": list(proxy.addresses),
                "ports": [
                    {"address": address, "port": claim.port, "owner": claim.owner}
                    for claim in proxy.claims
                    for address in claim.doors
                ],
            }
            for proxy in world.proxies.values()
        ],
        "faults": [
            {"number": one.number, "fault": one.name, "host": one.host, "at": one.at, "hits": one.hits}
            for one in faults.active
        ],
        "mistakes": [f"{failure.host}: {failure.what[:60]}: {failure.error!r}" for failure in world.wire.failures],
    }


def _machine(world: World, machine: Machine) -> Json:
    counters = world.counters(machine)
    return {
        "name": machine.name,
        "address": machine.address,
        "up": machine.up,
        "now": machine.clock.now(),
        "speed": machine.clock.speed,
        "requests": counters.requests,
        "executions": counters.executions,
        "services": {one.name: one.state for one in machine.services if one.program or one.name.startswith("MSEx")},
        "in_force": {
            program.section: list(program.settings.ports) for program in programs(machine) if program.settings
        },
    }
