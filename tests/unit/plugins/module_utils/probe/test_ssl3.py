# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSL 3.0 to the end of its handshake, against tlslite-ng's server in the same process, without sockets."""

from __future__ import annotations

import errno
import typing as t

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import ber, ssl3, tls_hello
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    Dialogue,
    Ending,
    Findings,
    Options,
    Status,
    Target,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.tls import TlsApproach
from tests.support import replay

pytest.importorskip("tlslite", reason="NOT TESTED: SSL 3.0 behind the hello needs tlslite-ng")
GREETING = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"


class Wire:
    """The server's socket: what the client said, and what it is to hear."""

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.outgoing = bytearray()

    def send(self, data: bytes) -> int:
        self.outgoing += data
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise OSError(errno.EWOULDBLOCK, "nothing yet")
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def sendall(self, data: bytes) -> None:
        self.send(data)

    def close(self) -> None:
        """Nothing to close."""


def make_identity() -> tuple[t.Any, t.Any]:
    from datetime import datetime

    from tlslite.api import X509CertChain, parsePEMKey

    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(1998, 1, 1)).not_valid_after(datetime(1999, 1, 1))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    chain = X509CertChain()
    chain.parsePemList(pem.decode())
    return chain, parsePEMKey(secret.decode(), private=True)


IDENTITY = make_identity()


class Server:
    """A POP3 server that speaks SSL 3.0 with the given ciphers."""

    def __init__(self, ciphers: list[str], macs: list[str], greeting: bytes = GREETING) -> None:
        from tlslite.api import HandshakeSettings, TLSConnection

        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, 0)
        settings.cipherNames, settings.macNames = ciphers, macs
        self.wire = Wire()
        self.connection = TLSConnection(self.wire)
        self.heard = b""
        self.goodbye = ""
        self._work = self._serve(settings, greeting)

    def _serve(self, settings: t.Any, greeting: bytes) -> t.Iterator[int]:
        chain, key = IDENTITY
        yield from self.connection.handshakeServerAsync(certChain=chain, privateKey=key, settings=settings)
        yield from self.connection.writeAsync(greeting)
        for result in self.connection.readAsync(100, 1):
            if result in (0, 1):
                yield result
            else:
                self.heard = bytes(result)

    def answer(self, data: bytes) -> bytes:
        """Take octets and work until nothing more can be done; return all that was said."""
        from tlslite.errors import TLSRemoteAlert

        self.wire.incoming += data
        try:
            for result in self._work:
                if result == 0 and not self.wire.incoming:
                    break
        except TLSRemoteAlert as alert:
            self.goodbye = str(alert)
        said = bytes(self.wire.outgoing)
        self.wire.outgoing.clear()
        return said


def converse(dialogue: Dialogue, server: Server, sizes: t.Sequence[int]) -> Findings:
    """Let the conversation hear the server, then nothing until its time is over."""
    return replay.converse(dialogue, server.answer, sizes, end=Ending.EXPIRED)


CIPHERS = [
    (["rc4"], ["md5"], "SSL_RSA_WITH_RC4_128_MD5"),
    (["rc4"], ["sha"], "SSL_RSA_WITH_RC4_128_SHA"),
    (["3des"], ["sha"], "SSL_RSA_WITH_3DES_EDE_CBC_SHA"),
]


@pytest.mark.parametrize("pieces", [[1], [7], [100000]], ids=["octets", "sevens", "whole"])
@pytest.mark.parametrize(("ciphers", "macs", "name"), CIPHERS, ids=[name for *dummy, name in CIPHERS])
@pytest.mark.parametrize("hello", ["ssl2", "ssl3"])
def test_greeting_behind_ssl3(hello: str, ciphers: list[str], macs: list[str], name: str, pieces: list[int]) -> None:
    approach = TlsApproach(Target("192.0.2.1", 995, "pop3s"))
    server = Server(ciphers, macs)
    if hello == "ssl3":
        skipped = approach.dialogue()
        next(skipped)
        assert approach.conclude(Findings(Status.NO_CERTIFICATE)) is None
    findings = converse(approach.dialogue(), server, pieces)
    assert (findings.status, findings.version, findings.speaks) == (Status.OPEN, "5.5.2655.20", "pop3")
    assert findings.tls is not None
    assert (findings.tls.version, findings.tls.cipher, findings.tls.hello) == ("SSLv3", name, hello)
    assert (findings.tls.subject, findings.tls.not_after) == ("CN=mail.example.com", "1999-01-01T00:00:00Z")
    assert server.heard == b"QUIT\r\n"


def test_greeting_of_a_minute_behind_ssl3_is_awaited() -> None:
    """Reverse name look-up delays Exchange's greeting by up to a minute (Q258745), behind TLS as well."""
    server = Server(["rc4"], ["md5"])
    peer = replay.Peer(answers=lambda data: server.answer(data) or None, pauses=[1.0, 62.0])
    network = replay.ReplayedNetwork({("192.0.2.1", 995): peer})
    (result,) = probe([Target("192.0.2.1", 995, "pop3s")], Options(), network=network)
    assert (result["status"], result["version"]) == ("open", "5.5.2655.20")
    assert (result["attempts"], result["elapsed_ms"]) == (1, 63000)


def test_stranger_behind_ssl3() -> None:
    approach = TlsApproach(Target("192.0.2.1", 995, "pop3s"))
    findings = converse(approach.dialogue(), Server(["rc4"], ["md5"], b"+OK Dovecot ready.\r\n"), [1000])
    assert (findings.status, findings.product) == (Status.FOREIGN, "Dovecot")
    assert findings.tls is not None


def test_without_the_library_the_hello_is_what_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl3, "_library", lambda: None)
    approach = TlsApproach(Target("192.0.2.1", 995, "pop3s"))
    server = Server(["rc4"], ["md5"])
    findings = converse(approach.dialogue(), server, [1000])
    assert (findings.status, findings.greeting) == (Status.OPEN, None)
    assert server.goodbye == "close_notify"
    assert "greeting was not read" in findings.detail
    assert findings.tls is not None
    assert findings.tls.cipher == "SSL_RSA_WITH_RC4_128_MD5"


def der(tag: int, *contents: bytes) -> bytes:
    return ber.encode(tag, *contents)


RSA = bytes.fromhex("2a864886f70d010101")
SHA1_WITH_RSA = bytes.fromhex("2a864886f70d010105")


def certificate_of(modulus: int, exponent: int, *, signed: bytes = SHA1_WITH_RSA) -> bytes:
    """The least of a certificate that a parser takes."""
    algorithm = der(0x30, der(6, RSA), der(5))
    signature = der(0x30, der(6, signed), der(5))
    key = der(0x30, *(ber.encode_integer(number) for number in (modulus, exponent)))
    validity = der(0x30, der(0x17, b"970101000000Z"), der(0x17, b"991231235959Z"))
    info = der(0x30, algorithm, der(3, b"\0" + key))
    body = der(0x30, ber.encode_integer(1), signature, der(0x30), validity, der(0x30), info)
    return der(0x30, body, signature, der(3, b"\0\0"))


def flight_of(certificate: bytes) -> tls_hello.Flight:
    return tls_hello.Flight(0x0300, 0x0004, bytes(32), tls_hello.PLAIN_RSA_FLIGHT, certificate, b"messages")


MODULUS = (1 << 1024) - 1


@pytest.mark.parametrize(
    ("modulus", "exponent"), [((1 << 8193) - 1, 3), (MODULUS, (1 << 33) - 1)], ids=["modulus", "exponent"]
)
def test_key_that_is_made_to_keep_the_probe_busy_is_left(modulus: int, exponent: int) -> None:
    hello = tls_hello.ssl3_hello(bytes(32))
    ssl3.Ssl3Channel(hello, flight_of(certificate_of(MODULUS, 65537)))
    with pytest.raises(ssl3.HandshakeFailed, match="out of bounds"):
        ssl3.Ssl3Channel(hello, flight_of(certificate_of(modulus, exponent)))


def test_certificate_that_nobody_can_read_is_not_quoted() -> None:
    broken = certificate_of(MODULUS, 3, signed=b"\x01" * 30000)
    with pytest.raises(ssl3.HandshakeFailed) as caught:
        ssl3.Ssl3Channel(tls_hello.ssl3_hello(bytes(32)), flight_of(broken))
    assert len(str(caught.value)) < 100


class Noise(Server):
    """Changes one octet of what the server says."""

    def __init__(self, at: int, value: int) -> None:
        super().__init__(["rc4"], ["md5"])
        self._at, self._value, self._said = at, value, 0

    def answer(self, data: bytes) -> bytes:
        try:
            said = bytearray(super().answer(data))
        except Exception:  # noqa: BLE001  # the server may give up on what the client makes of the noise
            return b""
        if self._said <= self._at < self._said + len(said):
            said[self._at - self._said] = self._value
        self._said += len(said)
        return bytes(said)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 900), st.integers(0, 255), st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_one_wrong_octet_is_harmless(at: int, value: int, pieces: list[int]) -> None:
    approach = TlsApproach(Target("192.0.2.1", 995, "pop3s"))
    findings = converse(approach.dialogue(), Noise(at, value), pieces)
    assert findings.status in Status
    assert len(findings.greeting or "") <= 512
