# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands commands to the handler, and ends them when their client or their shell goes."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import typing as t
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from tests.lab.wire.api import Authentication, Call, CommandHandler, Emit, HostCounters, Transport

CANCEL_GRACE_S: t.Final = 5.0  # a handler that swallows its cancellation must not hang the client's Signal
# PowerShell accepts every prefix of a parameter's name, and `-ec`.
_ENCODED = re.compile(
    r'\s*"?(?:[^"\s]*[\\/])?(?:powershell|pwsh)(?:\.exe)?"?\s(?:.*\s)?'
    r"-(?:e|ec|en(?:c(?:o(?:d(?:e(?:d(?:c(?:o(?:m(?:m(?:a(?:nd?)?)?)?)?)?)?)?)?)?)?)?)\s+"
    r'"?(?P<script>[A-Za-z0-9+/]+=*)"?\s*',
    re.IGNORECASE | re.DOTALL,
)


def encoded_script(line: str) -> str | None:
    """Return the text of the script when a command line is ``powershell ... -EncodedCommand BASE64``, else None."""
    match = _ENCODED.fullmatch(line)
    if not match:
        return None
    try:
        return base64.b64decode(match["script"], validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        return None


@dataclass(frozen=True)
class Session:
    """Whose commands they are: what all calls of one shell have in common."""

    shell_id: str
    host: str
    user: str
    transport: Transport
    authentication: Authentication

    def call(
        self, *, command: str, stdin: bytes, powershell: str | None, environment: Mapping[str, str], codepage: int
    ) -> Call:
        """Describe one command of this shell."""
        return Call(
            host=self.host,
            user=self.user,
            shell_id=self.shell_id,
            command=command,
            stdin=stdin,
            transport=self.transport,
            environment=environment,
            powershell=powershell,
            authentication=self.authentication,
            codepage=codepage,
        )


@dataclass(frozen=True)
class Failure:
    """Something raised where it should have answered: a mistake in the lab. what: the command, or the action."""

    host: str
    what: str
    error: Exception


@dataclass
class Execution:
    """One running command. ended: called once with the exit code, unless the execution is stopped first."""

    call: Call
    emit: Emit
    ended: Callable[[int], None]
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def running(self) -> bool:
        """The handler has begun and not ended."""
        return self._task is not None and not self._task.done()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run the handler in a task of its own: it outlives the connection that brought the command."""
        self._task = asyncio.create_task(work)

    async def stop(self) -> None:
        """Cancel the handler and wait until it has gone."""
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CANCEL_GRACE_S)


@dataclass
class Runner:
    """Starts executions of one host. failures: shared by all hosts of a server."""

    handler: CommandHandler
    counters: HostCounters
    failures: list[Failure]

    def start(self, execution: Execution) -> None:
        """Hand a command to the handler."""
        self.counters.executions += 1
        self.counters.running += 1
        execution.start(self._run(execution))

    async def _run(self, execution: Execution) -> None:
        try:
            code = await self.handler.run(execution.call, execution.emit)
        except Exception as error:  # noqa: BLE001 - any mistake of the simulation is shown to the client and kept
            self.failures.append(Failure(execution.call.host, execution.call.command, error))
            execution.emit.stderr(f"lab: {type(error).__name__}: {error}\r\n".encode())
            code = 1
        finally:
            self.counters.running -= 1
        execution.ended(code)
