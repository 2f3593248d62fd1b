# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener table against an independent copy of the published port tables."""

from __future__ import annotations

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils import listeners

# name, TCP port, TLS, section, service, folder, first version: Q176466, Q178532, Q181420, Q143380, Q161118, Q193703
PUBLISHED = [
    ("smtp", 25, False, "MSEXCIMC", "MSExchangeIMC", r"connect\msexcimc\bin", (4, 0)),
    ("pop3", 110, False, "STORE", "MSExchangeIS", "bin", (5, 0)),
    ("pop3s", 995, True, "STORE", "MSExchangeIS", "bin", (5, 0)),
    ("nntp", 119, False, "STORE", "MSExchangeIS", "bin", (5, 0)),
    ("nntps", 563, True, "STORE", "MSExchangeIS", "bin", (5, 0)),
    ("imap4", 143, False, "STORE", "MSExchangeIS", "bin", (5, 5)),
    ("imap4s", 993, True, "STORE", "MSExchangeIS", "bin", (5, 5)),
    ("ldap", 389, False, "DSAMAIN", "MSExchangeDS", "bin", (5, 0)),
    ("ldaps", 636, True, "DSAMAIN", "MSExchangeDS", "bin", (5, 0)),
]


@pytest.mark.parametrize(("name", "port", "tls", "section", "service", "directory", "since"), PUBLISHED)
def test_row(
    name: str, port: int, tls: bool, section: str, service: str, directory: str, since: tuple[int, int]
) -> None:
    row = listeners.LISTENERS[name]
    assert (row.port, row.tls, row.since) == (port, tls, since)
    assert (row.owner.section, row.owner.service, row.owner.directory) == (section, service, directory)


def test_no_row_beyond_the_published_ones() -> None:
    assert sorted(listeners.LISTENERS) == sorted(row[0] for row in PUBLISHED)


def test_sections_are_executable_names() -> None:
    for owner in listeners.OWNERS:
        assert owner.executable.lower() == f"{owner.section.lower()}.exe"
