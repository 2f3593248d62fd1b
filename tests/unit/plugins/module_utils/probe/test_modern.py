# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The handshake of today and what comes behind it, against OpenSSL's server in the same process, without sockets."""

from __future__ import annotations

import contextlib
import datetime
import ssl
import typing as t
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    Ending,
    Findings,
    Status,
    Target,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.tls import TlsApproach
from tests.support import replay

GREETING = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of mail.example.com and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    begin = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin.replace(year=2040))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "identity.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + secret)
    return path


class Server:
    """Speaks TLS up to ``version``, then says ``words``; with ``ask`` it wants a certificate of its client."""

    def __init__(self, identity: Path, version: ssl.TLSVersion, words: bytes = GREETING, *, ask: bool = False) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity)
        context.maximum_version = version
        if ask:
            context.load_verify_locations(identity)
            context.verify_mode = ssl.CERT_REQUIRED
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._in, self._out, server_side=True)
        self._words = words
        self._greeted = False

    def answer(self, data: bytes) -> bytes:
        self._in.write(data)
        with contextlib.suppress(ssl.SSLError):  # it waits for more, or gives the client up
            self._session.do_handshake()
            if not self._greeted:
                self._greeted = True
                self._session.write(self._words)
            self._session.read(1000)
        return self._out.read()


class Noise:
    """Changes what a server says at one place."""

    def __init__(self, server: Server, at: int, noise: bytes, *, instead: int) -> None:
        self._server, self._at, self._noise, self._instead = server, at, noise, instead
        self._said = 0

    def answer(self, data: bytes) -> bytes:
        said = bytearray(self._server.answer(data))
        if self._said <= self._at < self._said + len(said):
            place = self._at - self._said
            said[place : place + self._instead] = self._noise
        self._said += len(said)
        return bytes(said)


def check(
    answer: t.Callable[[bytes], bytes], protocol: str = "pop3s", *, sizes: t.Sequence[int] = (4096,), end: Ending
) -> Findings:
    """Hold the third hello's conversation, the first two being dropped."""
    approach = TlsApproach(Target("mail.example.com", 995, protocol))
    for dummy in range(2):
        approach.dialogue().close()
        assert approach.conclude(Findings(Status.NO_CERTIFICATE)) is None
    return replay.converse(approach.dialogue(), answer, sizes, end=end)


@pytest.mark.parametrize("version", VERSIONS)
def test_greeting_behind_the_handshake(identity: Path, version: ssl.TLSVersion) -> None:
    findings = check(Server(identity, version).answer, end=Ending.CLOSED)
    assert (findings.status, findings.version) == (Status.OPEN, "5.5.2655.20")
    assert findings.tls is not None
    assert (findings.tls.subject, findings.tls.hello) == ("CN=mail.example.com", "modern")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize(
    ("words", "protocol", "status"),
    [
        (b"x" * 200_000, "pop3s", Status.PROTOCOL_ERROR),
        (GREETING + b"more\r\n" * 2000, "pop3s", Status.OPEN),
        (bytes(range(256)) * 100, "ldaps", Status.PROTOCOL_ERROR),
    ],
    ids=["endless", "twelve kilobytes more", "binary"],
)
def test_the_certificate_is_told_however_it_ends(
    identity: Path, version: ssl.TLSVersion, ending: Ending, words: bytes, protocol: str, status: Status
) -> None:
    findings = check(Server(identity, version, words).answer, protocol, end=ending)
    assert findings.status is status
    assert findings.tls is not None
    assert findings.tls.subject == "CN=mail.example.com"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_wants_a_certificate_of_its_client(identity: Path, version: ssl.TLSVersion) -> None:
    findings = check(Server(identity, version, ask=True).answer, end=Ending.CLOSED)
    assert findings.status in (Status.RESET, Status.OPEN)
    assert findings.tls is not None
    assert findings.tls.subject == "CN=mail.example.com"


@settings(deadline=None, max_examples=300)
@given(
    version=st.sampled_from(VERSIONS),
    protocol=st.sampled_from(["pop3s", "imap4s", "ldaps"]),
    at=st.integers(0, 2500),
    noise=st.binary(max_size=30),
    instead=st.sampled_from([0, 1, 100_000]),
    sizes=st.lists(st.integers(1, 4096), min_size=1, max_size=6),
    end=st.sampled_from(list(Ending)),
)
def test_noise_anywhere_is_harmless(
    identity: Path,
    version: ssl.TLSVersion,
    protocol: str,
    at: int,
    noise: bytes,
    instead: int,
    sizes: list[int],
    end: Ending,
) -> None:
    server = Noise(Server(identity, version), at, noise, instead=instead)
    findings = check(server.answer, protocol, sizes=sizes, end=end)
    assert findings.status in Status
    assert len(findings.greeting or "") <= 512
