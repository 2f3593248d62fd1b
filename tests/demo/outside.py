# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the ports look to somebody on the Internet: a plain socket, and nothing of the collection."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

# BindRequest, LDAP version 2, anonymous (RFC 1777); every LDAP server answers it.
LDAP_BIND = bytes.fromhex("300c020101600702010204008000")
TLS_PROTOCOLS = frozenset({"pop3s", "imap4s", "nntps", "ldaps"})
LDAP_PROTOCOLS = frozenset({"ldap", "ldaps"})
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Port:
    """One published port as the inventory names it."""

    host: str
    protocol: str
    address: str
    number: int


def _connect(port: Port) -> socket.socket:
    plain = socket.create_connection((port.address, port.number), timeout=PATIENCE_S)
    if port.protocol not in TLS_PROTOCOLS:
        return plain
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def look(port: Port) -> str:
    """First line that the port says; ``LDAP bind answered`` for LDAP; ``-`` when nobody listens."""
    try:
        with _connect(port) as connection:
            if port.protocol in LDAP_PROTOCOLS:
                connection.sendall(LDAP_BIND)
                return "LDAP bind answered" if connection.recv(512)[:1] == b"\x30" else "no LDAP"
            return connection.recv(512).split(b"\r\n")[0].decode("ascii", "replace") or "silent"
    except ConnectionRefusedError:
        return "-"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return f"{type(error).__name__}"


def look_at(ports: list[Port]) -> dict[Port, str]:
    """Look at all of them at the same time."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        return dict(zip(ports, pool.map(look, ports), strict=True))
