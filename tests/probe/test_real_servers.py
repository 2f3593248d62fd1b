# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port probe against real servers: of today, all foreign, each with its protocol recognised; and of then."""

from __future__ import annotations

import datetime
import socketserver
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Target
from tests.support import mail_servers

ONCE = Options(deadline=0, timeout=30)
HERE = "127.0.0.1"


@pytest.fixture
def path() -> Iterator[Path]:
    with mail_servers.directory() as path:
        yield path


def check(*targets: Target, options: Options = ONCE) -> list[dict[str, t.Any]]:
    return probe(targets, options)


def assert_today(tls: dict[str, t.Any] | None) -> None:
    """What a handshake of today tells about the certificate of these tests."""
    assert tls is not None
    assert tls["hello"] == "modern"
    assert tls["version"] in ("TLSv1.2", "TLSv1.3")
    assert tls["cipher"]
    assert tls["subject"] == "O=Example, CN=mail.example.com"
    end = datetime.datetime.strptime(tls["not_after"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    left = end - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=29) < left <= datetime.timedelta(days=30)


def test_dovecot(path: Path) -> None:
    with mail_servers.dovecot(path) as ports:
        results = check(*(Target(HERE, port, protocol) for protocol, port in ports.items()))
    assert [result["protocol"] for result in results] == ["pop3", "pop3s", "imap4", "imap4s"]
    assert {result["status"] for result in results} == {"foreign"}
    assert {result["product"] for result in results} == {"Dovecot"}
    assert [result["speaks"] for result in results] == ["pop3", "pop3", "imap4", "imap4"]
    assert [result["attempts"] for result in results] == [1, 3, 1, 3]
    for result in results:
        if result["protocol"].endswith("s"):
            assert_today(result["tls"])
        else:
            assert result["tls"] is None


def test_dovecot_gets_a_goodbye(path: Path) -> None:
    """Its own log is the witness: it says whether a client left with a command."""
    with mail_servers.dovecot(path) as ports:
        check(*(Target(HERE, port, protocol) for protocol, port in ports.items()))
    log = (path / "dovecot.log").read_text(encoding="utf-8", errors="replace")
    assert log.count("Aborted login by logging out") == 4


def test_clear_and_tls_mixed_up(path: Path) -> None:
    with mail_servers.dovecot(path) as ports:
        results = check(Target(HERE, ports["pop3"], "pop3s"), Target(HERE, ports["imap4"], "pop3"))
    assert [result["status"] for result in results] == ["no_tls", "foreign"]
    assert [result["speaks"] for result in results] == ["pop3", "imap4"]
    assert results[1]["detail"] == "imap4 answers here, pop3 was expected"


def test_slapd(path: Path) -> None:
    """It refuses version 2 of LDAP, which is what tells it from Exchange."""
    with mail_servers.slapd(path) as ports:
        clear, tls = check(Target(HERE, ports["ldap"], "ldap"), Target(HERE, ports["ldaps"], "ldaps"))
    for result in (clear, tls):
        assert (result["status"], result["speaks"]) == ("foreign", "ldap")
        assert (result["ldap"]["version"], result["ldap"]["result_code"]) == (3, 0)
    assert clear["tls"] is None
    assert_today(tls["tls"])


def test_slapd_that_speaks_version_2(path: Path) -> None:
    with mail_servers.slapd(path, more="allow bind_v2") as ports:
        (result,) = check(Target(HERE, ports["ldap"], "ldap"))
    assert (result["status"], result["ldap"]["version"], result["ldap"]["result"]) == ("open", 2, "success")


def test_slapd_that_refuses_the_anonymous(path: Path) -> None:
    with mail_servers.slapd(path, more="allow bind_v2\ndisallow bind_anon") as ports:
        (result,) = check(Target(HERE, ports["ldap"], "ldap"))
    assert (result["status"], result["ldap"]["result"]) == ("open", "inappropriateAuthentication")
    assert "anonymous" in result["ldap"]["message"]


def test_exim(path: Path) -> None:
    with mail_servers.exim(path) as port:
        (result,) = check(Target(HERE, port, "smtp"))
    assert (result["status"], result["speaks"], result["product"]) == ("foreign", "smtp", "Exim")
    assert result["greeting"].startswith("220 mail.example.com ESMTP Exim")


def test_leafnode(path: Path) -> None:
    with mail_servers.leafnode(path) as port:
        (result,) = check(Target(HERE, port, "nntp"))
    assert (result["status"], result["speaks"], result["product"]) == ("foreign", "nntp", "Leafnode")


# --- STARTTLS of today: the whole way, up to the goodbye behind TLS -------------------------------------------------


def test_starttls_of_dovecot(path: Path) -> None:
    with mail_servers.dovecot(path) as ports:
        by_table = check(*(Target(HERE, ports[name], name, starttls=True) for name in ("pop3", "imap4")))
        results = check(
            *(Target(HERE, ports[name], name, greeting="Dovecot", starttls=True) for name in ("pop3", "imap4"))
        )
    assert [(result["status"], result["attempts"], result["tls"]) for result in by_table] == [("foreign", 1, None)] * 2
    assert [(result["status"], result["speaks"], result["attempts"]) for result in results] == [
        ("open", "pop3", 3),
        ("open", "imap4", 3),
    ]
    for result in results:
        assert result["product"] == "Dovecot"
        assert_today(result["tls"])
    # Those who left inside TLS: the other connections ended at a hello of then.
    log = (path / "dovecot.log").read_text(encoding="utf-8", errors="replace")
    assert sum("Aborted login by logging out" in line and ", TLS" in line for line in log.splitlines()) == 2


def test_starttls_of_exim(path: Path) -> None:
    with mail_servers.exim(path) as port:
        (result,) = check(Target(HERE, port, "smtp", greeting="Exim", starttls=True))
    assert (result["status"], result["speaks"], result["product"]) == ("open", "smtp", "Exim")
    assert_today(result["tls"])


def test_starttls_of_slapd(path: Path) -> None:
    with mail_servers.slapd(path, more="allow bind_v2") as ports:
        (result,) = check(Target(HERE, ports["ldap"], "ldap", starttls=True))
    assert (result["status"], result["ldap"]["version"], result["ldap"]["result"]) == ("open", 2, "success")
    assert_today(result["tls"])


def test_starttls_that_leafnode_does_not_know(path: Path) -> None:
    """Asked as SMTP: the words in clear tell who it is, and no hello is sent."""
    with mail_servers.leafnode(path) as port:
        (result,) = check(Target(HERE, port, "smtp", starttls=True))
    assert (result["status"], result["speaks"], result["attempts"]) == ("foreign", "nntp", 1)


GREETING = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_exchange_behind_tls_of_today(path: Path, version: str) -> None:
    """A TLS offloader in front of Exchange: the greeting behind the handshake counts."""
    with mail_servers.openssl_server(path, f"-{version}", greeting=GREETING) as port:
        (result,) = check(Target(HERE, port, "pop3s"))
    assert (result["status"], result["version"], result["attempts"]) == ("open", "5.5.2655.20", 3)
    assert_today(result["tls"])
    assert result["tls"]["version"] == {"tls1_2": "TLSv1.2", "tls1_3": "TLSv1.3"}[version]


def test_tls_1_0_with_a_weak_key(path: Path) -> None:
    """What Windows 2000 could be made to speak; OpenSSL's default security level refuses it."""
    arguments = ("-tls1", "-cipher", "ALL:@SECLEVEL=0")
    with mail_servers.openssl_server(path, *arguments, greeting=GREETING, bits=1024) as port:
        (result,) = check(Target(HERE, port, "pop3s"))
    assert (result["status"], result["tls"]["version"], result["version"]) == ("open", "TLSv1", "5.5.2655.20")


def test_openssl_without_a_certificate(path: Path) -> None:
    program = mail_servers.require("openssl", "openssl")
    port = mail_servers.free_port()
    command = [program, "s_server", "-accept", f"{HERE}:{port}", "-nocert", "-quiet"]
    with mail_servers.running(command, [port], path / "output"):
        (result,) = check(Target(HERE, port, "imap4s"))
    assert (result["status"], result["tls"]) == ("tls_alert", None)
    assert result["attempts"] == 3


def test_tls_server_that_never_greets(path: Path) -> None:
    with mail_servers.openssl_server(path, "-tls1_2") as port:
        (result,) = check(Target(HERE, port, "pop3s"), options=Options(deadline=0, timeout=3))
    assert result["status"] == "silent"
    assert_today(result["tls"])


# --- servers of then ----------------------------------------------------------------------------------------------

OLD = Path(__file__).resolve().parents[1] / "data" / "tls"


class Recorded(socketserver.BaseRequestHandler):
    """Plays a recorded answer back to whatever hello comes first."""

    answer = (OLD / "ssl2_server_hello.bin").read_bytes()

    def handle(self) -> None:
        if self.request.recv(4096):
            self.request.sendall(self.answer)
            self.request.recv(4096)


class Ssl3Rc4(socketserver.BaseRequestHandler):
    """A POP3 server of Exchange as Windows NT 4.0 encrypts it: SSL 3.0 with RC4 and MD5, by tlslite-ng."""

    identity: tuple[t.Any, t.Any]

    def handle(self) -> None:
        from tlslite.api import HandshakeSettings, TLSConnection

        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, 0)
        settings.cipherNames, settings.macNames = ["rc4"], ["md5"]
        connection = TLSConnection(self.request)
        chain, key = self.identity
        connection.handshakeServer(certChain=chain, privateKey=key, settings=settings)
        connection.sendall(GREETING)
        connection.recv(100)
        connection.sendall(b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 signing off\r\n")
        connection.close()


class SmtpThen(socketserver.BaseRequestHandler):
    """The Internet Mail Service with STARTTLS, whose answer to the hello is one recorded."""

    def handle(self) -> None:
        words = self.request.makefile("rb")
        self.request.sendall(b"220 exch ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready\r\n")
        words.readline()
        self.request.sendall(b"250-exch Hello\r\n250-TLS\r\n250 STARTTLS\r\n")
        words.readline()
        self.request.sendall(b"220 Ready to start TLS\r\n")
        if words.read(1):
            self.request.sendall((OLD / "ssl3_flight_des.bin").read_bytes())
            words.read(1)


def test_starttls_of_then() -> None:
    with mail_servers.serving(SmtpThen) as port:
        (result,) = check(Target(HERE, port, "smtp", starttls=True))
    assert (result["status"], result["version"], result["attempts"]) == ("open", "5.5.2653.13", 1)
    assert (result["tls"]["version"], result["tls"]["hello"]) == ("SSLv3", "ssl2")
    assert result["detail"].startswith("the handshake ends after the server hello")


def test_ssl2_server(path: Path) -> None:
    with mail_servers.serving(Recorded) as port:
        (result,) = check(Target(HERE, port, "imap4s"))
    assert (result["status"], result["attempts"], result["greeting"]) == ("open", 1, None)
    assert (result["tls"]["version"], result["tls"]["hello"], len(result["tls"]["ciphers"])) == ("SSLv2", "ssl2", 6)
    assert result["tls"]["subject"] == "C=US, O=Example Corporation, CN=mail.example.com"
    assert result["tls"]["not_after"] == "1999-12-31T23:59:59Z"


def test_ssl3_server_with_rc4(path: Path) -> None:
    api = pytest.importorskip("tlslite.api", reason="NOT TESTED: SSL 3.0 on the wire needs tlslite-ng")
    certificate, key = mail_servers.certificate(path, bits=1024)
    chain = api.X509CertChain()
    chain.parsePemList(certificate.read_text(encoding="ascii"))
    Ssl3Rc4.identity = (chain, api.parsePEMKey(key.read_text(encoding="ascii"), private=True))
    with mail_servers.serving(Ssl3Rc4) as port:
        (result,) = check(Target(HERE, port, "pop3s"))
    assert (result["status"], result["version"], result["attempts"]) == ("open", "5.5.2655.20", 1)
    assert (result["tls"]["version"], result["tls"]["cipher"]) == ("SSLv3", "SSL_RSA_WITH_RC4_128_MD5")
    assert result["tls"]["subject"] == "O=Example, CN=mail.example.com"
