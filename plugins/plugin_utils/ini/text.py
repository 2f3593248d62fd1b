# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""INI files as bytes: code pages, byte order marks, and lines as the Windows profile functions cut them."""

from __future__ import annotations

import codecs
import re
import string
import typing as t
from dataclasses import dataclass
from functools import cache

from .code_pages import own_bytes, own_characters
from .upper_case import upper_cases

# What the profile functions trim around names and values; 0x1A is the end-of-file mark of DOS editors.
BLANKS = "\t\n\x0b\x0c\r \x1a"
_BLANKS = BLANKS.encode("ascii")

Kind = t.Literal["blank", "comment", "header", "key", "text"]


class IniError(Exception):
    """An edit or a conversion that cannot be done without Windows reading something else than what was asked for.

    Attributes:
        code: One word for programs: ``bad_name``, ``bad_value``, ``duplicate_key``, ``duplicate_section``,
            ``encoding_cannot``, ``encoding_unknown``, ``encoding_unsure``, ``select_none``, ``select_several``, and
            what ``encoding.judge`` refuses.
        message: What is wrong, with the section, key or value that is meant.
        remedy: What to do about it.
        line: Line of the file, from 1, or None when no line is to blame.
        place: Section and key of the edit that cannot be done, the key empty when the section itself is meant.
    """

    def __init__(self, code: str, message: str, *, remedy: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.line = line
        self.place: tuple[str, str] | None = None


@dataclass(frozen=True)
class Codec:
    """How one encoding turns bytes into characters.

    Attributes:
        name: What users type, and Python's codec name.
        width: Bytes per unit: 2 for UTF-16, else 1.
        mark: Byte order mark that names this encoding, or empty.
        pair: Matches a lead byte with whatever follows it, None for encodings without lead bytes. Windows takes
            two bytes at a lead byte even if the pair is invalid, so an ``=`` or line end can be swallowed; only a
            NUL stays for itself.
        unknown: What Windows reads for an invalid pair, as its code page tables say.
        ascii_only: Whether nothing beyond ASCII may be written, because nobody said that this is the encoding.
    """

    name: str
    width: int = 1
    mark: bytes = b""
    pair: re.Pattern[bytes] | None = None
    unknown: str = "?"
    ascii_only: bool = False

    def decode(self, raw: bytes) -> str:
        """Return the characters of ``raw``; never fails."""
        if raw.isascii() and self.width == 1:
            return raw.decode("ascii")
        if self.pair is not None:
            return "".join(self._decode_run(run) for run in _runs(raw, self.pair))
        if self.width == 2:
            return raw.decode(self.name, "surrogatepass")
        if self.mark:
            return raw.decode(self.name, "replace")
        return codecs.charmap_decode(raw, "strict", _single_bytes(self.name))[0]

    def _decode_run(self, run: bytes) -> str:
        own = own_characters(self.name).get(run)
        if own is not None:
            return own
        try:
            return run.decode(self.name)
        except UnicodeDecodeError:
            pair = len(run) == 2 or self.ends_inside_pair(run)
            return self.unknown if pair else _unescape(run.decode("ascii", "surrogateescape"))

    def encode(self, text: str) -> bytes:
        """Return the bytes of ``text``.

        Raises:
            IniError: ``encoding_cannot`` for a character whose bytes would not read back as it, ``encoding_unsure``
                beyond ASCII where nobody named the encoding.
        """
        if self.ascii_only and not text.isascii():
            first = next(character for character in text if not character.isascii())
            raise IniError(
                "encoding_unsure",
                f"the file looks like {self.name} without a byte order mark, and U+{ord(first):04X} is not the same in "
                "every encoding",
                remedy=f"set encoding to {self.name} if that is what the program reads, or to the file's code page",
            )
        try:
            raw = text.encode(self.name)
        except UnicodeEncodeError:
            return b"".join(self._encode_character(character) for character in text)
        if text.isascii() or self.decode(raw) == text:
            return raw
        return b"".join(self._encode_character(character) for character in text)

    def _encode_character(self, character: str) -> bytes:
        try:
            raw = own_bytes(self.name).get(character) or character.encode(self.name)
        except UnicodeEncodeError:
            # Windows reads bytes without a character, such as 0x81 in code page 1252, as U+0081, and back.
            raw = bytes([ord(character)]) if ord(character) < 0x100 and self.width == 1 and not self.mark else b""
        if not raw or self.decode(raw) != character:
            raise IniError(
                "encoding_cannot",
                f"U+{ord(character):04X} does not exist in the encoding {self.name}",
                remedy="use characters of that encoding",
            )
        return raw

    def ends_inside_pair(self, raw: bytes) -> bool:
        """Whether the last byte is a lead byte, which would take what is written after it as its second half."""
        if self.pair is None or not self.pair.match(raw[-1:] + b"="):
            return False
        return self.mask(raw).endswith(raw[-1:])

    def mask(self, body: bytes) -> bytes:
        """Return one byte per unit: the ASCII character that the unit is, else 0x80; a lead byte hides its pair."""
        if self.pair is not None:
            return body if body.isascii() else self.pair.sub(b"\x80\x80", body)
        if self.width == 1:
            return body
        low, high = (body[1::2], body[0::2]) if self.name == "utf-16-be" else (body[0::2], body[1::2])
        if not any(high):
            return low
        return bytes(unit if not page and unit < 0x80 else 0x80 for unit, page in zip(low, high, strict=True))


@cache
def _single_bytes(page: str) -> str:
    """Return the 256 characters of a code page; Windows reads bytes without a character, such as 0x81, as U+0081."""
    own = own_characters(page)
    every = (bytes((byte,)) for byte in range(256))
    return "".join(own.get(raw) or _unescape(raw.decode(page, "surrogateescape")) for raw in every)


def _unescape(text: str) -> str:
    if text.isascii():
        return text
    return "".join(chr(ord(c) - 0xDC00) if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


def _runs(raw: bytes, pair: re.Pattern[bytes]) -> t.Iterator[bytes]:
    at = 0
    while at < len(raw):
        match = pair.match(raw, at)
        end = match.end() if match else at + 1
        yield raw[at:end]
        at = end


_SINGLE_BYTE = (
    "cp437 cp850 cp852 cp855 cp857 cp866 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258".split()
)
_CJK_PAIR = re.compile(rb"[\x81-\xfe][^\0]")

UTF_8 = Codec("utf-8", mark=b"\xef\xbb\xbf")
UTF_16_LE = Codec("utf-16-le", width=2, mark=b"\xff\xfe")
UTF_16_BE = Codec("utf-16-be", width=2, mark=b"\xfe\xff")
# The default of Western European and American Windows; the profile functions use the machine's own code page.
ANSI = "cp1252"

CODECS: t.Mapping[str, Codec] = {
    **{name: Codec(name) for name in _SINGLE_BYTE},
    "cp932": Codec("cp932", pair=re.compile(rb"[\x81-\x9f\xe0-\xfc][^\0]"), unknown="\u30fb"),
    "cp936": Codec("cp936", pair=_CJK_PAIR),
    "cp949": Codec("cp949", pair=_CJK_PAIR),
    "cp950": Codec("cp950", pair=_CJK_PAIR),
    **{codec.name: codec for codec in (UTF_8, UTF_16_LE, UTF_16_BE)},
}
ENCODINGS: tuple[str, ...] = tuple(CODECS)


def codec_for(encoding: str) -> Codec:
    """Return the codec of an encoding's name; ``auto`` and ``ansi`` mean code page 1252.

    Raises:
        IniError: ``encoding_unknown``.
    """
    name = ANSI if encoding in ("auto", "ansi") else encoding
    codec = CODECS.get(name)
    if codec is None:
        raise IniError(
            "encoding_unknown",
            f"encoding {encoding!r} is not known",
            remedy=f"use auto, ansi or one of {', '.join(ENCODINGS)}",
        )
    return codec


def sniff(data: bytes) -> Codec | None:
    """Return the codec that a byte order mark at the start of ``data`` names, or None."""
    for codec in (UTF_8, UTF_16_LE, UTF_16_BE):
        if data.startswith(codec.mark):
            return codec
    return None


def unmarked_utf_16(data: bytes) -> str | None:
    """Return the encoding of UTF-16 text that lacks its byte order mark, None for anything else.

    Letters of such a text have a NUL each, always on the same side; a disk that filled a file up with NULs after a
    crash leaves them on both.
    """
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if len(data) < 2 or (even + odd) * 3 < len(data):
        return None
    if odd > even * 8:
        return UTF_16_LE.name
    return UTF_16_BE.name if even > odd * 8 else None


@cache
def _folding() -> t.Mapping[int, int]:
    """Return the table of upper case with the letters of ASCII the other way round, in which ``str.lower`` is fast."""
    table = {code: upper for code, upper in upper_cases().items() if code > 0x7F}
    small = {ord(letter): ord(letter.lower()) for letter in string.ascii_uppercase}
    return {code: small.get(upper, upper) for code, upper in table.items()} | small


def fold(name: str) -> str:
    """Return the form in which names are compared: character by character, as Windows' upper-case table does.

    Windows leaves the dotless i, the long s and the micro sign alone, although Unicode gives them a capital of
    another alphabet's row.
    """
    return name.lower() if name.isascii() else name.translate(_folding())


class Line:
    """One line of a file.

    Attributes:
        raw: Its bytes without the end of line.
        eol: Its end of line as bytes; empty on an unfinished last line.
        kind: What the profile functions take it for.
        name: Name of the section or key as they read it, the bare text of a line without ``=``; else empty.
        number: Line of the file, from 1; 0 for a line that was made.
        start: Unit at which the text begins, after indentation.
        name_end: Unit after the name.
        equals: Unit of the ``=``, -1 unless ``kind`` is ``key``.
        codec: Encoding of ``raw``.
    """

    __slots__ = ("codec", "eol", "equals", "kind", "name", "name_end", "number", "raw", "start")

    def __init__(self, whole: bytes, masked: bytes, codec: Codec, number: int = 0) -> None:
        """Take a line with its end of line, as bytes and as ``Codec.mask`` shows it."""
        if masked[-2:] == b"\r\n":
            ending = 3 if masked[-3:-2] == b"\r" else 2
        else:
            ending = 1 if masked[-1:] in (b"\n", b"\r") else 0
        self.number = number
        cut = len(whole) - ending * codec.width
        self.raw = whole[:cut]
        self.eol = whole[cut:]
        self.codec = codec
        self.kind: Kind = "blank"
        self.name = ""
        self.start = self.name_end = 0
        self.equals = -1
        text = masked.strip(_BLANKS)
        if not text:
            return
        if masked[0] != text[0]:
            self.start = len(masked) - len(masked.lstrip(_BLANKS))
        first = text[0]
        if first == 0x3B:  # ;
            self.kind = "comment"
        elif first == 0x5B and b"]" in text:
            self.kind = "header"
            self.name_end = self.start + text.rindex(b"]")
            self.name = _c_string(self._decode(self.start + 1, self.name_end).strip(BLANKS))
        else:
            name, equals, dummy = text.partition(b"=")
            self.kind = "key" if equals else "text"
            if equals:
                self.equals = self.start + len(name)
                name = name.rstrip(_BLANKS)
            self.name_end = self.start + len(name)
            # The mask is the text itself wherever it is ASCII without NUL; this is every line but a few.
            plain = codec.width == 1 and name.isascii() and b"\0" not in name
            self.name = name.decode() if plain else _c_string(self._decode(self.start, self.name_end))

    def _decode(self, start: int, end: int) -> str:
        width = self.codec.width
        return self.codec.decode(self.raw[start * width : end * width])

    @property
    def value_start(self) -> int:
        """Unit at which the value begins, after the blanks that follow the ``=``."""
        after = self.codec.mask(self.raw)[self.equals + 1 :]
        return len(self.raw) // self.codec.width - len(after.lstrip(_BLANKS))

    @property
    def text(self) -> str:
        """The whole line's characters, without the end of line."""
        return self.codec.decode(self.raw)

    @property
    def raw_value(self) -> str:
        """The value's characters as they stand in the file, blanks around them trimmed, quotes kept."""
        if self.equals < 0:
            return ""
        value = self.codec.decode(self.raw[(self.equals + 1) * self.codec.width :])
        return _c_string(value.strip(BLANKS))

    @property
    def value(self) -> str:
        """The value as GetPrivateProfileString returns it: one pair of equal quotes around it is dropped."""
        return unquote(self.raw_value)

    @property
    def reachable(self) -> bool:
        """Whether a program can ask for this name: callers' names are trimmed, a name cut at a NUL is not."""
        return bool(self.name) and self.name == self.name.strip(BLANKS)

    def set_value(self, written: str) -> None:
        """Replace the value's text; everything up to it, and the end of line, stays."""
        self.raw = self.raw[: self.value_start * self.codec.width] + self.codec.encode(written)


def _c_string(text: str) -> str:
    """Return the text up to the first NUL, where C's strings end; trimming came before."""
    return text.split("\0", 1)[0] if "\0" in text else text


def scan(body: bytes, codec: Codec, *, doubled_cr: bool = False) -> list[Line]:
    """Cut a file's bytes, without its byte order mark, into lines.

    Every CR, LF and CRLF ends a line. Joining ``raw`` and ``eol`` of all lines gives ``body`` again, except for the
    odd byte at the end of a damaged UTF-16 file, which belongs to no line.

    Args:
        body: The bytes.
        codec: Their encoding.
        doubled_cr: Whether CR CR LF is one end of a line, and not one with a blank line behind it.
    """
    width = codec.width
    if width == 2 and len(body) % 2:
        body = body[:-1]
    mask = codec.mask(body)
    pieces = mask.splitlines(keepends=True)
    if doubled_cr:
        pieces = _with_doubled_ends(pieces)
    if mask is body:
        return [Line(line, line, codec, number) for number, line in enumerate(pieces, 1)]
    lines, at = [], 0
    for number, masked in enumerate(pieces, 1):
        end = at + len(masked) * width
        lines.append(Line(body[at:end], masked, codec, number))
        at = end
    return lines


def _with_doubled_ends(pieces: list[bytes]) -> list[bytes]:
    joined: list[bytes] = []
    for piece in pieces:
        if piece == b"\r\n" and joined and joined[-1][-1:] == b"\r":
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


_REMARK = re.compile(r"[;#]|//|rem[ \t]", re.IGNORECASE)


def is_remark(text: str) -> bool:
    """Whether people write a line like this as a comment, whatever Windows takes it for."""
    return _REMARK.match(text.lstrip(BLANKS)) is not None


def unquote(text: str) -> str:
    """Drop one pair of equal quotes around ``text``, as GetPrivateProfileString does."""
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        return text[1:-1]
    return text
