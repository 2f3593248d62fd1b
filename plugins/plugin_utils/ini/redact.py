# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values of an INI file are hidden, wherever they stand in it; the time for it grows with the file alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate

from .text import BLANKS, Line, fold, is_remark

HIDDEN = "<hidden>"
# A setting that somebody switched off by a comment mark is as secret as the setting.
_COMMENT_MARKS = ";#/!'\"[" + BLANKS
_REM = re.compile(r"rem[ \t]+", re.IGNORECASE)
_PADDING = "=" + BLANKS
_MARKED = frozenset((*_COMMENT_MARKS, "r", "R", ""))
# A word; what may stand between it and its value; and what ends a phrase that may be a name.
_WORD = re.compile(r"[^\s\x1a=:,;#(){}\[\]'\"]+")
_SIGN = re.compile(r"[\s\x1a'\"]*[=:][\s\x1a]*|[\s\x1a]+")
_PHRASE_END = re.compile(r"[=:,;#(){}\[\]'\"]")
_SWALLOWED = re.compile(rb"[\r\n]")
# What is no literal part of a shell pattern, and the slash, beside which either half may match.
_NO_LITERAL = re.compile(r"\[[^\]]*\]|[*?/\[]")
_LONGEST_NAME = 4
# NUL, and characters that stand for bytes which are none and may have swallowed a line end.
_NEVER_SURE = ("\0", "?", "\u30fb")
_NAMELESS = re.compile(r"\n[\t\x0b\x0c\x1a ]*=")


def _without_marks(key: str) -> str:
    return _REM.sub("", key.strip(_COMMENT_MARKS), count=1).strip(_COMMENT_MARKS)


class Redactor:
    """Says which values are hidden.

    Args:
        patterns: Shell patterns without regard to case, for a key's name (``*password*``) or ``section/key``.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        folded = [fold(pattern) for pattern in patterns]
        self.active = bool(folded)
        self._pattern = re.compile("|".join(map(translate, folded)) or r"(?!)")
        self._hints = _hints_of(folded)
        self._words = min(max((len(pattern.split()) for pattern in folded), default=1), _LONGEST_NAME)
        # A pattern such as *password* says the same of a name alone and behind a section without that word.
        self._joined = not all(re.fullmatch(r"\*[^*?/\[]+\*?", pattern) for pattern in folded)
        self._sections: dict[str, SectionRedactor] = {}

    def suspects(self, text: str) -> set[int] | None:
        """Return which lines of a text, from 0, may have something to hide on their own account; None for any of them.

        Args:
            text: Lines with a line feed at the end of each.
        """
        if not self.active:
            return set()
        if not self._hints:
            return None
        folded = fold(text)
        found = {line for literal in self._hints for line in _lines_with(literal, folded)}
        for odd in filter(text.__contains__, _NEVER_SURE):
            found.update(_lines_with(odd, text))
        lines = f"\n{text}"
        found.update(lines.count("\n", 0, match.start()) for match in _NAMELESS.finditer(lines))
        return found

    def of(self, section: str) -> SectionRedactor:
        """Return what judges the lines of one section."""
        found = self._sections.get(section)
        if found is None:
            found = SectionRedactor(fold(section), self._pattern, self._hints, self._words, joined=self._joined)
            self._sections[section] = found
        return found

    def hides(self, section: str, key: str) -> bool:
        """Return whether a key's value has to be hidden; its name may have comment marks before it."""
        return self.active and self.of(section).hides(key)

    def section(self, name: str) -> str:
        """Return a section's name as it may be shown: its line may be a setting in brackets."""
        return self._named("", name)

    def key(self, section: str, name: str, value: str | None = None) -> str:
        """Return a key's name as it may be shown: ``password: x`` and ``password aGk=`` hold a value.

        Args:
            section: Name of the section.
            name: Name of the key.
            value: What stands behind its ``=``, None where that is not known.
        """
        return self._named(section, name, blanks=value is None or not value.strip("=") or is_remark(name))

    def value(self, section: str, key: str, value: str | None, line: Line | None = None) -> str | None:
        """Return a value as it may be shown.

        Args:
            section: Name of the section.
            key: Name of the key.
            value: The value, None for none.
            line: Its line, in which there may be more than Windows sees.
        """
        if value is None or not self.active:
            return value
        hidden = not key or self.hides(section, key) or self.key(section, key, value) != key
        # To Windows a comment such as "# old password = x" is a key of that long name.
        hidden = hidden or (is_remark(key) and self._named(section, f"{key}={value}") != f"{key}={value}")
        return HIDDEN if hidden or (line is not None and self.of(section).cut(line, line.text) is not None) else value

    def _named(self, section: str, name: str, *, blanks: bool = True) -> str:
        cut = self.of(section).cut_in_words(name, blanks=blanks) if self.active else None
        return name if cut is None else name[:cut] + HIDDEN


class SectionRedactor:
    """Judges the lines of one section.

    Args:
        name: The section's folded name.
        pattern: What hides.
        hints: A line with anything to hide holds one of these, or its section's name does; empty: any line may.
        words: Of how many words the longest name consists that a pattern names.
        joined: Whether a pattern may match a name with its section before it, where it does not match the name.

    Attributes:
        suspect: Whether any line of the section may have something to hide.
    """

    def __init__(
        self, name: str, pattern: re.Pattern[str], hints: tuple[str, ...], words: int, *, joined: bool
    ) -> None:
        self._name = name
        self._pattern = pattern
        self.suspect = not hints or any(hint in name for hint in hints)
        self._joined = joined or self.suspect
        self._words = words
        self._hidden: dict[str, bool] = {}
        self._cuts: dict[bytes, int | None] = {}

    def hides(self, key: str) -> bool:
        """Return whether the value of this key is hidden."""
        found = self._hidden.get(key)
        if found is None:
            bare = _without_marks(key) if key[:1] in _MARKED or key[-1:] in _MARKED else key
            found = self._hidden[key] = self._matches(key) or (bare != key and self._matches(bare))
        return found

    def _matches(self, key: str) -> bool:
        name = fold(key)
        if self._pattern.match(name):
            return True
        return self._joined and self._pattern.match(f"{self._name}/{name}") is not None

    def cut(self, line: Line, text: str) -> int | None:
        """Return where the part of a line's text begins that is hidden, None when all of it may be shown."""
        cuts = self._cuts
        if line.raw not in cuts:
            cuts[line.raw] = self._cut(line, text)
        return cuts[line.raw]

    def _cut(self, line: Line, text: str) -> int | None:
        if line.kind == "blank":
            return None
        if _has_swallowed(line):
            # What Windows takes for one line is several to whoever wrote them; what begins where is not sure.
            return 0
        nul = "\0" in text
        if nul and self.cut_in_words(text.replace("\0", "")) is not None:
            return 0
        if line.kind != "key" or (line.name[:1] in _MARKED and line.name and is_remark(line.name)):
            return self.cut_in_words(text)
        equals = text.index("=")
        if not line.name:
            return equals + 1
        # Windows reads "name=value"; "name: va=lue", and base64 that ends in "=" behind a name, are people's.
        blanks = not text[equals:].strip(_PADDING)
        if blanks or text.find(":", 0, equals) >= 0:
            cut = self.cut_in_words(text[: equals + len(text[equals:].rstrip(BLANKS))], blanks=blanks, to=equals)
            if cut is not None:
                return cut
        hidden = self.hides(line.name) or (nul and self.hides(text[:equals].strip(BLANKS)))
        return equals + 1 if hidden else None

    def cut_in_words(self, text: str, *, blanks: bool = True, to: int | None = None) -> int | None:
        """Return where the value of the first setting in a text begins that is hidden, None without one.

        Args:
            text: Anything; a name is a word of it, or as many as a pattern has, or all since the last mark.
            blanks: Whether blanks alone may stand between name and value, besides ``=`` and a colon.
            to: Where the text ends in which such a setting has to begin; its end.
        """
        starts: list[int] = []
        phrase = last = 0
        for word in _WORD.finditer(text, 0, len(text) if to is None else to):
            if _PHRASE_END.search(text, last, word.start()):
                phrase = word.start()
            last = word.end()
            starts = [*starts[1 - self._words :], word.start()] if self._words > 1 else [word.start()]
            sign = _SIGN.match(text, last)
            if sign is None or sign.end() == len(text) or (to is not None and sign.end() > to):
                continue
            marked = bool(_PHRASE_END.search(sign[0]))
            if not marked and not blanks:
                continue
            begins = {*starts, phrase} if marked else starts
            if any(self.hides(text[begin:last]) for begin in begins):
                return sign.end()
        return None


def _has_swallowed(line: Line) -> bool:
    """Whether the first half of a character swallowed an end of a line in it."""
    return line.codec.pair is not None and _SWALLOWED.search(line.raw) is not None


def _lines_with(literal: str, text: str) -> Iterator[int]:
    """Return the lines, from 0, that hold a literal."""
    line = last = 0
    at = text.find(literal)
    while at >= 0:
        line += text.count("\n", last, at)
        yield line
        last = text.find("\n", at)
        at = text.find(literal, last) if last >= 0 else -1


def _hints_of(patterns: list[str]) -> tuple[str, ...]:
    """Return the longest literal part of each pattern, nothing if one has none."""
    parts = [max(_NO_LITERAL.split(pattern), key=len) for pattern in patterns]
    return tuple(parts) if all(parts) else ()
