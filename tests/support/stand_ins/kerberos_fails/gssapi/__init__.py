# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for python-gssapi as far as pyspnego goes before it asks krb5."""

from __future__ import annotations

from . import raw

__all__ = ["OID", "NameType", "RequirementFlag", "raw"]


class OID:
    """An object identifier."""

    @staticmethod
    def from_int_seq(text: str) -> str:
        return text


class NameType:
    """Kinds of names."""

    user = hostbased_service = "name"


class _Flags(type):
    """Has every flag."""

    def __getattr__(cls, _name: str) -> int:
        return 0


class RequirementFlag(metaclass=_Flags):
    """What a context is asked for."""
