# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subject and end of validity of an X.509 certificate, read from its DER bytes without a library.

Certificates of the late 1990s (512-bit keys, MD5, T61String names) are refused by today's libraries, and a probe host
needs nothing but Python. Nothing is verified here. Private to this collection: may change in any release.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from . import ber

_EXPLICIT_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18

_ATTRIBUTES: t.Mapping[bytes, str] = {  # X.520 types and PKCS #9's e-mail address, DER content of their identifiers
    b"\x55\x04\x03": "CN",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01": "emailAddress",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}
_ENCODINGS: t.Mapping[int, str] = {0x0C: "utf-8", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}  # the rest is a byte a letter

_TIME = re.compile(rb"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})?(?:Z|([+-])(\d{2})(\d{2}))")
_LONGEST_SUBJECT = 512


@dataclass(frozen=True)
class Certificate:
    """What a port check tells about a certificate.

    Attributes:
        subject: Name as ``C=US, O=Example, CN=mail.example.com`` in the certificate's own order, printable.
        not_after: End of validity as ``1999-12-31T23:59:59Z``; None when the certificate's text is no time.
    """

    subject: str
    not_after: str | None


def read_certificate(der: bytes) -> Certificate | None:
    """Return subject and end of validity, or None when ``der`` is no certificate."""
    try:
        fields = list(ber.children(next(ber.children(ber.read(der).content)).content))
        if fields and fields[0].tag == _EXPLICIT_VERSION:
            fields = fields[1:]
        # serialNumber, signature, issuer, validity, subject (X.509 section 7.2)
        validity = list(ber.children(fields[3].content))
        return Certificate(_name(fields[4].content), _time(validity[1]))
    except (ValueError, IndexError, StopIteration):  # BerError is a ValueError
        return None


def _name(content: bytes) -> str:
    parts = []
    for relative in ber.children(content):
        for attribute in ber.children(relative.content):
            kind, value = list(ber.children(attribute.content))[:2]
            parts.append(_ATTRIBUTES.get(kind.content, "other") + "=" + _text(value))
    return ", ".join(parts)[:_LONGEST_SUBJECT]


def _text(value: ber.Element) -> str:
    text = value.content.decode(_ENCODINGS.get(value.tag, "latin-1"), errors="replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _time(element: ber.Element) -> str | None:
    match = _TIME.fullmatch(element.content)
    if match is None or element.tag not in (_UTC_TIME, _GENERALIZED_TIME):
        return None
    year, month, day, hour, minute, second = (int(group or 0) for group in match.groups()[:6])
    if len(match[1]) == 2:
        year += 1900 if year >= 50 else 2000  # RFC 2459 section 4.1.2.5.1
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc) - _offset(match)
    except (ValueError, OverflowError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if year >= 1000 else None


def _offset(match: re.Match[bytes]) -> timedelta:
    """Return the local difference of times before RFC 2459, which may carry one instead of Z."""
    if match[7] is None:
        return timedelta()
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    return -offset if match[7] == b"-" else offset
