# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for pykerberos, as krb5 beside it does."""

from __future__ import annotations

import krb5

GSS_C_DELEG_FLAG, GSS_C_MUTUAL_FLAG, GSS_C_SEQUENCE_FLAG = 1, 2, 8
UNSPECIFIED = ("Unspezifizierter GSS-Fehler", 851968)


class GSSError(Exception):
    """Two pairs: the major error and the minor one."""


def authGSSClientInit(service: str, *, principal: str, **_more: object) -> tuple[int, object]:  # noqa: N802
    code, text = krb5.FAILURES[principal.partition("@")[0]]
    raise GSSError(UNSPECIFIED, (text, code))
