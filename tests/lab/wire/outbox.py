# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command has put out and a client has not received yet, and the wait for it."""

from __future__ import annotations

import asyncio
import base64
import typing as t
from collections import deque
from dataclasses import dataclass, field

from tests.lab.wire import wsman

PIECE: t.Final = 32 * 1024  # entries are never split: a PSRP fragment must arrive whole
SERVER_ENVELOPE: t.Final = 500 * 1024  # MaxEnvelopeSizekb of winrm/config
ENVELOPE_OVERHEAD: t.Final = 4 * 1024
# A command that prints and ends at once answers with one Receive; without this its end would cost another round trip.
GATHER_S: t.Final = 0.05


@dataclass
class Outbox:
    """Output of one command, or of a runspace pool itself.

    name: CommandId, or "" for a pool. exit_code: written into the last answer; a pipeline has none.
    """

    name: str
    exit_code: int | None = None
    finished: bool = False
    aborted: bool = False
    _entries: deque[tuple[str, bytes]] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _last: tuple[str, str] = ("", "")

    def put(self, stream: str, data: bytes) -> None:
        """Add output. stream: ``stdout`` or ``stderr``."""
        self._entries += [(stream, data[start : start + PIECE]) for start in range(0, len(data), PIECE)]
        self._changed.set()

    def finish(self, exit_code: int | None = None) -> None:
        """Nothing follows any more."""
        self.exit_code, self.finished = exit_code, True
        self._changed.set()

    def abort(self) -> None:
        """The command was terminated; who waits for its output gets a fault."""
        self.aborted = self.finished = True
        self._changed.set()

    async def receive(self, message: wsman.Message) -> str:
        """Wait for output and return the body of the answer to a Receive.

        The same message again, as pypsrp sends it after a broken connection, gets the same answer again. A client that
        goes away while it waits has taken nothing. An answer that was sent but did not arrive is lost to every other
        message: output is delivered at most once.

        :raises wsman.FaultError: nothing came within OperationTimeout, or the command was terminated.
        """
        if message.message_id == self._last[0]:
            return self._last[1]
        limit = (min(message.envelope_bytes, SERVER_ENVELOPE) - ENVELOPE_OVERHEAD) * 3 // 4
        loop = asyncio.get_running_loop()
        await self._wait(loop.time() + message.timeout_s, enough=1)
        if not self._entries and not self.finished:
            raise wsman.FaultError(wsman.timed_out())
        await self._wait(loop.time() + GATHER_S, enough=limit)
        if self.aborted:
            raise wsman.FaultError(wsman.aborted())
        self._last = (message.message_id, self._body(limit))
        return self._last[1]

    async def _wait(self, deadline: float, *, enough: int) -> None:
        """Return when there are ``enough`` bytes, or the end is known, or at the deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                while not self.finished and sum(len(data) for dummy, data in self._entries) < enough:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _body(self, limit: int) -> str:
        streams = self._take(limit)
        ended = self.finished and not self._entries
        parts = [self._stream(name, base64.b64encode(data).decode()) for name, data in streams]
        if self.name:
            parts.append(self._state(ended=ended))
        return f"<rsp:ReceiveResponse>{''.join(parts)}</rsp:ReceiveResponse>"

    def _take(self, limit: int) -> list[tuple[str, bytes]]:
        """Remove entries up to ``limit`` bytes, at least one; neighbours of the same stream become one."""
        taken: list[tuple[str, bytearray]] = []
        room = limit
        while self._entries and (not taken or len(self._entries[0][1]) <= room):
            stream, data = self._entries.popleft()
            room -= len(data)
            if not taken or taken[-1][0] != stream:
                taken.append((stream, bytearray()))
            taken[-1][1].extend(data)
        return [(stream, bytes(data)) for stream, data in taken]

    def _stream(self, stream: str, text: str) -> str:
        command = f" CommandId={wsman.attribute(self.name)}" if self.name else ""
        return f'<rsp:Stream Name="{stream}"{command}>{text}</rsp:Stream>'

    def _state(self, *, ended: bool) -> str:
        state = f"{wsman.SHELL}/CommandState/{'Done' if ended else 'Running'}"
        code = f"<rsp:ExitCode>{self.exit_code}</rsp:ExitCode>" if ended and self.exit_code is not None else ""
        return f'<rsp:CommandState CommandId={wsman.attribute(self.name)} State="{state}">{code}</rsp:CommandState>'
