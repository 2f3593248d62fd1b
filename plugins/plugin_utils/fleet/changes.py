# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an edit of Wspcfg.ini comes to, key by key, out of the diff that a task returned."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..ini.document import Document, Reading, read_text
from ..shapes import JsonObject

# What a plan or an audit's line shows of a difference; the whole text is shown by --diff.
CHANGED_LINES = 6


@dataclass(frozen=True)
class Change:
    """One key that differs.

    Attributes:
        section: Name of its section.
        mark: ``+`` added, ``-`` removed, ``~`` another value.
        key: Its name.
        before: The old value, None when it is new.
        after: The new value, None when it leaves.
    """

    section: str
    mark: str
    key: str
    before: str | None
    after: str | None


def changes_of(difference: JsonObject) -> tuple[Change, ...]:
    """Return the keys that differ between both sides of a diff, in the order of the new file, then what leaves it.

    Args:
        difference: One diff as Ansible shows it: ``before`` and ``after`` as text.
    """
    old, new = (_reading(difference.get(side)) for side in ("before", "after"))
    return (*_added(old, new), *_removed(old, new))


def changed_lines(difference: JsonObject) -> list[str]:
    """Return the lines that leave (``- line``) and come (``+ line``), whatever they hold.

    Args:
        difference: One diff as Ansible shows it: ``before`` and ``after`` as text.
    """
    before, after = (str(difference.get(side) or "").splitlines() for side in ("before", "after"))
    return [line.rstrip() for line in difflib.ndiff(before, after) if line[:1] in "+-"]


def first_lines(lines: Sequence[str]) -> list[str]:
    """Return the first lines of a difference, and how many more there are."""
    more = len(lines) - CHANGED_LINES
    return [*lines[:CHANGED_LINES], *([f"and {more} lines more"] if more > 0 else [])]


def _reading(text: object) -> Reading:
    return read_text(Document.parse(str(text or "").encode("utf-8"), encoding="utf-8"))


def _added(old: Reading, new: Reading) -> Iterator[Change]:
    for section in new.sections:
        for key in section.keys:
            before = old.get(section.name, key.name)
            if before != key.value:
                yield Change(section.name, "+" if before is None else "~", key.name, before, key.value)


def _removed(old: Reading, new: Reading) -> Iterator[Change]:
    for section in old.sections:
        for key in section.keys:
            if new.get(section.name, key.name) is None:
                yield Change(section.name, "-", key.name, key.value, None)
