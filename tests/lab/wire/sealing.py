# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WinRM's message encryption over HTTP: SOAP sealed into ``multipart/encrypted`` parts ([MS-WSMV] 2.2.9.1)."""

from __future__ import annotations

import re
import struct
import typing as t

from spnego.exceptions import SpnegoError

BOUNDARY: t.Final = b"--Encrypted Boundary"
CREDSSP_CHUNK: t.Final = 16 * 1024  # CredSSP seals TLS records, which hold at most 16 KB
_PART = re.compile(
    rb"--Encrypted Boundary\r\n"
    rb"\s*Content-Type: (?P<protocol>[^\r\n]+)\r\n"
    rb"\s*OriginalContent: type=[^\r\n]*;Length=(?P<length>\d+)\r\n"
    rb"--Encrypted Boundary\r\n"
    rb"\s*Content-Type: application/octet-stream\r\n",
    re.IGNORECASE,
)


class SealError(Exception):
    """The sealed parts cannot be opened: damaged, or sealed for another connection."""


class Sealer(t.Protocol):
    """What message encryption needs of a security context; spnego's contexts have it."""

    def wrap_winrm(self, data: bytes) -> tuple[bytes, bytes, int]: ...

    def unwrap_winrm(self, header: bytes, data: bytes) -> bytes: ...


def is_sealed(content_type: str) -> bool:
    """Tell whether a request's Content-Type announces encrypted parts."""
    return content_type.lower().startswith(("multipart/encrypted", "multipart/x-multi-encrypted"))


def unseal(body: bytes, sealer: Sealer) -> bytes:
    """Open every part of a request's body, in order: the stream cipher runs over the whole connection.

    :raises SealError: no parts, a wrong signature, or a length that differs from the one announced.
    """
    message = bytearray()
    position = 0
    while match := _PART.match(body, position):
        end = body.find(BOUNDARY, match.end())
        if end < 0:
            raise SealError("the last part has no end")
        opened = _open_part(body[match.end() : end], sealer)
        if len(opened) != int(match["length"]):
            raise SealError(f"a part holds {len(opened)} bytes where {match['length'].decode()} were announced")
        message += opened
        position = end
    if not position:
        raise SealError("no encrypted part")
    return bytes(message)


def _open_part(payload: bytes, sealer: Sealer) -> bytes:
    if len(payload) < 4:
        raise SealError("a part is shorter than the length of its signature")
    (header_length,) = struct.unpack("<I", payload[:4])
    header, data = payload[4 : 4 + header_length], payload[4 + header_length :]
    try:
        return sealer.unwrap_winrm(header, data)
    except SpnegoError as error:
        raise SealError(str(error)) from error


def seal(message: bytes, sealer: Sealer, *, credssp: bool) -> tuple[str, bytes]:
    """Encrypt an answer.

    :returns: Content-Type and body.
    """
    protocol = "application/HTTP-CredSSP-session-encrypted" if credssp else "application/HTTP-SPNEGO-session-encrypted"
    size = CREDSSP_CHUNK if credssp else max(len(message), 1)
    chunks = [message[start : start + size] for start in range(0, len(message), size)]
    kind = "multipart/x-multi-encrypted" if len(chunks) > 1 else "multipart/encrypted"
    parts = [_sealed_part(chunk, sealer, protocol) for chunk in chunks]
    content_type = f'{kind};protocol="{protocol}";boundary="Encrypted Boundary"'
    return content_type, b"".join([*parts, BOUNDARY, b"--\r\n"])


def _sealed_part(chunk: bytes, sealer: Sealer, protocol: str) -> bytes:
    header, data, padding = sealer.wrap_winrm(chunk)
    head = (
        f"--Encrypted Boundary\r\n\tContent-Type: {protocol}\r\n"
        f"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length={len(chunk) + padding}\r\n"
        "--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"
    )
    return head.encode("ascii") + struct.pack("<I", len(header)) + header + data
