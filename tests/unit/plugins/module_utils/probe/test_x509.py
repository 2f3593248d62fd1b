# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as servers send them, made here by a library, and times as they were written before RFC 2459."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import ber
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import x509 as certificates

KEY = rsa.generate_private_key(65537, 1024)


def make(*attributes: x509.NameAttribute, until: datetime.datetime, serial: int = 1) -> bytes:
    name = x509.Name(attributes)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(x509.Name([])).public_key(KEY.public_key())
    builder = builder.serial_number(serial).not_valid_before(datetime.datetime(1997, 1, 1)).not_valid_after(until)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_subject_and_end() -> None:
    der = make(
        x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
        x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com"),
        until=datetime.datetime(1999, 12, 31, 23, 59, 59),
    )
    assert certificates.read_certificate(der) == certificates.Certificate(
        "C=US, O=Example, Inc., CN=mail.example.com", "1999-12-31T23:59:59Z"
    )


def test_generalized_time() -> None:
    found = certificates.read_certificate(make(until=datetime.datetime(2051, 2, 3, 4, 5, 6)))
    assert found == certificates.Certificate("", "2051-02-03T04:05:06Z")


def version_1(name: bytes, until: bytes, tag: int = 0x17) -> bytes:
    """A certificate of version 1, which has no version field, with any name and end of validity."""
    validity = ber.encode(ber.SEQUENCE, ber.encode(0x17, b"970101000000Z"), ber.encode(tag, until))
    empty = ber.encode(ber.SEQUENCE)
    fields = (ber.encode_integer(1), empty, empty, validity, ber.encode(ber.SEQUENCE, name))
    return ber.encode(ber.SEQUENCE, ber.encode(ber.SEQUENCE, *fields))


def attribute(identifier: bytes, tag: int, value: bytes) -> bytes:
    pair = ber.encode(ber.SEQUENCE, ber.encode(ber.OBJECT_IDENTIFIER, identifier), ber.encode(tag, value))
    return ber.encode(ber.SET, pair)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"991231235959Z", "1999-12-31T23:59:59Z"),
        (b"9912312359Z", "1999-12-31T23:59:00Z"),
        (b"991231230000-0800", "2000-01-01T07:00:00Z"),
        (b"000101000000+0100", "1999-12-31T23:00:00Z"),
        (b"491231235959Z", "2049-12-31T23:59:59Z"),
        (b"991331235959Z", None),
        (b"soon", None),
    ],
)
def test_times_of_the_time(written: bytes, read: str | None) -> None:
    found = certificates.read_certificate(version_1(b"", written))
    assert found is not None
    assert found.not_after == read


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        (0x13, b"plain", "CN=plain"),
        (0x14, b"caf\xe9", "CN=caf\xe9"),
        (0x1E, "wide".encode("utf-16-be"), "CN=wide"),
        (0x0C, "\u00e9".encode(), "CN=\u00e9"),
        (0x13, b"bell\x07\r\nand more", "CN=bell???and more"),
        (0x1E, b"odd", "CN=\u6f64\ufffd"),
    ],
)
def test_strings_of_a_name(tag: int, value: bytes, text: str) -> None:
    found = certificates.read_certificate(version_1(attribute(b"\x55\x04\x03", tag, value), b"991231235959Z"))
    assert found is not None
    assert found.subject == text


def test_endless_name_is_cut() -> None:
    found = certificates.read_certificate(version_1(attribute(b"\x55\x04\x03", 0x13, b"a" * 9000), b"991231235959Z"))
    assert found is not None
    assert len(found.subject) == 512


REAL = make(x509.NameAttribute(NameOID.COMMON_NAME, "a"), until=datetime.datetime(1999, 1, 1))


@given(st.binary(max_size=200))
def test_any_octets_are_a_certificate_or_none(data: bytes) -> None:
    certificates.read_certificate(data)


@given(st.integers(0, len(REAL) - 1), st.integers(0, 255))
def test_any_flipped_octet_is_harmless(at: int, value: int) -> None:
    found = certificates.read_certificate(REAL[:at] + bytes((value,)) + REAL[at + 1 :])
    assert found is None or len(found.subject) <= 512
