# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hello messages of SSL 2.0 and SSL 3.0 as bytes, and readers of what a server answers to them.

Today's OpenSSL speaks neither version, nor RC4, DES or the export ciphers that servers of 1997 to 2000 insist on
(Q187498, Q164036). A server's hello names version, cipher and certificate before any cryptography begins, so a hello
is all that a port check needs. Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

LONGEST_ANSWER = 32768
"""Octets of an answer that are read: a certificate chain of that time has less than 4,000."""

SSL2 = "SSLv2"
_VERSIONS: t.Mapping[int, str] = {  # names as Python's ssl module prints them
    0x0002: SSL2,
    0x0300: "SSLv3",
    0x0301: "TLSv1",
    0x0302: "TLSv1.1",
    0x0303: "TLSv1.2",
    0x0304: "TLSv1.3",
}
_SSL3_CIPHERS: t.Mapping[int, str] = {  # SSL 3.0 appendix A.6; the 1024-bit ones: draft-ietf-tls-56-bit-ciphersuites
    0x0005: "SSL_RSA_WITH_RC4_128_SHA",
    0x0004: "SSL_RSA_WITH_RC4_128_MD5",
    0x000A: "SSL_RSA_WITH_3DES_EDE_CBC_SHA",
    0x0009: "SSL_RSA_WITH_DES_CBC_SHA",
    0x0064: "SSL_RSA_EXPORT1024_WITH_RC4_56_SHA",
    0x0062: "SSL_RSA_EXPORT1024_WITH_DES_CBC_SHA",
    0x0003: "SSL_RSA_EXPORT_WITH_RC4_40_MD5",
    0x0006: "SSL_RSA_EXPORT_WITH_RC2_CBC_40_MD5",
    0x0008: "SSL_RSA_EXPORT_WITH_DES40_CBC_SHA",
}
_SSL2_CIPHERS: t.Mapping[int, str] = {  # SSL 2.0 specification, section 5.5.1 (CIPHER-KIND)
    0x010080: "SSL2_RC4_128_WITH_MD5",
    0x0700C0: "SSL2_DES_192_EDE3_CBC_WITH_MD5",
    0x030080: "SSL2_RC2_128_CBC_WITH_MD5",
    0x060040: "SSL2_DES_64_CBC_WITH_MD5",
    0x020080: "SSL2_RC4_128_EXPORT40_WITH_MD5",
    0x040080: "SSL2_RC2_128_CBC_EXPORT40_WITH_MD5",
}
_ALERTS: t.Mapping[int, str] = {  # RFC 2246 section 7.2, SSL 3.0 section 5.4
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    47: "illegal_parameter",
    50: "decode_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    112: "unrecognized_name",
}
_SSL2_ERRORS: t.Mapping[int, str] = {1: "no_cipher", 2: "no_certificate", 4: "bad_certificate", 6: "certificate_type"}

_ALERT = 21
_HANDSHAKE = 22
_SERVER_HELLO = 2
_CERTIFICATE = 11
_HELLO_DONE = 14
_SSL2_ERROR = 0
_SSL2_CLIENT_HELLO = 1
_SSL2_SERVER_HELLO = 4

CLOSE_NOTIFY = bytes((_ALERT, 3, 0, 0, 2, 1, 0))


class NotTls(ValueError):
    """The answer begins like neither SSL 2.0 nor a record of SSL 3.0 or TLS."""


class Malformed(ValueError):
    """The answer begins like SSL or TLS and then breaks their rules."""


@dataclass(frozen=True)
class ServerHello:
    """A server's choice.

    Attributes:
        version: ``SSLv2``, ``SSLv3``, ``TLSv1`` ..., or ``0x....`` for an unknown one.
        ciphers: The chosen cipher; for SSL 2.0 every cipher that the server accepts of ours.
        certificate: DER bytes of the server's own certificate, empty when it sent none.
        complete: Whether nothing more is to be expected about the certificate.
    """

    version: str
    ciphers: tuple[str, ...]
    certificate: bytes = field(default=b"", repr=False)
    complete: bool = True


@dataclass(frozen=True)
class Alert:
    """A refusal: it proves TLS and names neither version nor certificate."""

    name: str


Answer = t.Union[ServerHello, Alert]


@dataclass(frozen=True)
class ClientHello:
    """A hello to send.

    Attributes:
        data: The octets on the wire.
        message: The octets that both sides hash, the hello without its record's head.
        random: The 32 octets that keys are derived from.
    """

    data: bytes
    message: bytes
    random: bytes


def ssl2_hello(challenge: bytes) -> ClientHello:
    """Return a hello in SSL 2.0's format that offers SSL 2.0 and 3.0, and no extension (SSL 3.0, appendix E).

    Args:
        challenge: 16 random octets.
    """
    specs = b"".join(code.to_bytes(3, "big") for code in (*_SSL3_CIPHERS, *_SSL2_CIPHERS))
    lengths = b"".join(length.to_bytes(2, "big") for length in (len(specs), 0, len(challenge)))
    message = bytes((_SSL2_CLIENT_HELLO, 3, 0)) + lengths + specs + challenge
    return ClientHello((0x8000 | len(message)).to_bytes(2, "big") + message, message, challenge.rjust(32, b"\0"))


def ssl3_hello(random: bytes) -> ClientHello:
    """Return a hello in SSL 3.0's record format, without extensions (SSL 3.0, section 5.6.1.2).

    Args:
        random: 32 random octets.
    """
    suites = b"".join(code.to_bytes(2, "big") for code in _SSL3_CIPHERS)
    body = b"\x03\x00" + random + b"\x00" + len(suites).to_bytes(2, "big") + suites + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return ClientHello(bytes((_HANDSHAKE, 3, 0)) + len(message).to_bytes(2, "big") + message, message, random)


def read_answer(data: bytes) -> Answer | None:
    """Return what the server answered, or None when more octets are needed.

    A hello whose certificate has not arrived yet is returned with ``complete=False``.

    Raises:
        NotTls: The answer is no SSL or TLS at all.
        Malformed: It is broken.
    """
    if not data:
        return None
    if data[0] & 0x80:
        return _read_ssl2(data)
    if data[0] not in (_ALERT, _HANDSHAKE) or data[1:2] not in (b"", b"\x03"):
        raise NotTls(f"first octets {data[:4].hex()}")
    return _read_records(data)


def version_name(code: int) -> str:
    """Return a version's name."""
    return _VERSIONS.get(code, f"0x{code:04x}")


def cipher_name(code: int) -> str:
    """Return an SSL 3.0 suite's name."""
    return _SSL3_CIPHERS.get(code, f"0x{code:04x}")


def _read_ssl2(data: bytes) -> Answer | None:
    if len(data) < 3:
        return None
    length = int.from_bytes(data[:2], "big") & 0x7FFF
    if length == 0 or data[2] not in (_SSL2_ERROR, _SSL2_SERVER_HELLO):
        raise NotTls(f"first octets {data[:4].hex()}")
    body = data[2 : 2 + length]
    if len(body) < length:
        return None
    if body[0] == _SSL2_ERROR:
        return _ssl2_error(body)
    return _ssl2_server_hello(body)


def _ssl2_error(body: bytes) -> Alert:
    if len(body) != 3:
        raise NotTls(f"an SSL 2.0 error message of {len(body)} octets")
    code = int.from_bytes(body[1:3], "big")
    return Alert(_SSL2_ERRORS.get(code, f"error {code}"))


def _ssl2_server_hello(body: bytes) -> ServerHello:
    """SSL 2.0 specification, section 2.6: a fixed head of 11 octets, certificate, ciphers, connection id."""
    if len(body) < 11:
        raise Malformed("an SSL 2.0 server hello without its head")
    version, certificate_length, specs_length, id_length = (
        int.from_bytes(body[at : at + 2], "big") for at in (3, 5, 7, 9)
    )
    if version != 0x0002 or len(body) != 11 + certificate_length + specs_length + id_length or specs_length % 3:
        raise Malformed("an SSL 2.0 server hello whose lengths disagree")
    specs = body[11 + certificate_length :][:specs_length]
    codes = [int.from_bytes(specs[at : at + 3], "big") for at in range(0, specs_length, 3)]
    offered = dict.fromkeys(_SSL2_CIPHERS[code] for code in codes if code in _SSL2_CIPHERS)  # others say nothing to us
    return ServerHello(version_name(version), tuple(offered), body[11 : 11 + certificate_length])


@dataclass(frozen=True)
class Flight:
    """Everything that an SSL 3.0 server says up to its "hello done".

    Attributes:
        version: Version code.
        cipher: Suite code.
        random: The server's 32 octets.
        kinds: Message types, in order.
        certificate: DER bytes of the server's certificate.
        messages: All messages as both sides hash them.
    """

    version: int
    cipher: int
    random: bytes
    kinds: tuple[int, ...]
    certificate: bytes = field(repr=False)
    messages: bytes = field(repr=False)


PLAIN_RSA_FLIGHT = (_SERVER_HELLO, _CERTIFICATE, _HELLO_DONE)
"""Server hello, certificate, hello done: the key exchange that needs nothing but the certificate's key."""


def read_flight(data: bytes) -> Flight | None:
    """Return the server's whole flight, or None while its "hello done" is missing.

    Raises:
        Malformed: It is broken.
    """
    handshake = bytearray()
    offset = 0
    while len(data) >= offset + 5 and data[offset] == _HANDSHAKE:
        length = int.from_bytes(data[offset + 3 : offset + 5], "big")
        handshake += data[offset + 5 : offset + 5 + length]
        offset += 5 + length
    messages = list(_messages(bytes(handshake)))
    if not messages or messages[-1][0] != _HELLO_DONE:
        return None
    hello = messages[0][1]
    _server_hello(hello)  # checks lengths
    chosen = 35 + hello[34]
    certificates = [body for kind, body in messages if kind == _CERTIFICATE]
    return Flight(
        version=int.from_bytes(hello[:2], "big"),
        cipher=int.from_bytes(hello[chosen : chosen + 2], "big"),
        random=hello[2:34],
        kinds=tuple(kind for kind, dummy in messages),
        certificate=_first_certificate(certificates[0]) if certificates else b"",
        messages=bytes(handshake),
    )


def _read_records(data: bytes) -> Answer | None:
    """Collect the handshake's octets out of its records, then read its messages."""
    handshake = bytearray()
    offset = 0
    while len(data) >= offset + 5:
        kind, major, length = data[offset], data[offset + 1], int.from_bytes(data[offset + 3 : offset + 5], "big")
        if major != 3 or length > 0x4800:
            raise Malformed("a record with an impossible head")
        body = data[offset + 5 : offset + 5 + length]
        if kind == _ALERT and not handshake:
            return _alert(body) if len(body) == length else None
        if kind != _HANDSHAKE:
            return _read_messages(bytes(handshake), ended=True)
        handshake += body
        offset += 5 + length
    return _read_messages(bytes(handshake), ended=False)


def _alert(body: bytes) -> Alert:
    if len(body) != 2:
        raise Malformed(f"an alert of {len(body)} octets")
    return Alert(_ALERTS.get(body[1], f"alert {body[1]}"))


def _read_messages(handshake: bytes, *, ended: bool) -> Answer | None:
    if not handshake:
        return None
    if handshake[0] != _SERVER_HELLO:
        raise Malformed(f"a handshake that begins with message {handshake[0]}")
    messages = list(_messages(handshake))
    if not messages:
        return None
    hello = _server_hello(messages[0][1])
    if len(messages) == 1:
        return ServerHello(hello.version, hello.ciphers, complete=ended)
    kind, body = messages[1]
    return ServerHello(hello.version, hello.ciphers, _first_certificate(body) if kind == _CERTIFICATE else b"")


def _messages(handshake: bytes) -> t.Iterator[tuple[int, bytes]]:
    """Yield the complete messages."""
    offset = 0
    while len(handshake) >= offset + 4:
        length = int.from_bytes(handshake[offset + 1 : offset + 4], "big")
        if length > LONGEST_ANSWER:
            raise Malformed(f"a handshake message of {length} octets")
        body = handshake[offset + 4 : offset + 4 + length]
        if len(body) < length:
            return
        yield handshake[offset], body
        offset += 4 + length


def _server_hello(body: bytes) -> ServerHello:
    """SSL 3.0, section 5.6.1.3: version, 32 random octets, session id, cipher, compression."""
    if len(body) < 35 or len(body) < 35 + body[34] + 3:
        raise Malformed("a server hello without its head")
    chosen = 35 + body[34]
    cipher = cipher_name(int.from_bytes(body[chosen : chosen + 2], "big"))
    return ServerHello(version_name(int.from_bytes(body[:2], "big")), (cipher,))


def _first_certificate(body: bytes) -> bytes:
    """SSL 3.0, section 5.6.2: a list of certificates, each behind a length of three octets; the server's is first."""
    length = int.from_bytes(body[3:6], "big")
    if len(body) < 6 + length:
        raise Malformed("a certificate message whose lengths disagree")
    return body[6 : 6 + length]
