# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The little of BER (ITU-T X.690) that LDAP's bind and a certificate's head need."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
SEQUENCE = 0x30
SET = 0x31

_LONGEST_LENGTH_FIELD = 4


class BerError(ValueError):
    """The bytes are not BER as LDAP (RFC 1777, section 5) or DER restrict it."""


class Truncated(BerError):
    """The bytes are the beginning of an element; more of them may complete it."""


@dataclass(frozen=True)
class Element:
    """One element.

    Attributes:
        tag: The identifier octet.
        content: The content octets.
        end: Offset of the octet behind the element.
    """

    tag: int
    content: bytes
    end: int


def read(data: bytes, offset: int = 0) -> Element:
    """Read the element that begins at ``offset``.

    Raises:
        Truncated: The element is longer than the bytes at hand.
        BerError: A tag number above 30, an indefinite length, or a length field of more than four octets.
    """
    if len(data) < offset + 2:
        raise Truncated("element without a length")
    tag = data[offset]
    if tag & 0x1F == 0x1F:
        raise BerError("tag numbers above 30 are not used here")
    length, start = _length(data, offset + 1)
    if len(data) < start + length:
        raise Truncated(f"element of {length} octets has {len(data) - start}")
    return Element(tag, data[start : start + length], start + length)


def children(content: bytes) -> t.Iterator[Element]:
    """Yield the elements that ``content`` consists of.

    Raises:
        BerError: As `read`.
    """
    offset = 0
    while offset < len(content):
        element = read(content, offset)
        yield element
        offset = element.end


def integer(content: bytes) -> int:
    """Return the value of INTEGER or ENUMERATED content.

    Raises:
        BerError: No content, or more than eight octets.
    """
    if not 1 <= len(content) <= 8:
        raise BerError(f"integer of {len(content)} octets")
    return int.from_bytes(content, "big", signed=True)


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one element with ``contents`` joined; at most 65,535 octets."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


def encode_integer(value: int, tag: int = INTEGER) -> bytes:
    """Return a non-negative INTEGER (or, by ``tag``, ENUMERATED) element."""
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _length(data: bytes, offset: int) -> tuple[int, int]:
    """Return the length and the offset of the content."""
    first = data[offset]
    if first < 0x80:
        return first, offset + 1
    octets = first & 0x7F
    if not 1 <= octets <= _LONGEST_LENGTH_FIELD:
        raise BerError(f"length field 0x{first:02x}")
    field = data[offset + 1 : offset + 1 + octets]
    if len(field) < octets:
        raise Truncated("incomplete length field")
    return int.from_bytes(field, "big"), offset + 1 + octets
