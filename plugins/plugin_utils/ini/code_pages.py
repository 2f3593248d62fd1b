# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows' code pages hold beyond Python's codecs of the same number.

Windows gives every byte and every pair of the user-defined areas a character of its own, mostly of Unicode's private
use area; Python has none for them, and two such names would look the same.
"""

from __future__ import annotations

import typing as t
from functools import cache

# First and last lead byte, first and last trail byte; characters run through them in this order.
_Area = tuple[int, int, int, int]

_SINGLE: t.Mapping[str, t.Mapping[int, int]] = {
    "cp857": dict(zip((0xD5, 0xE7, 0xF2), range(0xF8BB, 0xF8BE), strict=True)),
    "cp874": dict(zip((*range(0xDB, 0xDF), *range(0xFC, 0x100)), range(0xF8C1, 0xF8C9), strict=True)),
    "cp936": {0x80: 0x20AC, 0xFF: 0xF8F5},
    "cp949": {0xFF: 0xF8F7},
    "cp950": {0xFF: 0xF8F8},
    "cp1253": {0xAA: 0xF8F9, 0xD2: 0xF8FA, 0xFF: 0xF8FB},
    "cp1255": {0xCA: 0x05BA} | dict(zip((*range(0xD9, 0xE0), 0xFB, 0xFC, 0xFF), range(0xF88D, 0xF897), strict=True)),
    "cp1257": {0xA1: 0xF8FC, 0xA5: 0xF8FD},
}
_USER_DEFINED: t.Mapping[str, tuple[_Area, ...]] = {
    "cp936": ((0xAA, 0xAF, 0xA1, 0xFE), (0xF8, 0xFE, 0xA1, 0xFE), (0xA1, 0xA7, 0x40, 0xA0)),
    "cp949": ((0xC9, 0xC9, 0xA1, 0xFE), (0xFE, 0xFE, 0xA1, 0xFE)),
    "cp950": (
        (0xFA, 0xFE, 0x40, 0xFE),
        (0x8E, 0xA0, 0x40, 0xFE),
        (0x81, 0x8D, 0x40, 0xFE),
        (0xC6, 0xC6, 0xA1, 0xFE),
        (0xC7, 0xC8, 0x40, 0xFE),
    ),
}
# Areas in which only the pairs that Python does not know follow, with the characters that come next.
_GAPS: t.Mapping[str, tuple[_Area, ...]] = {"cp936": ((0xA2, 0xFE, 0x40, 0xFE),)}
_NO_TRAIL: t.Mapping[str, frozenset[int]] = {
    "cp936": frozenset({0x7F}),
    "cp950": frozenset(range(0x7F, 0xA1)),
}


@cache
def own_characters(page: str) -> t.Mapping[bytes, str]:
    """Return the characters, by their bytes, that Windows has and Python has not, or has otherwise."""
    found = {bytes((byte,)): chr(code) for byte, code in _SINGLE.get(page, {}).items()}
    code = 0xE000
    for areas, gaps in ((_USER_DEFINED, False), (_GAPS, True)):
        for pair in _pairs(page, areas.get(page, ())):
            if gaps and (pair in found or _is_known(page, pair)):
                continue
            found[pair] = chr(code)
            code += 1
    return found


@cache
def own_bytes(page: str) -> t.Mapping[str, bytes]:
    """Return the same by character."""
    return {character: raw for raw, character in own_characters(page).items()}


def _pairs(page: str, areas: t.Iterable[_Area]) -> t.Iterator[bytes]:
    never = _NO_TRAIL.get(page, frozenset())
    for first_lead, last_lead, first_trail, last_trail in areas:
        for lead in range(first_lead, last_lead + 1):
            for trail in range(first_trail, last_trail + 1):
                if trail not in never:
                    yield bytes((lead, trail))


def _is_known(page: str, pair: bytes) -> bool:
    try:
        pair.decode(page)
    except UnicodeDecodeError:
        return False
    return True
