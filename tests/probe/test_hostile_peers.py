# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port probe on real sockets, against peers that mean no good and limits that are too small."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Target
from tests.support import mail_servers
from tests.support.peers import Talk, encrypted, peer

ROOT = Path(__file__).resolve().parents[2]
POP3 = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"


def endless(connection: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        connection.sendall(b"x" * 65536)


def endless_lines(connection: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        connection.sendall(b"220-more\r\n" * 4096)


def drip(connection: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.05):
        connection.sendall(b"x")


def binary(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(bytes(range(256)) * 16)
    over.wait(10)


def reset(connection: socket.socket, over: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_after_greeting(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(POP3)
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resets_after(*said: bytes) -> Talk:
    """Waits for the first octets of the client, says its own and resets the connection."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(4096)
        for octets in said:
            connection.sendall(octets)
        reset(connection, over)

    return talk


FLIGHT = (ROOT / "tests" / "data" / "tls" / "ssl3_flight_des.bin").read_bytes()


def mute(connection: socket.socket, over: threading.Event) -> None:
    over.wait(10)


def greet(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(POP3)
    connection.recv(100)


def endless_record(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(bytes.fromhex("160300400002003fff"))
    endless(connection, over)


def endless_handshake(connection: socket.socket, over: threading.Event) -> None:
    """Empty handshake records, legal each by itself."""
    while not over.is_set():
        connection.sendall(bytes.fromhex("1603010000") * 4096)


def bad_record(connection: socket.socket, over: threading.Event) -> None:
    """Greets, and then sends behind the encryption's back."""
    connection.sendall(POP3)
    with socket.socket(fileno=os.dup(connection.fileno())) as below:
        below.sendall(b"\x17\x03\x03\x00\x20" + b"g" * 32)
    over.wait(10)


def greet_at_length(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(POP3 + b"more" * 3000)
    over.wait(10)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return mail_servers.certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(
    ("said", "protocol", "status"),
    [
        ([], "pop3s", "no_certificate"),
        ([b"\x16"], "pop3s", "protocol_error"),
        ([FLIGHT[:40]], "pop3s", "protocol_error"),
        ([FLIGHT[:100]], "pop3s", "open"),  # the server hello is whole, its certificate is not
        ([FLIGHT], "pop3s", "open"),
        ([b"+OK Dove"], "pop3s", "no_tls"),
        ([], "ldap", "reset"),
        ([b"\x30\x0c\x02\x01"], "ldap", "protocol_error"),
        ([bytes.fromhex("300c02010161070a010204000400")], "ldap", "foreign"),  # refuses version 2
    ],
)
def test_reset_at_every_stage(said: list[bytes], protocol: str, status: str) -> None:
    result = one(resets_after(*said), protocol, timeout=30)
    assert result["status"] == status, result


def test_reset_during_the_handshake_of_today() -> None:
    """The first two hellos are refused, the third is answered with half a server hello."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        modern = connection.recv(4096).startswith(b"\x16\x03\x01")
        connection.sendall(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03" if modern else bytes.fromhex("15030000020228"))
        reset(connection, over)

    result = one(talk, "pop3s", timeout=30)
    assert (result["status"], result["attempts"]) == ("tls_alert", 3)


def one(talk: Talk, protocol: str, *, timeout: float = 1.5) -> dict[str, t.Any]:
    with peer(talk) as port:
        (result,) = probe([Target("127.0.0.1", port, protocol)], Options(deadline=0, timeout=timeout))
    return result


@pytest.mark.parametrize(
    ("talk", "protocol", "status"),
    [
        (endless, "pop3", "protocol_error"),
        (endless_lines, "smtp", "foreign"),
        (drip, "pop3", "protocol_error"),
        (binary, "nntp", "protocol_error"),
        (reset, "pop3", "reset"),
        (mute, "smtp", "silent"),
        (endless, "ldap", "protocol_error"),
        (drip, "ldap", "protocol_error"),
        (binary, "ldap", "protocol_error"),
        (reset, "ldap", "reset"),
        (reset, "imap4s", "no_certificate"),
        (mute, "imap4s", "silent"),
        (endless, "imap4s", "no_tls"),
        (drip, "ldaps", "no_tls"),
        (binary, "nntps", "protocol_error"),
        (endless_record, "pop3s", "protocol_error"),
        (endless_handshake, "pop3s", "protocol_error"),
        (reset_after_greeting, "pop3", "open"),
    ],
)
def test_peer_is_survived(talk: Talk, protocol: str, status: str) -> None:
    begun = time.monotonic()
    result = one(talk, protocol)
    assert result["status"] == status, result
    assert len(result["greeting"] or "") <= 512
    assert time.monotonic() - begun < 30  # a guard against a hang, far above the timeout of 1.5 s


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("talk", "protocol", "status"),
    [
        (greet, "pop3s", "open"),
        (greet_at_length, "pop3s", "open"),
        (bad_record, "pop3s", "open"),
        (reset, "pop3s", "reset"),
        (mute, "pop3s", "silent"),
        (endless, "pop3s", "protocol_error"),
        (endless_lines, "imap4s", "foreign"),
        (drip, "nntps", "protocol_error"),
        (binary, "ldaps", "protocol_error"),
    ],
)
def test_peer_behind_tls_is_survived(
    identity: tuple[Path, Path], version: ssl.TLSVersion, talk: Talk, protocol: str, status: str
) -> None:
    waited_out = talk in (mute, drip)
    result = one(encrypted(talk, identity, version), protocol, timeout=3 if waited_out else 30)
    assert result["status"] == status, result
    assert result["tls"]["subject"] == "O=Example, CN=mail.example.com"


@pytest.mark.parametrize(
    ("talk", "protocol", "status"),
    [
        (endless, "pop3", "protocol_error"),
        (endless_lines, "smtp", "foreign"),
        (drip, "imap4", "protocol_error"),
        (greet, "pop3", "reset"),
        (greet_at_length, "pop3", "protocol_error"),
        (reset_after_greeting, "pop3", "reset"),
        (mute, "ldap", "silent"),
        (binary, "ldap", "protocol_error"),
    ],
)
def test_peer_that_is_asked_for_tls_is_survived(talk: Talk, protocol: str, status: str) -> None:
    with peer(talk) as port:
        target = Target("127.0.0.1", port, protocol, starttls=True)
        (result,) = probe([target], Options(deadline=0, timeout=1.5))
    assert (result["status"], result["attempts"]) == (status, 1), result


@pytest.mark.parametrize("talk", [endless, endless_lines, drip, binary])
def test_pattern_that_never_comes_ends_with_the_timeout(talk: Talk) -> None:
    with peer(talk) as port:
        target = Target("127.0.0.1", port, greeting="never there")
        (result,) = probe([target], Options(deadline=0, timeout=1.5))
    assert (result["status"], bool(result["greeting"])) == ("foreign", True), result


def test_prompt_behind_telnet_s_negotiation_is_found() -> None:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"\xff\xfd\x18\xff\xfd\x20\r\nWelcome\r\nlogin: ")
        over.wait(60)

    with peer(talk) as port:
        target = Target("127.0.0.1", port, greeting="^login:")
        (result,) = probe([target], Options(deadline=0, timeout=60))
    assert (result["status"], result["speaks"]) == ("open", "telnet")


def test_endless_peers_take_no_memory() -> None:
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(peer(talk)) for talk in (endless, endless_lines, endless_record, drip)]
        protocols = ("pop3", "smtp", "ldap", "pop3s", "ldaps")
        targets = [Target("127.0.0.1", port, protocol) for port in ports for protocol in protocols] * 5
        tracemalloc.start()
        try:
            results = probe(targets, Options(deadline=0, timeout=1.5))
            dummy, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(results) == len(targets)
    assert all(result["status"] != "open" for result in results)
    assert most < len(targets) * 200_000


def test_more_targets_than_file_descriptors() -> None:
    """In a process of its own, that may open 64 files and is given 400 targets."""
    program = f"""
import json, resource, sys
sys.path.insert(0, {str(ROOT / "build" / "link")!r})
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Target
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
targets = [Target("127.0.0.1", int(sys.argv[1]), "pop3") for dummy in range(400)]
results = probe(targets, Options(deadline=0, timeout=30, concurrency=400))
print(json.dumps([result["status"] for result in results]))
"""
    with peer(greet) as port:
        ran = subprocess.run(
            [sys.executable, "-c", program, str(port)], capture_output=True, text=True, check=True, timeout=120
        )
    assert json.loads(ran.stdout) == ["open"] * 400


def test_backlog_that_is_full_is_a_timeout() -> None:
    """A listener that accepts nobody and whose queue is full never answers, like a port behind a packet filter."""
    with full_backlog() as address:
        options = Options(deadline=0, timeout=5, connect_timeout=1.5)
        results = probe([Target(*address, "pop3") for dummy in range(100)], options)
    assert {result["status"] for result in results} == {"timeout"}


@contextlib.contextmanager
def full_backlog() -> Iterator[tuple[str, int]]:
    listener = socket.socket()
    waiting: list[socket.socket] = []
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        try:
            while True:
                connection = socket.socket()
                waiting.append(connection)
                connection.settimeout(0.3)
                try:
                    connection.connect(listener.getsockname())
                except TimeoutError:
                    break
            yield listener.getsockname()
        finally:
            for connection in waiting:
                connection.close()


def test_names_and_addresses() -> None:
    with peer(greet) as port:
        named, missing, impossible = probe(
            [Target("localhost", port, "pop3"), Target("nowhere.invalid", port), Target("x" * 300, port)],
            Options(deadline=0, timeout=20),
        )
    assert (named["status"], named["address"]) == ("open", "127.0.0.1")
    assert (missing["status"], impossible["status"]) == ("unresolved", "unresolved")
    assert missing["detail"] and impossible["detail"]


def test_source_address() -> None:
    seen: list[str] = []

    def note(connection: socket.socket, over: threading.Event) -> None:
        seen.append(connection.getpeername()[0])
        greet(connection, over)

    with peer(note) as port:
        options = Options(deadline=0, timeout=5, source_address="127.0.0.77")
        (good,) = probe([Target("127.0.0.1", port, "pop3")], options)
        options = Options(deadline=0, timeout=5, source_address="192.0.2.77")
        (bad,) = probe([Target("127.0.0.1", port, "pop3")], options)
        (odd,) = probe([Target("::1", port, "pop3")], options)
    assert (good["status"], seen) == ("open", ["127.0.0.77"])
    assert (bad["status"], odd["status"]) == ("unreachable", "unreachable")
    assert "source_address 192.0.2.77" in bad["detail"]


def test_nothing_is_left_open() -> None:
    def open_files() -> int:
        return sum(1 for dummy in Path("/dev/fd").iterdir())

    with peer(greet) as port, peer(reset) as dying:
        before = open_files()
        targets = [Target("localhost", port, "pop3"), Target("127.0.0.1", dying, "pop3s"), Target("127.0.0.1", 1)]
        probe(targets * 10, Options(deadline=0, timeout=5))
        guard = time.monotonic() + 20
        while open_files() > before and time.monotonic() < guard:
            time.sleep(0.02)  # the peers are still closing their ends
        assert open_files() <= before
    for thread in threading.enumerate():
        if thread.name.startswith("port_probe"):
            thread.join(20)
            assert not thread.is_alive()
