# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bytes of a file say about its encoding, beside what its mark or the user says; guesses are never silent."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from .code_pages import own_characters
from .document import Document
from .readers import Finding
from .text import UTF_8, UTF_16_BE, UTF_16_LE, Codec, IniError, unmarked_utf_16

ENCODING_FINDINGS: t.Mapping[str, str] = {
    "encoding_big_endian": "UTF-16 in big-endian order: sources disagree whether the profile functions of today's "
    "Windows read it",
    "encoding_half_character": "bytes that are no character of the file's encoding; the line cannot be trusted",
    "encoding_mark_inside": "a byte order mark in the middle of the file; files of two encodings were joined",
    "encoding_mark_wrong": "the byte order mark names another encoding than the text after it has",
    "encoding_swallows_line_end": "in this code page the first half of a character swallows the end of a line",
    "encoding_undecodable": "the file does not decode in this encoding",
    "encoding_utf_16_unmarked": "UTF-16 without a byte order mark, which Windows' profile functions take for ANSI",
    "encoding_utf_8_unmarked": "UTF-8 without a byte order mark; Windows' profile functions read its characters beyond "
    "ASCII as ANSI",
    "encoding_wrong": "the file is not in the encoding that was named",
    "newline_doubled": "lines end in CR CR LF; Windows reads a blank line after each",
    "nul": "a NUL ends the name or the value for Windows",
}

_UTF_16: t.Mapping[str, Codec] = {codec.name: codec for codec in (UTF_16_LE, UTF_16_BE)}
_SAME_SIDE = {UTF_16_LE.name: "after", UTF_16_BE.name: "before"}
# What every INI file has, so that an encoding with two bytes per character shows in it.
_STRUCTURE = "\r\n=[]"
# One character of more than one byte (RFC 3629).
_UTF_8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_LINE_END = re.compile(rb"\r\n?|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")
# A mark of UTF-8; and one of UTF-16 with a letter of ASCII behind it, since its two bytes are letters elsewhere.
_MARK_INSIDE = re.compile(rb"\xef\xbb\xbf|\xff\xfe[^\0]\0|\xfe\xff\0[^\0]")
_MARK_AT_LINE_START = re.compile(rb"(?:\A|(?<=[\r\n]))(?:\xef\xbb\xbf|\xff\xfe[^\0]\0|\xfe\xff\0[^\0])")
# Of one sequence alone other encodings have too many: 1,920 of 21,791 pairs of code page 936 are UTF-8 too.
_SEVERAL = 2
_PLAIN = bytes((9, 10, 13, *range(0x20, 0x7F)))


@dataclass(frozen=True)
class Judged:
    """A file with what was seen about its encoding.

    Attributes:
        document: The file, in the encoding that it is read in.
        findings: What is odd about its encoding, in the order of lines.
        refusal: Why no edit of it is safe, None if one is.
    """

    document: Document
    findings: tuple[Finding, ...] = ()
    refusal: IniError | None = None


def judge(data: bytes, encoding: str) -> Judged:
    """Read a file and say whether its bytes bear out the encoding that its mark or the user names.

    Args:
        data: The file.
        encoding: The user's option; ``auto`` is code page 1252, or UTF-8 where the bytes leave no doubt.

    Raises:
        IniError: ``encoding_unknown``.
    """
    document = Document.parse(data, encoding=encoding)
    if not data:
        return Judged(document)
    told = _Evidence(document, encoding).look()
    if _has_doubled_ends(document):
        message = f"{ENCODING_FINDINGS['newline_doubled']}; new lines get the same end"
        told.findings.append(Finding("newline_doubled", 1, message))
        document = replace(document, doubled_cr=True)
    if told.is_utf_8:
        document = replace(document, codec=replace(UTF_8, ascii_only=True))
    return Judged(document, tuple(sorted(told.findings, key=lambda finding: finding.line)), told.refusal)


class _Evidence:
    """Looks at a file once.

    Attributes:
        findings: What was seen.
        refusal: The first reason not to edit the file.
        is_utf_8: Whether a file that nobody named the encoding of is UTF-8.
    """

    def __init__(self, document: Document, encoding: str) -> None:
        self.findings: list[Finding] = []
        self.refusal: IniError | None = None
        self.is_utf_8 = False
        self._codec = document.codec
        self._mark = document.bom
        self._body = document.body
        self._auto = encoding == "auto"

    def look(self) -> _Evidence:
        body, codec = self._body, self._codec
        seen = _utf_16_of(body)
        if seen is not None and seen != codec.name:
            self._other_than_utf_16(seen)
        elif codec.width > 1 and not self._may_be_utf_16():
            self._not_utf_16()
        elif codec.width > 1:
            self._look_at_units()
        else:
            self._look_at_bytes()
        return self

    def _note(self, code: str, line: int, more: str = "") -> None:
        self.findings.append(Finding(code, line, ENCODING_FINDINGS[code] + more))

    def _refuse(self, code: str, line: int, seen: str, remedy: str) -> None:
        self.findings.append(Finding(code, line, f"{seen}; {ENCODING_FINDINGS[code]}"))
        if self.refusal is None:
            self.refusal = IniError(code, f"line {line}: {seen}", remedy=remedy, line=line)

    # -- two bytes or one ---------------------------------------------------------------------------------------------

    def _other_than_utf_16(self, seen: str) -> None:
        what = f"every line end has a NUL {_SAME_SIDE[seen]} it, so the text is {seen}"
        if self._mark:
            remedy = f"take the byte order mark of {self._codec.name} away, then set encoding to {seen}"
            self._refuse("encoding_mark_wrong", 1, f"after the byte order mark of {self._codec.name} {what}", remedy)
        else:
            what = f"{what}, without a byte order mark"
            self._refuse("encoding_utf_16_unmarked", 1, what, f"set encoding to {seen}")

    def _may_be_utf_16(self) -> bool:
        body = self._body
        if self._mark:
            # The mark is evidence enough, unless nothing in the file looks like UTF-16 and all of it like ASCII.
            plain = len(body) - len(body.translate(None, _PLAIN))
            return b"\0" in body or _bytes_of_structure(body) == 0 or plain * 10 < len(body) * 9
        units, bytes_seen = _units_of_structure(body, self._codec.name), _bytes_of_structure(body)
        return units * 2 >= bytes_seen if bytes_seen else not body.isascii() or b"\0" in body

    def _not_utf_16(self) -> None:
        name = self._codec.name
        if self._mark:
            seen = f"after the byte order mark of {name} the text has one byte per character"
            remedy = "take the mark away, or save the file anew in one encoding"
            self._refuse("encoding_mark_wrong", 1, seen, remedy)
        else:
            seen = f"the line ends have no NUL beside them, so the text is not {name}"
            remedy = "use encoding auto, or name the file's code page"
            self._refuse("encoding_wrong", 1, seen, remedy)

    def _look_at_units(self) -> None:
        codec = self._codec
        text = codec.decode(self._body[: len(self._body) // 2 * 2])
        marks = [at for at in (text.find("\ufeff"), text.find("\ufffe")) if at >= 0]
        if marks:
            self._mark_inside(_line_in(text, min(marks)))
        if codec.name == UTF_16_BE.name:
            self._note("encoding_big_endian", 1)
        lone = _SURROGATE.search(text)
        if lone:
            self._note("encoding_half_character", _line_in(text, lone.start()), ": half of a surrogate pair")
        if len(self._body) % 2:
            self._note("encoding_half_character", _line_in(text, len(text)), ": a single byte at the file's end")
        if "\0" in text:
            self._nul(_line_in(text, text.index("\0")), text.count("\0"))

    # -- one byte, or pairs -------------------------------------------------------------------------------------------

    def _look_at_bytes(self) -> None:
        body, codec = self._body, self._codec
        pattern = _MARK_AT_LINE_START if codec.pair is not None else _MARK_INSIDE
        mark = pattern.search(body)
        if mark:
            self._mark_inside(_line_at(body[: mark.start()]))
        if b"\0" in body:
            self._nul(_line_at(body[: body.index(b"\0")]), body.count(b"\0"))
        if body.isascii():
            return
        if codec.pair is not None:
            self._look_at_pairs(codec.pair)
        whole, broken = _utf_8_of(body)
        if codec.name == UTF_8.name:
            self._look_at_utf_8(whole, broken)
        elif len(whole) >= _SEVERAL and not broken:
            self.is_utf_8 = self._auto
            self._note("encoding_utf_8_unmarked", _line_at(body[: whole[0].start()]))

    def _look_at_utf_8(self, whole: list[re.Match[bytes]], broken: list[re.Match[bytes]]) -> None:
        if not self._mark and whole:
            self._note("encoding_utf_8_unmarked", _line_at(self._body[: whole[0].start()]))
        if not broken:
            return
        first = broken[0]
        line = _line_at(self._body[: first.start()])
        # One broken character alone may be half of one, where there is other evidence that this is UTF-8.
        borne_out = bool(self._mark or whole or len(first[0]) > 1)
        if len(broken) > max(len(whole), int(borne_out)):
            byte = first[0][0]
            seen = f"byte 0x{byte:02X} and {len(broken) - 1} more places are no UTF-8"
            remedy = "use encoding auto, or name the file's code page"
            if self._mark:
                remedy = "save the file anew in one encoding, or take its byte order mark away"
            self._refuse("encoding_undecodable", line, seen, remedy)
        else:
            self._note("encoding_half_character", line, f": {len(broken)} of them, the first one here")

    def _look_at_pairs(self, pair: re.Pattern[bytes]) -> None:
        body, codec = self._body, self._codec
        good = bad = 0
        first_bad = -1
        known: dict[bytes, bool] = {}
        for match in pair.finditer(body):
            two = match[0]
            if two[1] in b"\r\n":
                line = _line_at(body[: match.start()])
                seen = (
                    f"byte 0x{two[0]:02X} before the end of the line is the first half of a character in {codec.name}"
                )
                remedy = "name the file's right code page in the option encoding, or repair that line"
                self._refuse("encoding_swallows_line_end", line, seen, remedy)
                return
            if two not in known:
                known[two] = two in own_characters(codec.name) or _decodes(two, codec.name)
            if known[two]:
                good += 1
            else:
                bad += 1
                first_bad = match.start() if first_bad < 0 else first_bad
        if bad > max(good, 1):
            line = _line_at(body[:first_bad])
            seen = f"{bad} pairs of bytes, the first one here, are no characters of {codec.name}"
            remedy = "name the file's right code page in the option encoding"
            self._refuse("encoding_undecodable", line, seen, remedy)
        elif bad:
            self._note("encoding_half_character", _line_at(body[:first_bad]))
        if codec.ends_inside_pair(body):
            self._note("encoding_half_character", _line_at(body))

    # -- everywhere ---------------------------------------------------------------------------------------------------

    def _mark_inside(self, line: int) -> None:
        seen = "a byte order mark stands in the middle of the file"
        remedy = "save the file anew in one encoding, without that mark"
        self._refuse("encoding_mark_inside", line, seen, remedy)

    def _nul(self, line: int, count: int) -> None:
        self._note("nul", line, f"; there are {count}, the first one here")


def _line_at(before: bytes) -> int:
    """Return the line, from 1, that begins or goes on after these bytes."""
    return len(_LINE_END.findall(before)) + 1


def _line_in(text: str, at: int) -> int:
    return _line_at(text[:at].encode("ascii", "replace"))


def _has_doubled_ends(document: Document) -> bool:
    """Whether most lines end in CR CR LF, as files do that were written as text twice."""
    body, codec = document.body, document.codec
    if codec.width > 1:
        text = codec.decode(body[: len(body) // codec.width * codec.width])
        return text.count("\r\r\n") * 2 > text.count("\n")
    return body.count(b"\r\r\n") * 2 > body.count(b"\n")


def _bytes_of_structure(body: bytes) -> int:
    return sum(body.count(mark.encode("ascii")) for mark in _STRUCTURE)


def _units_of_structure(body: bytes, name: str) -> int:
    text = _UTF_16[name].decode(body[: len(body) // 2 * 2])
    return sum(text.count(mark) for mark in _STRUCTURE)


def _line_ends(body: bytes, name: str) -> int:
    text = _UTF_16[name].decode(body[: len(body) // 2 * 2])
    return text.count("\r") + text.count("\n")


def _decodes(pair: bytes, page: str) -> bool:
    try:
        pair.decode(page)
    except UnicodeDecodeError:
        return False
    return True


def _utf_16_of(body: bytes) -> str | None:
    """Return the order of UTF-16 that a body surely is in, None for anything else.

    Its line ends have a NUL each, all on the same side, and so has most of what makes a file an INI file: bytes of
    those values are halves of Asian characters, too.
    """
    if b"\0" not in body:
        return None
    units = {name: _units_of_structure(body, name) for name in _UTF_16}
    for name, other in ((UTF_16_LE.name, UTF_16_BE.name), (UTF_16_BE.name, UTF_16_LE.name)):
        most = units[name] * 2 >= _bytes_of_structure(body) and units[name] > units[other] * 4
        if most and _line_ends(body, name) and not _line_ends(body, other):
            return name
    return unmarked_utf_16(body)


def _utf_8_of(body: bytes) -> tuple[list[re.Match[bytes]], list[re.Match[bytes]]]:
    """Return the characters of several bytes that are UTF-8, and the runs of bytes beyond ASCII that are not."""
    whole = list(_UTF_8_SEQUENCE.finditer(body))
    rest = _UTF_8_SEQUENCE.sub(lambda match: b"a" * len(match[0]), body)
    return whole, list(_BEYOND_ASCII.finditer(rest))
