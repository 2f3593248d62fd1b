# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one INI question that the operations ask: where a pointer leads (System.ini to Mspclnt.ini, Q231878)."""

from __future__ import annotations


def profile_value(data: bytes, section: str, key: str) -> str | None:
    """What Windows' profile API returns for one key: first section and first key win, names without case."""
    inside = False
    for raw in data.decode("cp1252", "replace").splitlines():
        line = raw.strip()
        if line.startswith("["):
            if inside:
                return None
            inside = line[1:].partition("]")[0].strip().lower() == section.lower()
        elif inside and not line.startswith(";"):
            name, equals, value = line.partition("=")
            if equals and name.strip().lower() == key.lower():
                return _unquoted(value.strip())
    return None


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
