# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WinRS shells: the remote cmd.exe of WS-Management ([MS-WSMV] 3.1.4.1.30 and following)."""

from __future__ import annotations

import typing as t
import uuid
from dataclasses import dataclass, field

from tests.lab.wire import wsman
from tests.lab.wire.execution import Execution, Runner, Session, encoded_script
from tests.lab.wire.outbox import Outbox

_RSP: t.Final = f"{{{wsman.SHELL}}}"


@dataclass
class Command:
    """One command of a shell. stdin: collected until the client says End, because the handler takes it in one piece."""

    line: str
    outbox: Outbox
    stdin: bytearray = field(default_factory=bytearray)
    execution: Execution | None = None

    def stdout(self, data: bytes) -> None:
        self.outbox.put("stdout", data)

    def stderr(self, data: bytes) -> None:
        self.outbox.put("stderr", data)


@dataclass
class WinRsShell:
    """A shell. started: commands of its whole life; Windows counts all of them as operations until the shell goes."""

    session: Session
    runner: Runner
    idle_timeout_s: float
    environment: dict[str, str] = field(default_factory=dict)
    codepage: int = 437
    started: int = 0
    commands: dict[str, Command] = field(default_factory=dict)

    resource: t.ClassVar[str] = f"{wsman.SHELL}/cmd"

    @property
    def processes(self) -> int:
        """Commands that run now."""
        return sum(1 for command in self.commands.values() if not command.outbox.finished)

    def describe(self, command_id: str) -> str:
        """Text of a command, for interceptors; "" when there is no such command."""
        command = self.commands.get(command_id)
        return command.line if command else ""

    def command(self, message: wsman.Message) -> str:
        """Start a command, at once or, when the client has announced standard input, once that has arrived."""
        line_element = message.body.find(f"{_RSP}CommandLine")
        if line_element is None:
            raise wsman.FaultError(wsman.schema_violation("CommandLine is missing"))
        words = [line_element.findtext(f"{_RSP}Command") or ""]
        words += [element.text or "" for element in line_element.iterfind(f"{_RSP}Arguments")]
        command_id = line_element.get("CommandId") or str(uuid.uuid4()).upper()
        command = Command(" ".join(words), Outbox(command_id))
        self.commands[command_id] = command
        self.started += 1
        if message.options.get("WINRS_CONSOLEMODE_STDIN", "").upper() != "FALSE":
            self._run(command)
        return f"<rsp:CommandResponse><rsp:CommandId>{command_id}</rsp:CommandId></rsp:CommandResponse>"

    def send(self, message: wsman.Message) -> str:
        """Take standard input; the command runs when its end has arrived."""
        stream = message.body.find(f"{_RSP}Send/{_RSP}Stream")
        if stream is None:
            raise wsman.FaultError(wsman.schema_violation("Stream is missing"))
        command = self._find(stream.get("CommandId", ""))
        if command.execution is not None:
            # cmd.exe would read it; here the handler has begun with what WINRS_CONSOLEMODE_STDIN announced.
            raise wsman.FaultError(wsman.schema_violation("input was not announced by WINRS_CONSOLEMODE_STDIN=FALSE"))
        command.stdin += wsman.decoded(stream.text)
        if stream.get("End", "").lower() == "true":
            self._run(command)
        return "<rsp:SendResponse/>"

    async def receive(self, message: wsman.Message) -> str:
        """Wait for output of a command."""
        desired = message.body.find(f"{_RSP}Receive/{_RSP}DesiredStream")
        command_id = desired.get("CommandId", "") if desired is not None else ""
        return await self._find(command_id).outbox.receive(message)

    async def signal(self, message: wsman.Message) -> str:
        """Terminate or interrupt a command: every signal ends it. A command that is gone is no error, as on Windows."""
        signal = message.body.find(f"{_RSP}Signal")
        command_id = signal.get("CommandId", "") if signal is not None else ""
        command = self.commands.pop(command_id, None)
        if command is not None:
            await self._end(command)
        return "<rsp:SignalResponse/>"

    async def close(self) -> None:
        """End all commands."""
        commands, self.commands = list(self.commands.values()), {}
        for command in commands:
            await self._end(command)

    def _find(self, command_id: str) -> Command:
        command = self.commands.get(command_id)
        if command is None:
            raise wsman.FaultError(wsman.command_not_found(command_id))
        return command

    def _run(self, command: Command) -> None:
        call = self.session.call(
            command=command.line,
            stdin=bytes(command.stdin),
            environment=self.environment,
            powershell=encoded_script(command.line),
            codepage=self.codepage,
        )
        command.execution = Execution(call, command, command.outbox.finish)
        self.runner.start(command.execution)

    async def _end(self, command: Command) -> None:
        if not command.outbox.finished:
            command.outbox.abort()
        if command.execution is not None:
            await command.execution.stop()


def open_shell(message: wsman.Message, session: Session, runner: Runner, *, idle_limit_s: float) -> WinRsShell:
    """Make the shell that a Create asks for. idle_limit_s: idle timeout in seconds unless the client asks for less."""
    shell = message.body.find(f"{_RSP}Shell")
    if shell is None:
        raise wsman.FaultError(wsman.schema_violation("Shell is missing"))
    asked = wsman.seconds(shell.findtext(f"{_RSP}IdleTimeOut") or "", default=idle_limit_s)
    variables = shell.iterfind(f"{_RSP}Environment/{_RSP}Variable")
    codepage = message.options.get("WINRS_CODEPAGE", "437")
    return WinRsShell(
        session=session,
        runner=runner,
        idle_timeout_s=min(asked, idle_limit_s),
        environment={element.get("Name", ""): element.text or "" for element in variables},
        codepage=int(codepage) if codepage.isdecimal() else 437,
    )
