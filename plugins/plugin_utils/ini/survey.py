# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in an INI file line by line, and what of it counts for a program that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .edits import Reader, is_bare_key
from .readers import FINDINGS, Finding, Readable, is_plain_header
from .text import BLANKS, UTF_8, Line, fold, is_remark

BEFORE_SECTION = "before_section"


@dataclass
class Section:
    """One section line with its entries; what stands before the first one is the section of the empty name.

    Attributes:
        name: Its name as written.
        line: Number of its line; 0 before the first.
        in_force: Whether the reader sees it.
        lines: Its keys, with and without ``=``, in the file's order.
        by_key: The same by folded name. Sections that a reader takes for one share it.
    """

    name: str
    line: int
    in_force: bool
    lines: list[Line] = field(default_factory=list)
    by_key: dict[str, list[Line]] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """A file as one reader sees it.

    Attributes:
        reader: Who reads.
        sections: Every section line that a program can ask for, in the file's order.
        findings: What is odd, in the order of lines.
    """

    reader: Reader
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]

    def named(self, name: str) -> list[Section]:
        """Return the sections of a name."""
        wanted = fold(name.strip(BLANKS))
        return [section for section in self.sections if fold(section.name) == wanted]

    def counting(self, section: Section, key: str) -> Line | None:
        """Return the line of a key that counts in a section, None if there is none or no ``=`` in it."""
        lines = section.by_key.get(fold(key.strip(BLANKS)))
        if not lines:
            return None
        line = lines[-1] if self.reader == "last_wins" else lines[0]
        return line if line.kind == "key" else None

    def entries(self, section: Section) -> Iterator[Line]:
        """Return the lines of a section that are keys to the reader; comments that Windows takes for keys are some."""
        for line in section.lines:
            if line.kind == "text" or self.reader == "windows" or not is_remark(line.name):
                yield line


def survey(document: Readable, reader: Reader = "windows") -> Survey:
    """Read a file for one reader.

    Args:
        document: The file.
        reader: ``windows`` sees the first section and the first key of a name, ``last_wins`` takes sections of one name
            for one and the last key of a name.
    """
    return (_LastWins if reader == "last_wins" else _Windows)().read(document)


class _Surveyor:
    """Walks over the lines once."""

    reader: Reader = "windows"

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.first: dict[str, Section] = {}
        self.sections: list[Section] = [Section("", 0, True)]

    def read(self, document: Readable) -> Survey:
        here: Section | None = self.sections[0]
        for line in document.lines:
            kind = line.kind
            if kind == "key":
                if here is not None and line.reachable:
                    same = here.by_key.get(name := fold(line.name))
                    if same is None:
                        here.by_key[name] = [line]
                    else:
                        self.again(here, same, line)
                        same.append(line)
                    here.lines.append(line)
            elif kind == "header":
                here = self.open(line) if line.reachable else None
            elif kind == "text" and here is not None:
                here.by_key.setdefault(fold(line.name), []).append(line)
                if is_bare_key(line):
                    here.lines.append(line)
        if not self.sections[0].lines:
            del self.sections[0]
        else:
            self.nameless(self.sections[0])
        if document.bom == UTF_8.mark and document.lines:
            self.marked(document.lines[0])
        self.findings.sort(key=lambda finding: finding.line)
        return Survey(self.reader, tuple(self.sections), tuple(self.findings))

    def open(self, line: Line) -> Section:
        raise NotImplementedError

    def again(self, section: Section, earlier: list[Line], line: Line) -> None:
        """A key stands once more."""

    def nameless(self, section: Section) -> None:
        """Keys stand before the first section."""

    def marked(self, line: Line) -> None:
        """The file begins with a mark that Windows does not know."""


class _Windows(_Surveyor):
    """As GetPrivateProfileString and its kin."""

    def open(self, line: Line) -> Section:
        first = self.first.get(fold(line.name))
        section = Section(line.name, line.number, first is None)
        self.sections.append(section)
        if first is not None:
            message = f"section [{line.name}] stands already in line {first.line}, which is the one that Windows reads"
            self.findings.append(Finding("ambiguous_duplicate_section", line.number, message, line.name))
            return section
        self.first[fold(line.name)] = section
        if not is_plain_header(line):
            # Not the line itself: text around the name may be a setting whose value has to be hidden.
            message = f"this line is read as section [{line.name}]; {FINDINGS['ambiguous_header']}"
            self.findings.append(Finding("ambiguous_header", line.number, message, line.name))
        return section

    def again(self, section: Section, earlier: list[Line], line: Line) -> None:
        if not section.in_force or not section.line:
            return
        code, message = "ambiguous_text", f"key {line.name} is hidden from Windows by an earlier line of that name"
        if earlier[0].kind == "key":
            code = "ambiguous_duplicate_key"
            message = f"key {line.name} stands already in line {earlier[0].number}, which is the one that Windows reads"
        else:
            message += " without '='"
        self.findings.append(Finding(code, line.number, message, section.name, line.name))

    def nameless(self, section: Section) -> None:
        message = (
            f"{len(section.lines)} keys stand before the first section; Windows' profile functions cannot read them"
        )
        self.findings.append(Finding(BEFORE_SECTION, section.lines[0].number, message))

    def marked(self, line: Line) -> None:
        is_section = line.kind == "header"
        message = FINDINGS["encoding_bom"] + (f": section [{line.name}]" if is_section else "")
        self.findings.append(Finding("encoding_bom", 1, message, line.name if is_section else ""))


class _LastWins(_Surveyor):
    """As programs with a reader of their own that keeps what it reads last."""

    reader: Reader = "last_wins"

    def open(self, line: Line) -> Section:
        first = self.first.get(fold(line.name))
        section = Section(line.name, line.number, True)
        if first is None:
            self.first[fold(line.name)] = section
        else:
            section.by_key = first.by_key
        self.sections.append(section)
        return section

    def again(self, section: Section, earlier: list[Line], line: Line) -> None:
        if not is_remark(line.name):
            message = f"key {line.name} stands again in line {line.number}, which is the one that counts"
            self.findings.append(
                Finding("ambiguous_duplicate_key", earlier[-1].number, message, section.name, line.name)
            )
