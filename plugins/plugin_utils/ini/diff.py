# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's diff of an INI file, with the values of chosen keys hidden."""

from __future__ import annotations

import re
import typing as t

from .readers import Readable
from .redact import HIDDEN, Redactor
from .text import fold

if t.TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN_CHANGED = "<hidden, changed>"
_EOL_NAMES: t.Mapping[str, str] = {"\r\r\n": "CRCRLF", "\r\n": "CRLF", "\n": "LF", "\r": "CR"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Comparable(Readable, t.Protocol):
    """What a diff needs of a document."""

    @property
    def ends(self) -> t.Mapping[str, int]: ...

    @property
    def unix_text(self) -> str: ...


# A hidden value: its section, its line up to it, and how often both came before.
_Slot = tuple[str, str, int]


class _Side:
    """One side of the diff: the text of a file, and what of it is hidden."""

    def __init__(self, document: Comparable, redactor: Redactor) -> None:
        self._document = document
        self.empty = not document.bom and not document.body
        self.text = document.unix_text
        self.secrets: dict[_Slot, str] = {}
        # Where each is: the line, from 0, and the place in it.
        self._places: list[tuple[int, int, _Slot]] = []
        self._rows: list[str] = []
        suspects = redactor.suspects(self.text)
        if suspects is None or suspects:
            self._rows = self.text.split("\n")
            self._hide(redactor, suspects)

    def _hide(self, redactor: Redactor, suspects: set[int] | None) -> None:
        counts: dict[tuple[str, str], int] = {}
        section, judge = "", redactor.of("")
        for at, line in enumerate(self._document.lines):
            if line.kind == "header":
                section, judge = fold(line.name), redactor.of(line.name)
            if suspects is not None and at not in suspects and not judge.suspect:
                continue
            text = self._rows[at]
            cut = judge.cut(line, text)
            if cut is not None:
                name = (section, text[:cut])
                count = counts[name] = counts.get(name, 0) + 1
                slot = (*name, count)
                self.secrets[slot] = text[cut:]
                self._places.append((at, cut, slot))

    def render(self, other: _Side, changed_mark: str) -> str:
        """Return the text with one LF per line, hidden values replaced."""
        text = self.text
        if self._places:
            rows = self._rows
            for at, cut, slot in self._places:
                same = other.secrets.get(slot) == self.secrets[slot]
                rows[at] = rows[at][:cut] + (HIDDEN if same else changed_mark)
            text = "\n".join(rows)
        return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)

    def describe(self) -> str:
        """Return encoding and ends of lines, for a header that tells what the text cannot show."""
        eols = " and ".join(sorted(_EOL_NAMES[eol] for eol, count in self._document.ends.items() if count)) or "none"
        marked = " with byte order mark" if self._document.bom else ""
        return f"{self._document.codec.name}{marked}, line ends {eols}"


def unified_diff(
    before: Comparable, after: Comparable, *, path: str, redact: Iterable[str] | Redactor = ()
) -> dict[str, str]:
    """Return Ansible's diff dictionary: ``before``, ``after``, ``before_header``, ``after_header``.

    Args:
        before: The file as it was, an empty document for one that did not exist.
        after: The file afterwards.
        path: What the headers name.
        redact: Patterns of keys whose values are hidden, or what judges by them; see ``Redactor``.

    Returns:
        Text with one LF per line. Where encoding, byte order mark or ends of lines differ, the headers tell both.
    """
    redactor = redact if isinstance(redact, Redactor) else Redactor(redact)
    old, new = _Side(before, redactor), _Side(after, redactor)
    headers = (path, path)
    if not old.empty and not new.empty and old.describe() != new.describe():
        headers = (f"{path} ({old.describe()})", f"{path} ({new.describe()})")
    return {
        "before": old.render(new, HIDDEN),
        "after": new.render(old, HIDDEN_CHANGED),
        "before_header": headers[0],
        "after_header": headers[1],
    }
