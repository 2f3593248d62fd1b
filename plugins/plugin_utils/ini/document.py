# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An INI file as bytes: read as Windows reads it, edited without touching a line that need not change.

Private to this collection: names and shapes may change in any release. Everything that other engines use of the INI
files is importable from here.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace
from functools import cached_property

from .diff import unified_diff
from .edits import (
    AddSection,
    Change,
    Duplicates,
    Edit,
    Editor,
    Manner,
    RemoveKey,
    RemoveSection,
    SetKey,
    Style,
)
from .readers import FINDINGS, Finding, KeyReading, Reading, SectionReading, read_profile, read_strict, read_text
from .text import ENCODINGS, Codec, IniError, Line, codec_for, fold, scan, sniff, unmarked_utf_16

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NEWLINES: t.Mapping[str, str] = {"crlf": "\r\n", "lf": "\n", "cr": "\r"}

# In one pass, as lines are told apart: CR CR CR LF is two ends, and every line keeps a row of its own.
_DOUBLED_ENDS = re.compile(r"\r\r\n|\r\n|\r")


@dataclass(frozen=True)
class Document:
    """One INI file, every byte of it; edits return a new document, and what it says is read once.

    Attributes:
        codec: Encoding of the body.
        bom: Byte order mark at the start of the file, or empty.
        body: The file's bytes after the mark.
        doubled_cr: Whether CR CR LF is one end of a line, and not one with a blank line behind it.
    """

    codec: Codec
    bom: bytes = b""
    body: bytes = b""
    doubled_cr: bool = False

    @classmethod
    def parse(cls, data: bytes, *, encoding: str = "auto") -> Document:
        """Take a file's bytes; never fails on content.

        Args:
            data: The file.
            encoding: Encoding of a file without a byte order mark; a mark always wins. ``auto`` and ``ansi`` mean
                code page 1252.

        Raises:
            IniError: ``encoding_unknown``.
        """
        codec = codec_for(encoding)
        marked = sniff(data)
        if marked is None:
            return cls(codec, b"", data)
        return cls(marked, marked.mark, data[len(marked.mark) :])

    @classmethod
    def new(cls, *, encoding: str = "ansi") -> Document:
        """Return an empty file; UTF-16 begins with its byte order mark, without which Windows would not read it."""
        codec = codec_for(encoding)
        return cls(codec, codec.mark if codec.width > 1 else b"")

    def __bytes__(self) -> bytes:
        return self.bom + self.body

    @property
    def encoding(self) -> str:
        """Name of the encoding, such as ``cp1252`` or ``utf-16-le``."""
        return self.codec.name

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines as the profile functions cut and classify them; not to be changed."""
        return tuple(self._scan(self.body))

    def _scan(self, body: bytes) -> list[Line]:
        return scan(body, self.codec, doubled_cr=self.doubled_cr)

    @cached_property
    def newline(self) -> str:
        """The end of line that most lines have; CRLF for a file without any."""
        most = max(self.ends.values())
        often = [eol for eol, count in self.ends.items() if count == most]
        if most and len(often) > 1:  # the one that comes first
            return next(self.codec.decode(line.eol) for line in self.lines if self.codec.decode(line.eol) in often)
        return often[0] if most else "\r\n"

    @cached_property
    def ends(self) -> t.Mapping[str, int]:
        """How many lines have each end of line."""
        mask = self.codec.mask(self._whole)
        three = mask.count(b"\r\r\n") if self.doubled_cr else 0
        two = mask.count(b"\r\n") - three
        feeds, returns = mask.count(b"\n") - two - three, mask.count(b"\r") - two - three * 2
        return {"\r\r\n": three, "\r\n": two, "\n": feeds, "\r": returns}

    @property
    def _whole(self) -> bytes:
        """The body without the odd byte at the end of a damaged UTF-16 file."""
        return self.body[: len(self.body) // self.codec.width * self.codec.width]

    @cached_property
    def profile_reading(self) -> Reading:
        """What ``read_profile`` reads from it."""
        return read_profile(self)

    @cached_property
    def text_reading(self) -> Reading:
        """What ``read_text`` reads from it."""
        return read_text(self)

    @cached_property
    def strict_reading(self) -> Reading:
        """What ``read_strict`` reads from it."""
        return read_strict(self)

    @property
    def text(self) -> str:
        """The file's characters, without byte order mark."""
        return self.codec.decode(self._whole)

    @property
    def unix_text(self) -> str:
        """The same with a line feed at the end of each line."""
        if self.doubled_cr:
            return _DOUBLED_ENDS.sub("\n", self.text)
        return self.text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in self.text else self.text

    def apply(
        self,
        edits: Sequence[Edit],
        *,
        duplicates: Duplicates = "keep",
        newline: str = "auto",
        style: Style = "file",
    ) -> Document:
        """Return the document with the edits applied.

        Args:
            edits: What to change, later ones winning over earlier ones; what is there already is not touched, and
                a section that is removed and made again keeps its place.
            duplicates: What happens to other keys and sections of an edited name: they stay, leave, or are an error.
                Removing a key or a section removes all that would take its place, whatever this says.
            newline: ``crlf`` or ``lf`` for new lines; ``auto`` takes the neighbour's.
            style: ``file`` gives new keys the indentation and the blanks around ``=`` of the section's last key;
                ``plain`` none.

        Raises:
            IniError: ``bad_name``, ``bad_value``, ``encoding_cannot``, ``duplicate_key``, ``duplicate_section``.
        """
        return self.edit(edits, Manner(duplicates=duplicates, newline=newline, style=style)).document

    def edit(self, edits: Iterable[Edit], manner: Manner) -> Edited:
        """Return the document with the edits applied, and what they did, line by line.

        Args:
            edits: What to change, as for ``apply``.
            manner: How.

        Raises:
            IniError: As ``apply``, and ``select_none`` and ``select_several``.
        """
        lines = self._scan(self.body)
        newline = self.newline if manner.newline == "auto" else NEWLINES[manner.newline]
        editor = Editor(lines, self.codec, newline=newline, manner=manner)
        editor.apply(edits)
        left = editor.finish()
        body = b"".join([part for line in left for part in (line.raw, line.eol)])
        self._check_half_character(body)
        body += self._odd_byte()
        bom = self.bom if self.body or not body else self.bom or Document.new(encoding=self.encoding).bom
        document = replace(self, bom=bom, body=body)
        if not self.ends["\r"]:
            # A CR may meet an LF where lines were taken out between them; else the lines are known already.
            document.__dict__["lines"] = tuple(left)
        return Edited(document, tuple(editor.changes))

    def convert(self, *, encoding: str = "ansi", newline: str = "auto", blank_lines: bool = True) -> Document:
        """Return the document in another encoding, without byte order mark unless it is UTF-16.

        Args:
            encoding: The new encoding; ``ansi`` is code page 1252.
            newline: ``crlf`` or ``lf`` for every line; ``auto`` leaves them.
            blank_lines: False leaves blank lines out.

        Raises:
            IniError: ``encoding_cannot`` when a character does not exist there, ``encoding_unknown``.
        """
        target = Document.new(encoding=encoding)
        codec = target.codec
        parts = []
        for number, line in enumerate(self.lines, 1):
            if line.kind == "blank" and not blank_lines:
                continue
            eol = NEWLINES.get(newline) if line.eol else ""
            parts.append(_encode_line(codec, line, number))
            parts.append(codec.encode(self.codec.decode(line.eol) if eol is None else eol))
        return replace(target, body=b"".join(parts))

    def _check_half_character(self, body: bytes) -> None:
        """Refuse what would put another unfinished line before half a character, which readers may take for its end."""
        if not self._odd_byte():
            return
        before = self.lines[-1:]
        if not before or before[0].eol:
            return
        after = self._scan(body)[-1:]
        if not after or after[0].raw != before[0].raw:
            raise IniError(
                "encoding_cannot",
                f"the file ends inside a character of {self.codec.name}, the last line cannot be changed",
                remedy="repair the last line: remove the single byte at its end, or end the line",
                line=len(self.lines),
            )

    def _odd_byte(self) -> bytes:
        return self.body[-1:] if len(self.body) % self.codec.width else b""


def _encode_line(codec: Codec, line: Line, number: int) -> bytes:
    try:
        return codec.encode(line.text)
    except IniError as error:
        raise IniError(error.code, f"line {number}: {error.message}", remedy=error.remedy, line=number) from error


@dataclass(frozen=True)
class Edited:
    """A document after edits, and what they did."""

    document: Document
    changes: tuple[Change, ...]


__all__ = [
    "ENCODINGS",
    "FINDINGS",
    "NEWLINES",
    "AddSection",
    "Document",
    "Edit",
    "Finding",
    "IniError",
    "KeyReading",
    "Reading",
    "RemoveKey",
    "RemoveSection",
    "SectionReading",
    "SetKey",
    "fold",
    "read_profile",
    "read_strict",
    "read_text",
    "unified_diff",
    "unmarked_utf_16",
]
