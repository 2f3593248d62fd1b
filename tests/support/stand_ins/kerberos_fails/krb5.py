# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for krb5: the account's name says how Kerberos fails, with MIT's codes and in German."""

from __future__ import annotations

FAILURES = {
    "skew": (-1765328347, "Die Zeitabweichung ist zu gross"),
    "spn": (-1765328377, "Server nicht in der Kerberos-Datenbank gefunden"),
    "noticket": (-1765328189, "Keine Zwischenspeicherdatei fuer Anmeldedaten"),
    "nokdc": (-1765328228, "Es kann kein KDC erreicht werden"),
}


class Krb5Error(Exception):
    """An error of the library, with its code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} {code}")
        self.err_code = code


def init_context() -> object:
    return object()


def parse_name_flags(_context: object, name: bytes) -> object:
    raise Krb5Error(*FAILURES[name.decode().partition("@")[0]])
