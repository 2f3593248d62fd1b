# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets, options and findings of the port probe, and the steps of a conversation."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

from ..listeners import LISTENERS

TCP = "tcp"
"""Protocol of a target of which only the connection counts."""

PROTOCOLS: tuple[str, ...] = (TCP, *LISTENERS)

STARTTLS: tuple[str, ...] = ("smtp", "pop3", "imap4", "ldap")
"""Protocols in clear that may turn to TLS (RFC 2487, RFC 2595, RFC 2830)."""


class Status(str, enum.Enum):
    """What one port turned out to be; documented for users in the module."""

    OPEN = "open"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNRESOLVED = "unresolved"
    RESET = "reset"
    SILENT = "silent"
    FOREIGN = "foreign"
    TLS_ALERT = "tls_alert"
    NO_TLS = "no_tls"
    NO_CERTIFICATE = "no_certificate"
    PROTOCOL_ERROR = "protocol_error"


TAKEN = frozenset({Status.FOREIGN, Status.NO_TLS})
"""Statuses that say that someone else owns the port."""

SATISFYING: t.Mapping[str, frozenset[Status]] = {
    "open": frozenset({Status.OPEN}),
    # A proxy with packet filters drops what is not published, so silence of the network closes a port as well as a
    # refusal; a port that another product answers on is not published either.
    "closed": frozenset({Status.REFUSED, Status.TIMEOUT}) | TAKEN,
    "any": frozenset(Status),
}
"""Expectation -> statuses that satisfy it."""

_SAID: t.Mapping[str, str] = {
    Status.TIMEOUT: "gives no answer",
    Status.UNRESOLVED: "cannot be resolved",
    Status.RESET: "resets the connection",
    Status.FOREIGN: "is somebody else's",
    Status.TLS_ALERT: "refuses TLS",
    Status.NO_TLS: "does not speak TLS",
    Status.NO_CERTIFICATE: "has no certificate",
    Status.PROTOCOL_ERROR: "breaks its protocol",
}


def said_of(status: str) -> str:
    """Return a status as the rest of a sentence that begins with the port, such as ``gives no answer``."""
    return _SAID.get(status, f"is {Status(status).value}")


LASTING = TAKEN
"""Statuses of an expected listener that waiting does not mend."""

FAREWELL_SECONDS = 2.0
"""How long the answer to a goodbye is awaited: the verdict is known by then."""


@dataclass(frozen=True)
class Target:
    """One port to check.

    Attributes:
        host: Name or address.
        port: TCP port.
        protocol: One of `PROTOCOLS`.
        expect: A key of `SATISFYING`.
        server_name: Name to ask for in a modern TLS handshake; the host, when None.
        greeting: Regular expression that decides, instead of the table of greetings, who is no stranger.
        starttls: Whether TLS is asked for in clear, as one of `STARTTLS` can.
    """

    host: str
    port: int
    protocol: str = TCP
    expect: str = "open"
    server_name: str | None = None
    greeting: str | None = None
    starttls: bool = False

    @property
    def speaks(self) -> str:
        """Protocol behind TLS or in clear."""
        return self.protocol if self.protocol == TCP else LISTENERS[self.protocol].protocol

    @property
    def tls(self) -> bool:
        """Whether TLS starts with the connection."""
        return self.protocol != TCP and LISTENERS[self.protocol].tls


@dataclass(frozen=True)
class Options:
    """Limits of a run; times in seconds.

    Attributes:
        timeout: What an attempt may take, from its connection to the verdict. Exchange looks up the name of
            its client before it greets, which takes up to a minute where DNS does not answer (Q258745).
        connect_timeout: The part of it that connecting may take.
        deadline: No attempt but a target's first begins later than this after the start.
        delay: Pause between two attempts at one target.
        concurrency: Connections at one time.
        source_address: Local address of the connections; the system's choice, when None.
    """

    timeout: float = 75.0
    connect_timeout: float = 10.0
    deadline: float = 300.0
    delay: float = 5.0
    concurrency: int = 500
    source_address: str | None = None


@dataclass(frozen=True)
class LdapFacts:
    """The answer to an anonymous bind: LDAP version of the request, result code, its name, the server's message."""

    version: int
    result_code: int
    result: str
    message: str


@dataclass(frozen=True)
class TlsFacts:
    """What a server hello tells.

    Attributes:
        version: ``SSLv2``, ``SSLv3``, ``TLSv1`` ...
        cipher: The cipher chosen; None for SSL 2.0, where the client chooses.
        ciphers: The cipher chosen, or for SSL 2.0 every one that the server accepts.
        subject: The certificate's subject, None without a readable certificate.
        not_after: End of the certificate's validity.
        hello: Which hello was answered: ssl2, ssl3 or modern.
    """

    version: str
    cipher: str | None
    ciphers: tuple[str, ...]
    subject: str | None
    not_after: str | None
    hello: str


@dataclass(frozen=True)
class Findings:
    """The verdict on one conversation.

    Attributes:
        status: What the port is.
        detail: One sentence that says why; empty when the status says it all.
        speaks: Protocol that was heard, None when nothing recognisable was.
        greeting: What was heard first, printable, at most 512 octets; lines are parted by ``|``.
        product: Product that greets.
        version: Its version, for Exchange.
        ldap: For LDAP.
        tls: For TLS.
    """

    status: Status
    detail: str = ""
    speaks: str | None = None
    greeting: str | None = None
    product: str | None = None
    version: str | None = None
    ldap: LdapFacts | None = None
    tls: TlsFacts | None = None


class Ending(enum.Enum):
    """Why nothing more is heard."""

    CLOSED = "closed"
    RESET = "reset"
    EXPIRED = "expired"


Heard = t.Union[bytes, Ending]


@dataclass(frozen=True)
class Say:
    """Send octets; the conversation goes on at once with ``b""``.

    Attributes:
        data: The octets.
        farewell: Whether the verdict is known and this is only good manners, for which `FAREWELL_SECONDS` are left.
        answered: Whether the peer has answered as it should: no other connection follows in this attempt, so all
            its time is for this conversation.
    """

    data: bytes
    farewell: bool = False
    answered: bool = False


@dataclass(frozen=True)
class Hear:
    """Wait for octets or the end of the connection, at most ``seconds`` when given."""

    seconds: float | None = None


Step = t.Union[Say, Hear]
Dialogue = t.Generator[Step, Heard, Findings]
"""A conversation without sockets: it yields steps, is sent what was heard, and returns its findings."""
