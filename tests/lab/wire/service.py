# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WinRM service of one host: its shells, their quotas and their idle timeouts, and the operations on them."""

from __future__ import annotations

import asyncio
import typing as t
import uuid
from dataclasses import dataclass, field

from tests.lab.wire import wsman
from tests.lab.wire.api import HostCounters, Transport, WireSettings
from tests.lab.wire.auth import Identity
from tests.lab.wire.execution import Runner, Session
from tests.lab.wire.psrp import RunspacePoolShell, open_pool
from tests.lab.wire.winrs import WinRsShell, open_shell

Shell: t.TypeAlias = WinRsShell | RunspacePoolShell


@dataclass
class _Entry:
    """A shell in service. users: operations on it that are under way. last_used: time of the loop, in seconds."""

    shell: Shell
    last_used: float
    users: int = 0
    timer: asyncio.TimerHandle | None = None


@dataclass
class HostService:
    """Everything that WinRM keeps for one address between requests."""

    host: str
    settings: WireSettings
    counters: HostCounters
    runner: Runner
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def describe(self, message: wsman.Message, identity: Identity) -> dict[str, str]:
        """What is known of an operation before it is done, for interceptors."""
        detail = {"user": identity.user, "authentication": identity.authentication, "transport": _transport(message)}
        shell_id = message.selectors.get("ShellId", "")
        command_id = next(
            (element.get("CommandId", "") for element in message.body.iter() if "CommandId" in element.attrib), ""
        )
        if shell_id:
            detail["shell_id"] = shell_id
        if command_id:
            detail["command_id"] = command_id
        entry = self._entries.get(shell_id.upper())
        if entry and command_id:
            detail["command"] = entry.shell.describe(command_id)
        return detail

    async def perform(self, message: wsman.Message, identity: Identity) -> str:
        """Do one operation and return the body of its answer.

        :raises wsman.FaultError: it is refused, or ends without output.
        """
        if message.operation == "create":
            return self._create(message, identity)
        entry = self._find(message, identity)
        entry.users += 1
        try:
            return await self._on_shell(message, entry)
        finally:
            entry.users -= 1
            entry.last_used = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """End all shells."""
        for shell_id in list(self._entries):
            await self._remove(shell_id)
        await asyncio.gather(*self._closing)

    async def _on_shell(self, message: wsman.Message, entry: _Entry) -> str:
        shell = entry.shell
        match message.operation:
            case "command":
                self._check_operations(shell)
                return shell.command(message)
            case "send":
                return shell.send(message)
            case "receive":
                return await shell.receive(message)
            case "signal":
                return await shell.signal(message)
            case "get":
                return self._shell_xml(shell)
            case _:
                await self._remove(shell.session.shell_id)
                return ""

    def _create(self, message: wsman.Message, identity: Identity) -> str:
        own = [entry for entry in self._entries.values() if entry.shell.session.user == identity.user]
        if len(own) >= self.settings.shells_per_user:
            raise wsman.FaultError(wsman.too_many_shells(self.settings.shells_per_user))
        transport = _transport(message)
        shell_id = _asked_shell_id(message) or str(uuid.uuid4()).upper()
        if shell_id in self._entries:
            raise wsman.FaultError(wsman.shell_exists(shell_id))
        session = Session(shell_id, self.host, identity.user, transport, identity.authentication)
        opener = open_pool if transport == "psrp" else open_shell
        shell = opener(message, session, self.runner, idle_limit_s=self.settings.idle_timeout_s)
        entry = self._entries[shell_id] = _Entry(shell, asyncio.get_running_loop().time())
        self.counters.shells_opened += 1
        self.counters.shells_open += 1
        self._watch(entry)
        return wsman.resource_created(shell_id, self._shell_xml(shell), shell.resource)

    def _find(self, message: wsman.Message, identity: Identity) -> _Entry:
        shell_id = message.selectors.get("ShellId", "").upper()
        entry = self._entries.get(shell_id)
        if entry is None or entry.shell.session.user != identity.user:
            raise wsman.FaultError(wsman.shell_not_found(shell_id))
        return entry

    def _check_operations(self, shell: Shell) -> None:
        limit = self.settings.processes_per_shell
        if shell.processes >= limit:
            raise wsman.FaultError(wsman.too_many_operations(limit))
        user = shell.session.user
        started = sum(e.shell.started for e in self._entries.values() if e.shell.session.user == user)
        if started >= self.settings.operations_per_user:
            raise wsman.FaultError(wsman.too_many_operations(self.settings.operations_per_user))

    def _shell_xml(self, shell: Shell) -> str:
        session = shell.session
        return wsman.shell_xml(
            session.shell_id, resource=shell.resource, user=session.user, idle_timeout_s=shell.idle_timeout_s
        )

    async def _remove(self, shell_id: str) -> None:
        entry = self._entries.pop(shell_id, None)
        if entry is None:
            return
        if entry.timer is not None:
            entry.timer.cancel()
        self.counters.shells_open -= 1
        await entry.shell.close()

    def _watch(self, entry: _Entry) -> None:
        """Remove the shell once nothing was asked of it for its idle timeout; its one timer moves when it fires."""
        loop = asyncio.get_running_loop()
        since = loop.time() if entry.users else entry.last_used
        due = since + entry.shell.idle_timeout_s
        if due > loop.time():
            entry.timer = loop.call_at(due, self._watch, entry)
            return
        task = asyncio.create_task(self._remove(entry.shell.session.shell_id))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _transport(message: wsman.Message) -> Transport:
    return "psrp" if message.resource.startswith(wsman.POWERSHELL_RESOURCE) else "winrm"


def _asked_shell_id(message: wsman.Message) -> str:
    """The ShellId that a PSRP client chooses itself, because it is the id of its runspace pool."""
    shell = message.body.find(f"{{{wsman.SHELL}}}Shell")
    return (shell.get("ShellId") or "").upper() if shell is not None else ""
