# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who speaks: greeting lines of Exchange 4.0, 5.0 and 5.5, and of what may stand in its place."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

EXCHANGE = "Microsoft Exchange"
LATER = "Microsoft Exchange 2000 or later"
LONGEST_GREETING = 512
"""Octets of a greeting that are kept; RFC 821, 977 and 1939 allow no longer line."""
BETWEEN_LINES = " | "
"""What stands for the line ends of a greeting of several lines."""


@dataclass(frozen=True)
class Greeting:
    """What a greeting says about its speaker.

    Attributes:
        text: Its lines, printable ASCII, at most 512 octets; what is not printable reads ``?``.
        speaks: Protocol: pop3, imap4, nntp, smtp, or another by its usual name; None when unknown.
        welcome: False when the line refuses service (``-ERR``, ``* BYE``, 4xx, 5xx).
        product: Product by name; `EXCHANGE` only for versions 4.0 to 5.5; None when unknown.
        version: Exchange's version as printed, digits and dots; None when the greeting tells none.
    """

    text: str
    speaks: str | None
    welcome: bool
    product: str | None
    version: str | None

    @property
    def is_exchange(self) -> bool:
        """Whether Exchange 4.0, 5.0 or 5.5 speaks."""
        return self.product == EXCHANGE


# First characters of a greeting -> protocol and whether it is a welcome. IMAP4 before POP3, because one article prints
# Exchange's IMAP4 greeting with POP3's prefix (Q189326); FTP before SMTP, because both begin with 220.
_OPENINGS: t.Sequence[tuple[re.Pattern[str], str, bool]] = tuple(
    (re.compile(pattern, re.IGNORECASE), protocol, welcome)
    for pattern, protocol, welcome in (
        (r"\+OK (?=.*\bMicrosoft Exchange\b)(?=.*\bIMAP4)(?!.*\bPOP3\b)", "imap4", True),
        (r"\* (OK|PREAUTH)\b", "imap4", True),
        (r"\* BYE\b", "imap4", False),
        (r"\+OK\b", "pop3", True),
        (r"-ERR\b", "pop3", False),
        (r"20[01][ -]", "nntp", True),
        (r"(400|480|50[0-3])[ -].*(news|nntp|transfer permission)", "nntp", False),
        (r"220[ -](?!.*SMTP).*\bFTP\b", "ftp", True),
        (r"220[ -]", "smtp", True),
        (r"(421|[45]5[0-9])[ -]", "smtp", False),
        (r"(400|480|50[23])[ -]", "nntp", False),  # RFC 977 section 2.4.3, RFC 2980 section 3.1
        (r"SSH-\d", "ssh", True),
        (r"HTTP/\d", "http", True),
    )
)

_FOUR_POINT_ZERO = re.compile(r"^220 \S+ service ready\.?$", re.IGNORECASE)  # names no product (Q146157)

# Exchange greets in the language of its setup, so no word of a language is looked for: its name, and either its version
# or the protocol (an IMAP4 of a locale that prints no version, Q182618). Printed by Q161118 Q298836 Q217388 Q182618
# Q189326 (POP3, IMAP4), Q169459 Q194657 (NNTP), Q182821 Q194131 Q173656 (SMTP); nmap knows French, German and Dutch.
_NAME = re.compile(r"\bMicrosoft Exchange\b", re.IGNORECASE)
_PROTOCOL = re.compile(r"\b(POP3|IMAP4rev1|Internet (News|Mail) (Service|Connector))\b", re.IGNORECASE)
# From 2000 on a year may stand behind the name. From 2007 on no version is told, the protocol is IMAP4 without rev1,
# and a POP3 that does not greet in English shows its year when it says goodbye.
_LATER = re.compile(
    r"\bExchange (Server )?20\d\d\b|\bThe Microsoft Exchange \w+ service is ready|(?<!\.)\bIMAP4\b(?!\.\w)",
    re.IGNORECASE,
)
# Four numbers are a version and no IPv4 address when one of them does not fit an octet: every build of 4.0 and later
# has such a number in the third place (837 is the oldest, Q158530).
_FOUR_NUMBERS = re.compile(r"(?<![\w.])\d{1,2}\.\d{1,2}\.\d{1,5}\.\d{1,5}(?!\w|\.\d)")
_MAJORS = range(4, 6)
"""Exchange 4.0 to 5.5; 6.0 is Exchange 2000, and a smaller number that of some program for Exchange."""

# What is no Exchange of any version; the first match decides.
_OTHERS: t.Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.IGNORECASE), product)
    for pattern, product in (
        (r"Microsoft IMAP4Rev1 Server ready at\b", "Microsoft Commercial Internet System"),  # Q230373
        (r"\bMCIS\b", "Microsoft Commercial Internet System"),
        (r"Microsoft (E?SMTP MAIL|SMTP)\b", "Microsoft Internet Information Server"),  # Q146157 Q222553
        (r"^20[01] NNTP Service\b", "Microsoft Internet Information Server"),
        (r"\bDovecot\b", "Dovecot"),
        (r"\bCourier\b", "Courier"),
        (r"\bCyrus\b", "Cyrus"),
        (r"\bPostfix\b", "Postfix"),
        (r"\bExim\b", "Exim"),
        (r"\bSendmail\b", "Sendmail"),
        (r"\bInterNetNews\b|\bINN\b", "InterNetNews"),
        (r"\bLeafnode\b", "Leafnode"),
    )
)


def printable(data: bytes) -> str:
    """Return at most 512 octets of ``data`` as printable ASCII, ``?`` for every other octet."""
    return _ascii(data[:LONGEST_GREETING])


def read_greeting(lines: bytes) -> Greeting:
    """Tell who speaks from a greeting, which may have several lines and carry its line end."""
    parts = [_ascii(line.rstrip(b"\r\t ")) for line in lines.rstrip(b"\r\n\t ").split(b"\n")]
    words = _words(" ".join(parts))
    speaks, welcome = _opening(words)
    product, version = _exchange(words)
    if product is None:
        product = next((name for pattern, name in _OTHERS if pattern.search(words)), None)
    return Greeting(BETWEEN_LINES.join(parts)[:LONGEST_GREETING], speaks, welcome, product, version)


def read_farewell(lines: bytes) -> tuple[str | None, str | None]:
    """Return product and version of an Exchange that says goodbye, as far as it tells.

    IMAP4 names its version there in every locale (Q182618, Q189326), and later versions their year.
    """
    return _exchange(_words(_ascii(lines)))


def _ascii(data: bytes) -> str:
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" if octet not in b"\r\n\t" else " " for octet in data)


def _words(text: str) -> str:
    """Return the text with single blanks: Exchange prints runs of them where a word is missing (Q171435, Q194131)."""
    return " ".join(text.split())


def _opening(words: str) -> tuple[str | None, bool]:
    for pattern, protocol, welcome in _OPENINGS:
        if pattern.match(words):
            return protocol, welcome
    return None, True


def _exchange(words: str) -> tuple[str | None, str | None]:
    """Return which Exchange speaks and its version; None for what is none, or not told."""
    if _FOUR_POINT_ZERO.search(words):
        return EXCHANGE, "4.0"
    if not _NAME.search(words):
        return None, None
    version = next((found for found in _FOUR_NUMBERS.findall(words) if not _is_address(found)), None)
    if version is not None:
        major = int(version.split(".")[0])
        if major in _MAJORS:
            return EXCHANGE, version
        return (LATER, version) if major >= _MAJORS.stop else (None, None)
    if _LATER.search(words):
        return LATER, None
    return (EXCHANGE if _PROTOCOL.search(words) else None), None


def _is_address(numbers: str) -> bool:
    return all(int(number) <= 255 for number in numbers.split("."))
