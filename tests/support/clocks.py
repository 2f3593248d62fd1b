# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks as results tell them."""

from __future__ import annotations

import datetime
import typing as t


def at(clock_time: str, *, offset: int = 0) -> dict[str, t.Any]:
    """Clock of a machine whose own wall shows ``clock_time`` on some day, ``offset`` minutes from UTC."""
    hours, minutes = (int(part) for part in clock_time.split(":"))
    local = datetime.datetime(2026, 3, 1, hours, minutes, tzinfo=datetime.timezone.utc).timestamp()
    return {"now": local - offset * 60, "utc_offset_minutes": offset, "machine": "MGMT1"}
