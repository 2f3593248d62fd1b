# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows' event log says about ports that did not come up: events and their known causes.

A taken port does not stop the information store or the directory from starting (Q194952); only events show it.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..shapes import Json

IN_USE = r"\b(10048|0x2740)\b"
NOT_AVAILABLE = r"\b(10049|0x2741)\b"
NET_DOWN = r"\b10050\b"

_TAKEN_REMEDY = "Stop the other program on the proxy or on the server (IIS services, POP proxies, virus scanners)."


@dataclass(frozen=True)
class Known:
    """One event that Microsoft documents.

    Attributes:
        id: Event id.
        source: Matches the source's name.
        text: Matches message or strings, empty matches all; rows are tried in order.
        cause: What happened.
        remedy: What to do.
        article: Where it is written.
    """

    id: int
    source: str
    text: str
    cause: str
    remedy: str
    article: str


_IMC = r"MSExchangeIMC"
_IFACE = r"MSExchange ?(POP3|Pop3|IMAP4|NNTP)( Interface)?"

TABLE: tuple[Known, ...] = (
    Known(4007, _IMC, IN_USE, "port 25 is already in use on the proxy", _TAKEN_REMEDY, "Q222553"),
    Known(
        4007,
        _IMC,
        NET_DOWN,
        "the WinSock Proxy client cannot reach its proxy, or another program has port 25 there",
        "Enter the proxy by its IP address in Mspclnt.ini, check that it is up, and stop other SMTP services on it.",
        "Q193928, Q203116",
    ),
    Known(4007, _IMC, "", "the Internet Mail Service could not bind its port", "See the error code.", "Q222553"),
    Known(
        4020,
        _IMC,
        "",
        "the Internet Mail Service did not start because WinSock was not initialised",
        "Read the event 4007 or 4003 beside it; that one names the cause.",
        "Q222553, Q193928, Q268643",
    ),
    Known(
        4003,
        _IMC,
        r"\b11004\b",
        "the TCP/IP stack is installed in the wrong order",
        "Install TCP/IP and the service packs again.",
        "Q268643",
    ),
    Known(
        4143,
        _IMC,
        "",
        "the service account is no administrator, which TLS needs",
        "Make the service account a member of the local Administrators group.",
        "Q173496",
    ),
    Known(4058, _IMC, "", "the DNS domain name is empty", "Enter a domain in the TCP/IP settings.", "Q154589"),
    Known(11508, _IFACE, IN_USE, "the POP3 port is already in use", _TAKEN_REMEDY, "Q271275, Q298944"),
    Known(
        11508,
        _IFACE,
        NOT_AVAILABLE,
        "the POP3 port was asked for on an address that is not available",
        "Check that ProxyBindIp names an external address of the proxy.",
        "Q250926",
    ),
    Known(11508, _IFACE, "", "POP3 could not register its port", "See the error code.", "Q271275"),
    Known(11506, _IFACE, IN_USE, "the IMAP4 or NNTP port is already in use", _TAKEN_REMEDY, "Q271275"),
    Known(
        11506,
        _IFACE,
        NOT_AVAILABLE,
        "the IMAP4 or NNTP port was asked for on an address that is not available",
        "Check that ProxyBindIp names an external address of the proxy.",
        "Q250926",
    ),
    Known(11506, _IFACE, "", "IMAP4 or NNTP could not register its port", "See the error code.", "Q271275"),
    Known(
        1194,
        r"MSExchangeIS.*",
        "",
        "the information store could not accept clients on the external interface of a protocol",
        "Read the event 11506 or 11508 beside it; that one names the cause.",
        "Q271275",
    ),
    Known(
        13002,
        r"MSExchange .*Interface",
        "",
        "TLS clients are refused: the protocol has no valid certificate",
        "Install one with Key Manager, bound to Default or to the server's address.",
        "Q251097",
    ),
    Known(
        1306,
        r"MSExchangeDS",
        "",
        "LDAP port 389 is already in use on the server or on the proxy",
        "Move LDAP to another port (a Windows 2000 domain controller owns 389), and say so in ports.ldap.",
        "Q224447",
    ),
    Known(
        1309,
        r"MSExchangeDS",
        "",
        "LDAP port 636 is already in use on the server or on the proxy",
        "Stop the other program, or move the port (5.5 SP3 and later).",
        "Q232606",
    ),
    Known(
        1333,
        r"MSExchangeDS",
        "",
        "anonymous LDAP searches are denied",
        "Check the directory's anonymous account if anonymous access is wanted.",
        "Q230745",
    ),
    Known(
        9202,
        r"MSExchangeMTA",
        "",
        "another MTA could not be reached",
        "If its traffic left through the proxy, set mta_direct: true there.",
        "Q254909",
    ),
    Known(
        9301,
        r"MSExchangeMTA",
        "",
        "another MTA was refused because it comes from the proxy's address",
        "Set mta_direct: true on the other server.",
        "Q254909",
    ),
    Known(
        7001,
        r"Service Control Manager",
        "",
        "a service did not start because one that it depends on did not",
        "Mend that one first.",
        "Q260698",
    ),
    Known(
        7000, r"Service Control Manager", "", "a service did not start", "Read the events before this one.", "Q260698"
    ),
)


#: What is asked for: of any other event nobody could say what it means for a port.
IDS: tuple[int, ...] = tuple(sorted({row.id for row in TABLE}))


def known(event: Mapping[str, t.Any]) -> Known | None:
    """Return what is known about an event, None when nothing is.

    Args:
        event: One event of an inspection (docs/target_protocol.md, section 2).
    """
    text = " ".join([event.get("message") or "", *(event.get("strings") or ())])
    for row in TABLE:
        if row.id != event["id"] or not re.fullmatch(row.source, event["source"], re.IGNORECASE):
            continue
        if not row.text or re.search(row.text, text, re.IGNORECASE):
            return row
    return None


def decode(events: Iterable[Mapping[str, t.Any]]) -> list[Json]:
    """Add ``cause``, ``remedy`` and ``article`` to events; null where nothing is known."""
    rows = []
    for event in events:
        row = known(event)
        meaning = {key: None if row is None else getattr(row, key) for key in ("cause", "remedy", "article")}
        rows.append({**event, **meaning})
    return rows


def causes(events: Iterable[Mapping[str, t.Any]]) -> list[str]:
    """Return a sentence per distinct known cause, newest first."""
    rows = [known(event) for event in events]
    texts = [f"event {row.id}: {row.cause}. {row.remedy} ({row.article})" for row in rows if row is not None]
    return list(dict.fromkeys(texts))
