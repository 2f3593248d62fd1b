# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations in clear, replayed: what is said, when, and what is made of the answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.dialogues import (
    LONGEST_HEARD,
    dialogue_for,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    PROTOCOLS,
    Ending,
    Status,
    Target,
)
from tests.support.replay import Replayed, replay

POP3 = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"
IMAP4 = b"* OK Microsoft Exchange IMAP4rev1 Server Ready\r\n"
BYE = b"* BYE Microsoft Exchange IMAP4rev1 server version 5.5.2654.50 signing off\r\na OK LOGOUT completed\r\n"
SMTP = b"220 exch.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2232.0) Ready.\r\n"
NNTP = b"200 Microsoft Exchange Internet News Service Version 5.5.1960.6 (posting allowed)\r\n"

BIND_V2 = bytes.fromhex("300c020101600702010204008000")
BIND_V3 = bytes.fromhex("300c020102600702010304008000")
UNBIND_2 = bytes.fromhex("30050201024200")
UNBIND_3 = bytes.fromhex("30050201034200")


def bind_answer(code: int, message_id: int = 1) -> bytes:
    return bytes((0x30, 0x0C, 2, 1, message_id, 0x61, 7, 0x0A, 1, code, 4, 0, 4, 0))


def talk(protocol: str, *heard: bytes | Ending, greeting: str | None = None) -> Replayed:
    return replay(dialogue_for(Target("192.0.2.1", 1, protocol, greeting=greeting)), *heard)


@pytest.mark.parametrize(
    ("protocol", "greeting", "farewell"),
    [
        ("pop3", POP3, b"QUIT\r\n"),
        ("imap4", IMAP4, b"a LOGOUT\r\n"),
        ("smtp", SMTP, b"QUIT\r\n"),
        ("nntp", NNTP, b"QUIT\r\n"),
    ],
)
def test_exchange_is_open_and_gets_one_polite_command(protocol: str, greeting: bytes, farewell: bytes) -> None:
    replayed = talk(protocol, greeting, b"bye\r\n", Ending.CLOSED)
    assert replayed.findings.status is Status.OPEN
    assert replayed.findings.product == "Microsoft Exchange"
    assert (replayed.said, replayed.farewell) == (b"", farewell)


def test_imap4_names_its_version_when_it_goes() -> None:
    """A greeting outside of four locales has no version (Q182618); the BYE has one (Q189326)."""
    assert talk("imap4", IMAP4, BYE, Ending.CLOSED).findings.version == "5.5.2654.50"


def test_greeting_octet_by_octet() -> None:
    assert talk("pop3", *(bytes((octet,)) for octet in POP3)).findings.version == "5.5.2655.20"


def test_several_lines_are_awaited_before_the_farewell() -> None:
    """Who speaks before the last line of a greeting is taken for a spammer by postscreen and exim."""
    replayed = talk("smtp", b"220-mail.example.com ESMTP Postfix\r\n", b"220 mail.example.com ESMTP Postfix\r\n")
    assert replayed.heard == 3  # two lines, then the farewell's answer
    assert replayed.findings.status is Status.FOREIGN
    assert replayed.findings.greeting == "220-mail.example.com ESMTP Postfix | 220 mail.example.com ESMTP Postfix"


def test_exchange_in_the_second_line_is_exchange() -> None:
    findings = talk("smtp", b"220-For members only\r\n", SMTP).findings
    assert (findings.status, findings.version) == (Status.OPEN, "5.5.2232.0")


def test_a_later_exchange_may_show_itself_when_it_goes() -> None:
    """From 2007 on the greeting has no version, and in other languages than English no word of ours."""
    greeting = "+OK Le service POP3 Microsoft Exchange est prêt.\r\n".encode("cp1252")
    findings = talk("pop3", greeting, b"+OK Microsoft Exchange Server 2010 POP3 server signing off.\r\n").findings
    assert (findings.status, findings.product) == (Status.FOREIGN, "Microsoft Exchange 2000 or later")
    by_pattern = talk("pop3", greeting, b"+OK Microsoft Exchange Server 2010 POP3\r\n", greeting="Exchange").findings
    assert by_pattern.status is Status.OPEN


def test_what_follows_the_line_is_not_waited_for() -> None:
    for lines in (POP3, b"220-mail.example.com\r\n220 mail.example.com ESMTP Postfix\r\n"):
        assert talk("pop3", lines + b"x", Ending.CLOSED).farewell == b"QUIT\r\n"


@pytest.mark.parametrize(
    ("heard", "status", "speaks"),
    [
        ([Ending.CLOSED], Status.RESET, None),
        ([Ending.RESET], Status.RESET, None),
        ([Ending.EXPIRED], Status.SILENT, None),
        ([b"+OK hello"], Status.PROTOCOL_ERROR, "pop3"),
        ([b"+OK hel", Ending.RESET], Status.PROTOCOL_ERROR, "pop3"),
        ([b"-ERR busy\r\n"], Status.PROTOCOL_ERROR, "pop3"),
        ([b"+OK Dovecot ready.\r\n"], Status.FOREIGN, "pop3"),
        ([SMTP], Status.FOREIGN, "smtp"),
        ([b"hello\r\n"], Status.FOREIGN, None),
        ([b"\r\n"], Status.FOREIGN, None),
        ([b"\x15\x03\x00\x00\x02\x02\x28"], Status.FOREIGN, "tls"),
        ([b"\xff\xfd\x18"], Status.FOREIGN, "telnet"),
        ([b"\x00\x01\x02"], Status.PROTOCOL_ERROR, None),
        ([b"a" * 4000, b"a" * 4000, b"a" * 4000], Status.PROTOCOL_ERROR, None),
    ],
)
def test_everything_else_says_why(heard: list[bytes | Ending], status: Status, speaks: str | None) -> None:
    findings = talk("pop3", *heard).findings
    assert (findings.status, findings.speaks) == (status, speaks)
    assert findings.detail


@pytest.mark.parametrize(
    ("protocol", "line"),
    [
        ("smtp", b"421 Service not available"),
        ("smtp", b"554 No SMTP service here"),
        ("nntp", b"400 Service discontinued"),
        ("nntp", b"480 Authentication required"),
        ("nntp", b"502 Permission denied"),
        ("imap4", b"* BYE Too many connections"),
        ("pop3", b"-ERR Too many connections"),
    ],
)
def test_who_refuses_service_may_be_asked_again(protocol: str, line: bytes) -> None:
    findings = talk(protocol, line + b"\r\n", Ending.CLOSED).findings
    assert (findings.status, findings.detail) == (Status.PROTOCOL_ERROR, "greets with a refusal")
    assert findings.speaks == protocol


@pytest.mark.parametrize(
    ("protocol", "line", "product"),
    [
        (
            "imap4",  # Q230373
            "* OK mail Microsoft IMAP4Rev1 Server ready at Mon, 1 Jun 1998 Version: 5.5.1875.185.18",
            "Microsoft Commercial Internet System",
        ),
        (
            "smtp",
            "220 mail Microsoft ESMTP MAIL Service, Version: 5.0.2195.1600 ready at  Mon",
            "Microsoft Internet Information Server",
        ),
        (
            "nntp",
            "200 NNTP Service 5.00.0984 Version: 5.0.2195.1608 Posting Allowed",
            "Microsoft Internet Information Server",
        ),
        ("pop3", "+OK The Microsoft Exchange POP3 service is ready.", "Microsoft Exchange 2000 or later"),
    ],
)
def test_other_servers_of_the_same_maker_are_foreign(protocol: str, line: str, product: str) -> None:
    findings = talk(protocol, f"{line}\r\n".encode("ascii")).findings
    assert (findings.status, findings.speaks, findings.product) == (Status.FOREIGN, protocol, product)
    assert product in findings.detail


def test_exchange_of_another_protocol_is_named() -> None:
    findings = talk("imap4", POP3).findings
    assert (findings.status, findings.speaks, findings.version) == (Status.FOREIGN, "pop3", "5.5.2655.20")
    assert findings.detail == "pop3 answers here, imap4 was expected"


def test_the_name_of_exchange_alone_opens_nothing() -> None:
    findings = talk("pop3", b"Welcome to Microsoft Exchange POP3 version 5.5.2653.23\r\n").findings
    assert (findings.status, findings.product) == (Status.FOREIGN, "Microsoft Exchange")
    assert findings.detail == "names Microsoft Exchange, but does not begin as pop3 does"


def test_nobody_is_spoken_to_who_is_not_understood() -> None:
    assert talk("pop3", b"hello\r\n").farewell == b""


def test_pattern_decides_instead_of_the_table() -> None:
    assert talk("pop3", b"+OK Dovecot ready.\r\n", greeting="Dovecot").findings.status is Status.OPEN
    assert talk("pop3", POP3, greeting=r"version 5\.0\.").findings.status is Status.FOREIGN
    assert talk("tcp", b"anything goes\r\n", greeting="goes").findings.status is Status.OPEN


@pytest.mark.parametrize(
    ("heard", "pattern"),
    [
        ([b"220-Welcome\r\n", b"220-to the second line\r\n220 ready\r\n"], "second line"),
        ([b"220-Welcome\r\n220 second\r\n"], r"^220 second$"),
        ([b"\xff\xfd\x18\xff\xfd\x20", b"\r\nlogin: ", Ending.EXPIRED], "login: ?$"),  # telnet negotiates first
        ([b"Password: ", Ending.EXPIRED], "Password"),
        ([b"Notice: monitored\r\n", b"+OK Microsoft Exchange POP3\r\n"], r"^\+OK Microsoft"),
        ([b"Notice", Ending.EXPIRED, b": monitored\r\n", b"+OK here\r\n"], r"^\+OK here"),
        ([b"\x00\x01\x80\x02", Ending.EXPIRED], r"\x01\x80"),
        ([b"+OK here", Ending.CLOSED], "here"),
        (["+OK prêt\r\n".encode("latin-1")], "prêt"),
        (["+OK prêt\r\n".encode()], "prêt"),
        (["+OK готов\r\n".encode()], "готов"),
    ],
)
def test_a_pattern_is_searched_in_all_that_comes(heard: list[bytes | Ending], pattern: str) -> None:
    replayed = talk("tcp", *heard, b"more\r\n", greeting=pattern)
    assert replayed.findings.status is Status.OPEN
    farewell = 2 if replayed.farewell else 0  # its answer, and the end
    assert replayed.heard <= len(heard) + farewell, "the pattern was there already"


@pytest.mark.parametrize(
    ("heard", "status", "speaks", "came", "why"),
    [
        ([b"\xff\xfd\x18", b"login: "], Status.FOREIGN, "telnet", "???login: ", "the time ran out"),
        ([b"a\r\n", b"b\r\n"], Status.FOREIGN, None, "a | b", "the time ran out"),
        ([b"220-a\r\n", b"220 b\r\n", Ending.CLOSED], Status.FOREIGN, "smtp", "220-a | 220 b", "the peer closed"),
        ([b"+OK hel", Ending.RESET], Status.PROTOCOL_ERROR, "pop3", "+OK hel", "the peer reset the connection"),
        ([b"x" * 5000], Status.FOREIGN, None, "x" * 512, "more than 4096 octets"),
    ],
)
def test_what_came_instead_of_the_pattern_is_said(
    heard: list[bytes | Ending], status: Status, speaks: str | None, came: str, why: str
) -> None:
    findings = talk("tcp", *heard, greeting="Exchange").findings
    assert (findings.status, findings.speaks, findings.greeting) == (status, speaks, came)
    assert findings.detail == f"what came does not match the pattern of the target: {why}"


def test_half_a_line_does_not_decide() -> None:
    """What a pattern must not find may be in the other half."""
    pattern = r"\A220 (?!.*Microsoft)"
    halves = (b"220 mail.example.com Micro", b"soft ESMTP MAIL Service\r\n")
    assert talk("smtp", *halves, greeting=pattern).findings.status is Status.FOREIGN


def test_who_has_more_to_say_is_not_interrupted() -> None:
    """The pattern is in the first of several lines; the rest does not come in time."""
    replayed = talk("smtp", b"220-mail.example.com ESMTP\r\n", greeting="ESMTP")
    assert (replayed.findings.status, replayed.farewell) == (Status.OPEN, b"")


def test_nothing_heard_is_silence_with_a_pattern_as_without() -> None:
    assert talk("tcp", greeting="x").findings.status is Status.SILENT
    assert talk("tcp", Ending.CLOSED, greeting="x").findings.status is Status.RESET


def test_tcp_needs_no_word() -> None:
    replayed = talk("tcp")
    assert (replayed.findings.status, replayed.heard, replayed.said) == (Status.OPEN, 0, b"")


def test_endless_greeting_is_left() -> None:
    replayed = talk("pop3", *[b"x" * 1000] * 1000)
    assert replayed.heard <= LONGEST_HEARD // 1000 + 2
    assert replayed.findings.greeting == "x" * 512


# --- LDAP ---------------------------------------------------------------------------------------------------------


def test_version_2_is_enough() -> None:
    replayed = talk("ldap", bind_answer(0))
    assert (replayed.said, replayed.farewell) == (BIND_V2, UNBIND_2)
    assert replayed.findings.status is Status.OPEN
    assert replayed.findings.ldap is not None
    assert (replayed.findings.ldap.version, replayed.findings.ldap.result) == (2, "success")


@pytest.mark.parametrize("code", [7, 8, 48, 49, 50, 53])
def test_refused_bind_proves_the_port(code: int) -> None:
    """The Anonymous tab may forbid it (Q175440)."""
    findings = talk("ldap", bind_answer(code)).findings
    assert findings.status is Status.OPEN
    assert findings.ldap is not None
    assert findings.ldap.result_code == code


@pytest.mark.parametrize(("code", "name"), [(51, "busy"), (52, "unavailable")])
def test_who_is_busy_may_be_asked_again(code: int, name: str) -> None:
    """As with SMTP's 421: the service says itself that it cannot serve now."""
    replayed = talk("ldap", bind_answer(code))
    assert (replayed.findings.status, replayed.findings.speaks) == (Status.PROTOCOL_ERROR, "ldap")
    assert name in replayed.findings.detail
    assert replayed.findings.ldap is not None
    assert (replayed.findings.ldap.result, replayed.farewell) == (name, UNBIND_2)


def test_answer_to_another_bind_is_none() -> None:
    assert talk("ldap", bind_answer(0, 7)).findings.status is Status.PROTOCOL_ERROR


def test_text_on_an_ldap_port_is_heard_to_the_end_of_its_line() -> None:
    findings = talk("ldap", b"+OK Dove", b"cot rea", b"dy.\r\n").findings
    assert (findings.status, findings.speaks, findings.product) == (Status.FOREIGN, "pop3", "Dovecot")
    cut_off = talk("ldap", b"+OK Dove", Ending.CLOSED).findings
    assert (cut_off.status, cut_off.speaks) == (Status.PROTOCOL_ERROR, "pop3")
    assert "the peer closed" in cut_off.detail


def test_who_refuses_version_2_is_no_exchange() -> None:
    replayed = talk("ldap", bind_answer(2), bind_answer(0, 2))
    assert (replayed.said, replayed.farewell) == (BIND_V2 + BIND_V3, UNBIND_3)
    assert replayed.findings.status is Status.FOREIGN
    assert replayed.findings.ldap is not None
    assert (replayed.findings.ldap.version, replayed.findings.ldap.result_code) == (3, 0)


def test_who_refuses_version_2_and_hangs_up_is_no_exchange() -> None:
    findings = talk("ldap", bind_answer(2), Ending.CLOSED).findings
    assert findings.status is Status.FOREIGN
    assert findings.ldap is not None
    assert findings.ldap.version == 2


@pytest.mark.parametrize(
    ("heard", "status", "speaks"),
    [
        ([Ending.EXPIRED], Status.SILENT, None),
        ([Ending.CLOSED], Status.RESET, None),
        ([Ending.RESET], Status.RESET, None),
        ([b"\x30\x0c", Ending.CLOSED], Status.PROTOCOL_ERROR, "ldap"),
        ([b"\x30\x00"], Status.PROTOCOL_ERROR, None),
        ([POP3], Status.FOREIGN, "pop3"),
        ([b"\x00" * 9], Status.PROTOCOL_ERROR, None),
        ([bytes.fromhex("300c02010078070a013404000400")], Status.PROTOCOL_ERROR, "ldap"),
    ],
)
def test_ldap_troubles(heard: list[bytes | Ending], status: Status, speaks: str | None) -> None:
    findings = talk("ldap", *heard).findings
    assert (findings.status, findings.speaks) == (status, speaks)
    assert findings.detail


CLEAR = [name for name in PROTOCOLS if name in ("tcp", "pop3", "imap4", "nntp", "smtp", "ldap")]
ITEMS = st.one_of(
    st.binary(min_size=1, max_size=600),
    st.sampled_from([POP3, IMAP4, BYE, SMTP, NNTP, bind_answer(0), bind_answer(2), b"220-x\r\n", b"\r\n"]),
    st.sampled_from(list(Ending)),
)


@given(st.sampled_from(CLEAR), st.lists(ITEMS, max_size=12), st.sampled_from([None, "Exchange"]))
def test_nothing_that_is_heard_breaks_a_conversation(
    protocol: str, heard: list[bytes | Ending], pattern: str | None
) -> None:
    replayed = talk(protocol, *heard, greeting=None if protocol == "ldap" else pattern)
    findings = replayed.findings
    assert findings.status in Status
    assert len(findings.greeting or "") <= 512
    assert (findings.greeting or "a").isprintable() or findings.greeting == ""
    assert replayed.farewell.count(b"\r\n") <= 1
    assert findings.status is not Status.OPEN or protocol in ("tcp", "ldap") or findings.greeting
