# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exchange versions and protocols as the lab knows them: its own table, from the articles."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Protocol:
    """One listener of an Exchange process.

    Attributes:
        speaks: Protocol behind TLS or in clear.
        since: First version that has it (Q176466, Q161118).
        event: Source and id that are logged when it cannot be registered (Q271275, Q224447, Q222553).
    """

    name: str
    speaks: str
    port: int
    tls: bool
    section: str
    since: str
    event: tuple[str, int]


PROTOCOLS: t.Final[tuple[Protocol, ...]] = (
    Protocol("pop3", "pop3", 110, False, "STORE", "5.0", ("MSExchange Pop3 Interface", 11508)),
    Protocol("pop3s", "pop3", 995, True, "STORE", "5.0", ("MSExchange Pop3 Interface", 11508)),
    Protocol("imap4", "imap4", 143, False, "STORE", "5.5", ("MSExchange IMAP4 Interface", 11506)),
    Protocol("imap4s", "imap4", 993, True, "STORE", "5.5", ("MSExchange IMAP4 Interface", 11506)),
    Protocol("nntp", "nntp", 119, False, "STORE", "5.0", ("MSExchange NNTP Interface", 11506)),
    Protocol("nntps", "nntp", 563, True, "STORE", "5.0", ("MSExchange NNTP Interface", 11506)),
    Protocol("ldap", "ldap", 389, False, "DSAMAIN", "5.0", ("MSExchangeDS", 1306)),
    Protocol("ldaps", "ldap", 636, True, "DSAMAIN", "5.0", ("MSExchangeDS", 1309)),
    Protocol("smtp", "smtp", 25, False, "MSEXCIMC", "4.0", ("MSExchangeIMC", 4007)),
)

# Server build (Setup\NewestBuild) and the version that Store's and the Internet Mail Service's greetings show
# (Q158530, Q257618, Q161118, Q182821).
BUILDS: t.Final[t.Mapping[str, tuple[int, str, str]]] = {
    "4.0": (996, "4.0.996", "4.0.996.62"),
    "5.0": (1458, "5.0.1457.10", "5.0.1458.49"),
    "5.5": (2650, "5.5.2650.23", "5.5.2650.21"),
}


@dataclass(frozen=True)
class Installation:
    """One server's Exchange.

    Attributes:
        version: ``4.0``, ``5.0`` or ``5.5``.
        fqdn: Name in the greetings.
        root: Installation directory.
        ports: Protocols whose port was moved.
        without: Protocols that are switched off.
        certificate: Whether a certificate is installed; without one TLS ports accept and then die (Q251097).
    """

    version: str
    fqdn: str
    root: str = "C:\\exchsrvr"
    ports: t.Mapping[str, int] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    certificate: bool = True

    def listeners(self, section: str) -> list[tuple[Protocol, int]]:
        """Protocols and ports on which the process with that section listens."""
        return [
            (protocol, self.ports.get(protocol.name, protocol.port))
            for protocol in PROTOCOLS
            if protocol.section == section and protocol.since <= self.version and protocol.name not in self.without
        ]
