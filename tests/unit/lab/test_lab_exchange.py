# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated Exchange processes and the proxy, as real clients see them."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.api import Lab
from tests.lab.fleet import BIN_FILE

SECTION = "[STORE]\r\nServerBindTcpPorts={ports}\r\nPersistent=1\r\nKillOldSession=1\r\n"
IMC_FILE = "C:\\exchsrvr\\connect\\msexcimc\\bin\\Wspcfg.ini"
LIMIT_S = 10


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """One demo fleet at a speed at which a restart takes no time; tests use different servers."""
    with Lab("demo", speed=10_000) as lab:
        yield lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("demo", speed=10_000) as lab:
        yield lab


def external(lab: Lab, host: str) -> str:
    spec = next(one for one in lab.fleet.hosts if one.name == host)
    return str(spec.publish["proxy_address"])


def publish(lab: Lab, host: str, text: str, *, path: str = BIN_FILE, service: str = "MSExchangeIS") -> str:
    """Write a file by hand and restart what reads it; the proxy's address."""
    view = lab.host(host)
    view.write(path, text)
    view.restart(*{"MSExchangeIS": ("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")}.get(service, (service,)))
    return external(lab, host)


def greeting(lab: Lab, address: str, port: int) -> bytes | None:
    """First line of a connection, None when it is refused."""
    try:
        with socket.create_connection((address, port + lab.port_offset), LIMIT_S) as connection:
            return connection.recv(200)
    except ConnectionRefusedError:
        return None


def lab_context(lab: Lab) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(lab.ca_file))


def test_real_mail_clients(shared: Lab) -> None:
    address = publish(shared, "EX1", SECTION.format(ports="110,119,143"))
    offset = shared.port_offset
    pop = poplib.POP3(address, 110 + offset, timeout=LIMIT_S)
    assert pop.getwelcome() == b"+OK Microsoft Exchange POP3 server version 5.5.2650.23 ready"
    assert pop.quit().endswith(b"signing off")
    imap = imaplib.IMAP4(address, 143 + offset, timeout=LIMIT_S)
    assert "IMAP4REV1" in imap.capabilities
    assert imap.noop()[0] == "OK"
    assert imap.logout()[0] == "BYE"
    assert greeting(shared, address, 119) == (
        b"200 Microsoft Exchange Internet News Service Version 5.5.2650.23 (posting allowed)\r\n"
    )


def test_smtp_of_the_versions(shared: Lab) -> None:
    text = "[MSEXCIMC]\r\nServerBindTcpPorts=25\r\n"
    for host, words in (
        ("EX4", b"ESMTP Server (Microsoft Exchange Internet Mail Service 5.5"),
        ("EX7", b" service ready"),
    ):
        address = publish(shared, host, text, path=IMC_FILE, service="MSExchangeIMC")
        with smtplib.SMTP(address, 25 + shared.port_offset, timeout=LIMIT_S) as client:
            assert client.noop()[0] == 250
            assert (client.ehlo()[0] == 250) == (host == "EX4")
        assert words in (greeting(shared, address, 25) or b"")


def test_tls_needs_proxybindip(lab: Lab) -> None:
    plain = SECTION.format(ports="993,995")
    address = publish(lab, "EX2", plain)
    assert greeting(lab, address, 995) is None
    publish(lab, "EX2", plain + f"ProxyBindIp=993:{address},995:{address}\r\n")
    with contextlib.closing(socket.create_connection((address, 995 + lab.port_offset), LIMIT_S)) as raw:
        context = lab_context(lab)
        context.check_hostname = False
        with context.wrap_socket(raw) as connection:
            assert connection.recv(100).startswith(b"+OK Microsoft Exchange POP3")
            assert connection.getpeercert()
    context = lab_context(lab)
    context.check_hostname = False
    imap = imaplib.IMAP4_SSL(address, 993 + lab.port_offset, ssl_context=context, timeout=LIMIT_S)
    assert imap.logout()[0] == "BYE"


@pytest.mark.skipif(shutil.which("ldapsearch") is None, reason="ldapsearch is missing: package ldap-utils")
@pytest.mark.parametrize(("host", "version", "found"), [("EX3", 2, False), ("EX5", 3, True), ("EX5", 2, True)])
def test_ldapsearch(shared: Lab, host: str, version: int, found: bool) -> None:
    view = shared.host(host)
    address = external(shared, host)
    if "DSAMAIN" not in view.in_force():
        view.write(BIN_FILE, "[DSAMAIN]\r\nServerBindTcpPorts=389\r\n")
        names = ("MSExchangeES", "MSExchangeIMC", "MSExchangeMTA", "MSExchangeIS", "MSExchangeDS")
        view.restart(*names)
    url = f"ldap://{address}:{389 + shared.port_offset}"
    command = ["ldapsearch", "-P", str(version), "-x", "-LLL", "-H", url, "-b", "", "-s", "base"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert ("namingContexts" in result.stdout) == found


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: package curl")
def test_curl(shared: Lab) -> None:
    address = external(shared, "EX6")
    url = f"pop3://{address}:{110 + shared.port_offset}/"
    result = subprocess.run(
        ["curl", "-sv", "--noproxy", "*", "--user", "a:b", url], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Microsoft Exchange POP3 server" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + SECTION.format(ports=110).encode(),
        SECTION.format(ports=110).encode("utf-16"),
        SECTION.format(ports="389 (636 for Secure)").encode(),
        b"[STORE\r\nServerBindTcpPorts=110\r\n",
        b"[STORE]\r\nDisable=1\r\nServerBindTcpPorts=110\r\n",
    ],
)
def test_what_the_client_cannot_read_binds_nothing(shared: Lab, text: bytes) -> None:
    view = shared.host("EX4")
    view.write(BIN_FILE, text)
    view.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    claims = shared.call(lambda: shared.world.proxy("PROXY1").claims)
    assert "EX4:MSExchangeIS" not in [claim.owner for claim in claims]


def test_the_file_counts_when_the_service_starts_and_not_before(lab: Lab) -> None:
    view = lab.host("EX5")
    address = external(lab, "EX5")
    assert (greeting(lab, address, 110) or b"").startswith(b"+OK")
    view.remove(BIN_FILE)
    assert (greeting(lab, address, 110) or b"").startswith(b"+OK")
    view.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    assert greeting(lab, address, 110) is None


def test_a_process_that_ends_takes_its_connections_with_it(lab: Lab) -> None:
    with socket.create_connection((external(lab, "EX5"), 110 + lab.port_offset), LIMIT_S) as connection:
        assert connection.recv(100).startswith(b"+OK")
        lab.inject("crash_service", "EX5", name="MSExchangeIS")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""


def test_the_lan_sees_every_port_whatever_the_file_says(shared: Lab) -> None:
    spec = next(one for one in shared.fleet.hosts if one.name == "EX3")
    assert b"5.0.1457.10" in (greeting(shared, spec.lan, 110) or b"")
    assert greeting(shared, spec.lan, 143) is None  # IMAP4 came with 5.5


def test_the_proxy_grants_each_port_once_and_only_smtp_refuses_to_start(lab: Lab) -> None:
    address = external(lab, "EX1")
    lab.inject("take_port", address=address, port=110, line="+OK something else")
    lab.inject("take_port", address=address, port=25)
    publish(lab, "EX1", SECTION.format(ports="110,143"))
    assert greeting(lab, address, 110) == b"+OK something else\r\n"
    assert (greeting(lab, address, 143) or b"").startswith(b"* OK")
    view = lab.host("EX1")
    assert {event.id for event in view.events()} == {11508, 1194}
    view.write(IMC_FILE, "[MSEXCIMC]\r\nServerBindTcpPorts=25\r\n")
    lab.call(lambda: view.machine.services.stop("MSExchangeIMC"))
    view.until_service("MSExchangeIMC", "stopped")
    lab.call(lambda: view.machine.services.start("MSExchangeIMC"))
    view.until_service("MSExchangeIMC", "stopped")
    assert {4007, 4020} <= {event.id for event in view.events()}


def test_a_proxy_that_restarts_gives_back_what_is_persistent(lab: Lab) -> None:
    address = publish(lab, "EX1", SECTION.format(ports="110"))
    publish(lab, "EX4", "[MSEXCIMC]\r\nServerBindTcpPorts=25\r\n", path=IMC_FILE, service="MSExchangeIMC")
    assert greeting(lab, address, 25)
    lab.inject("proxy", name="PROXY1", condition="restart")
    assert (greeting(lab, address, 110) or b"").startswith(b"+OK")
    assert greeting(lab, address, 25) is None


def test_a_proxy_that_is_gone_answers_nothing_and_comes_back(lab: Lab) -> None:
    address = publish(lab, "EX1", SECTION.format(ports="110"))
    lab.inject("proxy", name="PROXY1", condition="gone")
    with pytest.raises(TimeoutError):
        socket.create_connection((address, 110 + lab.port_offset), 0.3)
    lab.clear()
    assert (greeting(lab, address, 110) or b"").startswith(b"+OK")


def test_a_crashed_process_leaves_a_stale_session(lab: Lab) -> None:
    address = publish(lab, "EX1", "[STORE]\r\nServerBindTcpPorts=110\r\n")
    view = lab.host("EX1")
    for kill_old, expected in (("", None), ("KillOldSession=1\r\n", b"+OK")):
        view.write(BIN_FILE, "[STORE]\r\nServerBindTcpPorts=110\r\n" + kill_old)
        lab.inject("crash_service", "EX1", name="MSExchangeIS")
        lab.call(lambda: view.machine.services.start("MSExchangeIS"))
        view.until_service("MSExchangeIS", "running")
        assert (greeting(lab, address, 110) or b"")[:3] == (expected or b"")


def test_without_a_certificate_the_port_accepts_and_dies(lab: Lab) -> None:
    view = lab.host("EX6")
    program = view.machine.services.open("MSExchangeIS").program
    assert program is not None
    object.__setattr__(program.installation, "certificate", False)  # type: ignore[attr-defined]
    view.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    raw = socket.create_connection((external(lab, "EX6"), 995 + lab.port_offset), LIMIT_S)
    with pytest.raises((ssl.SSLError, OSError)):
        ssl.create_default_context().wrap_socket(raw, server_hostname="x")
    assert 13002 in {event.id for event in view.events()}


def test_greetings_can_be_slow_or_wrong(lab: Lab) -> None:
    address = external(lab, "EX6")
    lab.inject("wrong_greeting", "EX6", protocol="pop3", line="+OK another server")
    lab.inject("slow_greeting", "EX6", protocol="imap4", seconds=0.2)
    assert greeting(lab, address, 110) == b"+OK another server\r\n"
    with socket.create_connection((address, 143 + lab.port_offset), LIMIT_S) as connection:
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(LIMIT_S)
        assert connection.recv(100).startswith(b"* OK")
    lab.clear()
    assert (greeting(lab, address, 110) or b"").startswith(b"+OK Microsoft")
