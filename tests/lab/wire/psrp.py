# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runspace pools: PowerShell remoting over WS-Management ([MS-PSRP] over [MS-WSMV]), the server's side by psrpcore.

No PowerShell runs here: the text of a pipeline goes to the handler, and what it prints comes back as strings.
"""

from __future__ import annotations

import struct
import typing as t
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import psrpcore
from psrpcore.types import HostMethodIdentifier, NETException

from tests.lab.wire import wsman
from tests.lab.wire.execution import Execution, Runner, Session
from tests.lab.wire.outbox import PIECE, Outbox

_RSP: t.Final = f"{{{wsman.SHELL}}}"
_POOL: t.Final = ""  # name of the outbox of the pool itself
# What psrpcore raises for bytes that are no PSRP, or for messages that it cannot make sense of.
_NOT_PSRP: t.Final = (psrpcore.PSRPCoreError, struct.error, ValueError, LookupError, AttributeError, ET.ParseError)
# Ansible's psrp connection appends it to every command that is not an encoded script; exit codes are sent without it.
_ANSIBLE_SUFFIX: t.Final = "\nexit $LASTEXITCODE"
_ALWAYS_GRANTED: t.Final = (
    psrpcore.SetMaxRunspacesEvent,
    psrpcore.SetMinRunspacesEvent,
    psrpcore.ResetRunspaceStateEvent,
)


@dataclass
class Pipeline:
    """One pipeline. lines: its input so far. partial: output by stream after the last end of line."""

    command_id: str
    core: psrpcore.ServerPipeline
    outbox: Outbox
    owner: RunspacePoolShell
    text: str = ""
    lines: list[str] = field(default_factory=list)
    partial: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    execution: Execution | None = None

    def stdout(self, data: bytes) -> None:
        self._print("stdout", data.decode("utf-8", "replace"))

    def stderr(self, data: bytes) -> None:
        self._print("stderr", data.decode("utf-8", "replace"))

    def ended(self, exit_code: int) -> None:
        """Send the rest, the exit code as PowerShell's ``exit`` does, and the state Completed."""
        for stream, rest in self.partial.items():
            if rest:
                self._write(stream, rest)
        if exit_code:
            self.core.host_call(HostMethodIdentifier.SetShouldExit, [exit_code])
        self.core.complete()
        self.owner.flush()
        self.outbox.finish()

    def _print(self, stream: str, text: str) -> None:
        *lines, rest = (self.partial[stream] + text).split("\n")
        for line in lines:
            self._write(stream, line.removesuffix("\r"))
        self.partial[stream] = rest
        self.owner.flush()

    def _write(self, stream: str, line: str) -> None:
        if stream == "stdout":
            self.core.write_output(line)
            return
        # What a console program writes to standard error reaches the error stream under this name.
        self.core.write_error(NETException(Message=line), fully_qualified_error_id="NativeCommandError")


@dataclass
class RunspacePoolShell:
    """A runspace pool as a shell of the WinRM service. started: pipelines of its whole life."""

    session: Session
    runner: Runner
    resource: str
    idle_timeout_s: float
    core: psrpcore.ServerRunspacePool = field(default_factory=psrpcore.ServerRunspacePool)
    outbox: Outbox = field(default_factory=lambda: Outbox(_POOL))
    started: int = 0
    pipelines: dict[str, Pipeline] = field(default_factory=dict)

    @property
    def processes(self) -> int:
        """Pipelines that run now."""
        return sum(1 for pipeline in self.pipelines.values() if not pipeline.outbox.finished)

    def describe(self, command_id: str) -> str:
        """Text of a pipeline, for interceptors; "" when there is no such pipeline."""
        pipeline = self.pipelines.get(command_id.upper())
        return pipeline.text if pipeline else ""

    def feed(self, data: bytes) -> None:
        """Process PSRP fragments from the client.

        :raises wsman.FaultError: they are no PSRP, or mean something that is not served.
        """
        try:
            self.core.receive_data(psrpcore.PSRPPayload(data, psrpcore.StreamType.default, None))
            while (event := self.core.next_event()) is not None:
                self._handle(event)
        except _NOT_PSRP as error:
            raise wsman.FaultError(wsman.schema_violation(str(error))) from error
        self.flush()

    def flush(self) -> None:
        """Move what psrpcore has written to the outboxes of the pool and of its pipelines."""
        while (payload := self.core.data_to_send(PIECE)) is not None:
            name = str(payload.pipeline_id).upper() if payload.pipeline_id else _POOL
            pipeline = self.pipelines.get(name)
            if name == _POOL:
                self.outbox.put("stdout", payload.data)
            elif pipeline is not None:
                pipeline.outbox.put("stdout", payload.data)

    def command(self, message: wsman.Message) -> str:
        """Create a pipeline; the first fragment of its description comes with it."""
        line = message.body.find(f"{_RSP}CommandLine")
        first = line.findtext(f"{_RSP}Arguments") if line is not None else None
        if line is None or not first:
            raise wsman.FaultError(wsman.schema_violation("CommandLine holds no fragment"))
        data, command_id = wsman.decoded(first), _guid(line.get("CommandId") or str(uuid.uuid4()))
        core = psrpcore.ServerPipeline(self.core, uuid.UUID(command_id))
        self.pipelines[command_id] = Pipeline(command_id, core, Outbox(command_id), self)
        self.started += 1
        self.feed(data)
        return f"<rsp:CommandResponse><rsp:CommandId>{command_id}</rsp:CommandId></rsp:CommandResponse>"

    def send(self, message: wsman.Message) -> str:
        """Take fragments for the pool or a pipeline."""
        for stream in message.body.iterfind(f"{_RSP}Send/{_RSP}Stream"):
            self.feed(wsman.decoded(stream.text))
        return "<rsp:SendResponse/>"

    async def receive(self, message: wsman.Message) -> str:
        """Wait for messages to the client."""
        desired = message.body.find(f"{_RSP}Receive/{_RSP}DesiredStream")
        name = desired.get("CommandId", _POOL).upper() if desired is not None else _POOL
        if name == _POOL:
            return await self.outbox.receive(message)
        pipeline = self.pipelines.get(name)
        if pipeline is None:
            raise wsman.FaultError(wsman.command_not_found(name))
        return await pipeline.outbox.receive(message)

    async def signal(self, message: wsman.Message) -> str:
        """Stop a pipeline, whatever the signal is called; one that is gone is no error."""
        signal = message.body.find(f"{_RSP}Signal")
        name = signal.get("CommandId", "").upper() if signal is not None else ""
        pipeline = self.pipelines.get(name)
        if pipeline is not None:
            await self._end(pipeline)
            del self.pipelines[name]
        return "<rsp:SignalResponse/>"

    async def close(self) -> None:
        """Stop all pipelines and end the pool."""
        for pipeline in list(self.pipelines.values()):
            await self._end(pipeline)
        self.pipelines.clear()
        self.outbox.abort()

    def _handle(self, event: psrpcore.PSRPEvent[t.Any, t.Any]) -> None:
        if isinstance(event, psrpcore.CreatePipelineEvent):
            self._created(self.pipelines[str(event.pipeline_id).upper()], event.pipeline)
        elif isinstance(event, psrpcore.PipelineInputEvent):
            self.pipelines[str(event.pipeline_id).upper()].lines.append(as_text(event.data))
        elif isinstance(event, psrpcore.EndOfPipelineInputEvent):
            self._run(self.pipelines[str(event.pipeline_id).upper()])
        elif isinstance(event, psrpcore.GetAvailableRunspacesEvent):
            self.core.runspace_availability_response(event.ci, 1)
        elif isinstance(event, _ALWAYS_GRANTED):
            self.core.runspace_availability_response(event.ci, True)
        elif isinstance(event, psrpcore.GetCommandMetadataEvent):
            raise wsman.FaultError(wsman.not_served("GetCommandMetadata"))

    def _created(self, pipeline: Pipeline, description: psrpcore.PowerShell) -> None:
        text = " | ".join(_rendered(command) for command in description.commands)
        pipeline.text = text.removesuffix(_ANSIBLE_SUFFIX)
        pipeline.core.start()
        if description.no_input:
            self._run(pipeline)

    def _run(self, pipeline: Pipeline) -> None:
        call = self.session.call(
            command=pipeline.text,
            stdin="\n".join(pipeline.lines).encode("utf-8"),
            environment={},
            powershell=pipeline.text,
            codepage=65001,
        )
        pipeline.execution = Execution(call, pipeline, pipeline.ended)
        self.runner.start(pipeline.execution)

    async def _end(self, pipeline: Pipeline) -> None:
        if pipeline.execution is not None and pipeline.execution.running:
            await pipeline.execution.stop()
            pipeline.core.stop()
            self.flush()
            pipeline.outbox.finish()
        elif not pipeline.outbox.finished:
            pipeline.outbox.abort()
        self.core.pipeline_table.pop(pipeline.core.pipeline_id, None)


def open_pool(message: wsman.Message, session: Session, runner: Runner, *, idle_limit_s: float) -> RunspacePoolShell:
    """Make the pool that a Create asks for. idle_limit_s: idle timeout in seconds unless the client asks for less."""
    creation = message.body.findtext(f"{_RSP}Shell/{{{wsman.POWERSHELL_XML}}}creationXml")
    if not creation:
        raise wsman.FaultError(wsman.schema_violation("creationXml is missing"))
    asked = wsman.seconds(message.body.findtext(f"{_RSP}Shell/{_RSP}IdleTimeOut") or "", default=idle_limit_s)
    pool = RunspacePoolShell(session, runner, message.resource, min(asked, idle_limit_s))
    pool.feed(wsman.decoded(creation))
    return pool


def _guid(text: str) -> str:
    """Return a CommandId as psrpcore's pipeline id is written.

    :raises wsman.FaultError: it is no GUID.
    """
    try:
        return str(uuid.UUID(text)).upper()
    except ValueError as error:
        raise wsman.FaultError(wsman.schema_violation(f"CommandId is no GUID: {text!r}")) from error


def as_text(value: object) -> str:
    """What PowerShell's ``[string]`` makes of an input object, for the kinds that clients send.

    Bytes arrive as one array, not as text: who sends them gets what Windows would give.
    """
    return "System.Byte[]" if isinstance(value, bytes | bytearray) else str(value)


def _rendered(command: psrpcore.Command) -> str:
    """A script as it is, a cmdlet with its parameters."""
    words = [str(command.command_text)]
    for name, value in command.parameters:
        words += [word for word in (f"-{name}" if name else "", "" if value is None else f"'{value}'") if word]
    return " ".join(words)
