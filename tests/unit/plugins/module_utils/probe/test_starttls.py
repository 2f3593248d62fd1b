# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""STARTTLS, replayed: what is said in clear, when a hello follows, and what refusals are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    STARTTLS,
    Ending,
    Findings,
    Status,
    Target,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.tls import TlsApproach
from tests.support.replay import Replayed, replay

DATA = Path(__file__).resolve().parents[4] / "data" / "tls"
DES = (DATA / "ssl3_flight_des.bin").read_bytes()
ALERT = (DATA / "ssl3_alert.bin").read_bytes()

SMTP = b"220 exch.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready\r\n"
EHLO = b"250-exch.example.com Hello\r\n250-SIZE\r\n250-STARTTLS\r\n250 DSN\r\n"
POP3 = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"
IMAP4 = b"* OK Microsoft Exchange IMAP4rev1 server version 5.5.2653.23 (EXCH) ready\r\n"

# Protocol -> what a willing server says, one item for every answer, and what it is told.
WILLING: dict[str, tuple[list[bytes], bytes]] = {
    "smtp": ([SMTP, EHLO, b"220 Ready to start TLS\r\n"], b"EHLO [127.0.0.1]\r\nSTARTTLS\r\n"),
    "pop3": ([POP3, b"+OK Begin TLS\r\n"], b"STLS\r\n"),
    "imap4": ([IMAP4, b"* OK a notice\r\n", b"a OK Begin TLS\r\n"], b"a STARTTLS\r\n"),
    "ldap": (
        [bytes.fromhex("300c02010178070a010004000400")],
        bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037",
    ),
}
HELLO_FORMS = (b"\x80", b"\x16\x03\x00", b"\x16\x03\x01")
"""First octets of the three hellos: SSL 2.0's format, SSL 3.0, today."""


def target(protocol: str) -> Target:
    return Target("mail.example.com", 1, protocol, starttls=True)


def once(protocol: str, *heard: bytes | Ending) -> tuple[Findings | None, Replayed]:
    approach = TlsApproach(target(protocol))
    replayed = replay(approach.dialogue(), *heard)
    return approach.conclude(replayed.findings), replayed


def test_every_protocol_that_has_it_is_tested() -> None:
    assert set(WILLING) == set(STARTTLS)


@pytest.mark.parametrize("protocol", WILLING)
def test_a_hello_follows_the_answer_that_agrees(protocol: str) -> None:
    says, told = WILLING[protocol]
    verdict, replayed = once(protocol, *says, DES)
    assert replayed.said.startswith(told + HELLO_FORMS[0])
    assert verdict is not None and verdict.tls is not None
    assert (verdict.status, verdict.tls.version, verdict.tls.hello) == (Status.OPEN, "SSLv3", "ssl2")
    assert verdict.detail.startswith("the handshake ends after the server hello")
    assert verdict.product == (None if protocol == "ldap" else "Microsoft Exchange")
    assert (verdict.greeting is None) == (protocol == "ldap")


@pytest.mark.parametrize("protocol", WILLING)
def test_three_hellos_each_on_a_connection_of_its_own(protocol: str) -> None:
    """The care of the TLS ports: Windows NT 4.0 answers the first or the second only."""
    says, told = WILLING[protocol]
    approach = TlsApproach(target(protocol))
    for form in HELLO_FORMS:
        replayed = replay(approach.dialogue(), *says, ALERT)
        assert replayed.said.startswith(told + form)
        verdict = approach.conclude(replayed.findings)
    assert verdict is not None
    assert (verdict.status, approach.is_spent()) == (Status.TLS_ALERT, True)
    assert verdict.product == (None if protocol == "ldap" else "Microsoft Exchange")


@pytest.mark.parametrize("protocol", WILLING)
def test_octet_by_octet(protocol: str) -> None:
    says, dummy = WILLING[protocol]
    heard = [bytes((octet,)) for answer in [*says, DES] for octet in answer]
    verdict, dummy_replayed = once(protocol, *heard)
    assert verdict is not None and verdict.tls is not None


@pytest.mark.parametrize("protocol", WILLING)
def test_dropped_at_every_hello_is_a_missing_certificate(protocol: str) -> None:
    """Behind a proxy Exchange 5.5 offers STARTTLS without a certificate until SP 4 (Q237327)."""
    says, dummy = WILLING[protocol]
    approach = TlsApproach(target(protocol))
    for dummy_hello in HELLO_FORMS:
        verdict = approach.conclude(replay(approach.dialogue(), *says, Ending.CLOSED).findings)
    assert verdict is not None
    assert verdict.status is Status.NO_CERTIFICATE


@pytest.mark.parametrize(
    ("protocol", "heard", "status", "detail"),
    [
        ("smtp", [SMTP, b"500 Command not recognized\r\n"], Status.NO_TLS, "refuses EHLO: '500 Command not recog"),
        ("smtp", [SMTP, b"250 exch Hello\r\n"], Status.NO_TLS, "does not offer STARTTLS in its answer to EHLO"),
        ("smtp", [SMTP, b"250-exch\r\n250 XSTARTTLS\r\n"], Status.NO_TLS, "does not offer STARTTLS"),
        ("smtp", [SMTP, EHLO, b"502 No\r\n"], Status.NO_TLS, "refuses STARTTLS: '502 No'"),
        ("smtp", [SMTP, EHLO, b"454 not now\r\n"], Status.PROTOCOL_ERROR, "refuses STARTTLS: '454 not now'"),
        ("smtp", [SMTP, EHLO, Ending.CLOSED], Status.RESET, "does not answer STARTTLS: the peer closed"),
        ("smtp", [SMTP, b"250-a\r\n", Ending.EXPIRED], Status.PROTOCOL_ERROR, "does not answer EHLO after '250-a'"),
        ("smtp", [SMTP, Ending.EXPIRED], Status.SILENT, "does not answer EHLO"),
        ("smtp", [b"220 mail ESMTP Postfix\r\n"], Status.FOREIGN, "Postfix answers here"),
        ("smtp", [Ending.EXPIRED], Status.SILENT, "accepts the connection and says nothing"),
        ("smtp", [Ending.CLOSED], Status.RESET, "accepts the connection and closes it without a word"),
        ("smtp", [b"421 busy\r\n"], Status.PROTOCOL_ERROR, "greets with a refusal"),
        ("pop3", [POP3, b"-ERR unknown command\r\n"], Status.NO_TLS, "refuses STLS: '-ERR unknown command'"),
        (
            "pop3",
            [POP3, b"+OK go\r\n+OK more\r\n"],
            Status.PROTOCOL_ERROR,
            "goes on in clear behind its answer to STLS",
        ),
        ("imap4", [IMAP4, b"a BAD unknown\r\n"], Status.NO_TLS, "refuses STARTTLS: 'a BAD unknown'"),
        ("imap4", [IMAP4, b"* x\r\n" * 2000], Status.PROTOCOL_ERROR, "does not answer STARTTLS after"),
        ("ldap", [bytes.fromhex("300c02010178070a010204000400")], Status.NO_TLS, "refuses StartTLS: protocolError"),
        (
            "ldap",
            [bytes.fromhex("300c02010078070a013404000400")],
            Status.PROTOCOL_ERROR,
            "refuses StartTLS: unavailable",
        ),
        ("ldap", [bytes.fromhex("300c02010161070a010004000400")], Status.PROTOCOL_ERROR, "the answer to StartTLS is"),
        ("ldap", [b"\x30\x0c", Ending.CLOSED], Status.PROTOCOL_ERROR, "an incomplete answer to StartTLS"),
        ("ldap", [Ending.RESET], Status.RESET, "no answer to StartTLS: the peer reset the connection"),
        ("ldap", [Ending.EXPIRED], Status.SILENT, "no answer to StartTLS: the time ran out"),
        ("ldap", [POP3], Status.FOREIGN, "pop3 answers here, ldap was expected"),
    ],
)
def test_who_does_not_turn_to_tls_says_why(
    protocol: str, heard: list[bytes | Ending], status: Status, detail: str
) -> None:
    approach = TlsApproach(target(protocol))
    replayed = replay(approach.dialogue(), *heard)
    verdict = approach.conclude(replayed.findings)
    assert verdict is not None, "the other hellos would meet the same words in clear"
    assert verdict.status is status
    assert verdict.detail.startswith(detail)
    assert not approach.is_spent(), "no hello was sent: another attempt may send it"
    assert replay(approach.dialogue(), *WILLING[protocol][0], DES).said.count(HELLO_FORMS[0]) >= 1


def test_exchange_that_knows_no_starttls_is_still_exchange_and_gets_a_goodbye() -> None:
    verdict, replayed = once("pop3", POP3, b"-ERR\r\n", b"+OK\r\n")
    assert verdict is not None
    assert (verdict.product, verdict.version) == ("Microsoft Exchange", "5.5.2655.20")
    assert replayed.farewell == b"QUIT\r\n"


@pytest.mark.parametrize("heard", [[b"220-mail ESMTP\r\n"], [b"220 mail ESMTP", Ending.CLOSED]])
def test_a_pattern_alone_is_no_proof_of_tls(heard: list[bytes | Ending]) -> None:
    approach = TlsApproach(Target("mail.example.com", 1, "smtp", greeting="ESMTP", starttls=True))
    replayed = replay(approach.dialogue(), *heard)
    verdict = approach.conclude(replayed.findings)
    assert verdict is not None
    assert (verdict.status, replayed.said, replayed.farewell) == (Status.PROTOCOL_ERROR, b"", b"")
    assert verdict.detail.startswith("cannot be asked for TLS")


PIECES = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.sampled_from([SMTP, EHLO, POP3, IMAP4, DES, ALERT, b"220 go\r\n", b"+OK\r\n", b"a OK\r\n", *Ending]),
    st.sampled_from([answer for says, dummy in WILLING.values() for answer in says]),
)


@given(
    st.sampled_from(STARTTLS),
    st.lists(st.lists(PIECES, max_size=8), min_size=3, max_size=3),
    st.sampled_from([None, "Exchange", "2"]),
)
def test_nothing_that_is_heard_breaks_a_conversation(
    protocol: str, connections: list[list[bytes | Ending]], pattern: str | None
) -> None:
    approach = TlsApproach(replace(target(protocol), greeting=None if protocol == "ldap" else pattern))
    for heard in connections:
        verdict = approach.conclude(replay(approach.dialogue(), *heard).findings)
        if verdict is not None:
            break
    assert verdict is not None
    assert verdict.status in Status
    assert verdict.status is not Status.OPEN or verdict.tls is not None
