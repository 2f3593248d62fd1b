# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others than administrators may write although later runs believe it, as an answer of the target tells."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ..shapes import Json


def exposed_findings(answer: Mapping[str, t.Any]) -> list[Json]:
    """Return a finding for each place that could not be made SYSTEM's and Administrators' alone.

    Args:
        answer: Of ``apply`` or ``restart``, also one with an error.
    """
    return [_finding(row) for row in answer.get("exposed") or ()]


def exposed_warnings(answer: Mapping[str, t.Any], host: str) -> Iterable[str]:
    """Say the same to a person.

    Args:
        answer: Of ``apply`` or ``restart``, also one with an error.
        host: Name for messages.
    """
    for row in exposed_findings(answer):
        yield f"{host}: {row['path']}: {row['message']}."


def _finding(row: Mapping[str, t.Any]) -> Json:
    place = row["path"] or f"HKLM\\{row['key']}"
    message = (
        f"on {row['machine']} others than SYSTEM and Administrators may write here, and later runs believe what they "
        "find: a forged journal would start services. Take these rights away; FAT keeps none, NTFS does"
    )
    return {"code": "exposed", "path": place, "line": None, "message": message}
