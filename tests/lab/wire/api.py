# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the wire asks of the simulated hosts, and what it tells them: the seam between transport and simulation.

The wire implements ``tests.lab.wire.server.WireServer``::

    server = WireServer(handler, {"LAB\\\\admin": "secret"}, interceptor, WireSettings())
    await server.start([Binding("127.0.3.1"), Binding("127.0.3.2", http_port=0, https_port=None)])
    server.endpoints["127.0.3.2"].http_port     # the port chosen for 0
    server.counters["127.0.3.2"].requests       # see HostCounters
    server.ca_file                              # the authority that signed every host's certificate, a PEM file
    server.authority.identity("127.0.3.9")      # TLS context and certificate for a listener of another address
    server.failures                             # mistakes of the handler; a test should find none
    await server.stop()

``tests.lab.wire.threaded.running`` does the same on a thread of its own, for code that is not asynchronous.
The simulation implements :class:`CommandHandler` and, to inject faults, :class:`Interceptor`.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

Transport = t.Literal["winrm", "psrp"]
Authentication = t.Literal["ntlm", "basic", "credssp"]


@dataclass(frozen=True)
class Call:
    """One command as it arrived.

    host: loopback address that the client connected to; it is the identity of the simulated machine.
    user: account name as the client authenticated, spelled as in the server's ``users``.
    shell_id: WinRS shell or PSRP runspace pool, upper-case GUID.
    command: the line as cmd.exe would see it, arguments joined by one blank; over psrp the script's text, without the
        line ``exit $LASTEXITCODE`` that Ansible appends.
    stdin: everything the client sent before it closed its standard input; over psrp the pipeline's input, one line
        each, as UTF-8.
    environment: variables that the shell was created with.
    powershell: text of the script when the command is ``powershell ... -EncodedCommand``; over psrp the same as
        ``command``; otherwise None.
    authentication: how the client proved who it is. ``credssp`` and ``basic`` hand the machine credentials for a
        second hop.
    codepage: console code page that the shell asked for (65001: UTF-8); output bytes are sent as they were emitted.
    """

    host: str
    user: str
    shell_id: str
    command: str
    stdin: bytes
    transport: Transport
    environment: Mapping[str, str] = field(default_factory=dict)
    powershell: str | None = None
    authentication: Authentication = "ntlm"
    codepage: int = 437


class Emit(t.Protocol):
    """Output of a running command; the client receives it with its next Receive.

    Over psrp each line of standard output becomes one string in the pipeline's output, and each line of standard
    error one error record.
    """

    def stdout(self, data: bytes) -> None: ...

    def stderr(self, data: bytes) -> None: ...


class CommandHandler(t.Protocol):
    """The simulated machines. One instance serves every address; ``call.host`` tells which one is meant."""

    async def run(self, call: Call, emit: Emit) -> int:
        """Execute one command and return its exit code.

        The task is cancelled when the client sends a terminate Signal, deletes the shell, or lets it idle out; what the
        command has detached by then must live in tasks of the handler's own. A dropped TCP connection cancels nothing.
        An exception is answered as exit code 1 with its text on standard error, and kept in ``WireServer.failures``.
        """


@dataclass(frozen=True)
class Proceed:
    """Nothing happens; the usual answer of an interceptor."""


@dataclass(frozen=True)
class Drop:
    """The TCP connection is reset at once; nothing more is sent on it."""


@dataclass(frozen=True)
class Fault:
    """The operation is answered with a SOAP fault.

    code: WSManFault code, e.g. 2150858793 (``ERROR_WSMAN_OPERATION_TIMEDOUT``).
    text: what Windows would say.
    subcode: WS-Management fault subcode with its prefix.
    """

    code: int
    text: str
    subcode: str = "w:InternalError"


@dataclass(frozen=True)
class QuotaReached:
    """The operation is answered with the fault that Windows sends when the user has used up a quota."""

    of: t.Literal["shells", "processes"] = "shells"


@dataclass(frozen=True)
class NotWindows:
    """Something else than WinRM answers on this connection (only at ``connect``).

    banner: sent at once, as an SSH daemon does, then the connection is closed. Empty: every request is answered with
        HTTP ``status`` and ``body``.
    """

    banner: bytes = b""
    status: int = 404
    body: bytes = b"<html><body><h1>404 Not Found</h1></body></html>"


@dataclass(frozen=True)
class Refuse:
    """The login is answered 401 although its password is right (only at ``authenticate``)."""


Action: t.TypeAlias = Proceed | Drop | Fault | QuotaReached | NotWindows | Refuse

# Points at which an interceptor is asked. `X.before`: the request was understood, nothing has been done yet.
# `X.after`: it has been done, the answer has not been sent; Drop here is the lost answer.
POINTS: t.Final = (
    "connect",
    "authenticate",
    "create.before",
    "create.after",
    "command.before",
    "command.after",
    "send.before",
    "send.after",
    "receive.before",
    "receive.after",
    "signal.before",
    "signal.after",
    "delete.before",
    "delete.after",
)


class Interceptor(t.Protocol):
    """Faults on the wire, asked at every one of :data:`POINTS`."""

    async def at(self, point: str, host: str, detail: Mapping[str, str]) -> Action:
        """Decide what happens at one point; to delay, await before returning.

        detail: what is known there, of ``scheme peer user authentication transport shell_id command_id command``;
            keys that make no sense at the point are missing. ``command`` is the text as in :attr:`Call.command`.
        """


@dataclass(frozen=True)
class Binding:
    """Where one host listens. Port 0: a free one is chosen, see ``WireServer.endpoints``; None: not served."""

    address: str
    http_port: int | None = 5985
    https_port: int | None = 5986


@dataclass(frozen=True)
class WireSettings:
    """Limits of the simulated WinRM service; the defaults are those of Windows Server 2012 and later (winrm/config).

    shells_per_user: MaxShellsPerUser, per host.
    processes_per_shell: MaxProcessesPerShell.
    operations_per_user: MaxConcurrentOperationsPerUser, per host.
    idle_timeout_s: seconds without an operation after which a shell is removed, unless the client asked for less.
    envelope_bytes: largest request body that is read.
    """

    shells_per_user: int = 30
    processes_per_shell: int = 25
    operations_per_user: int = 1500
    idle_timeout_s: float = 7200.0
    envelope_bytes: int = 8 * 1024 * 1024


@dataclass
class HostCounters:
    """What one host saw since the start or the last ``WireServer.reset_counters``.

    connections: TCP connections accepted. connections_open: open now.
    requests: HTTP requests read, authentication round trips included.
    bytes_in, bytes_out: HTTP bytes, heads and bodies, inside TLS where there is TLS.
    executions: commands and pipelines handed to the handler.
    logins, refused_logins: authentications that succeeded or got a bare 401; CredSSP refuses inside its own token,
        which is counted by neither.
    faults: SOAP faults sent. shells_opened: shells created. shells_open: open now. running: commands running now.
    """

    connections: int = 0
    connections_open: int = 0
    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    executions: int = 0
    logins: int = 0
    refused_logins: int = 0
    faults: int = 0
    shells_opened: int = 0
    shells_open: int = 0
    running: int = 0
