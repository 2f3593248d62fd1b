# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that arrive over the wire: the target script's operations, a module of Ansible's, or a line of cmd."""

from __future__ import annotations

import asyncio
import contextvars
import typing as t
from dataclasses import dataclass

from .cmd import not_recognized, run_line
from .machines.machine import Machine, Network
from .target import ansible_modules
from .target.operations import answer_request
from .target.script import PSRP_SUFFIX, envelope, is_loader, nonce_of, request_of
from .wire.api import Call, Emit

OLDEST_POWERSHELL: t.Final = 3
# Logins that Windows can use for a second hop; NTLM and Kerberos without delegation cannot.
DELEGATED: t.Final = ("credssp", "basic")


@dataclass
class Conduct:
    """How a machine answers the script, when a test wants something else than an answer.

    Attributes:
        silent: No answer comes back, not even the marker lines.
        before, after: Noise around the answer, as profiles and policies print it.
        error: PowerShell ends with this on standard error instead of an answer.
        slow_s: Real seconds before the operation begins.
    """

    silent: bool = False
    before: bytes = b""
    after: bytes = b""
    error: bytes = b""
    slow_s: float = 0.0


# Shell of the command that runs in this context; a detached worker inherits it from the restart that launched it.
current_shell: contextvars.ContextVar[str] = contextvars.ContextVar("current_shell", default="")


class Dispatcher:
    """The simulated machines' side of the wire.

    Attributes:
        conduct: By machine name, for machines that misbehave.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.conduct: dict[str, Conduct] = {}
        self._running: dict[str, asyncio.Event] = {}

    def changed(self, shell_id: str) -> asyncio.Event | None:
        """What is set when the command of a shell ends or is cut off; None while the shell runs nothing."""
        return self._running.get(shell_id)

    def notify(self, shell_id: str) -> None:
        """Wake up whoever waits for the command of a shell."""
        if shell_id in self._running:
            self._running[shell_id].set()

    async def run(self, call: Call, emit: Emit) -> int:
        machine = self.network.by_address(call.host)
        if machine is None or not machine.up:
            return 1
        task = t.cast("asyncio.Task[None]", asyncio.current_task())
        key = f"call {id(task)}"
        machine.tasks[key] = task
        self._running[call.shell_id] = asyncio.Event()
        current_shell.set(call.shell_id)
        try:
            return await self._run(machine, call, emit)
        finally:
            machine.tasks.pop(key, None)
            self.notify(call.shell_id)
            self._running.pop(call.shell_id, None)

    async def _run(self, machine: Machine, call: Call, emit: Emit) -> int:
        if is_loader(call.powershell):
            return await self._operation(machine, call, emit)
        module = await ansible_modules.answer(machine, call)
        if module is not None:
            return _say(emit, (*module, ""))
        line = call.command if call.powershell is None else call.powershell.strip().removesuffix(PSRP_SUFFIX).strip()
        if "\n" in line or "\x00" in line:
            return _say(emit, not_recognized(line.split()[0]))
        return _say(emit, run_line(machine, line))

    async def _operation(self, machine: Machine, call: Call, emit: Emit) -> int:
        conduct = self.conduct.get(machine.name, Conduct())
        if conduct.slow_s:
            await asyncio.sleep(conduct.slow_s)
        if machine.powershell is None:
            return _say(emit, not_recognized("powershell"))
        if conduct.error:
            emit.stderr(conduct.error)
            return 1
        if int(machine.powershell.partition(".")[0]) < OLDEST_POWERSHELL:
            answer: dict[str, t.Any] = {"version": 1, "error": _too_old(machine.powershell)}
        else:
            request = request_of(call.stdin)
            if request is None:
                return _say(emit, not_recognized("powershell"))
            delegated = call.authentication in DELEGATED
            answer = await answer_request(self.network, machine, request, delegated=delegated)
        emit.stdout(
            conduct.before + (b"" if conduct.silent else envelope(answer, nonce_of(call.stdin))) + conduct.after
        )
        return 0


def _too_old(found: str) -> dict[str, t.Any]:
    return {"code": "powershell_too_old", "detail": {"found": found}}


def _say(emit: Emit, output: tuple[int, str, str]) -> int:
    code, out, err = output
    if out:
        emit.stdout(out.encode("latin-1", "replace"))
    if err:
        emit.stderr(err.encode("latin-1", "replace"))
    return code
