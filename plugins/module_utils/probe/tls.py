# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS targets: three hellos of three ages, each sent at most once to a target, until one is answered."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import os
import ssl
import typing as t

from . import tls_hello
from .dialogues import REST_SECONDS, begins_with_text, dialogue_for, hear_greeting, judge_greeting, only_connect
from .model import Dialogue, Ending, Findings, Hear, Heard, Say, Status, Step, Target, TlsFacts
from .ssl3 import HandshakeFailed, Ssl3Channel, can_finish
from .starttls import ask_for_tls, converse_behind
from .x509 import read_certificate

_LONGEST_MODERN_HANDSHAKE = 131072
_RECORDS_PER_CHUNK = 8

_NO_CERTIFICATE = (
    "accepts the connection and drops it at the hello: no certificate is installed for this protocol, or its key is "
    "not bound to the server (event 13002, Q251097)"
)
_CUT_SHORT = "the handshake ends after the server hello"

# Verdicts after which another hello may tell more, the most telling first.
_UNANSWERED = (Status.TLS_ALERT, Status.PROTOCOL_ERROR, Status.SILENT, Status.NO_CERTIFICATE)

_STILL_THERE = "still accepts connections; the rest is what its hello told before, for no hello is sent twice"

# Hellos left -> part of the attempt's remaining time that the next one gets. The first has nearly all of it: it is
# Exchange's, which may look its client's name up before it says a word (Q258745). Whoever answers a later one does so
# at once, and has all the time that is left for the greeting.
_SHARES: t.Mapping[int, float] = {3: 13 / 15, 2: 1 / 2, 1: 1.0, 0: 1.0}

RandomBytes = t.Callable[[int], bytes]

_Inner = t.Callable[[], Dialogue]
"""Makes the conversation behind the handshake."""

_Hello = t.Callable[[_Inner], Dialogue]
"""Makes the conversation that begins with one of the hellos."""


class TlsApproach:
    """Speaks to one TLS target: hello in SSL 2.0's format, SSL 3.0 hello, handshake of today.

    Args:
        target: The target.
        random: Source of random octets.
    """

    def __init__(self, target: Target, *, random: RandomBytes = os.urandom) -> None:
        self._target = target
        self._hellos: list[_Hello] = [
            lambda inner: _offer(target, "ssl2", tls_hello.ssl2_hello(random(16)), inner),
            lambda inner: _offer(target, "ssl3", tls_hello.ssl3_hello(random(32)), inner),
            lambda inner: _handshake(target, inner),
        ]
        self._in_clear: Findings | None = None
        self._unanswered: list[Findings] = []
        self._verdict: Findings | None = None

    def share(self) -> float:
        return _SHARES[len(self._hellos)]

    def dialogue(self) -> Dialogue:
        """Return the next hello's conversation; with none left only the connection is tried."""
        if self._verdict is not None:
            return only_connect(dataclasses.replace(self._verdict, detail=_STILL_THERE))
        hello = self._hellos.pop(0)
        return self._behind_starttls(hello) if self._target.starttls else hello(lambda: dialogue_for(self._target))

    def _behind_starttls(self, hello: _Hello) -> Dialogue:
        """Ask for TLS in clear; a hello is only sent, and spent, when the server waits for one."""
        clear = yield from ask_for_tls(self._target)
        if not clear.ready:
            self._hellos.insert(0, hello)
            self._in_clear = clear.findings
            return clear.findings
        findings = yield from hello(lambda: converse_behind(self._target, clear.findings))
        return _with_greeting(findings, clear.findings)

    def conclude(self, findings: Findings) -> Findings | None:
        if self._verdict is not None:
            return findings
        if findings is self._in_clear or not _was_spoken_to(findings):
            return self._with_what_was_heard(findings)
        if findings.tls is None and findings.status in _UNANSWERED:
            self._unanswered.append(findings)
            if self._hellos:
                return None
            findings = self._most_telling()
        self._verdict = findings
        return findings

    def is_bound(self) -> bool:
        return bool(self._unanswered) and self._verdict is None

    def may_be_starting(self) -> bool:
        """Whether a port that should be open was dropped at the last hello, as by a store that still starts."""
        dropped = bool(self._unanswered) and self._unanswered[-1].status is Status.NO_CERTIFICATE
        return dropped and self._target.expect == "open"

    def _most_telling(self) -> Findings:
        return min(self._unanswered, key=lambda each: _UNANSWERED.index(each.status))

    def _with_what_was_heard(self, findings: Findings) -> Findings:
        if not self._unanswered:
            return findings
        before = f"before that, it {self._most_telling().detail}"
        return dataclasses.replace(findings, detail=f"{findings.detail}; {before}" if findings.detail else before)

    def is_spent(self) -> bool:
        return self._verdict is not None


def _with_greeting(findings: Findings, clear: Findings) -> Findings:
    """Add who has greeted in clear; LDAP does not."""
    if clear.greeting is None:
        return findings
    version = findings.version or clear.version
    product = findings.product or clear.product
    return dataclasses.replace(findings, speaks=clear.speaks, greeting=clear.greeting, product=product, version=version)


def _not_read(target: Target) -> str:
    return _CUT_SHORT if target.starttls else f"the greeting was not read: {_CUT_SHORT}"


def _was_spoken_to(findings: Findings) -> bool:
    """Whether a hello was sent; if not, it is still to be sent when the port accepts a connection."""
    connected = findings.status in _UNANSWERED or findings.status is Status.NO_TLS
    return connected or findings.tls is not None


@dataclasses.dataclass(frozen=True)
class _Reply:
    """What came after a hello: all octets, and their meaning, the error in them, or why no more came."""

    heard: bytes
    answer: tls_hello.HelloAnswer | None = None
    error: ValueError | None = None
    ending: Ending | None = None


def _offer(target: Target, name: str, hello: tls_hello.ClientHello, inner: _Inner) -> Dialogue:
    """Send a hello and read the server's; go on only where the greeting behind it can be reached."""
    yield Say(hello.data)
    reply = yield from _hear_reply()
    if not isinstance(reply.answer, tls_hello.ServerHello):
        return (yield from _conclude_reply(target, name, reply))
    facts = _facts(reply.answer, name)
    flight = yield from _hear_flight(reply)
    if flight is not None and can_finish(flight):
        findings = yield from _finish(target, hello, flight, inner)
        return dataclasses.replace(findings, tls=facts)
    if facts.version != tls_hello.SSL2:  # SSL 2.0 has no alert that says goodbye
        yield Say(tls_hello.CLOSE_NOTIFY, farewell=True)
    detail = _not_read(target) if facts.ciphers else f"{_not_read(target)}, and no cipher is offered in common"
    return Findings(Status.OPEN, detail, "tls", tls=facts)


def _hear_reply() -> t.Generator[Step, Heard, _Reply]:
    heard = bytearray()
    answer: tls_hello.HelloAnswer | None = None
    while len(heard) <= tls_hello.LONGEST_HELLO_ANSWER:
        chunk = yield Hear()
        if isinstance(chunk, Ending):
            return _Reply(bytes(heard), answer, ending=chunk)
        heard += chunk
        try:
            answer = tls_hello.read_hello_answer(bytes(heard))
        except ValueError as error:  # NotTls, Malformed
            return _Reply(bytes(heard), answer, error)
        if isinstance(answer, tls_hello.Alert) or (answer is not None and answer.complete):
            return _Reply(bytes(heard), answer)
    return _Reply(bytes(heard), answer, tls_hello.Malformed("an endless answer"))


def _hear_flight(reply: _Reply) -> t.Generator[Step, Heard, t.Optional[tls_hello.Flight]]:
    """Hear the rest of an SSL 3.0 server's flight; None when it is another version, broken or cut off."""
    heard = bytearray(reply.heard)
    if reply.ending is not None or reply.error is not None or heard[0] & 0x80:
        return None
    while len(heard) <= tls_hello.LONGEST_HELLO_ANSWER:
        try:
            flight = tls_hello.read_flight(bytes(heard))
        except ValueError:
            return None
        if flight is not None:
            return flight
        chunk = yield Hear(REST_SECONDS)
        if isinstance(chunk, Ending):
            return None
        heard += chunk
    return None


def _conclude_reply(target: Target, name: str, reply: _Reply) -> Dialogue:
    """Judge an answer without a server hello; of one in clear the whole line is heard, for it names its speaker."""
    if isinstance(reply.error, tls_hello.NotTls):
        heard, dummy = yield from hear_greeting(reply.heard, rest=REST_SECONDS)
        return _judge_clear_text(target, heard)
    return _judge_reply(name, reply)


def _judge_reply(name: str, reply: _Reply) -> Findings:
    if isinstance(reply.answer, tls_hello.Alert):
        return Findings(Status.TLS_ALERT, f"refuses the {name} hello: {reply.answer.name}", "tls")
    if reply.error is not None:
        return Findings(Status.PROTOCOL_ERROR, f"the answer to the {name} hello is {reply.error}", "tls")
    if reply.heard:
        return Findings(Status.PROTOCOL_ERROR, f"an incomplete answer to the {name} hello", "tls")
    if reply.ending is Ending.EXPIRED:
        return Findings(Status.SILENT, f"accepts the connection and does not answer the {name} hello")
    return Findings(Status.NO_CERTIFICATE, _NO_CERTIFICATE)


def _judge_clear_text(target: Target, heard: bytes) -> Findings:
    """Name who answers in clear on a TLS port."""
    found = judge_greeting(dataclasses.replace(target, greeting=None), heard, Ending.CLOSED)
    if not begins_with_text(heard):
        return dataclasses.replace(found, detail="the answer to the hello is neither TLS nor text")
    return dataclasses.replace(found, status=Status.NO_TLS, detail="answers in clear, not with TLS")


def _facts(hello: tls_hello.ServerHello, name: str) -> TlsFacts:
    certificate = read_certificate(hello.certificate)
    return TlsFacts(
        version=hello.version,
        cipher=None if hello.version == tls_hello.SSL2 else hello.ciphers[0],
        ciphers=hello.ciphers,
        subject=None if certificate is None else certificate.subject,
        not_after=None if certificate is None else certificate.not_after,
        hello=name,
    )


# --- behind the handshake ---------------------------------------------------------------------------------------


class Channel(t.Protocol):
    """An encrypted connection without a socket."""

    def seal(self, data: bytes) -> bytes:
        """Return the octets that carry ``data``."""

    def open(self, data: bytes) -> Heard:
        """Return what the octets carry; ``b""`` when more are needed."""

    def close(self) -> bytes:
        """Return the octets that say goodbye."""


def speak_through(channel: Channel, inner: Dialogue, *, early: bytes = b"") -> Dialogue:
    """Hold the conversation ``inner`` through an encrypted channel.

    Args:
        channel: The channel, its handshake finished.
        inner: The conversation.
        early: What the channel carried together with the end of the handshake.
    """
    step = _first(inner)
    while True:
        heard: Heard = b""
        if isinstance(step, Say):
            yield Say(channel.seal(step.data), step.farewell)
        elif early:
            heard, early = early, b""
        else:
            heard = yield from _hear_through(channel, step)
        try:
            step = inner.send(heard)
        except StopIteration as stop:
            yield Say(channel.close(), farewell=True)
            return t.cast(Findings, stop.value)


def _first(inner: Dialogue) -> Step:
    return next(inner)  # every conversation that a TLS target has begins with a step


def _hear_through(channel: Channel, step: Hear) -> t.Generator[Step, Heard, Heard]:
    carried = channel.open(b"")
    while carried == b"":
        chunk = yield step
        if isinstance(chunk, Ending):
            return chunk
        carried = channel.open(chunk)
    return carried


def _finish(target: Target, hello: tls_hello.ClientHello, flight: tls_hello.Flight, inner: _Inner) -> Dialogue:
    """Finish an SSL 3.0 handshake and converse behind it; a failure leaves what the server hello told."""
    try:
        channel = Ssl3Channel(hello, flight)
    except HandshakeFailed as error:
        yield Say(tls_hello.CLOSE_NOTIFY, farewell=True)
        return Findings(Status.OPEN, f"{_not_read(target)} ({error})", "tls")
    yield Say(channel.outgoing(), answered=True)
    carried: Heard = b""
    while not channel.finished:
        chunk = yield Hear()
        carried = chunk if isinstance(chunk, Ending) else channel.open(chunk)
        if isinstance(carried, Ending):
            return Findings(Status.OPEN, f"{_not_read(target)} (the server ends it)", "tls")
    return (yield from speak_through(channel, inner(), early=t.cast(bytes, carried)))


class _OpenSslChannel:
    """A connection of today's TLS through OpenSSL's memory buffers."""

    def __init__(self, target: Target) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = _wrap(target, self._incoming, self._outgoing)

    def shake(self, data: bytes) -> bool:
        """Take octets from the peer; return whether the handshake is done.

        Raises:
            ssl.SSLError: It failed.
        """
        self._incoming.write(data)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    def facts(self) -> TlsFacts:
        certificate = read_certificate(self._session.getpeercert(binary_form=True) or b"")
        cipher = (self._session.cipher() or ("unknown",))[0]
        return TlsFacts(
            version=self._session.version() or "unknown",
            cipher=cipher,
            ciphers=(cipher,),
            subject=None if certificate is None else certificate.subject,
            not_after=None if certificate is None else certificate.not_after,
            hello="modern",
        )

    def seal(self, data: bytes) -> bytes:
        with contextlib.suppress(ssl.SSLError):  # the peer broke the connection: its end is heard next
            self._session.write(data)
        return self.outgoing()

    def open(self, data: bytes) -> Heard:
        self._incoming.write(data)
        try:
            return self._session.read(_RECORDS_PER_CHUNK * 512) or Ending.CLOSED
        except ssl.SSLWantReadError:
            return b""
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return Ending.CLOSED
        except ssl.SSLError:
            return Ending.RESET

    def close(self) -> bytes:
        with contextlib.suppress(ssl.SSLError, ValueError):  # it wants the peer's goodbye, which nobody waits for
            self._session.unwrap()
        return self.outgoing()


def _handshake(target: Target, inner: _Inner) -> Dialogue:
    """Shake hands as OpenSSL does today, from TLS 1.0 to 1.3, without verifying anything."""
    channel = _OpenSslChannel(target)
    heard = bytearray()
    chunk: Heard = b""
    while isinstance(chunk, bytes) and len(heard) <= _LONGEST_MODERN_HANDSHAKE:
        heard += chunk
        try:
            done = channel.shake(chunk)
        except ssl.SSLError as error:
            yield Say(channel.outgoing(), farewell=True)
            return (yield from _conclude_failure(target, bytes(heard), error))
        yield Say(channel.outgoing())
        if done:
            facts = channel.facts()  # now: OpenSSL forgets the peer's certificate when the session breaks later
            findings = yield from speak_through(channel, inner())
            return dataclasses.replace(findings, tls=facts)
        chunk = yield Hear()
    if isinstance(chunk, bytes):
        return Findings(Status.PROTOCOL_ERROR, "an endless handshake", "tls")
    return _judge_reply("modern", _Reply(bytes(heard), ending=chunk))


def _conclude_failure(target: Target, heard: bytes, error: ssl.SSLError) -> Dialogue:
    """Say why OpenSSL gave up: an alert, a server hello that it cannot go on from, or no TLS at all."""
    try:
        answer = tls_hello.read_hello_answer(heard)
    except tls_hello.NotTls as clear:
        return (yield from _conclude_reply(target, "modern", _Reply(heard, error=clear)))
    except tls_hello.Malformed:
        answer = None
    reason = (error.reason or "broken TLS").replace("_", " ").lower()
    if isinstance(answer, tls_hello.ServerHello):
        return Findings(Status.OPEN, f"{_not_read(target)} ({reason})", "tls", tls=_facts(answer, "modern"))
    if answer is not None:
        return _judge_reply("modern", _Reply(heard, answer))
    return Findings(Status.PROTOCOL_ERROR, f"the modern handshake fails: {reason}", "tls")


@functools.lru_cache(maxsize=None)
def _context() -> ssl.SSLContext:
    """Return a client that takes whatever OpenSSL still has: a port check trusts nobody and refuses nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)  # Python 3.12 names it, OpenSSL 3 wants it
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
    except ssl.SSLError:
        context.set_ciphers("ALL")  # a TLS library without security levels
    return context


def _wrap(target: Target, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
    name = target.server_name or _name_only(target.host)
    try:
        return _context().wrap_bio(incoming, outgoing, server_hostname=name)
    except (TypeError, ValueError):  # a name that SNI cannot carry: with NUL, not for IDNA (UnicodeError), too long
        return _context().wrap_bio(incoming, outgoing)


def _name_only(host: str) -> str | None:
    """Return a host name, None for an address: RFC 6066 section 3 forbids addresses."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None
