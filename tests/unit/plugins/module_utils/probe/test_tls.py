# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS targets, replayed: which hellos are sent, when the next one is, and what the answers are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import tls_hello
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    Ending,
    Findings,
    Status,
    Target,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.tls import TlsApproach
from tests.support.replay import replay

DATA = Path(__file__).resolve().parents[4] / "data" / "tls"
SSL2 = (DATA / "ssl2_server_hello.bin").read_bytes()
EXPORT = (DATA / "ssl3_flight_export.bin").read_bytes()
DES = (DATA / "ssl3_flight_des.bin").read_bytes()
ALERT = (DATA / "ssl3_alert.bin").read_bytes()
POP3 = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"
TARGET = Target("mail.example.com", 995, "pop3s")


def converse(*connections: list[bytes | Ending], target: Target = TARGET) -> tuple[Findings, list[bytes]]:
    """Let every connection hear its own list; return the verdict and what was said on each."""
    approach = TlsApproach(target, random=lambda size: bytes(range(size)))
    said: list[bytes] = []
    verdict: Findings | None = None
    for heard in connections:
        assert verdict is None, "another connection was made although the verdict was known"
        replayed = replay(approach.dialogue(), *heard)
        said.append(replayed.said)
        verdict = approach.conclude(replayed.findings)
    assert verdict is not None, "there are hellos left"
    assert approach.is_spent()
    return verdict, said


def test_ssl2_server_is_named_at_the_first_hello() -> None:
    findings, said = converse([SSL2])
    assert said == [tls_hello.ssl2_hello(bytes(range(16))).data]
    assert findings.status is Status.OPEN
    assert findings.tls is not None
    assert (findings.tls.version, findings.tls.cipher, findings.tls.hello) == ("SSLv2", None, "ssl2")
    assert len(findings.tls.ciphers) == 6
    assert findings.tls.subject == "C=US, O=Example Corporation, CN=mail.example.com"
    assert findings.tls.not_after == "1999-12-31T23:59:59Z"


@pytest.mark.parametrize("flight", [EXPORT, DES])
def test_ssl3_server_whose_cipher_nobody_has_is_named_all_the_same(flight: bytes) -> None:
    findings, dummy = converse([flight])
    assert findings.status is Status.OPEN
    assert findings.tls is not None
    assert findings.tls.version == "SSLv3"
    assert "greeting was not read" in findings.detail


def test_flight_octet_by_octet() -> None:
    findings, dummy = converse([bytes((octet,)) for octet in DES])
    assert findings.tls is not None
    assert findings.tls.cipher == "SSL_RSA_WITH_DES_CBC_SHA"


def test_second_hello_is_sent_when_the_first_is_dropped() -> None:
    findings, said = converse([Ending.CLOSED], [DES])
    assert said[1] == tls_hello.ssl3_hello(bytes(range(32))).data
    assert findings.tls is not None
    assert findings.tls.hello == "ssl3"


def test_third_hello_is_of_today() -> None:
    findings, said = converse([ALERT], [ALERT], [ALERT])
    assert said[2][:3] == b"\x16\x03\x01"
    assert b"mail.example.com" in said[2]  # server name
    assert (findings.status, findings.detail) == (Status.TLS_ALERT, "refuses the ssl2 hello: handshake_failure")


def test_an_address_is_no_server_name() -> None:
    dummy, said = converse([ALERT], [ALERT], [ALERT], target=Target("192.0.2.1", 995, "pop3s"))
    assert b"192.0.2.1" not in said[2]
    dummy, said = converse([ALERT], [ALERT], [ALERT], target=Target("192.0.2.1", 995, "pop3s", server_name="a.example"))
    assert b"a.example" in said[2]


@pytest.mark.parametrize("name", ["x" * 300, "a..b", ".", "b\u00e9cher.example"])
def test_a_name_that_cannot_be_asked_for_is_not(name: str) -> None:
    findings, dummy = converse([ALERT], [ALERT], [ALERT], target=Target(name, 995, "pop3s"))
    assert findings.status is Status.TLS_ALERT


@pytest.mark.parametrize(
    ("endings", "status"),
    [
        ([Ending.CLOSED, Ending.RESET, Ending.CLOSED], Status.NO_CERTIFICATE),
        ([Ending.EXPIRED, Ending.EXPIRED, Ending.EXPIRED], Status.SILENT),
        ([Ending.CLOSED, Ending.EXPIRED, Ending.CLOSED], Status.SILENT),
        ([Ending.CLOSED, ALERT, Ending.CLOSED], Status.TLS_ALERT),
        ([b"\x16\x03\x00\xff\xff\x00", Ending.CLOSED, Ending.CLOSED], Status.PROTOCOL_ERROR),
        ([b"\x00\x00", b"\x00\x00", b"\x00\x00"], Status.PROTOCOL_ERROR),
        ([Ending.CLOSED, Ending.CLOSED, b"\x16\x03"], Status.PROTOCOL_ERROR),
    ],
)
def test_most_telling_answer_counts(endings: list[bytes | Ending], status: Status) -> None:
    """Accepting and dying at every hello is what Exchange does without a certificate (event 13002, Q251097)."""
    findings, dummy = converse(*([each] for each in endings))
    assert (findings.status, findings.tls) == (status, None)
    assert findings.detail


def test_clear_text_on_a_tls_port_is_named_at_once() -> None:
    findings, dummy = converse([POP3])
    assert (findings.status, findings.speaks, findings.version) == (Status.NO_TLS, "pop3", "5.5.2655.20")


def test_clear_text_on_a_tls_port_is_heard_to_the_end_of_its_line() -> None:
    for hello in range(3):
        connections: list[list[bytes | Ending]] = [[ALERT]] * hello
        findings, dummy = converse(*connections, [b"+OK Dove", b"cot rea", b"dy.\r\n"])
        assert (findings.status, findings.speaks, findings.product) == (Status.NO_TLS, "pop3", "Dovecot")


@pytest.mark.parametrize("name", ["a\0b", "a\nb"])
def test_a_name_with_control_characters_is_not_asked_for(name: str) -> None:
    findings, dummy = converse([ALERT], [ALERT], [ALERT], target=Target("192.0.2.1", 995, "pop3s", server_name=name))
    assert findings.status is Status.TLS_ALERT


def test_only_a_hello_that_was_sent_is_spent() -> None:
    approach = TlsApproach(TARGET)
    assert approach.conclude(Findings(Status.REFUSED)) == Findings(Status.REFUSED)
    assert not approach.is_spent()
    for first in (b"\x80", b"\x16"):
        replayed = replay(approach.dialogue(), Ending.CLOSED)
        assert replayed.said[:1] == first
        assert approach.conclude(replayed.findings) is None
        refused = approach.conclude(Findings(Status.REFUSED))
        assert refused is not None
        assert refused.status is Status.REFUSED
        assert "before that, it accepts the connection and drops it" in refused.detail


def test_after_the_verdict_only_the_connection_is_tried() -> None:
    approach = TlsApproach(TARGET)
    verdict = approach.conclude(replay(approach.dialogue(), SSL2).findings)
    again = replay(approach.dialogue(), SSL2)
    assert verdict is not None
    assert (again.said, replace(again.findings, detail=verdict.detail)) == (b"", verdict)
    assert "no hello is sent twice" in again.findings.detail
    assert approach.conclude(Findings(Status.REFUSED)) == Findings(Status.REFUSED)


ITEMS = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.sampled_from([SSL2, EXPORT, DES, ALERT, POP3, DES[:300], DES[300:], *Ending]),
)


@given(st.lists(st.lists(ITEMS, max_size=6), min_size=3, max_size=3), st.integers(0, 600), st.binary(max_size=8))
def test_nothing_that_is_heard_breaks_a_conversation(
    connections: list[list[bytes | Ending]], at: int, noise: bytes
) -> None:
    approach = TlsApproach(TARGET)
    for heard in connections:
        broken = [item[:at] + noise + item[at:] if isinstance(item, bytes) else item for item in heard]
        verdict = approach.conclude(replay(approach.dialogue(), *broken).findings)
        if verdict is not None:
            break
    assert verdict is not None
    assert verdict.status in Status
    assert len(verdict.greeting or "") <= 512
