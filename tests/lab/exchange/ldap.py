# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LDAP as far as a check needs it (RFC 1777, RFC 2251): anonymous bind, a rootDSE search, unbind."""

from __future__ import annotations

import typing as t

BIND_REQUEST: t.Final = 0x60
BIND_RESPONSE: t.Final = 0x61
UNBIND_REQUEST: t.Final = 0x42
SEARCH_REQUEST: t.Final = 0x63
SEARCH_ENTRY: t.Final = 0x64
SEARCH_DONE: t.Final = 0x65
SIMPLE: t.Final = 0x80
SUCCESS: t.Final = 0
PROTOCOL_ERROR: t.Final = 2
INVALID_CREDENTIALS: t.Final = 49
LONGEST_MESSAGE: t.Final = 65536


def encode(tag: int, *contents: bytes) -> bytes:
    """One BER element."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(value: int, tag: int = 0x02) -> bytes:
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def text(value: str) -> bytes:
    return encode(0x04, value.encode())


def decode(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Tag, content and the rest; None while the element is not whole.

    Raises:
        ValueError: This is no element of a sensible length.
    """
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size & 0x80:
        count = size & 0x7F
        if not 0 < count <= 4:
            raise ValueError("unsupported length")
        if len(data) < 2 + count:
            return None
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if size > LONGEST_MESSAGE:
        raise ValueError("too long")
    if len(data) < start + size:
        return None
    return data[0], data[start : start + size], data[start + size :]


def elements(content: bytes) -> list[tuple[int, bytes]]:
    """The elements that a constructed element holds."""
    found = []
    while content:
        element = decode(content)
        if element is None:
            raise ValueError("cut off")
        tag, body, content = element
        found.append((tag, body))
    return found


class LdapConversation:
    """One connection to a directory.

    Args:
        versions: Protocol versions that a bind may ask for.
        naming_context: What the rootDSE names; version 2 has no rootDSE.
    """

    def __init__(self, *, versions: tuple[int, ...], naming_context: str) -> None:
        self.closed = False
        self._versions = versions
        self._context = naming_context
        self._pending = b""

    def greeting(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> bytes:
        self._pending += data
        answer = b""
        try:
            while not self.closed and (message := decode(self._pending)) is not None:
                tag, body, self._pending = message
                answer += self._message(tag, body)
        except (ValueError, IndexError):
            self.closed = True
        return answer

    def _message(self, tag: int, body: bytes) -> bytes:
        if tag != 0x30:
            raise ValueError("no LDAPMessage")
        (dummy, number), (operation, content) = elements(body)[:2]
        if operation == UNBIND_REQUEST:
            self.closed = True
            return b""
        if operation == BIND_REQUEST:
            return self._envelope(number, self._bind(elements(content)))
        if operation == SEARCH_REQUEST:
            return self._search(number, elements(content))
        raise ValueError("unsupported operation")

    def _envelope(self, number: bytes, operation: bytes) -> bytes:
        return encode(0x30, encode(0x02, number), operation)

    def _bind(self, parts: list[tuple[int, bytes]]) -> bytes:
        version = int.from_bytes(parts[0][1], "big")
        if version not in self._versions:
            return _result(BIND_RESPONSE, PROTOCOL_ERROR)
        named = bool(parts[1][1]) or parts[2][0] != SIMPLE or bool(parts[2][1])
        return _result(BIND_RESPONSE, INVALID_CREDENTIALS if named else SUCCESS)

    def _search(self, number: bytes, parts: list[tuple[int, bytes]]) -> bytes:
        base, scope = parts[0][1], int.from_bytes(parts[1][1], "big")
        done = self._envelope(number, _result(SEARCH_DONE, SUCCESS))
        if base or scope or 3 not in self._versions:
            return done
        attributes = _attribute("namingContexts", self._context) + _attribute("supportedLDAPVersion", "2", "3")
        return self._envelope(number, encode(SEARCH_ENTRY, text(""), encode(0x30, attributes))) + done


def _attribute(name: str, *values: str) -> bytes:
    return encode(0x30, text(name), encode(0x31, *map(text, values)))


def _result(tag: int, code: int) -> bytes:
    return encode(tag, integer(code, 0x0A), text(""), text(""))
