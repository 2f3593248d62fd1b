# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small servers on loopback, each with one fault that keeps Ansible from a Windows host; and how one gets to them.

They simulate the first answer only: what a real WinRM service says when it refuses, with its codes and its language.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.peers import Talk, peer

Variables = dict[str, t.Any]

FAULT = """\
<s:Envelope xml:lang="de-DE" xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd">\
<s:Header><a:Action>http://schemas.dmtf.org/wbem/wsman/1/wsman/fault</a:Action></s:Header>\
<s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>\
<s:Reason><s:Text xml:lang="de-DE">{text}</s:Text></s:Reason><s:Detail>\
<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}" Machine="EX401">\
<f:Message>{text}</f:Message></f:WSManFault></s:Detail></s:Fault></s:Body></s:Envelope>"""
"""A fault in German, as Windows writes it (MS-WSMV, section 2.2.4.43)."""


def fault(code: int, subcode: str, text: str) -> Talk:
    """HTTP 500 with a WSManFault."""
    body = FAULT.format(code=code, subcode=subcode, text=text).encode()
    return answers(500, body, {"Content-Type": "application/soap+xml;charset=UTF-8"})


def answers(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Talk:
    """The same answer to every request of HTTP."""
    lines = [f"HTTP/1.1 {status} {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    answer = "\r\n".join([*lines, "", ""]).encode() + body

    def talk(connection: socket.socket, over: threading.Event) -> None:
        with connection.makefile("rb") as words:
            while _hear_request(words):
                connection.sendall(answer)

    return talk


def _hear_request(words: t.BinaryIO) -> bool:
    length = 0
    for line in iter(words.readline, b""):
        name, dummy, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if not line.strip():
            words.read(length)
            return True
    return False


def says(octets: bytes) -> Talk:
    """Greets before it hears anything, as an SSH server does."""

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(octets)
        over.wait(20)

    return talk


def speaks_http_only(connection: socket.socket, over: threading.Event) -> None:
    """Answers whatever comes with HTTP 400, as http.sys does with a TLS hello on a port for HTTP."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def resets(connection: socket.socket, over: threading.Event) -> None:
    """Ends every connection after the first octets, as http.sys does with words in clear on a TLS port."""
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def behind_tls(talk: Talk, identity: tuple[Path, Path]) -> Talk:
    """Hold ``talk`` behind TLS; words in clear are answered with an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity)

    def shaken(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            talk(inside, over)

    return shaken


WINRM: Variables = {
    "ansible_connection": "winrm",
    "ansible_winrm_scheme": "http",
    "ansible_winrm_transport": "basic",
}
PSRP: Variables = {
    "ansible_connection": "psrp",
    "ansible_psrp_protocol": "http",
    "ansible_psrp_auth": "basic",
    "ansible_psrp_message_encryption": "never",
}


@dataclass(frozen=True)
class Symptom:
    """One thing that keeps Ansible from a host.

    Attributes:
        name: What is wrong, as the table of symptoms says it.
        code: What the collection makes of it, the same over winrm and psrp.
        talk: What answers; None: nobody listens.
        tls: Whether ``talk`` is behind TLS.
        winrm: Variables of the connection beside `WINRM`. psrp: beside `PSRP`.
    """

    name: str
    code: str
    talk: Talk | None
    tls: bool = False
    winrm: Variables = field(default_factory=dict)
    psrp: Variables = field(default_factory=dict)


def _auth(name: str, **psrp: str) -> dict[str, Variables]:
    kinds = {f"ansible_psrp_{key}": value for key, value in psrp.items()}
    return {
        "winrm": {"ansible_winrm_transport": name},
        "psrp": {"ansible_psrp_auth": name, "ansible_psrp_message_encryption": "auto", **kinds},
    }


_HTTPS: dict[str, Variables] = {
    "winrm": {"ansible_winrm_scheme": "https"},
    "psrp": {"ansible_psrp_protocol": "https"},
}
_NO_VALIDATION: dict[str, Variables] = {
    "winrm": {**_HTTPS["winrm"], "ansible_winrm_server_cert_validation": "ignore"},
    "psrp": {**_HTTPS["psrp"], "ansible_psrp_cert_validation": "ignore"},
}
HTML = b"<html><body>It works!</body></html>"
NEGOTIATE = {"WWW-Authenticate": "Negotiate"}

_WELL_KNOWN = fault(2150859174, "w:QuotaLimit", "Kontingent erreicht")

SYMPTOMS: tuple[Symptom, ...] = (
    Symptom("nobody listens on the port", "host_unreachable", None),
    Symptom("the certificate is not trusted", "certificate_refused", answers(404), tls=True, **_HTTPS),
    Symptom("HTTPS to a port that speaks HTTP", "https_to_http", speaks_http_only, **_NO_VALIDATION),
    Symptom("HTTP to a port that speaks HTTPS", "http_to_https", resets),
    Symptom("the login is refused", "login_refused", answers(401, headers={"WWW-Authenticate": "Basic realm=WSMAN"})),
    Symptom(
        "CredSSP is not enabled on the server", "credssp_disabled", answers(401, headers=NEGOTIATE), **_auth("credssp")
    ),
    Symptom(
        "Kerberos without its library here", "kerberos_missing", answers(401, headers=NEGOTIATE), **_auth("kerberos")
    ),
    Symptom("the account is no administrator", "not_administrator", fault(5, "w:AccessDenied", "Zugriff verweigert")),
    Symptom("a header too large (many groups)", "header_too_large", answers(400, HTML)),
    Symptom("the quota is used up", "quota_reached", _WELL_KNOWN),
    Symptom(
        "PowerShell's endpoint is missing",
        "powershell_missing",
        fault(2150858811, "a:DestinationUnreachable", "Der Ressourcen-URI wurde nicht gefunden"),
    ),
    Symptom("another web server, page not found", "not_winrm", answers(404, HTML)),
    Symptom("another web server, content", "not_winrm", answers(200, HTML)),
    Symptom("the same, asked with NTLM", "not_winrm", answers(200, HTML), **_auth("ntlm")),
    Symptom("an SSH server", "not_winrm", says(b"SSH-2.0-OpenSSH_9.2\r\n")),
)


def _as(user: str) -> dict[str, Variables]:
    """Kerberos without kinit, as an account that stands for a failure."""
    both = {"ansible_user": f"{user}@EXAMPLE.COM"}
    found = _auth("kerberos")
    return {
        "winrm": {**found["winrm"], **both, "ansible_winrm_kinit_mode": "manual"},
        "psrp": {**found["psrp"], **both},
    }


KERBEROS: tuple[Symptom, ...] = (
    Symptom("Kerberos without a ticket", "no_ticket", answers(401, headers=NEGOTIATE), **_as("noticket")),
    Symptom("Kerberos with a wrong SPN", "wrong_principal", answers(401, headers=NEGOTIATE), **_as("spn")),
    Symptom("Kerberos with clocks apart", "clock_skew", answers(401, headers=NEGOTIATE), **_as("skew")),
    Symptom("Kerberos without a domain controller", "no_kdc", answers(401, headers=NEGOTIATE), **_as("nokdc")),
)
"""With the stand-ins of ``kerberos_fails``."""

NO_CREDSSP: tuple[Symptom, ...] = (
    Symptom("CredSSP without its library here", "credssp_missing", answers(401, headers=NEGOTIATE), **_auth("credssp")),
)
"""With the stand-in of ``credssp_absent``."""

PROXIED: tuple[Symptom, ...] = (
    Symptom("a proxy of the environment is in the way", "proxy_in_the_way", answers(200)),
    Symptom("the same with HTTPS", "proxy_in_the_way", answers(404), tls=True, **_NO_VALIDATION),
)
"""With proxy variables of the environment that lead to a proxy which reaches nothing."""


@contextlib.contextmanager
def standing(symptom: Symptom, identity: tuple[Path, Path]) -> Iterator[int]:
    """Let a symptom's server run; yield its port."""
    if symptom.talk is None:
        with socket.socket() as reserved:  # bound, and not listening: a connection is refused
            reserved.bind(("127.0.0.1", 0))
            yield int(reserved.getsockname()[1])
        return
    with peer(behind_tls(symptom.talk, identity) if symptom.tls else symptom.talk) as port:
        yield port


def host_variables(symptom: Symptom, connection: str, port: int) -> Variables:
    """Return the inventory variables of a host with a symptom."""
    own = {**WINRM, **symptom.winrm} if connection == "winrm" else {**PSRP, **symptom.psrp}
    common: Variables = {"ansible_host": "127.0.0.1", "ansible_port": port, "ansible_user": "EXAMPLE\\exadmin"}
    return {**common, "ansible_password": "lab-password", **own}
