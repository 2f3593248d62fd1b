# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of an INI file that touch only the lines they must.

Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ._ini_text import BLANKS, Codec, IniError, Line, fold

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Duplicates = t.Literal["keep", "remove", "fail"]
Style = t.Literal["file", "plain"]


@dataclass(frozen=True)
class SetKey:
    """Give a key a value; section and key are made when they are missing."""

    section: str
    key: str
    value: str


@dataclass(frozen=True)
class RemoveKey:
    """Take a key away, all of its lines in the section that counts."""

    section: str
    key: str


@dataclass(frozen=True)
class RemoveSection:
    """Take a section away, every section of that name; comments after its last key stay in the file."""

    section: str


@dataclass(frozen=True)
class AddSection:
    """Make a section when it is missing."""

    section: str


Edit: t.TypeAlias = "SetKey | RemoveKey | RemoveSection | AddSection"


def check_section(name: str) -> None:
    """Refuse a section name that Windows would read back differently.

    Raises:
        IniError: ``bad_name``.
    """
    if not name or name != name.strip() or name != name.strip(BLANKS) or any(mark in name for mark in "[]\r\n\0\x1a"):
        raise IniError(
            "bad_name",
            f"section name {name!r} cannot be written so that Windows reads it back",
            remedy="use a name that is not empty, has no blanks at its ends, no brackets and no line ends",
        )


def check_key(name: str) -> None:
    """Refuse a key name that Windows would read back differently.

    Raises:
        IniError: ``bad_name``.
    """
    blank_ends = name != name.strip() or name != name.strip(BLANKS)
    if not name or blank_ends or name[0] in ";[" or any(mark in name for mark in "=\r\n\0\x1a"):
        raise IniError(
            "bad_name",
            f"key name {name!r} cannot be written so that Windows reads it back",
            remedy="use a name that is not empty, does not begin with ';' or '[', has no blanks at its ends and no '='",
        )


def written_form(value: str) -> str:
    """Return how a value has to stand in the file to be read back as it is: quoted if it must be.

    Raises:
        IniError: ``bad_value`` for line ends, NUL and the end-of-file mark, which no quotes protect.
    """
    bad = next((character for character in value if character in "\r\n\0\x1a"), None)
    if bad is not None:
        raise IniError(
            "bad_value",
            f"the value holds U+{ord(bad):04X}, which an INI file cannot carry",
            remedy="remove line ends, NUL and 0x1A from the value; an INI value is one line",
        )
    quoted = value[:1] in ("'", '"') and value[-1:] == value[:1]
    if quoted or value != value.strip() or value != value.strip(BLANKS):
        return f'"{value}"'
    return value


@dataclass(eq=False)
class _Block:
    """A section with everything up to the next one; the first block of a file has no header."""

    header: Line | None
    lines: list[Line]
    index: dict[str, list[Line]] | None = None

    def live_lines(self) -> t.Iterator[Line]:
        if self.header is not None:
            yield self.header
        yield from (line for line in self.lines if not _is_dead(line))

    def last_line(self) -> Line | None:
        """Return the block's last line, None for an empty start of the file."""
        return next((line for line in reversed(self.lines) if not _is_dead(line)), self.header)

    def named(self, key: str) -> list[Line]:
        """Return the entries of that name, in order; the first is the one that Windows looks at."""
        if self.index is None:
            self.index = {}
            for line in self.lines:
                if line.kind in ("key", "text"):
                    self.index.setdefault(fold(line.name), []).append(line)
        return self.index.setdefault(fold(key), [])

    def last_entry(self) -> int:
        """Return the position of the last line that is neither blank nor comment, -1 without one."""
        for position in range(len(self.lines) - 1, -1, -1):
            if self.lines[position].kind in ("key", "text") and not _is_dead(self.lines[position]):
                return position
        return -1


@dataclass
class _Net:
    """What a list of edits comes to for one section; applying that is applying all of them, once or twice."""

    name: str
    removed: bool = False
    wanted: bool = False
    keys: dict[str, SetKey | RemoveKey] = field(default_factory=dict)

    def add(self, edit: Edit) -> None:
        if isinstance(edit, RemoveSection):
            self.removed, self.wanted = True, False
            self.keys.clear()
        elif isinstance(edit, AddSection):
            self.wanted = True
        else:
            self.wanted = self.wanted or isinstance(edit, SetKey)
            self.keys[fold(edit.key.strip(BLANKS))] = edit

    def keeps(self, line: Line) -> bool:
        return line.kind == "key" and isinstance(self.keys.get(fold(line.name)), SetKey)


def _net_of(edits: Iterable[Edit]) -> t.Iterable[_Net]:
    nets: dict[str, _Net] = {}
    for edit in edits:
        if isinstance(edit, (SetKey, AddSection)):
            check_section(edit.section)
        if isinstance(edit, SetKey):
            check_key(edit.key)
        nets.setdefault(fold(edit.section.strip(BLANKS)), _Net(edit.section)).add(edit)
    return nets.values()


def _is_dead(line: Line) -> bool:
    return not line.raw and line.kind != "blank"


class Editor:
    """Applies edits to the lines of one document; made for one use.

    Args:
        lines: The lines, which the editor changes in place.
        codec: Encoding of what is written.
        newline: End of line for new lines where no neighbour gives one, and of every new line if ``force_newline``.
        duplicates: What happens to the other keys and sections of an edited name.
        style: ``file`` gives new keys the indentation and the blanks around ``=`` of their neighbours.
    """

    def __init__(
        self,
        lines: list[Line],
        codec: Codec,
        *,
        newline: str,
        force_newline: bool,
        duplicates: Duplicates,
        style: Style,
    ) -> None:
        self._codec = codec
        self._eol = codec.encode(newline)
        self._force_newline = force_newline
        self._duplicates = duplicates
        self._style = style
        self._unfinished = bool(lines) and not lines[-1].eol
        self._numbers = {id(line): number for number, line in enumerate(lines, 1)} if duplicates == "fail" else {}
        self._blocks = [_Block(None, [])]
        for line in lines:
            if line.kind == "header":
                self._blocks.append(_Block(line, []))
            else:
                self._blocks[-1].lines.append(line)
        self._by_name: dict[str, list[_Block]] = {}
        for block in self._blocks:
            if block.header is not None and block.header.reachable:
                self._by_name.setdefault(fold(block.header.name), []).append(block)
        self._file_style: tuple[bytes, bytes] | None = None

    def apply(self, edits: Iterable[Edit]) -> None:
        """Apply edits.

        Raises:
            IniError: An edit cannot be done, or ``duplicates`` is ``fail`` and there are some.
        """
        for net in _net_of(edits):
            if net.removed and not net.wanted:
                self._remove_section(net.name)
                continue
            if net.removed:
                self._clear_section(net)
            if net.wanted:
                self._section(net.name)
            for edit in net.keys.values():
                if isinstance(edit, SetKey):
                    self._named(self._set_key, edit)
                else:
                    self._remove_key(edit)

    @staticmethod
    def _named(set_key: Callable[[SetKey], None], edit: SetKey) -> None:
        """Say in errors which key is meant; never its value, which may be a secret."""
        try:
            set_key(edit)
        except IniError as error:
            if error.line is None:
                error.message = f"key {edit.key} of section [{edit.section}]: {error.message}"
            raise

    def finish(self) -> bytes:
        """Return the file's bytes; a file that lacked the end of its last line still does."""
        lines = [line for block in self._blocks for line in block.live_lines()]
        for line in lines[:-1]:
            if not line.eol:
                self._end(line)
        if lines:
            lines[-1].eol = b"" if self._unfinished else lines[-1].eol or self._eol
        return b"".join([part for line in lines for part in (line.raw, line.eol)])

    def _end(self, line: Line) -> None:
        if self._codec.ends_inside_pair(line.raw):
            raise IniError(
                "encoding_cannot",
                f"the file ends inside a double-byte character of {self._codec.name}, nothing can be put after it",
                remedy="repair the last line, or name the right code page in the option 'encoding'",
            )
        line.eol = self._eol

    def _set_key(self, edit: SetKey) -> None:
        written = written_form(edit.value)
        self._codec.encode(edit.key + written)
        block = self._section(edit.section)
        entries = block.named(edit.key)
        if not entries or entries[0].kind == "text":
            # A line of that name without '=' would hide the key, so the key goes in front of it.
            at = block.lines.index(entries[0]) if entries else block.last_entry() + 1
            self._insert(block, at, edit.key, written)
            entries = block.named(edit.key)
        elif entries[0].value != edit.value:
            entries[0].set_value(written)
        self._others_of_key(edit, entries)

    def _others_of_key(self, edit: SetKey, entries: list[Line]) -> None:
        others = [line for line in entries[1:] if line.kind == "key"]
        if not others or self._duplicates == "keep":
            return
        if self._duplicates == "fail":
            raise self._duplicate("key", f"{edit.key} of section [{edit.section}]", others[0])
        for line in others:
            self._kill(line, entries)

    def _remove_key(self, edit: RemoveKey) -> None:
        blocks = self._by_name.get(fold(edit.section.strip(BLANKS)), [])
        if not blocks:
            return
        self._others_of_section(edit.section, blocks)
        entries = blocks[0].named(edit.key.strip(BLANKS))
        keys = [line for line in entries if line.kind == "key"]
        if len(keys) > 1 and self._duplicates == "fail":
            raise self._duplicate("key", f"{edit.key} of section [{edit.section}]", keys[1])
        for line in keys:
            self._kill(line, entries)

    def _remove_section(self, name: str) -> None:
        blocks = self._by_name.get(fold(name.strip(BLANKS)), [])
        if len(blocks) > 1 and self._duplicates == "fail":
            self._others_of_section(name, blocks)
        for block in reversed(blocks):
            self._drop(block)
        self._by_name.pop(fold(name.strip(BLANKS)), None)

    def _clear_section(self, net: _Net) -> None:
        """Empty a section that leaves and comes back: in its place, so that doing it again changes nothing."""
        blocks = self._by_name.get(fold(net.name), [])
        if len(blocks) > 1:
            self._others_of_section(net.name, blocks)
        for block in reversed(blocks[1:]):
            self._drop(block)
        del blocks[1:]
        for block in blocks:
            block.lines = [line for line in block.lines if line.kind not in ("key", "text") or net.keeps(line)]
            block.index = None

    def _section(self, name: str) -> _Block:
        """Return the section that Windows reads under this name; make it at the end of the file if there is none."""
        blocks = self._by_name.get(fold(name))
        if blocks:
            self._others_of_section(name, blocks)
            return blocks[0]
        header = self._line(b"", f"[{name}]")
        if self._blank_before_sections():
            self._blocks[-1].lines.append(self._line(b"", ""))
        self._blocks.append(_Block(header, []))
        self._by_name[fold(name)] = [self._blocks[-1]]
        return self._blocks[-1]

    def _others_of_section(self, name: str, blocks: list[_Block]) -> None:
        if len(blocks) == 1 or self._duplicates == "keep":
            return
        if self._duplicates == "fail":
            raise self._duplicate("section", f"[{name}]", t.cast(Line, blocks[1].header))
        for block in reversed(blocks[1:]):
            self._drop(block)
        del blocks[1:]

    def _duplicate(self, what: str, name: str, line: Line) -> IniError:
        number = self._numbers.get(id(line))
        return IniError(
            f"duplicate_{what}",
            f"{what} {name} stands in the file more than once, again in line {number}",
            remedy="remove one of them, or set the option 'duplicates' to keep or remove",
            line=number,
        )

    def _drop(self, block: _Block) -> None:
        """Take a block away; comments after its last entry may belong to what follows and stay."""
        at = self._blocks.index(block)
        tail = block.lines[block.last_entry() + 1 :]
        first_comment = next((i for i, line in enumerate(tail) if line.kind == "comment"), len(tail))
        kept = tail[first_comment:]
        before = self._blocks[at - 1]
        was_last = at == len(self._blocks) - 1
        del self._blocks[at]
        before.lines.extend(kept)
        if was_last and not kept and before.lines and _is_empty(before.lines[-1]) and self._blank_before_sections():
            del before.lines[-1]

    def _blank_before_sections(self) -> bool:
        """Whether most section lines, the file's first line apart, follow a blank line."""
        preceding = [line for before in self._blocks[:-1] if (line := before.last_line()) is not None]
        return sum(line.kind == "blank" for line in preceding) * 2 > len(preceding)

    @staticmethod
    def _kill(line: Line, entries: list[Line]) -> None:
        line.raw = line.eol = b""
        entries.remove(line)

    def _insert(self, block: _Block, at: int, key: str, written: str) -> None:
        indentation, equals = self._separators(block)
        text = self._codec.encode(key) + equals + self._codec.encode(written)
        line = self._line(indentation, "", rest=text)
        before = block.lines[at - 1] if at else block.header
        if not self._force_newline and before is not None and before.eol:
            line.eol = before.eol
        entries = block.named(key)
        block.lines.insert(at, line)
        entries.insert(0, line)

    def _line(self, indentation: bytes, text: str, *, rest: bytes = b"") -> Line:
        whole = indentation + self._codec.encode(text) + rest + self._eol
        return Line(whole, self._codec.mask(whole), self._codec)

    def _separators(self, block: _Block) -> tuple[bytes, bytes]:
        """Return the indentation and the ``=`` with its blanks that a new key of this block gets."""
        plain = (b"", self._codec.encode("="))
        if self._style == "plain":
            return plain
        last = next((line for line in reversed(block.lines) if line.kind == "key" and not _is_dead(line)), None)
        if last is not None:
            return self._separators_of(last)
        if self._file_style is None:
            everywhere = (line for other in self._blocks for line in other.lines if line.kind == "key")
            common = Counter(self._separators_of(line) for line in everywhere if not _is_dead(line)).most_common(1)
            self._file_style = common[0][0] if common else plain
        return self._file_style

    def _separators_of(self, line: Line) -> tuple[bytes, bytes]:
        width = self._codec.width
        indentation = line.raw[: line.start * width]
        equals = line.raw[line.name_end * width : line.value_start * width]
        if self._codec.decode(indentation + equals).strip(" \t=") or self._codec.decode(equals).count("=") != 1:
            return (b"", self._codec.encode("="))
        return (indentation, equals)


def _is_empty(line: Line) -> bool:
    return line.kind == "blank" and not line.raw
