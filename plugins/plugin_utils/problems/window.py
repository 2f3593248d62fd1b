# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time of day in which a restart may begin, read in one place for the module and for the role."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..shapes import JsonObject

_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"
_WINDOW = re.compile(rf"({_TIME})-({_TIME})")
_DAY_MINUTES = 24 * 60

REMEDY = "Give two different times of day, such as 22:00-05:00."


class WindowError(ValueError):
    """A window that cannot be read; ``REMEDY`` is what to do."""


@dataclass(frozen=True)
class Window:
    """From one time of day to another, over midnight when the end is before the beginning.

    Attributes:
        begin: First moment, ``HH:MM``.
        end: First moment that is outside again.
    """

    begin: str
    end: str

    def contains(self, clock: JsonObject) -> bool:
        """Say whether a machine's own wall shows a time inside.

        Args:
            clock: ``now`` (seconds since 1970 UTC) and ``utc_offset_minutes`` of that machine.
        """
        begin, end, local = _minutes(self.begin), _minutes(self.end), _local_minutes(clock)
        if begin < end:
            return begin <= local < end
        return local >= begin or local < end

    def as_request(self) -> dict[str, str]:
        """Return it as the target script wants it (docs/target_protocol.md, section 4)."""
        return {"from": self.begin, "to": self.end}


def read_window(text: str | None) -> Window | None:
    """Return a window, None for always.

    Args:
        text: ``HH:MM-HH:MM``; empty or None: always.

    Raises:
        WindowError: It cannot be read, or it begins and ends at the same time, which may mean always or never.
    """
    if not text:
        return None
    match = _WINDOW.fullmatch(text.strip())
    if match is None or match[1] == match[2]:
        raise WindowError(f"'{text}' is no window")
    return Window(match[1], match[2])


def wall_time(clock: JsonObject) -> str:
    """Return the time of day that a machine shows, with its offset from UTC, such as ``23:05 (UTC+01:00)``."""
    minutes = _local_minutes(clock)
    offset = int(clock["utc_offset_minutes"])
    sign = "-" if offset < 0 else "+"
    return f"{minutes // 60:02d}:{minutes % 60:02d} (UTC{sign}{abs(offset) // 60:02d}:{abs(offset) % 60:02d})"


def _minutes(clock_time: str) -> int:
    hours, minutes = clock_time.split(":")
    return int(hours) * 60 + int(minutes)


def _local_minutes(clock: JsonObject) -> int:
    return int(float(clock["now"]) // 60 + int(clock["utc_offset_minutes"])) % _DAY_MINUTES
