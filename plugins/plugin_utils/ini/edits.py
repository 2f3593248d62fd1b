# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of an INI file that touch only the lines they must."""

from __future__ import annotations

import itertools
import typing as t
from collections import Counter, deque
from dataclasses import dataclass, field

from .text import BLANKS, Codec, IniError, Line, fold

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


def check_findable(what: str, name: str) -> None:
    """Refuse a name that no line can have, because Windows trims names.

    Raises:
        IniError: ``bad_name``.
    """
    if not name or name != name.strip(BLANKS):
        raise IniError(
            "bad_name",
            f"{what} name {name!r} is empty or has blanks at its ends, which Windows trims",
            remedy=f"write the {what} name without blanks at its ends",
        )


def check_section(name: str) -> None:
    """Refuse a new section's name that some reader would take for another one.

    Windows reads a name with brackets; other parsers end it at the first one, so none is made.

    Raises:
        IniError: ``bad_name``.
    """
    if name != name.strip() or any(mark in name for mark in "[]\r\n\0\x1a"):
        raise IniError(
            "bad_name",
            f"section name {name!r} cannot be written so that every program reads it back",
            remedy="use a name that is not empty, has no blanks at its ends, no brackets and no line ends",
        )


def check_key(name: str) -> None:
    """Refuse a new key's name that would be read back differently.

    Raises:
        IniError: ``bad_name``.
    """
    if name != name.strip() or name[0] in ";[" or any(mark in name for mark in "=\r\n\0\x1a"):
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


class _Block:
    """A section with everything up to the next one; the first block of a file has no header.

    Attributes:
        header: Its section line.
        body: Its lines up to the last entry, and what ``settle`` has not yet told apart.
        tail: Blank lines and comments after the last entry.
        before: The block before it in the file.
        after: The one after it.
    """

    def __init__(self, header: Line | None, before: _Block | None = None) -> None:
        self.header = header
        self.body: list[Line] = []
        self.tail: deque[Line] = deque()
        self.before = before
        self.after: _Block | None = None
        if before is not None:
            before.after = self
        self._index: dict[str, list[Line]] | None = None

    def live_lines(self) -> t.Iterator[Line]:
        if self.header is not None:
            yield self.header
        yield from (line for line in self.body if not _is_dead(line))
        yield from self.tail

    def settle(self) -> None:
        """Let the body end with its last entry; each line moves once, however often this is called."""
        while self.body and (_is_dead(self.body[-1]) or self.body[-1].kind not in ("key", "text")):
            line = self.body.pop()
            if not _is_dead(line):
                self.tail.appendleft(line)

    def last_line(self) -> Line | None:
        """Return the block's last line, None for an empty start of the file."""
        self.settle()
        if self.tail:
            return self.tail[-1]
        return self.body[-1] if self.body else self.header

    def named(self, key: str) -> list[Line]:
        """Return the entries of that name, in order; the first is the one that Windows looks at."""
        if self._index is None:
            self._index = {}
            for line in self.body:
                if line.kind in ("key", "text"):
                    self._index.setdefault(fold(line.name), []).append(line)
        return self._index.setdefault(fold(key), [])

    def keep(self, wanted: Callable[[Line], bool]) -> None:
        """Take away all entries but the wanted ones."""
        self.body = [line for line in self.body if line.kind not in ("key", "text") or wanted(line)]
        self._index = None

    def unlink(self) -> None:
        """Take the block out of the file."""
        if self.before is not None:
            self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before


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
            check_findable("section", edit.section)
        if isinstance(edit, SetKey):
            check_findable("key", edit.key)
        name = edit.section.strip(BLANKS)
        nets.setdefault(fold(name), _Net(name)).add(edit)
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
        self._first = self._last = _Block(None)
        self._by_name: dict[str, list[_Block]] = {}
        for line in lines:
            if line.kind != "header":
                self._last.body.append(line)
                continue
            self._last = _Block(line, self._last)
            if line.reachable:
                self._by_name.setdefault(fold(line.name), []).append(self._last)
        self._file_style: tuple[bytes, bytes] | None = None
        # Section lines with a line before them, and those of them where that one is blank; None until it is asked for.
        self._preceded: tuple[int, int] | None = None

    def _blocks(self) -> t.Iterator[_Block]:
        block: _Block | None = self._first
        while block is not None:
            yield block
            block = block.after

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
        lines = [line for block in self._blocks() for line in block.live_lines()]
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
                remedy="repair the last line",
            )
        line.eol = self._eol

    def _set_key(self, edit: SetKey) -> None:
        written = written_form(edit.value)
        self._codec.encode(edit.key + written)
        block = self._section(edit.section)
        entries = block.named(edit.key)
        if not entries or entries[0].kind == "text":
            # A line of that name without '=' would hide the key, so the key goes in front of it.
            self._insert(block, entries[0] if entries else None, edit.key, written)
        elif entries[0].value != edit.value:
            self._change(entries[0], edit.value, written)
        self._others_of_key(edit, block, entries)

    def _change(self, line: Line, value: str, written: str) -> None:
        line.set_value(written)
        again = Line(line.raw, self._codec.mask(line.raw), self._codec)
        if again.kind != "key" or again.value != value:
            raise IniError(
                "bad_value",
                "with this value Windows would not read the line as that key any more",
                remedy="give the key another name; a line that begins with '[' and holds a ']' is a section line",
            )

    def _others_of_key(self, edit: SetKey, block: _Block, entries: list[Line]) -> None:
        others = [line for line in entries[1:] if line.kind == "key"]
        if not others or self._duplicates == "keep":
            return
        if self._duplicates == "fail":
            raise self._duplicate("key", f"{edit.key} of section [{edit.section}]", others[0])
        self._kill(block, others, entries)

    def _remove_key(self, edit: RemoveKey) -> None:
        blocks = self._by_name.get(fold(edit.section.strip(BLANKS)), [])
        if not blocks:
            return
        self._others_of_section(edit.section, blocks)
        entries = blocks[0].named(edit.key.strip(BLANKS))
        keys = [line for line in entries if line.kind == "key"]
        if len(keys) > 1 and self._duplicates == "fail":
            raise self._duplicate("key", f"{edit.key} of section [{edit.section}]", keys[1])
        self._kill(blocks[0], keys, entries)

    def _remove_section(self, name: str) -> None:
        blocks = self._by_name.get(fold(name), [])
        if len(blocks) > 1 and self._duplicates == "fail":
            self._others_of_section(name, blocks)
        for block in reversed(blocks):
            self._drop(block)
        self._by_name.pop(fold(name), None)

    def _clear_section(self, net: _Net) -> None:
        """Empty a section that leaves and comes back: in its place, so that doing it again changes nothing."""
        blocks = self._by_name.get(fold(net.name), [])
        if len(blocks) > 1:
            self._others_of_section(net.name, blocks)
        for block in reversed(blocks[1:]):
            self._drop(block)
        del blocks[1:]
        for block in blocks:
            self._count_after(block, -1)
            block.keep(net.keeps)
            self._count_after(block, +1)

    def _section(self, name: str) -> _Block:
        """Return the section that Windows reads under this name; make it at the end of the file if there is none."""
        blocks = self._by_name.get(fold(name))
        if blocks:
            self._others_of_section(name, blocks)
            return blocks[0]
        check_section(name)
        if self._blank_before_sections():
            self._last.tail.append(self._separator())
        self._last = _Block(self._line(b"", f"[{name}]"), self._last)
        self._count_after(t.cast(_Block, self._last.before), +1)
        self._by_name[fold(name)] = [self._last]
        return self._last

    def _separator(self) -> Line:
        """Return a blank line for the end of the file; its LF must not become the second half of a CRLF."""
        line = self._line(b"", "")
        before = self._last.last_line()
        if before is not None and before.eol == self._codec.encode("\r") and line.eol == self._codec.encode("\n"):
            line.eol = before.eol
        return line

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
        before = t.cast(_Block, block.before)
        block.settle()
        kept = list(itertools.dropwhile(lambda line: line.kind != "comment", block.tail))
        self._count_after(before, -1)
        self._count_after(block, -1)
        block.unlink()
        before.tail.extend(kept)
        self._count_after(before, +1)
        if block is not self._last:
            return
        self._last = before
        before.settle()
        if not kept and before.tail and not before.tail[-1].raw and self._blank_before_sections():
            before.tail.pop()

    def _blank_before_sections(self) -> bool:
        """Whether most section lines, the file's first line apart, follow a blank line."""
        if self._preceded is None:
            self._preceded = (0, 0)
            for block in self._blocks():
                self._count_after(block, +1)
        followers, blank = self._preceded
        return blank * 2 > followers

    def _count_after(self, block: _Block, step: int) -> None:
        """Count the section line that follows a block, or take it out of the count before the block changes."""
        if self._preceded is None or block.after is None:
            return
        line = block.last_line()
        if line is not None:
            followers, blank = self._preceded
            self._preceded = (followers + step, blank + step * (line.kind == "blank"))

    def _kill(self, block: _Block, lines: list[Line], entries: list[Line]) -> None:
        self._count_after(block, -1)
        for line in lines:
            line.raw = line.eol = b""
        entries[:] = [line for line in entries if not _is_dead(line)]
        self._count_after(block, +1)

    def _insert(self, block: _Block, follower: Line | None, key: str, written: str) -> None:
        """Put a new key in front of an entry, or after the last one; this never changes what a section line follows."""
        check_key(key)
        indentation, equals = self._separators(block)
        text = self._codec.encode(key) + equals + self._codec.encode(written)
        line = self._line(indentation, "", rest=text)
        block.settle()
        at = len(block.body) if follower is None else block.body.index(follower)
        before = block.body[at - 1] if at else block.header
        if not self._force_newline and before is not None and before.eol:
            line.eol = before.eol
        block.named(key).insert(0, line)
        block.body.insert(at, line)

    def _line(self, indentation: bytes, text: str, *, rest: bytes = b"") -> Line:
        whole = indentation + self._codec.encode(text) + rest + self._eol
        return Line(whole, self._codec.mask(whole), self._codec)

    def _separators(self, block: _Block) -> tuple[bytes, bytes]:
        """Return the indentation and the ``=`` with its blanks that a new key of this block gets."""
        plain = (b"", self._codec.encode("="))
        if self._style == "plain":
            return plain
        last = next((line for line in reversed(block.body) if line.kind == "key" and not _is_dead(line)), None)
        if last is not None:
            return self._separators_of(last)
        if self._file_style is None:
            everywhere = (line for other in self._blocks() for line in other.body if line.kind == "key")
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
