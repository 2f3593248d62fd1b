# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small servers that say what Exchange and other machines say on a port, and what the probe makes of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
from dataclasses import dataclass, field

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import options as probe_options
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Target
from tests.support.options import options_of
from tests.support.peers import Talk, peer

SMTP = "220 exch ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready\r\n"
POP3 = "+OK Microsoft Exchange POP3 server version 5.5.2653.23 ready\r\n"


def turns(*said: str | bytes) -> Talk:
    """Say the first of the texts, and one more for every line that is heard; then wait until the peer goes."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        with connection.makefile("rb") as words:
            for text in said:
                connection.sendall(text.encode("cp1252") if isinstance(text, str) else text)
                if not words.readline():
                    return

    return talk


def refuses_extension(connection: socket.socket, over: threading.Event) -> None:
    """Answer LDAP's extended request with protocolError, as a server that is older than it."""
    connection.recv(4096)
    connection.sendall(bytes.fromhex("300c02010178070a010204000400"))
    connection.recv(4096)


@dataclass(frozen=True)
class Case:
    """What answers, and how it is asked: fields of a target."""

    what: str
    talk: Talk
    asked: dict[str, t.Any]
    expected: str


@dataclass(frozen=True)
class Port:
    """What the probe made of one case: as what it was asked, the status, and what else was said."""

    what: str
    asked: str
    status: str
    said: str
    expected: str = field(default="", compare=False)


CASES: tuple[Case, ...] = (
    Case(
        "Exchange 5.5 in French",
        turns("+OK Le serveur POP3 Microsoft Exchange version 5.5.2653.23 est prêt\r\n"),
        {"protocol": "pop3"},
        "open",
    ),
    Case(
        "Exchange 5.5 in German",
        turns("* OK Der Microsoft Exchange Server (IMAP4rev1, Version 5.5.2653.23 (EX)) steht zur Verfügung.\r\n"),
        {"protocol": "imap4"},
        "open",
    ),
    Case(
        "Exchange 5.5 in Dutch",
        turns("+OK Microsoft Exchange POP3-server versie 5.5.2653.23 gereed\r\n"),
        {"protocol": "pop3"},
        "open",
    ),
    Case(
        "Exchange 2000 in French",
        turns("+OK Le serveur POP3 Microsoft Exchange version 6.0.4417.0 est prêt\r\n"),
        {"protocol": "pop3"},
        "foreign",
    ),
    Case(
        "Exchange 2010 in French, known when it goes",
        turns("+OK Le service POP3 Microsoft Exchange est prêt.\r\n", "+OK Microsoft Exchange Server 2010 POP3\r\n"),
        {"protocol": "pop3"},
        "foreign",
    ),
    Case("Exchange in the second of two lines", turns(f"220-For members only\r\n{SMTP}"), {"protocol": "smtp"}, "open"),
    Case(
        "a pattern that is in the second line",
        turns("220-Welcome\r\n220 gate ready\r\n"),
        {"protocol": "tcp", "greeting": "^220 gate"},
        "open",
    ),
    Case(
        "a notice before the real line",
        turns("Monitored!\r\n+OK here\r\n"),
        {"protocol": "tcp", "greeting": "^.OK here"},
        "open",
    ),
    Case(
        "a prompt behind telnet's negotiation",
        turns(b"\xff\xfd\x18\xff\xfd\x20\r\nlogin: "),
        {"protocol": "tcp", "greeting": "login:"},
        "open",
    ),
    Case("binary octets", turns(b"\x00\x01\x80\x02"), {"protocol": "tcp", "greeting": r"\x01\x80"}, "open"),
    Case("letters beyond ASCII", turns("+OK prêt\r\n"), {"protocol": "tcp", "greeting": "prêt"}, "open"),
    Case(
        "another text than the pattern, until the time is over",
        turns("220-one\r\n220 two\r\n"),
        {"protocol": "tcp", "greeting": "Exchange"},
        "foreign",
    ),
    Case(
        "SMTP that does not offer STARTTLS",
        turns(SMTP, "250-exch Hello\r\n250 SIZE\r\n", "221 bye\r\n"),
        {"protocol": "smtp", "tls": "starttls"},
        "no_tls",
    ),
    Case(
        "SMTP whose STARTTLS has to wait",
        turns(SMTP, "250 STARTTLS\r\n", "454 not now\r\n", "221 bye\r\n"),
        {"protocol": "smtp", "tls": "starttls"},
        "protocol_error",
    ),
    Case(
        "POP3 of 5.5, which has no STARTTLS",
        turns(POP3, "-ERR Protocol Error\r\n", "+OK bye\r\n"),
        {"protocol": "pop3", "tls": "starttls"},
        "no_tls",
    ),
    Case(
        "words in clear behind the answer to STARTTLS",
        turns(POP3, "+OK Begin TLS\r\n+OK more\r\n"),
        {"protocol": "pop3", "tls": "starttls"},
        "protocol_error",
    ),
    Case("LDAP of 5.5, which has no StartTLS", refuses_extension, {"protocol": "ldap", "tls": "starttls"}, "no_tls"),
)

REFUSED: tuple[tuple[str, str], ...] = (
    ("an address with octal numbers", "127.201.010.001"),
    ("an address with missing numbers", "127.1"),
)
"""Hosts that are refused before anything is asked."""


def observe_ports() -> list[Port]:
    """Ask every case, all at the same time, and collect the results."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(peer(case.talk)) for case in CASES]
        targets = [
            Target(
                "127.0.0.1",
                port,
                case.asked["protocol"],
                greeting=case.asked.get("greeting"),
                starttls=case.asked.get("tls") == "starttls",
            )
            for case, port in zip(CASES, ports, strict=True)
        ]
        results = probe(targets, Options(deadline=0, timeout=6))
    found = [
        Port(case.what, _asked(case.asked), result["status"], _said(result), case.expected)
        for case, result in zip(CASES, results, strict=True)
    ]
    return [*found, *(Port(what, f"host `{host}`", "", _refusal(host), "") for what, host in REFUSED)]


def _asked(asked: dict[str, t.Any]) -> str:
    return ", ".join([asked["protocol"], *(f"{name} `{value}`" for name, value in asked.items() if name != "protocol")])


def _said(result: dict[str, t.Any]) -> str:
    version = f"{result['product']} {result['version'] or ''}".strip() if result["product"] else ""
    greeting = f"greeting `{result['greeting'].strip()}`" if result["greeting"] and not version else ""
    return "; ".join(text for text in (result["detail"], version, greeting) if text)


def _refusal(host: str) -> str:
    spec = probe_options.ARGUMENT_SPEC["targets"]["options"]
    target = {**{name: option.get("default") for name, option in spec.items()}, "host": host, "protocol": "pop3"}
    try:
        probe_options.read_options(options_of("port_probe", targets=[target]), check_mode=False)
    except probe_options.OptionError as error:
        return str(error)
    return ""
