# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rest of an SSL 3.0 handshake, so that the greeting behind it can be read, where tlslite-ng is installed.

OpenSSL no longer speaks SSL 3.0; tlslite-ng does, and its record layer and key derivation are used here behind a hello
of our own. Without tlslite-ng the server hello is all that is learnt. Nothing secret ever travels: the peer is not
verified and nothing but QUIT or an anonymous bind is sent. Private to this collection: may change in any release.
"""

from __future__ import annotations

import errno
import functools
import os
import types
import typing as t

from . import tls_hello
from .model import Ending, Heard

_SSL3 = (3, 0)
_CHANGE_CIPHER_SPEC = 20
_ALERT = 21
_HANDSHAKE = 22
_APPLICATION_DATA = 23
_CIPHERS = frozenset({0x0004, 0x0005, 0x000A})  # RC4 with MD5 or SHA, 3DES: what tlslite-ng has of SSL 3.0's suites
_LONGEST_MODULUS = 8192
_LONGEST_EXPONENT = 32
"""Bits of an RSA key: keys of that time have 512 to 1024 and 17, and their exponent decides what encrypting costs."""


@functools.lru_cache(maxsize=None)
def _library() -> t.Any:
    """Load what is used of tlslite-ng, None without it; only when it is needed, for it takes longer than a check."""
    try:
        from tlslite import handshakehashes, mathtls, messages, recordlayer, x509
    except ImportError:
        return None
    return types.SimpleNamespace(
        HandshakeHashes=handshakehashes.HandshakeHashes,
        calc_key=mathtls.calc_key,
        messages=messages,
        RecordLayer=recordlayer.RecordLayer,
        X509=x509.X509,
    )


def can_finish(flight: tls_hello.Flight) -> bool:
    """Whether the handshake can go on after the server's flight: SSL 3.0, plain RSA, a cipher that is at hand."""
    return (
        flight.version == 0x0300
        and flight.cipher in _CIPHERS
        and flight.kinds == tls_hello.PLAIN_RSA_FLIGHT
        and _library() is not None
    )


class HandshakeFailed(Exception):
    """The handshake cannot be finished; the text, of a few words, says why."""


def _encrypt(key: t.Any, secret: bytearray) -> t.Any:
    """Encrypt with the peer's key, unless that is made to keep the probe busy: every other target waits meanwhile."""
    if key.n.bit_length() > _LONGEST_MODULUS or key.e.bit_length() > _LONGEST_EXPONENT:
        raise HandshakeFailed(f"its key is out of bounds: {key.n.bit_length()} and {key.e.bit_length()} bits")
    return key.encrypt(secret)


class Ssl3Channel:
    """The client's side of an SSL 3.0 connection whose hellos have been exchanged, without a socket."""

    def __init__(self, hello: tls_hello.ClientHello, flight: tls_hello.Flight) -> None:
        self._wire = _Wire()
        self._layer = _library().RecordLayer(self._wire)
        self._layer.client = True
        self._layer.version = _SSL3
        self._records: t.Iterator[t.Any] | None = None
        self.finished = False
        try:
            self._answer(hello, flight)
        except HandshakeFailed:
            raise
        except Exception as error:  # a hostile certificate fails anywhere in tlslite-ng's parsers, with any exception
            raise HandshakeFailed(type(error).__name__) from error  # its text may quote the whole certificate

    def outgoing(self) -> bytes:
        """Take the octets that are to be sent."""
        return self._wire.take()

    def seal(self, data: bytes) -> bytes:
        """Return the record that carries ``data``."""
        self._send(_Application(data))
        return self.outgoing()

    def open(self, data: bytes) -> Heard:
        """Take octets from the peer; return what they carry, ``b""`` when more are needed.

        Sets `finished` when the server has finished the handshake.
        """
        self._wire.incoming += data
        carried = bytearray()
        try:
            for kind, payload in self._complete_records():
                if kind == _CHANGE_CIPHER_SPEC:
                    self._layer.changeReadState()
                elif kind == _HANDSHAKE:
                    self.finished = True
                elif kind == _APPLICATION_DATA and self.finished:
                    carried += payload
                else:
                    return bytes(carried) or Ending.CLOSED
        except Exception:  # noqa: BLE001  # as above: whatever tlslite-ng raises, the peer broke the protocol
            return bytes(carried) or Ending.RESET
        return bytes(carried)

    def close(self) -> bytes:
        """Return the closing alert."""
        self._send(_Closing())
        return self.outgoing()

    def _answer(self, hello: tls_hello.ClientHello, flight: tls_hello.Flight) -> None:
        """Send key exchange, change of cipher and "finished" (SSL 3.0, section 5.5)."""
        library = _library()
        messages, cipher = library.messages, flight.cipher
        certificate = library.X509()
        certificate.parseBinary(bytearray(flight.certificate))
        premaster = bytearray(bytes(_SSL3) + os.urandom(46))
        exchange = messages.ClientKeyExchange(cipher, _SSL3).createRSA(_encrypt(certificate.publicKey, premaster))
        hashes = library.HandshakeHashes()
        for part in (hello.message, flight.messages, bytes(exchange.write())):
            hashes.update(bytearray(part))
        client, server = bytearray(hello.random), bytearray(flight.random)
        secret = library.calc_key(
            _SSL3, premaster, cipher, b"master secret", client_random=client, server_random=server, output_length=48
        )
        self._layer.calcPendingStates(cipher, secret, client, server, ["python"])
        self._send(exchange)
        self._send(messages.ChangeCipherSpec().create())
        self._layer.changeWriteState()
        proof = library.calc_key(_SSL3, secret, cipher, b"client finished", handshake_hashes=hashes, output_length=36)
        self._send(messages.Finished(_SSL3).create(proof))

    def _send(self, message: t.Any) -> None:
        for dummy in self._layer.sendRecord(message):
            pass  # the wire takes everything

    def _complete_records(self) -> t.Iterator[tuple[int, bytes]]:
        while True:
            if self._records is None:
                self._records = iter(self._layer.recvRecord())
            for result in self._records:
                if result in (0, 1):
                    return  # goes on here when more octets have arrived
                header, parser = result
                yield header.type, bytes(parser.bytes)
                break
            self._records = None


class _Wire:
    """What tlslite-ng takes for a non-blocking socket."""

    def __init__(self) -> None:
        self.incoming = bytearray()
        self._outgoing = bytearray()

    def send(self, data: bytes) -> int:
        self._outgoing += data
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise OSError(errno.EWOULDBLOCK, "nothing has arrived")
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def take(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data


class _Application:
    """A message of application data, as tlslite-ng's record layer wants it."""

    contentType = _APPLICATION_DATA  # noqa: N815  # the library reads this name

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)

    def write(self) -> bytearray:
        return self._data


class _Closing(_Application):
    """A close_notify alert."""

    contentType = _ALERT  # noqa: N815

    def __init__(self) -> None:
        super().__init__(b"\x01\x00")
