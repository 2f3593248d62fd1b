# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""STARTTLS: what is said in clear until the server waits for a TLS hello (RFC 2487, RFC 2595, RFC 2830)."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from . import ldap
from .ber import BerError
from .dialogues import (
    CUT_OFF,
    LONGEST_HEARD,
    converse_ldap,
    hear_instead_of_ldap,
    hear_speaker,
    is_no_ldap,
    say_goodbye,
)
from .greetings import printable
from .model import Dialogue, Ending, Findings, Hear, Heard, Say, Status, Step, Target

_EHLO = b"EHLO [127.0.0.1]\r\n"
"""RFC 1869 wants a name; an address in brackets is one that needs no look-up and that nobody may claim."""


@dataclass(frozen=True)
class _Command:
    """How a protocol of lines asks for TLS: what is said, the last line of an answer, and the one that agrees.

    Attributes:
        data: The command.
        last: Matches the last line of its answer; others come before it.
        agrees: Matches that line when TLS begins behind it.
        passes: Matches it when another time may be better (RFC 2487 section 4: 454).
    """

    data: bytes
    last: re.Pattern[bytes]
    agrees: re.Pattern[bytes]
    passes: re.Pattern[bytes]


_NEVER = rb"(?!)"


def _command(data: bytes, last: bytes, agrees: bytes, passes: bytes = _NEVER) -> _Command:
    return _Command(data, *(re.compile(pattern, re.IGNORECASE) for pattern in (last, agrees, passes)))


_COMMANDS: t.Mapping[str, _Command] = {
    "smtp": _command(b"STARTTLS\r\n", rb"\d{3}( |$)", rb"220", rb"4"),
    "pop3": _command(b"STLS\r\n", rb"\+OK|-ERR", rb"\+OK"),
    "imap4": _command(b"a STARTTLS\r\n", rb"a ", rb"a OK"),
}
_SMTP_ANSWER = _command(_EHLO, rb"\d{3}( |$)", rb"250", rb"4")
_OFFERED = re.compile(rb"^250[ -]STARTTLS\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class InClear:
    """What came of the words in clear: the findings, and whether the server waits for a TLS hello."""

    findings: Findings
    ready: bool


Asking = t.Generator[Step, Heard, InClear]


def ask_for_tls(target: Target) -> Asking:
    """Hear who speaks and ask for TLS, up to the octet behind which TLS begins."""
    if target.speaks == "ldap":
        return (yield from _ask_ldap(target))
    findings, listens = yield from hear_speaker(target)
    if findings.status is Status.OPEN and not listens:
        detail = "cannot be asked for TLS: it is gone after its greeting, or has not come to the end of it"
        return InClear(replace(findings, status=Status.PROTOCOL_ERROR, detail=detail), False)
    if findings.status is not Status.OPEN:
        if listens and findings.speaks is not None:
            findings = yield from say_goodbye(target, findings, findings.speaks)
        return InClear(findings, False)
    refused = yield from _ask_by_lines(target, findings)
    return InClear(refused or findings, refused is None)


def converse_behind(target: Target, findings: Findings) -> Dialogue:
    """Return the conversation behind TLS; who speaks has been heard before it, but from LDAP."""
    return converse_ldap(target) if target.speaks == "ldap" else say_goodbye(target, findings, target.speaks)


def _ask_by_lines(target: Target, findings: Findings) -> t.Generator[Step, Heard, t.Optional[Findings]]:
    """Return why TLS does not begin, None when it does."""
    if target.speaks == "smtp":
        answer = yield from _ask(_SMTP_ANSWER)
        refusal = _refusal(_SMTP_ANSWER, answer, "EHLO")
        if refusal is None and not _OFFERED.search(answer.heard):
            refusal = Status.NO_TLS, "does not offer STARTTLS in its answer to EHLO"
        if refusal is not None:
            return (yield from _leave(target, findings, answer, refusal))
    command = _COMMANDS[target.speaks]
    name = command.data.split()[-1].decode("ascii")
    answer = yield from _ask(command)
    refusal = _refusal(command, answer, name)
    if refusal is not None:
        return (yield from _leave(target, findings, answer, refusal))
    if answer.more:
        # Somebody between could have put them there, for the client to take them for words said behind TLS.
        return replace(findings, status=Status.PROTOCOL_ERROR, detail=f"goes on in clear behind its answer to {name}")
    return None


@dataclass(frozen=True)
class _Answer:
    """An answer: its lines, its last line, what came behind it, and why no more was heard of it."""

    heard: bytes
    last: bytes = b""
    more: bytes = b""
    ending: Ending | None = None


def _ask(command: _Command) -> t.Generator[Step, Heard, _Answer]:
    yield Say(command.data)
    heard = bytearray()
    while len(heard) <= LONGEST_HEARD:
        chunk = yield Hear()
        if isinstance(chunk, Ending):
            return _Answer(bytes(heard), ending=chunk)
        heard += chunk
        *lines, more = bytes(heard).split(b"\n")
        for number, line in enumerate(lines):
            if command.last.match(line):
                return _Answer(bytes(heard), line.rstrip(), b"\n".join([*lines[number + 1 :], more]))
    return _Answer(bytes(heard))


def _refusal(command: _Command, answer: _Answer, name: str) -> tuple[Status, str] | None:
    """Return the status of a server that does not do as it is told, and why."""
    if answer.ending is Ending.EXPIRED and not answer.heard:
        return Status.SILENT, f"does not answer {name}"
    if not answer.last:
        why = f"more than {LONGEST_HEARD} octets" if answer.ending is None else CUT_OFF[answer.ending]
        said = f" after '{printable(answer.heard.strip())}'" if answer.heard.strip() else ""
        died = answer.ending in (Ending.CLOSED, Ending.RESET) and not answer.heard
        return Status.RESET if died else Status.PROTOCOL_ERROR, f"does not answer {name}{said}: {why}"
    if command.agrees.match(answer.last):
        return None
    status = Status.PROTOCOL_ERROR if command.passes.match(answer.last) else Status.NO_TLS
    return status, f"refuses {name}: '{printable(answer.last)}'"


def _leave(target: Target, findings: Findings, answer: _Answer, refusal: tuple[Status, str]) -> Dialogue:
    if answer.ending is None:
        findings = yield from say_goodbye(target, findings, target.speaks)
    status, detail = refusal
    return replace(findings, status=status, detail=detail)


def _ask_ldap(target: Target) -> Asking:
    yield Say(ldap.starttls_request(message_id=1))
    heard = bytearray()
    while True:
        chunk = yield Hear()
        if isinstance(chunk, Ending):
            return InClear(_ldap_ending(bytes(heard), chunk), False)
        heard += chunk
        if is_no_ldap(heard):
            return InClear((yield from hear_instead_of_ldap(target, bytes(heard))), False)
        try:
            answer = ldap.read_starttls_answer(bytes(heard), message_id=1)
        except BerError as error:
            detail = f"the answer to StartTLS is {error}"
            return InClear(Findings(Status.PROTOCOL_ERROR, detail, None, printable(bytes(heard))), False)
        if answer is not None:
            break
    if answer.result_code == 0 and not answer.disconnects:
        return InClear(Findings(Status.OPEN, "", "ldap"), True)
    yield Say(ldap.unbind_request(message_id=2), farewell=True)
    # Exchange 5.5 is older than StartTLS (RFC 2830, May 2000) and answers so.
    status = Status.PROTOCOL_ERROR if answer.result_code in ldap.FOR_A_WHILE else Status.NO_TLS
    return InClear(Findings(status, f"refuses StartTLS: {answer.name}", "ldap"), False)


def _ldap_ending(heard: bytes, ending: Ending) -> Findings:
    if heard:
        return Findings(Status.PROTOCOL_ERROR, f"an incomplete answer to StartTLS: {CUT_OFF[ending]}", "ldap")
    status = Status.SILENT if ending is Ending.EXPIRED else Status.RESET
    return Findings(status, f"no answer to StartTLS: {CUT_OFF[ending]}")
