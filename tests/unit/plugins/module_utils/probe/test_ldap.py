# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bind requests against octets from RFC 1777 encodings, and a reader that no answer can harm."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import ber, ldap

BIND_V2 = bytes.fromhex("300c020101600702010204008000")
BIND_V3 = bytes.fromhex("300c020102600702010304008000")
UNBIND = bytes.fromhex("30050201034200")
SUCCESS = bytes.fromhex("300c02010161070a010004000400")
# slapd's refusal of version 2, recorded
REFUSED_V2 = (
    bytes.fromhex("303f020101613a0a010204000433") + (b"historical protocol version requested, use LDAPv3 instead"[:51])
)


def test_requests_are_what_the_wire_wants() -> None:
    assert ldap.bind_request(message_id=1, version=2) == BIND_V2
    assert ldap.bind_request(message_id=2, version=3) == BIND_V3
    assert ldap.unbind_request(message_id=3) == UNBIND


def test_success() -> None:
    assert ldap.read_bind_answer(SUCCESS, message_id=1) == ldap.Answer(0, b"")


def test_long_lengths_are_read() -> None:
    """Windows writes every length with four octets."""
    answer = bytes.fromhex("308400000010020101618400000007" + "0a010104000400")
    assert ldap.read_bind_answer(answer, message_id=1) == ldap.Answer(1, b"")


def test_result_has_a_name() -> None:
    assert ldap.Answer(49, b"").name == "invalidCredentials"
    assert ldap.Answer(99, b"").name == "code 99"


@pytest.mark.parametrize("cut", range(1, len(SUCCESS)))
def test_beginning_wants_more(cut: int) -> None:
    assert ldap.read_bind_answer(SUCCESS[:cut], message_id=1) is None


@pytest.mark.parametrize(
    "data",
    [
        b"+OK",
        bytes.fromhex("3000"),
        bytes.fromhex("3003020101"),
        bytes.fromhex("300c02010164070a010004000400"),  # a search entry
        bytes.fromhex("300c02010161070201000400"),  # length beyond its parent
        bytes.fromhex("30800201016107"),  # indefinite length
        bytes.fromhex("3085") + b"\xff" * 5,
        bytes.fromhex("300e0201016109") + bytes.fromhex("0a0100040004ff00"),
    ],
    ids=lambda data: data.hex()[:20],
)
def test_no_bind_response(data: bytes) -> None:
    data = data + b"\0" * 8
    with pytest.raises(ber.BerError):
        ldap.read_bind_answer(data, message_id=1)


def test_huge_answer_is_given_up() -> None:
    head = bytes.fromhex("3084") + (1 << 30).to_bytes(4, "big")
    assert ldap.read_bind_answer(head + b"\0" * 100, message_id=1) is None
    with pytest.raises(ber.BerError, match="more than"):
        ldap.read_bind_answer(head + b"\0" * ldap.LONGEST_ANSWER, message_id=1)


def test_notice_of_disconnection() -> None:
    """RFC 2251, section 4.4.1: an extended response with message number 0."""
    notice = bytes.fromhex("300c02010078070a013404000400")
    assert ldap.read_bind_answer(notice, message_id=1) == ldap.Answer(52, b"", disconnects=True)


@pytest.mark.parametrize("answer", ["300c02010061070a010004000400", "300c02010261070a010004000400"])
def test_answer_to_another_message_is_none(answer: str) -> None:
    with pytest.raises(ber.BerError, match="another message"):
        ldap.read_bind_answer(bytes.fromhex(answer), message_id=1)


def test_notice_that_claims_to_answer_is_none() -> None:
    with pytest.raises(ber.BerError, match="another message"):
        ldap.read_bind_answer(bytes.fromhex("300c02010178070a013404000400"), message_id=1)


@given(st.binary(max_size=300))
def test_any_octets_are_an_answer_or_an_error(data: bytes) -> None:
    for candidate in (data, b"\x30" + data, SUCCESS[:7] + data):
        with contextlib.suppress(ber.BerError):
            ldap.read_bind_answer(candidate, message_id=1)


@given(st.integers(0, 2**31 - 1))
def test_integers_survive(value: int) -> None:
    element = ber.read(ber.encode_integer(value))
    assert ber.integer(element.content) == value


@given(st.binary(max_size=400), st.integers(0, 30))
def test_elements_survive(content: bytes, tag: int) -> None:
    encoded = ber.encode(tag, content)
    assert ber.read(encoded) == ber.Element(tag, content, len(encoded))
