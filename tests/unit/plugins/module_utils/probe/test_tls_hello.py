# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hellos against the specifications' layout, and answers recorded from a server that still speaks SSL 2.0 and 3.0."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import tls_hello
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.x509 import read_certificate

DATA = Path(__file__).resolve().parents[4] / "data" / "tls"
CERTIFICATE = ("C=US, O=Example Corporation, CN=mail.example.com", "1999-12-31T23:59:59Z")


def recorded(name: str) -> bytes:
    return (DATA / name).with_suffix(".bin").read_bytes()


SSL2_STRONG = (
    "SSL2_RC4_128_WITH_MD5",
    "SSL2_DES_192_EDE3_CBC_WITH_MD5",
    "SSL2_RC2_128_CBC_WITH_MD5",
    "SSL2_DES_64_CBC_WITH_MD5",
)
SSL2_EXPORT = ("SSL2_RC4_128_EXPORT40_WITH_MD5", "SSL2_RC2_128_CBC_EXPORT40_WITH_MD5")

RECORDED = [
    ("ssl2_server_hello", "SSLv2", SSL2_STRONG + SSL2_EXPORT),
    ("ssl2_server_hello_export", "SSLv2", SSL2_EXPORT),
    ("ssl2_server_hello_without_cipher", "SSLv2", ()),
    ("ssl3_flight_export", "SSLv3", ("SSL_RSA_EXPORT_WITH_RC4_40_MD5",)),
    ("ssl3_flight_des", "SSLv3", ("SSL_RSA_WITH_DES_CBC_SHA",)),
]


@pytest.mark.parametrize(("name", "version", "ciphers"), RECORDED)
def test_recorded_server_hello(name: str, version: str, ciphers: tuple[str, ...]) -> None:
    answer = tls_hello.read_answer(recorded(name))
    assert isinstance(answer, tls_hello.ServerHello)
    assert (answer.version, answer.ciphers, answer.complete) == (version, ciphers, True)
    certificate = read_certificate(answer.certificate)
    assert certificate is not None
    assert (certificate.subject, certificate.not_after) == CERTIFICATE


@pytest.mark.parametrize("name", [name for name, *dummy in RECORDED])
def test_every_beginning_wants_more_or_knows_the_version(name: str) -> None:
    """An answer may arrive octet by octet; what it says never changes on the way."""
    data = recorded(name)
    whole = tls_hello.read_answer(data)
    assert isinstance(whole, tls_hello.ServerHello)
    for cut in range(len(data)):
        part = tls_hello.read_answer(data[:cut])
        if part is not None:
            assert isinstance(part, tls_hello.ServerHello)
            assert (part.version, part.ciphers) == (whole.version, whole.ciphers)
            assert part.complete == (part.certificate == whole.certificate)


def test_recorded_alert() -> None:
    assert tls_hello.read_answer(recorded("ssl3_alert")) == tls_hello.Alert("handshake_failure")
    assert tls_hello.read_answer(recorded("ssl3_alert")[:6]) is None


def test_ssl2_error_message() -> None:
    """SSL 2.0 specification, section 2.7."""
    assert tls_hello.read_answer(bytes.fromhex("8003000001")) == tls_hello.Alert("no_cipher")
    assert tls_hello.read_answer(bytes.fromhex("8003000002")) == tls_hello.Alert("no_certificate")
    assert tls_hello.read_answer(bytes.fromhex("80030000")) is None


def test_ssl2_ciphers_are_those_that_were_offered() -> None:
    """A list of thousands is no reason to keep thousands, for each of thousands of targets."""
    specs = b"".join(code.to_bytes(3, "big") for code in (0x010080, *range(10000), 0x010080, 0x060040))
    body = bytes.fromhex("0400010002") + bytes(2) + len(specs).to_bytes(2, "big") + bytes(2) + specs
    answer = tls_hello.read_answer((0x8000 | len(body)).to_bytes(2, "big") + body)
    assert isinstance(answer, tls_hello.ServerHello)
    assert answer.ciphers == ("SSL2_RC4_128_WITH_MD5", "SSL2_DES_64_CBC_WITH_MD5")


def test_flight_of_an_export_server_has_a_temporary_key() -> None:
    flight = tls_hello.read_flight(recorded("ssl3_flight_export"))
    assert flight is not None
    assert flight.kinds == (2, 11, 12, 14)
    assert flight.kinds != tls_hello.PLAIN_RSA_FLIGHT


def test_flight_of_a_plain_server() -> None:
    data = recorded("ssl3_flight_des")
    flight = tls_hello.read_flight(data)
    assert flight is not None
    assert (flight.kinds, flight.version, flight.cipher) == (tls_hello.PLAIN_RSA_FLIGHT, 0x0300, 0x0009)
    assert all(tls_hello.read_flight(data[:cut]) is None for cut in range(len(data)))


def test_ssl2_hello_layout() -> None:
    """SSL 2.0 specification, section 2.5, with the version of SSL 3.0 (SSL 3.0, appendix E)."""
    hello = tls_hello.ssl2_hello(bytes(range(16)))
    data = hello.data
    assert int.from_bytes(data[:2], "big") == 0x8000 | (len(data) - 2)
    assert data[2:5] == b"\x01\x03\x00"
    specs, session, challenge = (int.from_bytes(data[at : at + 2], "big") for at in (5, 7, 9))
    assert (specs % 3, session, challenge, 11 + specs + challenge) == (0, 0, 16, len(data))
    kinds = {data[at : at + 3].hex() for at in range(11, 11 + specs, 3)}
    assert {"010080", "020080", "060040", "000004", "000009", "000003"} <= kinds  # RC4, DES and export, of both
    assert data.endswith(bytes(range(16)))
    assert hello.random == bytes(16) + bytes(range(16))


def test_ssl3_hello_layout() -> None:
    """SSL 3.0, section 5.6.1.2: nothing follows the compression methods, so there is no extension."""
    data = tls_hello.ssl3_hello(bytes(range(32))).data
    assert data[:3] == b"\x16\x03\x00"
    assert int.from_bytes(data[3:5], "big") == len(data) - 5
    assert data[5] == 1 and int.from_bytes(data[6:9], "big") == len(data) - 9
    assert data[9:11] == b"\x03\x00" and data[11:43] == bytes(range(32)) and data[43] == 0
    suites = int.from_bytes(data[44:46], "big")
    assert data[46 + suites :] == b"\x01\x00"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"+OK ready\r\n", tls_hello.NotTls),
        (b"\xff\xfd\x18\xff\xfd\x20", tls_hello.NotTls),
        (b"\x16\x04\x00\x00\x05", tls_hello.NotTls),
        (b"\x80\x00\x04", tls_hello.NotTls),
        (b"\x80\x05\x00\x00\x01\x02\x03", tls_hello.NotTls),
        (b"\x80\x0b\x04" + b"\x00\x01\x00\x02\xff\xff\x00\x00\x00\x00", tls_hello.Malformed),
        (b"\x16\x03\x00\xff\xff" + b"\x02", tls_hello.Malformed),
        (b"\x16\x03\x00\x00\x04\x0b\x00\x00\x00", tls_hello.Malformed),
        (b"\x16\x03\x00\x00\x06\x02\x00\x00\x02\x03\x00", tls_hello.Malformed),
        (b"\x16\x03\x00\x00\x04\x02\xff\xff\xff", tls_hello.Malformed),
        (b"\x15\x03\x00\x00\x03\x02\x28\x00", tls_hello.Malformed),
    ],
    ids=lambda value: value.hex()[:12] if isinstance(value, bytes) else "",
)
def test_no_answer(data: bytes, error: type[ValueError]) -> None:
    with pytest.raises(error):
        tls_hello.read_answer(data)


SEEDS = st.sampled_from([b""] + [recorded(name) for name, *dummy in RECORDED])


@given(SEEDS, st.integers(0, 900), st.binary(max_size=60))
def test_any_octets_are_an_answer_or_an_error(seed: bytes, at: int, noise: bytes) -> None:
    data = seed[:at] + noise + seed[at + len(noise) :]
    for read in (tls_hello.read_answer, tls_hello.read_flight):
        with contextlib.suppress(tls_hello.NotTls, tls_hello.Malformed):
            read(data)
