# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LDAP as far as a port check goes: an anonymous simple bind and its answer (RFC 1777, RFC 2251).

Exchange 5.0 speaks version 2, 5.5 answers version 2 and 3 (Q176466, Q196772).
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import ber

PROTOCOL_ERROR = 2
FOR_A_WHILE = frozenset({51, 52})
"""Busy, unavailable: the server says itself that another time it will be different, like SMTP with 421."""

LONGEST_ANSWER = 8192
"""Octets; a response with its error message is far below."""

RESULT_NAMES: t.Mapping[int, str] = {  # RFC 1777 section 4.1, RFC 2251 section 4.1.10
    0: "success",
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    7: "authMethodNotSupported",
    8: "strongAuthRequired",
    10: "referral",
    13: "confidentialityRequired",
    14: "saslBindInProgress",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    80: "other",
}

_BIND_REQUEST = 0x60  # [APPLICATION 0], constructed
_BIND_RESPONSE = 0x61  # [APPLICATION 1], constructed
_UNBIND_REQUEST = 0x42  # [APPLICATION 2], primitive NULL
_EXTENDED_REQUEST = 0x60 | 23  # [APPLICATION 23], constructed
_EXTENDED_RESPONSE = 0x78  # [APPLICATION 24]: the notice of disconnection is one (RFC 2251 section 4.4.1)
_REQUEST_NAME = 0x80  # [0] LDAPOID
_START_TLS = b"1.3.6.1.4.1.1466.20037"
_UNSOLICITED = 0  # message number of a notice that answers nothing (RFC 2251 section 4.4)
_SIMPLE = 0x80  # [0] OCTET STRING


@dataclass(frozen=True)
class Answer:
    """What a server answered to a request.

    Attributes:
        result_code: LDAP's result code.
        message: The server's error message, not yet made printable.
        disconnects: Whether it is a notice of disconnection and not a bind response.
    """

    result_code: int
    message: bytes
    disconnects: bool = False

    @property
    def name(self) -> str:
        """The result code's name, or ``code N``."""
        return RESULT_NAMES.get(self.result_code, f"code {self.result_code}")


def bind_request(*, message_id: int, version: int) -> bytes:
    """Return an anonymous simple bind: no name, no password."""
    bind = ber.encode(_BIND_REQUEST, ber.encode_integer(version), ber.encode(ber.OCTET_STRING), ber.encode(_SIMPLE))
    return ber.encode(ber.SEQUENCE, ber.encode_integer(message_id), bind)


def unbind_request(*, message_id: int) -> bytes:
    """Return an unbind, LDAP's goodbye; it has no answer."""
    return ber.encode(ber.SEQUENCE, ber.encode_integer(message_id), ber.encode(_UNBIND_REQUEST))


def starttls_request(*, message_id: int) -> bytes:
    """Return a request to begin TLS (RFC 2830 section 2.1), which only version 3 has."""
    request = ber.encode(_EXTENDED_REQUEST, ber.encode(_REQUEST_NAME, _START_TLS))
    return ber.encode(ber.SEQUENCE, ber.encode_integer(message_id), request)


def read_bind_answer(data: bytes, *, message_id: int) -> Answer | None:
    """Return the answer to a bind; see `read_starttls_answer`."""
    return _read_answer(data, message_id, _BIND_RESPONSE)


def read_starttls_answer(data: bytes, *, message_id: int) -> Answer | None:
    """Return the answer that ``data`` begins with, or None when more octets are needed.

    Args:
        data: What was heard.
        message_id: Number of the request that is answered.

    Raises:
        BerError: It is no response to this request and no notice of disconnection, or longer than `LONGEST_ANSWER`.
    """
    return _read_answer(data, message_id, _EXTENDED_RESPONSE)


def _read_answer(data: bytes, message_id: int, response: int) -> Answer | None:
    if data[:1] not in (b"", b"\x30"):
        raise ber.BerError("not an LDAP message")
    try:
        message = ber.read(data)
    except ber.Truncated:
        if len(data) > LONGEST_ANSWER:
            raise ber.BerError(f"an answer of more than {LONGEST_ANSWER} octets") from None
        return None
    return _answer(_whole(message.content), message_id, response)


def _whole(content: bytes) -> list[ber.Element]:
    """Read the elements of a complete message, where Truncated is an error like any other."""
    try:
        return list(ber.children(content))
    except ber.Truncated as error:
        raise ber.BerError(str(error)) from None


def _answer(parts: t.Sequence[ber.Element], message_id: int, response: int) -> Answer:
    if len(parts) < 2 or parts[0].tag != ber.INTEGER:
        raise ber.BerError("an LDAP message without a message number")
    operation = parts[1]
    number = ber.integer(parts[0].content)
    disconnects = operation.tag == _EXTENDED_RESPONSE and number == _UNSOLICITED
    if operation.tag not in (response, _EXTENDED_RESPONSE):
        raise ber.BerError(f"an answer of another kind (tag 0x{operation.tag:02x})")
    if not disconnects and (operation.tag != response or number != message_id):
        raise ber.BerError(f"an answer to another message ({number})")
    fields = _whole(operation.content)
    if not fields or fields[0].tag != ber.ENUMERATED:
        raise ber.BerError("an answer without a result code")
    message = fields[2].content if len(fields) > 2 and fields[2].tag == ber.OCTET_STRING else b""
    return Answer(ber.integer(fields[0].content), message, disconnects=disconnects)
