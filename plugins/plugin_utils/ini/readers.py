# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two readers of one INI document: Windows' profile functions, and what every sane parser of Wspcfg.ini agrees on."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from .text import BLANKS, UTF_8, Codec, Line, fold, unmarked_utf_16

# Every code that a finding can carry, and what stands behind it.
FINDINGS: t.Mapping[str, str] = {
    "ambiguous_control": "a NUL or an end-of-file mark (0x1A) may end the file for one parser and not for another",
    "ambiguous_duplicate_key": "Windows reads the first key of a name; another parser may read the last",
    "ambiguous_duplicate_section": "Windows reads the first section of a name; another may merge them or read the last",
    "ambiguous_header": "a section line with blanks, text or brackets around its name may be read differently",
    "ambiguous_newline": "a carriage return alone ends a line for Windows, not for every parser",
    "ambiguous_quotes": "Windows drops quotes around a value; another parser may keep them",
    "ambiguous_text": "text that is neither a section, a comment nor key=value, or that follows a value",
    "blank_line": "Q181420 wants no blank line in Wspcfg.ini",
    "encoding_bom": "a UTF-8 byte order mark hides the first line from Windows' profile functions",
    "encoding_unicode": "Q181420: a Wspcfg.ini saved as Unicode is not read",
    "prose_value": "the articles' examples say in words what has to be a number (Q178532, Q181420)",
    "text_before_section": "Q181420 wants the section line first",
}

# Keys whose values are numbers, ports, addresses and lists of them (Q178532, Q181420, Q231878).
NUMERIC_KEYS: frozenset[str] = frozenset(
    "serverbindtcpports serverbindudpports localbindtcpports localbindudpports remotebindtcpports remotebindudpports "
    "multipleaccesstcpports multipleaccessudpports proxybindip persistent killoldsession forcecredentials disable "
    "useproxyipforgethostbyname".split()
)
_NUMERIC_VALUE = re.compile(r"[0-9.,: \t-]*")
_TEXT_AFTER_VALUE = re.compile(r"[ \t][;#]")
_DOCUMENTED_BLANKS = " \t"


class Readable(t.Protocol):
    """What a reader needs of a document."""

    @property
    def codec(self) -> Codec: ...

    @property
    def bom(self) -> bytes: ...

    @property
    def body(self) -> bytes: ...

    @property
    def lines(self) -> tuple[Line, ...]: ...


@dataclass(frozen=True)
class Finding:
    """Something in a file that a reader should know about.

    Attributes:
        code: One of FINDINGS.
        line: Line of the file, from 1.
        message: What is there and what it means.
        section: Name of the section, empty before the first.
        key: Name of the key, empty when none is meant.
    """

    code: str
    line: int
    message: str
    section: str = ""
    key: str = ""


@dataclass(frozen=True)
class KeyReading:
    """A key in force: its name as written, its value as read, its line from 1."""

    name: str
    value: str
    line: int


@dataclass(frozen=True)
class SectionReading:
    """A section in force: its name as written, the line of its header from 1, its keys in the file's order."""

    name: str
    line: int
    keys: tuple[KeyReading, ...]


@dataclass(frozen=True)
class Reading:
    """What a reader gets out of a document.

    Attributes:
        sections: Sections in force, each name once, in the file's order.
        findings: In the order of lines.
        in_force: False when the reader takes nothing from the file at all.
    """

    sections: tuple[SectionReading, ...] = ()
    findings: tuple[Finding, ...] = ()
    in_force: bool = True

    @cached_property
    def _by_name(self) -> dict[str, tuple[SectionReading, dict[str, str]]]:
        return {
            fold(section.name): (section, {fold(key.name): key.value for key in section.keys})
            for section in self.sections
        }

    def section(self, name: str) -> SectionReading | None:
        """Return the section of that name, compared as Windows compares."""
        found = self._by_name.get(fold(name.strip(BLANKS)))
        return found[0] if found else None

    def get(self, section: str, key: str) -> str | None:
        """Return the value in force, or None."""
        found = self._by_name.get(fold(section.strip(BLANKS)))
        return found[1].get(fold(key.strip(BLANKS))) if found else None


def read_profile(document: Readable) -> Reading:
    """Return what GetPrivateProfileSectionNames, -Section and -String read from the file.

    The first section of a name counts, and in it the first key; names are trimmed and compared without case; a
    section's name ends at the line's last ``]``; a line without ``=`` hides a later key of that name. With a UTF-8
    byte order mark the first line is not seen as a section line, because these functions do not know that mark.
    """
    return _ProfileReader(hide_first=document.bom == UTF_8.mark).read(document)


def read_text(document: Readable) -> Reading:
    """Return what ``read_profile`` would return if the file had no UTF-8 byte order mark: what an editor shows."""
    return _ProfileReader(hide_first=False).read(document)


class _ProfileReader:
    def __init__(self, *, hide_first: bool) -> None:
        self._hide_first = hide_first
        self._findings: list[Finding] = []
        self._sections: dict[str, tuple[str, int, dict[str, KeyReading]]] = {}
        self._current: dict[str, KeyReading] | None = None
        self._name = ""
        self._bare: set[str] = set()

    def read(self, document: Readable) -> Reading:
        for number, line in enumerate(document.lines, 1):
            if number == 1 and self._hide_first:
                hidden = f": section [{line.name}]" if line.kind == "header" else ""
                self._note("encoding_bom", 1, FINDINGS["encoding_bom"] + hidden)
            elif line.kind == "header":
                self._open(number, line)
            elif line.kind in ("key", "text") and self._current is not None:
                self._take(number, line, self._current)
        sections = tuple(SectionReading(name, at, tuple(keys.values())) for name, at, keys in self._sections.values())
        return Reading(sections, tuple(self._findings))

    def _note(self, code: str, number: int, message: str, key: str = "") -> None:
        self._findings.append(Finding(code, number, message, self._name, key))

    def _open(self, number: int, line: Line) -> None:
        self._name, self._current, self._bare = line.name, None, set()
        if not line.reachable:
            return
        first = self._sections.get(fold(line.name))
        if first is not None:
            message = f"section [{line.name}] stands already in line {first[1]}, which is the one that Windows reads"
            self._note("ambiguous_duplicate_section", number, message)
            return
        if not is_plain_header(line):
            # Not the line itself: text around the name may be a setting whose value has to be hidden.
            message = f"this line is read as section [{line.name}]; {FINDINGS['ambiguous_header']}"
            self._note("ambiguous_header", number, message)
        self._current = {}
        self._sections[fold(line.name)] = (line.name, number, self._current)

    def _take(self, number: int, line: Line, keys: dict[str, KeyReading]) -> None:
        name = fold(line.name)
        if line.kind == "text":
            self._bare.add(name)
        elif name in keys:
            message = f"key {line.name} stands already in line {keys[name].line}, which is the one that Windows reads"
            self._note("ambiguous_duplicate_key", number, message, line.name)
        elif name in self._bare:
            message = f"key {line.name} is hidden from Windows by an earlier line of that name without '='"
            self._note("ambiguous_text", number, message, line.name)
        elif line.reachable:
            keys[name] = KeyReading(line.name, line.value, number)


def is_plain_header(line: Line) -> bool:
    """Whether a section line is exactly ``[name]``, blanks at its end allowed (Q231878 prints such lines)."""
    inner = line.text[1:].rstrip(_DOCUMENTED_BLANKS)
    return line.start == 0 and inner == f"{line.name}]" and not any(mark in line.name for mark in "[]\0\x1a")


def read_strict(document: Readable) -> Reading:
    """Return what surely is in force for the WinSock Proxy client, whose own parser is documented nowhere.

    Indented keys (Q181847), blanks around ``=`` (Q170316) and after values (Q231878) are printed in Microsoft's
    articles and therefore accepted. Everything that parsers could read differently is a finding, and no key that such
    a place can touch is in the reading: a key in the reading has that value for a parser that takes the first of two
    sections, the last, or both; the first of two keys or the last; any form of section line or only the plain one.
    """
    if document.bom or document.codec.width > 1:
        return _unreadable(document)
    return _StrictReader(document).read()


def _unreadable(document: Readable) -> Reading:
    code = "encoding_bom" if document.bom == UTF_8.mark else "encoding_unicode"
    return Reading((), (Finding(code, 1, f"{FINDINGS[code]}; save the file as ANSI"),), in_force=False)


# What the strict reader holds of one key that it has seen: where, and the value if all parsers agree on it.
_Sure = tuple[int, str, "str | None"]


@dataclass
class _Occurrence:
    """One of the places where a section of some name begins; ``plain`` unless its header is ambiguous.

    A place that is not plain has no keys: nothing in it is sure.
    """

    name: str
    line: int
    plain: bool
    keys: dict[str, _Sure] = field(default_factory=dict)


class _StrictReader:
    def __init__(self, document: Readable) -> None:
        self._lines = document.lines
        self._saved_as = unmarked_utf_16(document.body)
        self._findings: list[Finding] = []
        self._occurrences: dict[str, list[_Occurrence]] = {}
        # Where keys go now, None before the first section line. After an ambiguous one they may as well belong to its
        # names, or to none: what is unsure there is kept with the section before, which it may touch.
        self._open: _Occurrence | None = None
        self._sure = True

    def read(self) -> Reading:
        if not self._whole_file():
            return Reading((), tuple(self._findings), in_force=False)
        for number, line in enumerate(self._lines, 1):
            self._layout(number, line)
            if self._is_header(line):
                self._header(number, line)
            elif line.kind in ("key", "text"):
                self._entry(number, line)
        sections = tuple(_agreed(places) for places in self._occurrences.values() if any(p.plain for p in places))
        findings = tuple(sorted(dict.fromkeys(self._findings), key=lambda finding: finding.line))
        return Reading(sections, findings)

    def _note(self, code: str, number: int, message: str = "", key: str = "") -> None:
        section = self._open.name if self._open else ""
        self._findings.append(Finding(code, number, message or FINDINGS[code], section, key))

    def _whole_file(self) -> bool:
        """Look for what ends lines or the file for one parser only; nothing is sure in such a file."""
        sure = True
        for number, line in enumerate(self._lines, 1):
            if b"\0" in line.raw or b"\x1a" in line.raw:
                self._note("encoding_unicode" if self._saved_as else "ambiguous_control", number)
                return False
            if line.eol == b"\r":
                self._note("ambiguous_newline", number)
                sure = False
        return sure

    def _layout(self, number: int, line: Line) -> None:
        if line.kind == "blank":
            self._note("blank_line", number)
        elif not self._occurrences and not self._is_header(line):
            self._note("text_before_section", number, f"{FINDINGS['text_before_section']}: {line.text!r}")

    @staticmethod
    def _is_header(line: Line) -> bool:
        """Whether any parser may take the line for a section line: an unterminated one counts too."""
        return line.kind == "header" or line.name.startswith("[")

    def _header(self, number: int, line: Line) -> None:
        if line.kind == "header" and line.name and is_plain_header(line):
            self._open, self._sure = self._place(number, line.name, plain=True), True
            return
        candidates = _candidate_names(line)
        likely = next(filter(None, candidates), "name")
        message = f"section line {line.text!r}: {FINDINGS['ambiguous_header']}; write [{likely}] alone on the line"
        self._findings.append(Finding("ambiguous_header", number, message, likely))
        for name in filter(None, candidates):
            self._place(number, name, plain=False)
        self._open = self._open or _Occurrence(next(filter(None, candidates), ""), number, plain=False)
        self._sure = False

    def _place(self, number: int, name: str, *, plain: bool) -> _Occurrence:
        places = self._occurrences.setdefault(fold(name), [])
        if places and plain:
            stands = f"section [{name}] stands already in line {places[0].line}"
            message = f"{stands}; {FINDINGS['ambiguous_duplicate_section']}"
            self._findings.append(Finding("ambiguous_duplicate_section", number, message, name))
        places.append(_Occurrence(name, number, plain))
        return places[-1]

    def _entry(self, number: int, line: Line) -> None:
        if line.kind == "text":
            self._note("ambiguous_text", number, f"{line.text.strip(BLANKS)!r} is no key=value", line.name)
        value = self._sure_value(number, line)
        if self._open is not None:
            self._add(self._open, number, line, value if self._sure else None)

    def _add(self, place: _Occurrence, number: int, line: Line, value: str | None) -> None:
        name = fold(line.name)
        earlier = place.keys.get(name)
        if earlier is None:
            place.keys[name] = (number, line.name, value)
            return
        message = f"key {line.name} stands already in line {earlier[0]}; {FINDINGS['ambiguous_duplicate_key']}"
        self._note("ambiguous_duplicate_key", number, message, line.name)
        if earlier[2] != value:
            place.keys[name] = (earlier[0], earlier[1], None)

    def _sure_value(self, number: int, line: Line) -> str | None:
        """Return the value if every parser reads the same, else note why not and return None."""
        if line.kind == "text":
            return None
        code = _doubt(line)
        if code is None:
            return line.raw_value
        message = f"{line.name}={line.raw_value}: {FINDINGS[code]}"
        self._note(code, number, message, line.name)
        return None


def _doubt(line: Line) -> str | None:
    value = line.raw_value
    if value[:1] in ("'", '"') or value[-1:] in ("'", '"'):
        return "ambiguous_quotes"
    if _TEXT_AFTER_VALUE.search(value) or value[:1] in (";", "#") or not line.name or line.name[0] in "#'\"":
        return "ambiguous_text"
    if any(ord(character) < 0x20 and character != "\t" for character in line.text):
        return "ambiguous_control"
    if fold(line.name) in NUMERIC_KEYS and not _NUMERIC_VALUE.fullmatch(value):
        return "prose_value"
    return None


def _candidate_names(line: Line) -> tuple[str, ...]:
    """Return the names that parsers may take an ambiguous section line for, the likeliest first."""
    inner = line.text.strip(BLANKS)[1:]
    found = (inner.split("]", 1)[0], inner.rsplit("]", 1)[0], inner.split("=", 1)[0], inner)
    return tuple(dict.fromkeys(name.strip(BLANKS) for name in found))


def _agreed(places: list[_Occurrence]) -> SectionReading:
    """Return a section with the keys that have one and the same sure value in every place where it begins."""
    first = next(place for place in places if place.plain)
    keys = []
    for name, (number, written, value) in first.keys.items():
        if value is not None and all(place.keys.get(name, (0, "", None))[2] == value for place in places):
            keys.append(KeyReading(written, value, number))
    return SectionReading(first.name, first.line, tuple(keys))
