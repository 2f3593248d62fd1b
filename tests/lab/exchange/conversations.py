# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulated servers say: greetings as documented for each version, and enough answers for real clients."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from .ldap import LdapConversation
from .products import BUILDS, Installation

Reply: t.TypeAlias = Callable[[str, str], str | None]


class Conversation(t.Protocol):
    """One connection, as bytes in and bytes out."""

    closed: bool

    def greeting(self) -> bytes:
        """What the server says first; empty when the client speaks first."""

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent, and return the answer."""


class LineConversation:
    """A line protocol: a greeting, and one answer per line.

    Args:
        greeting: Without its end of line.
        reply: Answers (verb, whole line) without the last end of line; None closes without a word.
        farewell: Start of the answer after which the server closes.
    """

    def __init__(self, greeting: str, reply: Reply, farewell: tuple[str, ...]) -> None:
        self.closed = False
        self._greeting = greeting
        self._reply = reply
        self._farewell = farewell
        self._pending = b""

    def greeting(self) -> bytes:
        return self._greeting.encode("ascii") + b"\r\n"

    def feed(self, data: bytes) -> bytes:
        self._pending += data
        answers: list[str] = []
        while b"\n" in self._pending and not self.closed:
            raw, self._pending = self._pending.split(b"\n", 1)
            line = raw.decode("ascii", "replace").strip()
            answer = self._reply(line.partition(" ")[0].upper(), line)
            if answer is None:
                self.closed = True
                break
            answers.append(answer)
            self.closed = any(part.startswith(self._farewell) for part in answer.split("\r\n"))
        return "".join(f"{answer}\r\n" for answer in answers).encode("ascii")


def pop3(exchange: Installation) -> Conversation:
    product = f"Microsoft Exchange POP3 server version {BUILDS[exchange.version][1]}"  # Q161118, Q298836
    answers = {
        "USER": "+OK",
        "PASS": "-ERR Logon failure: unknown user name or bad password.",
        "QUIT": f"+OK {product} signing off",
        "NOOP": "-ERR Protocol error",  # nobody is logged on
        "STAT": "-ERR Protocol error",
        "AUTH": "-ERR The specified authentication package is not supported.",
    }
    unknown = "-ERR Protocol error"
    farewell = (f"+OK {product} signing",)
    return LineConversation(f"+OK {product} ready", lambda verb, _line: answers.get(verb, unknown), farewell)


def imap4(exchange: Installation) -> Conversation:
    product = f"Microsoft Exchange IMAP4rev1 server version {BUILDS[exchange.version][1]}"  # Q217388, Q189326

    def reply(_verb: str, line: str) -> str | None:
        tag, dummy, command = line.partition(" ")
        verb = command.partition(" ")[0].upper()
        if verb == "LOGOUT":
            return f"* BYE {product} signing off\r\n{tag} OK LOGOUT completed."
        if verb == "CAPABILITY":
            capabilities = "IMAP4 IMAP4rev1 IDLE LITERAL+ LOGIN-REFERRALS MAILBOX-REFERRALS AUTH=NTLM"
            return f"* CAPABILITY {capabilities}\r\n{tag} OK CAPABILITY completed."
        if verb == "NOOP":
            return f"{tag} OK NOOP completed."
        if verb == "LOGIN":
            return f"{tag} NO Logon failure: unknown user name or bad password."
        return f'{tag or "*"} BAD Protocol Error: "Unidentifiable command specified".'

    return LineConversation(f"* OK {product} ({exchange.fqdn}) ready", reply, ("* BYE",))


def nntp(exchange: Installation) -> Conversation:
    posting = "200", "(posting allowed)"
    if exchange.version == "5.0":
        posting = "201", "(no posting)"  # Q169459
    version = BUILDS[exchange.version][1]
    greeting = f"{posting[0]} Microsoft Exchange Internet News Service Version {version} {posting[1]}"  # Q194657
    answers = {
        "QUIT": "205 closing connection - goodbye!",
        "MODE": greeting,
        "LIST": "480 Logon Required",
        "GROUP": "480 Logon Required",
        "HELP": "100 Legal commands\r\n  help\r\n  mode\r\n  quit\r\n.",
    }
    return LineConversation(greeting, lambda verb, _line: answers.get(verb, "500 Command Not Recognized"), ("205",))


def _smtp_greeting(exchange: Installation) -> str:
    build = BUILDS[exchange.version][2]
    if exchange.version == "4.0":
        return f"220 {exchange.fqdn} service ready"  # Q146157
    if exchange.version == "5.0":
        return f"220 {exchange.fqdn} Microsoft Exchange Internet Mail Service {build} ready"  # Q182821
    return f"220 {exchange.fqdn} ESMTP Server (Microsoft Exchange Internet Mail Service {build}) ready"  # Q173656


def smtp(exchange: Installation) -> Conversation:
    extended = exchange.version == "5.5"

    def reply(verb: str, line: str) -> str | None:
        name = line.partition(" ")[2] or "you"
        if verb == "EHLO" and extended:
            offers = ("XEXCH50", "HELP", "ETRN", "DSN", "SIZE 0")
            lines = [f"250-{exchange.fqdn} Hello [{name}]", *(f"250-{offer}" for offer in offers), "250 AUTH LOGIN"]
            return "\r\n".join(lines)
        answers = {
            "HELO": f"250 OK {exchange.fqdn} Hello [{name}]",
            "NOOP": "250 OK",
            "RSET": "250 OK - Reset",
            "MAIL": "250 OK - mail from",
            "RCPT": "550 Relaying is prohibited",
            "QUIT": "221 closing connection",
        }
        return answers.get(verb, "500 Command unrecognized")

    return LineConversation(_smtp_greeting(exchange), reply, ("221",))


def ldap(exchange: Installation) -> Conversation:
    return LdapConversation(versions=(2,) if exchange.version == "5.0" else (2, 3), naming_context="o=Lab")


SPEAKERS: t.Final[t.Mapping[str, Callable[[Installation], Conversation]]] = {
    "pop3": pop3,
    "imap4": imap4,
    "nntp": nntp,
    "smtp": smtp,
    "ldap": ldap,
}


class Banner:
    """Some other program: it sends one line and answers nothing."""

    def __init__(self, line: str) -> None:
        self.closed = False
        self._line = line

    def greeting(self) -> bytes:
        return self._line.encode("latin-1") + b"\r\n" if self._line else b""

    def feed(self, _data: bytes) -> bytes:
        return b""
