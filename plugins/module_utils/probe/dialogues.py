# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations of the port probe in clear, as generators without sockets.

Every conversation ends whatever the peer says: it hears a bounded number of octets, and whoever drives it limits the
time. Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing as t

from . import ldap
from .ber import SEQUENCE, BerError
from .greetings import EXCHANGE, LATER, Greeting, printable, read_farewell, read_greeting
from .model import TCP, Dialogue, Ending, Findings, Hear, Heard, LdapFacts, Say, Status, Step, Target

LONGEST_HEARD = 4096
"""Octets of a greeting of several lines; who says more is endless."""

REST_SECONDS = 2.0
"""How long the rest of something may take whose beginning was heard and tells most of it."""

_FAREWELLS: t.Mapping[str, bytes] = {
    "pop3": b"QUIT\r\n",
    "imap4": b"a LOGOUT\r\n",
    "nntp": b"QUIT\r\n",
    "smtp": b"QUIT\r\n",
    "ftp": b"QUIT\r\n",
}
_CONTINUED = re.compile(rb"\d{3}-")  # RFC 821 section 4.2: another line follows
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03")
_TELNET = b"\xff"  # IAC, RFC 854

_GONE = frozenset({Ending.CLOSED, Ending.RESET})

_DIED: t.Mapping[Ending, tuple[Status, str]] = {
    Ending.CLOSED: (Status.RESET, "accepts the connection and closes it without a word"),
    Ending.RESET: (Status.RESET, "accepts the connection and resets it without a word"),
    Ending.EXPIRED: (Status.SILENT, "accepts the connection and says nothing"),
}

HeardGreeting = t.Generator[Step, Heard, "tuple[bytes, Ending | None]"]
"""What was heard, and why no more; None when it is complete."""


def dialogue_for(target: Target) -> Dialogue:
    """Return the conversation in clear that suits a target; TLS is a layer around it."""
    if target.speaks == "ldap":
        return converse_ldap(target)
    if target.speaks == TCP and target.greeting is None:
        return only_connect(Findings(Status.OPEN))
    return _converse_by_lines(target)


def only_connect(findings: Findings) -> Dialogue:
    """Say and hear nothing: that the connection was accepted is all there is to learn."""
    return findings
    yield Hear()  # makes a generator of it


def _converse_by_lines(target: Target) -> Dialogue:
    findings, listens = yield from hear_speaker(target)
    if not listens or findings.speaks is None:
        return findings
    return (yield from say_goodbye(target, findings, findings.speaks))


def hear_speaker(target: Target) -> t.Generator[Step, Heard, tuple[Findings, bool]]:
    """Hear a greeting and judge it; return the findings, and whether the peer may be spoken to.

    It may not when it is gone, and not before it has said all of its greeting: who does is taken for a spammer.
    """
    if target.greeting is None:
        heard, ending = yield from hear_greeting()
        return judge_greeting(target, heard, ending), ending not in _GONE
    pattern = re.compile(target.greeting, re.MULTILINE)
    heard, ending = yield from _hear_pattern(pattern)
    listens = ending not in _GONE and (ending is not None or _is_complete(heard))
    return _judge_by_pattern(pattern, heard, ending), listens


def say_goodbye(target: Target, findings: Findings, protocol: str) -> Dialogue:
    """Leave with the protocol's own word, and read in the answer what the greeting did not tell.

    Args:
        target: What was expected.
        findings: What the greeting came to.
        protocol: What is spoken; nothing is said in one that has no such word.
    """
    farewell = _FAREWELLS.get(protocol)
    if farewell is None:
        return findings
    yield Say(farewell, farewell=True)
    goodbye = yield from _hear_goodbye()
    if findings.version is not None or findings.product != EXCHANGE:
        return findings
    product, version = read_farewell(goodbye)
    if product != LATER:
        return dataclasses.replace(findings, version=version)
    findings = dataclasses.replace(findings, product=product, version=version)
    if target.greeting is not None or findings.status is not Status.OPEN:
        return findings
    return dataclasses.replace(findings, status=Status.FOREIGN, detail=_answers(LATER))


def hear_greeting(begun: bytes = b"", *, rest: float | None = None) -> HeardGreeting:
    """Hear until a greeting is complete, impossible or too long.

    Args:
        begun: What has been heard of it.
        rest: Seconds that every further piece of it may take; None for all the time there is.
    """
    heard = bytearray(begun)
    while not _is_complete(heard):
        chunk = yield Hear(rest)
        if isinstance(chunk, Ending):
            return bytes(heard), chunk
        heard += chunk
    return bytes(heard), None


def _is_complete(heard: bytes | bytearray) -> bool:
    if not heard:
        return False
    if len(heard) > LONGEST_HEARD or not begins_with_text(heard):
        return True
    return any(not _CONTINUED.match(line) for line in heard.split(b"\n")[:-1])


def _greeting_in(heard: bytes) -> bytes:
    """Return the lines of a greeting without what follows them: all that are continued, and the one after them."""
    end = 0
    for line in heard.split(b"\n"):
        end += len(line) + 1
        if not _CONTINUED.match(line):
            break
    return heard[:end]


def _hear_pattern(pattern: re.Pattern[str]) -> HeardGreeting:
    """Hear until the pattern is there or the time is over, whatever form it comes in.

    Whole lines are searched as soon as they have come. A prompt has no line end, so the rest is searched as well, but
    only when nothing has followed for a while: half a line may match what the whole of it does not.
    """
    heard = bytearray()
    rest: float | None = None
    while len(heard) <= LONGEST_HEARD:
        chunk = yield Hear(rest)
        if isinstance(chunk, Ending):
            paused = chunk is Ending.EXPIRED and rest is not None
            if not paused or _finds(pattern, heard):
                return bytes(heard), None if paused else chunk
            rest = None  # no prompt yet: the peer has all the time that is left
            continue
        heard += chunk
        lines = heard[: heard.rfind(b"\n") + 1]
        if _is_complete(lines) and _finds(pattern, lines):
            return bytes(heard), None
        rest = REST_SECONDS
    return bytes(heard), None


def _finds(pattern: re.Pattern[str], heard: bytes | bytearray) -> bool:
    return any(pattern.search(text) for text in _readings(heard))


def _readings(heard: bytes | bytearray) -> t.Iterator[str]:
    """Yield what the octets may read as: nothing says which letters a server means beyond ASCII.

    As UTF-8, where it is that, and octet by octet, which is ISO 8859-1 and lets a pattern name any octet.
    """
    text = bytes(heard).replace(b"\r\n", b"\n").rstrip()
    with contextlib.suppress(UnicodeDecodeError):
        yield text.decode("utf-8")
    yield text.decode("latin-1")


def _hear_goodbye() -> t.Generator[Step, Heard, bytes]:
    """Hear what follows QUIT until the peer closes, so that it is not cut off."""
    heard = bytearray()
    while len(heard) <= LONGEST_HEARD:
        chunk = yield Hear()
        if isinstance(chunk, Ending):
            break
        heard += chunk
    return bytes(heard)


def judge_greeting(target: Target, heard: bytes, ending: Ending | None) -> Findings:
    """Say what the octets that a peer began with make of its port.

    Args:
        target: What was expected.
        heard: First octets, with or without a line end.
        ending: Why no more was heard; None when the greeting was complete.
    """
    if not heard:
        status, detail = _DIED[ending or Ending.CLOSED]
        return Findings(status, detail)
    if not begins_with_text(heard):
        return _judge_binary(heard)
    said = _greeting_in(heard)
    greeting = read_greeting(said)
    if b"\n" not in said:
        why = f"more than {LONGEST_HEARD} octets" if ending is None else CUT_OFF[ending]
        return _told(greeting, Status.PROTOCOL_ERROR, f"a greeting without a line end: {why}")
    return _judge_greeting(target, greeting)


CUT_OFF: t.Mapping[Ending, str] = {
    Ending.CLOSED: "the peer closed",
    Ending.RESET: "the peer reset the connection",
    Ending.EXPIRED: "the time ran out",
}


def begins_with_text(heard: t.Sequence[int]) -> bool:
    """Whether a first octet is one of a line of text, and not of a binary protocol."""
    return 0x20 <= heard[0] < 0x7F or heard[0] in b"\r\n\t"


def _judge_binary(heard: bytes) -> Findings:
    if _TLS_RECORD.match(heard):
        return Findings(Status.FOREIGN, "a TLS server answers here", "tls", printable(heard))
    if heard.startswith(_TELNET):
        return Findings(Status.FOREIGN, "a telnet server answers here", "telnet", printable(heard))
    return Findings(Status.PROTOCOL_ERROR, "binary octets instead of a greeting", None, printable(heard))


def _judge_greeting(target: Target, greeting: Greeting) -> Findings:
    if greeting.speaks is not None and greeting.speaks != target.speaks:
        detail = f"{greeting.speaks} answers here, {target.speaks} was expected"
        return _told(greeting, Status.FOREIGN, detail)
    if not greeting.welcome:
        return _told(greeting, Status.PROTOCOL_ERROR, "greets with a refusal")
    if greeting.is_exchange and greeting.speaks is None:
        return _told(greeting, Status.FOREIGN, f"names {EXCHANGE}, but does not begin as {target.speaks} does")
    if greeting.is_exchange:
        return _told(greeting, Status.OPEN, "")
    return _told(greeting, Status.FOREIGN, _answers(greeting.product))


def _answers(product: str | None) -> str:
    return f"{product or 'another product'} answers here"


def _judge_by_pattern(pattern: re.Pattern[str], heard: bytes, ending: Ending | None) -> Findings:
    """Say whether the pattern of the target was in what a peer said first, and what that was."""
    if not heard:
        status, detail = _DIED[ending or Ending.CLOSED]
        return Findings(status, detail)
    told = _told(read_greeting(heard), Status.OPEN, "")
    if not begins_with_text(heard):
        told = dataclasses.replace(_judge_binary(heard), status=Status.OPEN, detail="")
    if _finds(pattern, heard):
        return told
    why = f"more than {LONGEST_HEARD} octets" if ending is None else CUT_OFF[ending]
    cut_off = ending in _GONE and not heard.endswith(b"\n")
    status = Status.PROTOCOL_ERROR if cut_off else Status.FOREIGN
    detail = f"what came does not match the pattern of the target: {why}"
    return dataclasses.replace(told, status=status, detail=detail)


def _told(greeting: Greeting, status: Status, detail: str) -> Findings:
    return Findings(status, detail, greeting.speaks, greeting.text, greeting.product, greeting.version)


def converse_ldap(target: Target) -> Dialogue:
    """Bind anonymously with version 2, which Exchange 5.0 and 5.5 speak; with version 3 where 2 is refused."""
    last = 1
    findings = yield from _bind(target, message_id=1, version=2)
    if findings.ldap is not None and findings.ldap.result_code == ldap.PROTOCOL_ERROR:
        last = 2
        second = yield from _bind(target, message_id=2, version=3)
        findings = dataclasses.replace(
            second if second.ldap is not None else findings,
            status=Status.FOREIGN,
            detail="this LDAP server refuses version 2, which Exchange 5.0 and 5.5 speak",
        )
    if findings.ldap is not None:
        yield Say(ldap.unbind_request(message_id=last + 1), farewell=True)
    return findings


def _bind(target: Target, *, message_id: int, version: int) -> Dialogue:
    yield Say(ldap.bind_request(message_id=message_id, version=version))
    heard = bytearray()
    while True:
        chunk = yield Hear()
        if isinstance(chunk, Ending):
            return _judge_ldap_ending(bytes(heard), chunk)
        heard += chunk
        if is_no_ldap(heard):
            return (yield from hear_instead_of_ldap(target, bytes(heard)))
        try:
            answer = ldap.read_bind_answer(bytes(heard), message_id=message_id)
        except BerError as error:
            return _no_ldap(error, bytes(heard))
        if answer is not None:
            return _judge_ldap(answer, version)


def is_no_ldap(heard: bytearray) -> bool:
    """Whether another server begins so, one that greets before it hears a request."""
    return begins_with_text(heard) and heard[0] != SEQUENCE


def hear_instead_of_ldap(target: Target, begun: bytes) -> Dialogue:
    """Hear the rest of another server's greeting."""
    whole, ending = yield from hear_greeting(begun, rest=REST_SECONDS)
    return judge_greeting(target, whole, ending)


def _judge_ldap_ending(heard: bytes, ending: Ending) -> Findings:
    if heard:
        return Findings(Status.PROTOCOL_ERROR, f"an incomplete LDAP answer: {CUT_OFF[ending]}", "ldap")
    status, dummy = _DIED[ending]
    return Findings(status, f"no answer to an anonymous bind: {CUT_OFF[ending]}")


def _no_ldap(error: BerError, heard: bytes) -> Findings:
    return Findings(Status.PROTOCOL_ERROR, f"the answer to an anonymous bind is {error}", None, printable(heard))


def _judge_ldap(answer: ldap.Answer, version: int) -> Findings:
    facts = LdapFacts(version, answer.result_code, answer.name, printable(answer.message))
    if answer.disconnects:
        return Findings(Status.PROTOCOL_ERROR, f"the server disconnects: {answer.name}", "ldap", ldap=facts)
    if answer.result_code in ldap.FOR_A_WHILE:
        return Findings(Status.PROTOCOL_ERROR, f"answers that it is {answer.name}", "ldap", ldap=facts)
    # A refused anonymous bind proves the port (the Anonymous tab may forbid it, Q175440).
    return Findings(Status.OPEN, "", "ldap", ldap=facts)
