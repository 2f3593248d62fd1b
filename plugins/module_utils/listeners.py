# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of listeners and of the services that own them.

Private to this collection: names and shapes may change in any release.
Nothing else in the collection repeats a port number, a section or a service name.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Owner:
    """A process that binds listeners: its section, its service and where its Wspcfg.ini lies.

    Attributes:
        section: Section of Wspcfg.ini, the executable's name without ``.exe`` (Q178532, Q181420, Q254909).
        executable: File name of the executable (Q143380).
        service: Name of the Windows service (Q143380).
        file_id: Which Wspcfg.ini it reads: ``bin`` or ``imc``; one file lies beside each executable (Q181420).
        directory: Directory below the installation root, Windows separators.
    """

    section: str
    executable: str
    service: str
    file_id: str
    directory: str


@dataclass(frozen=True)
class Listener:
    """One protocol that Exchange offers on one TCP port.

    Attributes:
        name: What users type in ``listeners``.
        protocol: Protocol spoken behind TLS or in clear: pop3, imap4, nntp, ldap, smtp.
        tls: Whether TLS starts with the connection; such a port needs ProxyBindIp (Q178532).
        port: Default TCP port (Q178532, Q181420).
        owner: The process that binds it.
        since: First Exchange version that has it, as (major, minor) (domain table: Q176466, Q161118, Q193703).
    """

    name: str
    protocol: str
    tls: bool
    port: int
    owner: Owner
    since: tuple[int, int]


BIN = r"bin"
IMC_BIN = r"connect\msexcimc\bin"

STORE = Owner("STORE", "store.exe", "MSExchangeIS", "bin", BIN)
DSAMAIN = Owner("DSAMAIN", "dsamain.exe", "MSExchangeDS", "bin", BIN)
MSEXCIMC = Owner("MSEXCIMC", "msexcimc.exe", "MSExchangeIMC", "imc", IMC_BIN)
EMSMTA = Owner("EMSMTA", "emsmta.exe", "MSExchangeMTA", "bin", BIN)  # binds nothing here; Disable=1 only (Q254909)

OWNERS: tuple[Owner, ...] = (STORE, DSAMAIN, MSEXCIMC, EMSMTA)

_TABLE: tuple[Listener, ...] = (
    Listener("pop3", "pop3", False, 110, STORE, (5, 0)),
    Listener("pop3s", "pop3", True, 995, STORE, (5, 0)),
    Listener("imap4", "imap4", False, 143, STORE, (5, 5)),
    Listener("imap4s", "imap4", True, 993, STORE, (5, 5)),
    Listener("nntp", "nntp", False, 119, STORE, (5, 0)),
    Listener("nntps", "nntp", True, 563, STORE, (5, 0)),
    Listener("ldap", "ldap", False, 389, DSAMAIN, (5, 0)),
    Listener("ldaps", "ldap", True, 636, DSAMAIN, (5, 0)),
    Listener("smtp", "smtp", False, 25, MSEXCIMC, (4, 0)),
)

LISTENERS: t.Mapping[str, Listener] = {listener.name: listener for listener in _TABLE}
