# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who speaks: greeting lines of Exchange 4.0, 5.0 and 5.5, and of what may stand in its place."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

EXCHANGE = "Microsoft Exchange"
LONGEST_GREETING = 512
"""Octets of a greeting that are kept; RFC 821, 977 and 1939 allow no longer line."""


@dataclass(frozen=True)
class Greeting:
    """What a first line says about its speaker.

    Attributes:
        text: The line, printable ASCII, at most 512 octets; what is not printable reads ``?``.
        speaks: Protocol: pop3, imap4, nntp, smtp, or another by its usual name; None when unknown.
        welcome: False when the line refuses service (``-ERR``, ``* BYE``, 4xx, 5xx).
        product: Product by name; `EXCHANGE` only for versions 4.0 to 5.5; None when unknown.
        version: Version as printed, digits and dots; None when the line tells none.
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


# First characters of a line -> protocol and whether it is a welcome. IMAP4 before POP3, because one article prints
# Exchange's IMAP4 greeting with POP3's prefix (Q189326); FTP before SMTP, because both begin with 220.
_OPENINGS: t.Sequence[tuple[re.Pattern[str], str, bool]] = tuple(
    (re.compile(pattern, re.IGNORECASE), protocol, welcome)
    for pattern, protocol, welcome in (
        (r"\+OK Microsoft Exchange IMAP4", "imap4", True),
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

# What is not Exchange 4.0 to 5.5 but could be taken for it, before what is; the first match decides.
_PRODUCTS: t.Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern, re.IGNORECASE), product)
    for pattern, product in (
        (r"Microsoft Exchange (Server )?20\d\d\b", "Microsoft Exchange 2000 or later"),
        (r"The Microsoft Exchange \w+ service is ready", "Microsoft Exchange 2000 or later"),
        (r"Microsoft Exchange (POP3|IMAP4(rev1)?)\b", EXCHANGE),  # Q161118 Q298836 Q217388 Q182618 Q189326
        (r"Microsoft Exchange Internet News Service\b", EXCHANGE),  # Q169459 Q194657
        (r"Microsoft Exchange Internet Mail (Service|Connector)\b", EXCHANGE),  # Q182821 Q194131 Q173656
        (_FOUR_POINT_ZERO.pattern, EXCHANGE),
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
_EXCHANGE_VERSION = re.compile(r"(?:version|Mail (?:Service|Connector)) (\d+(?:\.\d+)+)", re.IGNORECASE)
_LAST_MAJOR = 5
"""Exchange 5.5 is the last version that this collection knows; 6.0 is Exchange 2000."""


def printable(data: bytes) -> str:
    """Return at most 512 octets of ``data`` as printable ASCII, ``?`` for every other octet."""
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in data[:LONGEST_GREETING])


def read_greeting(line: bytes) -> Greeting:
    """Tell who speaks from its first line, which may carry its line end."""
    text = printable(line.rstrip(b"\r\n\t "))
    words = _words(text)
    speaks, welcome = _opening(words)
    product = next((name for pattern, name in _PRODUCTS if pattern.search(words)), None)
    version = _exchange_version(words) if product == EXCHANGE else None
    if version is not None and int(version.split(".")[0]) > _LAST_MAJOR:
        product = "Microsoft Exchange 2000 or later"
    return Greeting(text, speaks, welcome, product, version)


def farewell_version(line: bytes) -> str | None:
    """Return Exchange's version from its last line: IMAP4 names it there in every locale (Q182618, Q189326)."""
    words = _words(printable(line))
    return _exchange_version(words) if "microsoft exchange" in words.lower() else None


def _words(text: str) -> str:
    """Return the text with single blanks: Exchange prints runs of them where a word is missing (Q171435, Q194131)."""
    return " ".join(text.split())


def _opening(words: str) -> tuple[str | None, bool]:
    for pattern, protocol, welcome in _OPENINGS:
        if pattern.match(words):
            return protocol, welcome
    return None, True


def _exchange_version(words: str) -> str | None:
    if _FOUR_POINT_ZERO.search(words):
        return "4.0"
    match = _EXCHANGE_VERSION.search(words)
    return match[1] if match else None
