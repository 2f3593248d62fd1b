# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of an INI file that touch only the lines they must."""

from __future__ import annotations

import difflib
import itertools
import re
import typing as t
from collections import Counter, deque
from dataclasses import dataclass, field

from .text import BLANKS, Codec, IniError, Line, fold, is_remark, unquote

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Duplicates = t.Literal["keep", "remove", "fail"]
Style = t.Literal["file", "plain"]
Reader = t.Literal["windows", "last_wins"]
Commented = t.Literal["ignore", "after", "turn"]
Quotes = t.Literal["needed", "keep", "always", "never", "'", '"']
Action = t.Literal["added", "changed", "removed"]

# A remark behind a value, as programs other than Windows' profile functions know it.
REMARK_BEHIND = re.compile(r"[ \t][;#]")


@dataclass(frozen=True)
class SetKey:
    """Give a key a value; section and key are made when they are missing.

    Attributes:
        quotes: ``needed`` quotes what would not be read back otherwise, ``keep`` also what was quoted, ``always``
            everything, ``never`` nothing; a mark is written around the value.
    """

    section: str
    key: str
    value: str
    quotes: Quotes = "needed"


@dataclass(frozen=True)
class SetKeys:
    """Give a key that stands on several lines these values, in this order; lines that say one already stay.

    Attributes:
        values: Values, each with what ``SetKey.quotes`` means.
    """

    section: str
    key: str
    values: tuple[tuple[str, Quotes], ...]


@dataclass(frozen=True)
class SetBare:
    """Let a key stand alone on its line, without ``=``."""

    section: str
    key: str


@dataclass(frozen=True)
class RemoveKey:
    """Take a key away, all of its lines in the section that counts."""

    section: str
    key: str


@dataclass(frozen=True)
class RemoveSection:
    """Take a section away, every section of that name; comments after its last key stay in the file.

    Attributes:
        keep_comments: Whether those before it stay, too.
    """

    section: str
    keep_comments: bool = False


@dataclass(frozen=True)
class AddSection:
    """Make a section when it is missing."""

    section: str


Edit: t.TypeAlias = "SetKey | SetKeys | SetBare | RemoveKey | RemoveSection | AddSection"
_OfKey: t.TypeAlias = "SetKey | SetKeys | SetBare | RemoveKey"


@dataclass(frozen=True)
class Manner:
    """How edits are done.

    Attributes:
        duplicates: What happens to other keys and sections of an edited name.
        newline: ``crlf`` or ``lf`` for new lines; ``auto`` takes the neighbour's.
        style: ``file`` gives new keys the indentation and the blanks around ``=`` of the section's last key.
        reader: ``windows`` edits the first section and the first key of a name; for ``last_wins`` sections of one name
            are one and the last key counts.
        free_keys: Whether a line without ``=`` is a key without a value, and whether keys may stand before the first
            section, which is then the section of the empty name.
        commented: Where a new key goes that stands in a comment: ``ignore`` that, ``after`` it, or ``turn`` it into
            the key.
        select: Of several sections of one name (folded) the one in which a key has a value.
    """

    duplicates: Duplicates = "keep"
    newline: str = "auto"
    style: Style = "file"
    reader: Reader = "windows"
    free_keys: bool = False
    commented: Commented = "ignore"
    select: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One line that an edit adds, changes or removes.

    Attributes:
        section: Name of its section, as written.
        key: Name of the key, as written; None when the section line itself is meant.
        action: What is done.
        before: Value as it was read, None for none.
        after: Value as it will be read.
        line: Line of the file as it was found, 0 for a new one.
        remark: Whether a remark behind the value leaves with it.
        looks: The key's name as people read it, where a NUL ends it earlier for Windows.
    """

    section: str
    key: str | None
    action: Action
    before: str | None
    after: str | None
    line: int
    remark: bool = False
    looks: str = ""


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


def is_bare_key(line: Line) -> bool:
    """Whether a line without ``=`` is a key that stands alone: no comment, and no section line that lacks its end."""
    return bool(line.name) and line.name[0] != "[" and not is_remark(line.name)


def check_bare(name: str) -> None:
    """Refuse a name that alone on its line would be read as something else than a key.

    Raises:
        IniError: ``bad_name``.
    """
    check_key(name)
    if is_remark(name):
        raise IniError(
            "bad_name",
            f"a line {name!r} is a comment, no key",
            remedy="use a name that does not begin with ';', '#', '//' or 'REM '",
        )


def written_form(value: str, quotes: Quotes = "needed", before: str = "") -> str:
    """Return how a value has to stand in the file to be read back as it is: quoted if it must be.

    Args:
        value: The value as it is to be read.
        quotes: See ``SetKey``.
        before: What stands in the file now.

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
    needed = quoted or value != value.strip() or value != value.strip(BLANKS)
    if quotes in ("'", '"'):
        return f"{quotes}{value}{quotes}"
    if quotes == "keep" and unquote(before) != before:
        return f"{before[0]}{value}{before[0]}"
    if needed and quotes == "never":
        raise IniError(
            "bad_value",
            "the value has blanks or quotes at its ends, which are not read back unless it is quoted",
            remedy="set quotes to keep, or take them out of the value",
        )
    return f'"{value}"' if needed or quotes == "always" else value


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
        self._commented: dict[str, Line] | None = None

    @property
    def name(self) -> str:
        """The section's name as written; empty before the first section."""
        return self.header.name if self.header is not None else ""

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

    def commented(self) -> dict[str, Line]:
        """Return the comments in which a key stands, by its folded name, the last of each."""
        if self._commented is None:
            self._commented = {}
            for line in itertools.chain(self.body, self.tail):
                odd = line.kind == "comment" or (line.name[:1] in ("#", "/", "r", "R") and is_remark(line.name))
                if odd and line.raw:
                    self._commented[fold(_switched_off(line.text)[1])] = line
        return self._commented

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
    keep_comments: bool = False
    wanted: bool = False
    keys: dict[str, _OfKey] = field(default_factory=dict)

    def add(self, edit: Edit) -> None:
        if isinstance(edit, RemoveSection):
            self.removed, self.wanted, self.keep_comments = True, False, edit.keep_comments
            self.keys.clear()
        elif isinstance(edit, AddSection):
            self.wanted = True
        else:
            self.wanted = self.wanted or not isinstance(edit, RemoveKey)
            self.keys[fold(edit.key.strip(BLANKS))] = edit

    def keeps(self, line: Line) -> bool:
        return line.kind == "key" and isinstance(self.keys.get(fold(line.name)), SetKey)


def _net_of(edits: Iterable[Edit], *, nameless: bool) -> t.Iterable[_Net]:
    nets: dict[str, _Net] = {}
    for edit in edits:
        if not isinstance(edit, (RemoveKey, RemoveSection)) and (edit.section or not nameless):
            check_findable("section", edit.section)
        if isinstance(edit, (SetKey, SetKeys, SetBare)):
            check_findable("key", edit.key)
        name = edit.section.strip(BLANKS)
        nets.setdefault(fold(name), _Net(name)).add(edit)
    return nets.values()


def _is_dead(line: Line) -> bool:
    return not line.raw and line.kind != "blank"


# What a line says: its value with how that is quoted, or nothing for a key that stands alone.
_Saying: t.TypeAlias = "tuple[str, Quotes] | None"


class Editor:
    """Applies edits to the lines of one document; made for one use.

    Args:
        lines: The lines, which the editor changes in place.
        codec: Encoding of what is written.
        newline: End of line for new lines where no neighbour gives one, and of every new line if the manner names one.
        manner: How edits are done.

    Attributes:
        changes: What was done, line by line.
    """

    def __init__(self, lines: list[Line], codec: Codec, *, newline: str, manner: Manner) -> None:
        self.changes: list[Change] = []
        self._codec = codec
        self._eol = codec.encode(newline)
        self._force_newline = manner.newline != "auto"
        self._manner = manner
        self._duplicates = manner.duplicates
        self._merges = manner.reader == "last_wins"
        self._unfinished = bool(lines) and not lines[-1].eol
        self._first = self._last = _Block(None)
        self._by_name: dict[str, list[_Block]] = {"": [self._first]} if manner.free_keys else {}
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
        for name, (key, value) in manner.select.items():
            self._select(name, key, value)

    def _select(self, name: str, key: str, value: str) -> None:
        """Let a section be the only one of its name that is seen."""
        blocks = self._by_name.get(name, [])
        chosen = [block for block in blocks if any(line.value == value for line in self._keys_of(block, key)[:1])]
        if len(chosen) == 1:
            self._by_name[name] = chosen
            return
        shown = blocks[0].name if blocks else name
        if not chosen:
            raise IniError(
                "select_none",
                f"no section [{shown}] has the key {key} with the value that select names",
                remedy="look at the sections with win_ini_info; select chooses a section that exists",
            )
        numbers = ", ".join(str(block.header.number) for block in chosen if block.header)
        raise IniError(
            "select_several",
            f"{len(chosen)} sections [{shown}] have the key {key} with that value, in lines {numbers}",
            remedy="select by a key that tells them apart",
        )

    def _keys_of(self, block: _Block, key: str) -> list[Line]:
        """Return the lines of a key in a block, the one that counts first."""
        lines = [line for line in block.named(key) if line.kind == "key" and not self._is_aside(line)]
        return lines[::-1] if self._merges else lines

    def _is_aside(self, line: Line) -> bool:
        """Whether a line is a comment to the program that reads the file, although Windows takes it for a key."""
        return self._merges and is_remark(line.name)

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
        for net in _net_of(edits, nameless=self._manner.free_keys):
            try:
                self._do(net)
            except IniError as error:
                error.place = error.place or (net.name, "")
                raise

    def _do(self, net: _Net) -> None:
        if net.removed and not net.wanted:
            self._remove_section(net.name, keep_comments=net.keep_comments)
            return
        if net.removed:
            self._clear_section(net)
        if net.wanted:
            self._section(net.name)
        for edit in net.keys.values():
            self._named(edit)

    def _named(self, edit: _OfKey) -> None:
        """Say in errors which key is meant; never its value, which may be a secret."""
        try:
            if isinstance(edit, SetKey):
                self._set_key(edit.section, edit.key, (edit.value, edit.quotes))
            elif isinstance(edit, SetKeys):
                self._set_keys(edit)
            elif isinstance(edit, SetBare):
                self._set_key(edit.section, edit.key, None)
            else:
                self._remove_key(edit)
        except IniError as error:
            error.place = (edit.section, edit.key)
            if error.line is None:
                error.message = f"key {edit.key} of section [{edit.section}]: {error.message}"
            raise

    def finish(self) -> list[Line]:
        """Return the file's lines, numbered anew; a file that lacked the end of its last line still does."""
        lines = [line for block in self._blocks() for line in block.live_lines()]
        for line in lines[:-1]:
            if not line.eol:
                self._end(line)
        if lines:
            lines[-1].eol = b"" if self._unfinished else lines[-1].eol or self._eol
        for number, line in enumerate(lines, 1):
            line.number = number
        return lines

    def _end(self, line: Line) -> None:
        if self._codec.ends_inside_pair(line.raw):
            raise IniError(
                "encoding_cannot",
                f"the file ends inside a double-byte character of {self._codec.name}, nothing can be put after it",
                remedy="repair the last line",
            )
        line.eol = self._eol

    # -- keys ---------------------------------------------------------------------------------------------------------

    def _entries(self, name: str, key: str) -> list[tuple[_Block, Line]]:
        """Return the lines of a key with their blocks, in the file's order, in every section that counts."""
        blocks = self._by_name.get(fold(name), [])
        counting = blocks if self._merges else blocks[:1]
        return [(block, line) for block in counting for line in block.named(key) if not self._is_aside(line)]

    def _set_key(self, name: str, key: str, saying: _Saying) -> None:
        """Let the line that counts say this; the others are what ``duplicates`` is about."""
        block = self._section(name)
        entries = self._entries(name, key)
        at = (entries[-1] if self._merges else entries[0]) if entries else None
        if at is None:
            self._insert(block, key, saying)
        elif at[1].kind == "text" and not self._manner.free_keys:
            # A line of that name without '=' would hide the key, so the key goes in front of it.
            self._insert(block, key, saying, follower=at[1])
        else:
            self._say(at[0], at[1], saying)
        self._others_of_key(name, key, at[1] if at else None, entries)

    def _say(self, block: _Block, line: Line, saying: _Saying) -> None:
        """Let a line that is there say something else, unless it says so already."""
        says = line.value if line.kind == "key" else None
        wanted = saying[0] if saying else None
        if says == wanted and (wanted is None) == (line.kind == "text"):
            return
        self._tell(block, line, "changed", says, wanted)
        if saying is None:
            check_bare(line.name)
            line.raw = line.raw[: line.name_end * self._codec.width]
            self._read_again(line, None)
            return
        written = written_form(*saying, line.raw_value)
        if line.kind == "text":
            indentation = line.raw[: line.start * self._codec.width]
            name = line.raw[line.start * self._codec.width : line.name_end * self._codec.width]
            line.raw = indentation + name + self._separators(block)[1] + self._codec.encode(written)
        else:
            line.set_value(written)
        self._read_again(line, wanted)

    def _read_again(self, line: Line, wanted: str | None) -> None:
        again = Line(line.raw, self._codec.mask(line.raw), self._codec, line.number)
        kind = "text" if wanted is None else "key"
        if again.kind != kind or fold(again.name) != fold(line.name) or (wanted is not None and again.value != wanted):
            raise IniError(
                "bad_value",
                "with this value Windows would not read the line as that key any more",
                remedy="give the key another name; a line that begins with '[' and holds a ']' is a section line",
            )
        line.kind, line.equals, line.name_end, line.start = again.kind, again.equals, again.name_end, again.start

    def _others_of_key(self, name: str, key: str, kept: Line | None, entries: list[tuple[_Block, Line]]) -> None:
        others = [(block, line) for block, line in entries if line is not kept and line.kind == "key"]
        if not others or self._duplicates == "keep":
            return
        if self._duplicates == "fail":
            again = kept if kept is not None and self._merges else others[0][1]
            raise _duplicate("key", f"{key} of section [{name}]", again.number)
        for block, line in others:
            self._kill(block, key, [line])

    def _set_keys(self, edit: SetKeys) -> None:
        """Bring the lines of a key to a list of values; what stays in order stays in its place."""
        block = self._section(edit.section)
        entries = self._entries(edit.section, edit.key)
        # Two kinds of key, so that a line without '=' never equals a value.
        said = [(line.value,) if line.kind == "key" else () for dummy, line in entries]
        wanted = [(value,) for value, dummy in edit.values]
        matcher = difflib.SequenceMatcher(None, said, wanted, autojunk=False)
        for kind, old, old_end, new, new_end in matcher.get_opcodes():
            if kind == "equal":
                continue
            both = min(old_end - old, new_end - new)
            for (where, line), saying in zip(entries[old : old + both], edit.values[new : new + both], strict=True):
                self._say(where, line, saying)
            for where, line in entries[old + both : old_end]:
                self._kill(where, edit.key, [line])
            further = edit.values[new + both : new_end]
            if old + both:
                self._insert_all(*entries[old + both - 1], edit.key, further)
            elif entries:
                for saying in further:
                    self._insert(entries[0][0], edit.key, saying, follower=entries[0][1])
            else:
                self._insert_all(block, None, edit.key, further)

    def _insert_all(self, block: _Block, after: Line | None, key: str, sayings: Iterable[tuple[str, Quotes]]) -> None:
        for saying in sayings:
            after = self._insert(block, key, saying, after=after)

    def _remove_key(self, edit: RemoveKey) -> None:
        name, key = edit.section.strip(BLANKS), edit.key.strip(BLANKS)
        blocks = self._by_name.get(fold(name), [])
        if not blocks:
            return
        self._others_of_section(edit.section, blocks)
        bare = self._manner.free_keys
        lines = [(block, line) for block, line in self._entries(name, key) if bare or line.kind == "key"]
        if len(lines) > 1 and self._duplicates == "fail":
            raise _duplicate("key", f"{edit.key} of section [{edit.section}]", lines[1][1].number)
        for block in dict.fromkeys(block for block, dummy in lines):
            self._kill(block, key, [line for other, line in lines if other is block])

    # -- sections -----------------------------------------------------------------------------------------------------

    def _remove_section(self, name: str, *, keep_comments: bool) -> None:
        blocks = self._by_name.get(fold(name), [])
        if len(blocks) > 1 and self._duplicates == "fail" and not self._merges:
            self._others_of_section(name, blocks)
        for block in reversed(blocks):
            self._drop(block, keep_comments=keep_comments)
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
        """Return the section to which new keys of this name go; make it at the end of the file if there is none."""
        blocks = self._by_name.get(fold(name))
        if blocks:
            self._others_of_section(name, blocks)
            return blocks[-1] if self._merges else blocks[0]
        check_section(name)
        if self._blank_before_sections():
            self._last.tail.append(self._separator())
        self._last = _Block(self._line(b"", f"[{name}]"), self._last)
        self._count_after(t.cast(_Block, self._last.before), +1)
        self._by_name[fold(name)] = [self._last]
        self.changes.append(Change(name, None, "added", None, None, 0))
        return self._last

    def _separator(self) -> Line:
        """Return a blank line for the end of the file; its LF must not become the second half of a CRLF."""
        line = self._line(b"", "")
        before = self._last.last_line()
        if before is not None and before.eol == self._codec.encode("\r") and line.eol == self._codec.encode("\n"):
            line.eol = before.eol
        return line

    def _others_of_section(self, name: str, blocks: list[_Block]) -> None:
        if len(blocks) == 1 or self._duplicates == "keep" or self._merges:
            return
        if self._duplicates == "fail":
            raise _duplicate("section", f"[{name}]", t.cast(Line, blocks[1].header).number)
        for block in reversed(blocks[1:]):
            self._drop(block)
        del blocks[1:]

    def _drop(self, block: _Block, *, keep_comments: bool = False) -> None:
        """Take a block away; comments after its last entry may belong to what follows and stay."""
        before = t.cast(_Block, block.before)
        block.settle()
        kept = list(itertools.dropwhile(lambda line: not is_remark(line.text), block.tail))
        if keep_comments:
            inside = [line for line in block.body if not _is_dead(line) and is_remark(line.text)]
            block.body = [line for line in block.body if not is_remark(line.text)]
            kept = inside + kept
        self._tell_of_all(block)
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

    def _kill(self, block: _Block, key: str, lines: list[Line]) -> None:
        self._count_after(block, -1)
        for line in lines:
            self._tell(block, line, "removed", line.value if line.kind == "key" else None, None)
            line.raw = line.eol = b""
        entries = block.named(key)
        entries[:] = [line for line in entries if not _is_dead(line)]
        self._count_after(block, +1)

    # -- lines --------------------------------------------------------------------------------------------------------

    def _tell(self, block: _Block, line: Line, action: Action, before: str | None, after: str | None) -> None:
        remark = line.kind == "key" and line.number > 0 and bool(REMARK_BEHIND.search(line.raw_value))
        looks = line.text.partition("=")[0].replace("\0", "").strip(BLANKS) if b"\0" in line.raw else ""
        self.changes.append(Change(block.name, line.name, action, before, after, line.number, remark, looks))

    def _tell_of_all(self, block: _Block) -> None:
        """Tell that a section leaves with all of its keys."""
        if block.header is not None and block.header.number:
            self.changes.append(Change(block.name, None, "removed", None, None, block.header.number))
        for line in block.body:
            if _is_dead(line) or not line.name:
                continue
            if line.kind == "key":
                self._tell(block, line, "removed", line.value, None)
            elif line.kind == "text" and self._manner.free_keys and is_bare_key(line):
                self._tell(block, line, "removed", None, None)

    def _insert(
        self, block: _Block, key: str, saying: _Saying, *, follower: Line | None = None, after: Line | None = None
    ) -> Line:
        """Put a new key in front of an entry, behind a line, or after the last entry."""
        if saying is None:
            check_bare(key)
        else:
            check_key(key)
        self._count_after(block, -1)
        block.settle()
        commented = self._commented(block, key) if follower is None and after is None else None
        if commented is not None:
            after = self._reach(block, commented)
        line = self._new_line(block, key, saying, like=commented if self._manner.commented == "turn" else None)
        at = len(block.body)
        if follower is not None or after is not None:
            at = block.body.index(follower) if follower is not None else block.body.index(t.cast(Line, after)) + 1
        before = block.body[at - 1] if at else block.header
        if not self._force_newline and before is not None and before.eol:
            line.eol = before.eol
        entries = block.named(key)
        entries.insert(
            entries.index(after) + 1 if after in entries else 0 if follower is not None else len(entries), line
        )
        block.body.insert(at, line)
        if commented is not None and self._manner.commented == "turn":
            line.eol = commented.eol
            del block.body[at - 1], block.commented()[fold(key)]
        self._count_after(block, +1)
        self.changes.append(Change(block.name, key, "added", None, saying[0] if saying else None, 0))
        return line

    def _commented(self, block: _Block, key: str) -> Line | None:
        """Return the last comment of a block in which a key stands, as somebody leaves it who switches it off."""
        return None if self._manner.commented == "ignore" else block.commented().get(fold(key))

    @staticmethod
    def _reach(block: _Block, comment: Line) -> Line:
        """Let the body of a block reach to one of its comments."""
        if comment in block.tail:
            while block.body[-1:] != [comment]:
                block.body.append(block.tail.popleft())
        return comment

    def _new_line(self, block: _Block, key: str, saying: _Saying, *, like: Line | None) -> Line:
        indentation, equals = self._separators(block)
        if like is not None:
            indent, dummy, sign = _switched_off(like.text)
            indentation = self._codec.encode(indent)
            equals = self._codec.encode(sign) if sign else equals
        text = self._codec.encode(key)
        if saying is not None:
            text += equals + self._codec.encode(written_form(*saying))
        return self._line(indentation, "", rest=text)

    def _line(self, indentation: bytes, text: str, *, rest: bytes = b"") -> Line:
        whole = indentation + self._codec.encode(text) + rest + self._eol
        return Line(whole, self._codec.mask(whole), self._codec)

    def _separators(self, block: _Block) -> tuple[bytes, bytes]:
        """Return the indentation and the ``=`` with its blanks that a new key of this block gets."""
        plain = (b"", self._codec.encode("="))
        if self._manner.style == "plain":
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


def _duplicate(what: str, name: str, number: int) -> IniError:
    return IniError(
        f"duplicate_{what}",
        f"{what} {name} stands in the file more than once, again in line {number}",
        remedy="remove one of them, or set the option 'duplicates' to keep or remove",
        line=number,
    )


_MARKS = re.compile(r"(?:[;#]|//|rem[ \t])[;#/ \t]*", re.IGNORECASE)


def _switched_off(text: str) -> tuple[str, str, str]:
    """Return the parts of a key in a comment: indentation, name, and the ``=`` with its blanks, empty without one."""
    content = text.lstrip()
    match = _MARKS.match(content)
    rest = content[match.end() :] if match else ""
    left, equals, right = rest.partition("=")
    name = left.rstrip()
    blanks = right[: len(right) - len(right.lstrip(" \t"))]
    return text[: len(text) - len(content)], name, f"{left[len(name) :]}={blanks}" if equals else ""
