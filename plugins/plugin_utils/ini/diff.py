# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's diff of an INI file, with the values of chosen keys hidden."""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from fnmatch import fnmatchcase

from .text import BLANKS, Line, codec_for, fold, scan, sniff

if t.TYPE_CHECKING:
    from collections.abc import Sequence

HIDDEN = "<hidden>"
HIDDEN_CHANGED = "<hidden, changed>"
_EOL_NAMES: t.Mapping[str, str] = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}
# A setting that somebody switched off by a comment mark is as secret as the setting.
_COMMENT_MARKS = ";#/!'\"[" + BLANKS
_REM = re.compile(r"rem[ \t]+", re.IGNORECASE)
# What may stand before a setting in a comment or beside a section's name.
_BEFORE_SETTING = re.compile(r"[\]\[;,#(){}'\"]")


def is_redacted(section: str, key: str, redact: Sequence[str]) -> bool:
    """Return whether a key's value has to be hidden.

    Args:
        section: Name of the section.
        key: Name of the key, which may have comment marks before it.
        redact: Shell patterns without regard to case, for a key's name (``*password*``) or ``section/key``.
    """
    return any(_matches(section, name, redact) for name in (key, _without_marks(key)))


def _matches(section: str, key: str, redact: Sequence[str]) -> bool:
    names = (fold(key), f"{fold(section)}/{fold(key)}")
    return any(fnmatchcase(name, fold(pattern)) for name in names for pattern in redact)


def _without_marks(key: str) -> str:
    return _REM.sub("", key.strip(_COMMENT_MARKS), count=1).strip(_COMMENT_MARKS)


def _hidden_from(section: str, line: Line, redact: Sequence[str]) -> tuple[str, int] | None:
    """Return the key and where the line's value begins, None if the line may be shown.

    A key's line is judged by its name. In any other line a setting may stand anywhere.
    """
    text = line.text
    if not redact or "=" not in text:
        return None
    if line.kind == "key":
        # As Windows reads it, cut at a NUL, and as people read it.
        equals = text.index("=")
        names = (line.name, text[:equals].replace("\0", "").strip(BLANKS))
        return (line.name, equals) if any(is_redacted(section, name, redact) for name in names) else None
    equals = -1
    for part in text.replace("\0", BLANKS[0]).split("=")[:-1]:
        equals += len(part) + 1
        words = (part.strip(BLANKS), _BEFORE_SETTING.split(part)[-1].strip(BLANKS), (part.split() or [""])[-1])
        name = next((word for word in words if is_redacted(section, word, redact)), None)
        if name is not None:
            return (name, equals)
    return None


class _Side:
    """One side of the diff: the lines of a file, and what stands for each in the diff."""

    def __init__(self, data: bytes, encoding: str, redact: Sequence[str]) -> None:
        self.codec = sniff(data) or codec_for(encoding)
        self.marked = data.startswith(self.codec.mark) and bool(self.codec.mark)
        body = data[len(self.codec.mark) :] if self.marked else data
        self.lines = scan(body, self.codec)
        self.eols = {self.codec.decode(line.eol) for line in self.lines if line.eol}
        self._redact = redact
        self.secrets: dict[tuple[str, str, int], str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._slots = [self._slot(section, line) for section, line in self._with_sections()]

    def _with_sections(self) -> t.Iterator[tuple[str, Line]]:
        section = ""
        for line in self.lines:
            section = line.name if line.kind == "header" else section
            yield section, line

    def _slot(self, section: str, line: Line) -> tuple[tuple[str, str, int], int] | None:
        """Remember a hidden value under section, key and how often both came before; None for an open line."""
        found = _hidden_from(section, line, self._redact)
        if found is None:
            return None
        key, equals = found
        name = (fold(section), fold(_without_marks(key)))
        slot = (*name, self._counts[name])
        self._counts[name] += 1
        self.secrets[slot] = line.text[equals + 1 :]
        return slot, equals

    def render(self, other: _Side, changed_mark: str) -> str:
        """Return the text with one LF per line, hidden values replaced."""
        rendered = []
        for line, place in zip(self.lines, self._slots, strict=True):
            text = line.text
            if place is not None:
                slot, equals = place
                same = other.secrets.get(slot) == self.secrets[slot]
                text = f"{text[:equals]}={HIDDEN if same else changed_mark}"
            rendered.append(_printable(text) + ("\n" if line.eol else ""))
        return "".join(rendered)

    def describe(self) -> str:
        """Return encoding and ends of lines, for a header that tells what the text cannot show."""
        eols = " and ".join(sorted(_EOL_NAMES[eol] for eol in self.eols)) or "none"
        return f"{self.codec.name}{' with byte order mark' if self.marked else ''}, line ends {eols}"


def _printable(text: str) -> str:
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def unified_diff(
    before: bytes, after: bytes, *, path: str, redact: Sequence[str] = (), encoding: str = "auto"
) -> dict[str, str]:
    """Return Ansible's diff dictionary: ``before``, ``after``, ``before_header``, ``after_header``.

    Args:
        before: The file's old bytes, empty for a file that does not exist.
        after: Its new bytes.
        path: What the headers name.
        redact: Patterns of keys whose values are hidden, commented-out ones too; see ``is_redacted``.
        encoding: Encoding of a side without byte order mark.

    Returns:
        Text with one LF per line. Where encoding, byte order mark or ends of lines differ, the headers tell both.
    """
    old, new = _Side(before, encoding, redact), _Side(after, encoding, redact)
    headers = (path, path)
    if before and after and old.describe() != new.describe():
        headers = (f"{path} ({old.describe()})", f"{path} ({new.describe()})")
    return {
        "before": old.render(new, HIDDEN),
        "after": new.render(old, HIDDEN_CHANGED),
        "before_header": headers[0],
        "after_header": headers[1],
    }
