# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user of ``win_ini`` asked for, checked."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..problems.problem import Problem, Refused
from .edits import Duplicates, Quotes, Reader
from .paths import printable, read_path
from .redact import HIDDEN, Redactor
from .text import BLANKS, fold

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
# YAML 1.1's integers (https://yaml.org/type/int.html), which Ansible's YAML reads.
_INTEGERS: t.Final[tuple[tuple[re.Pattern[str], int], ...]] = (
    (re.compile(r"[-+]?0b([01_]+)"), 2),
    (re.compile(r"[-+]?0([0-7_]+)"), 8),
    (re.compile(r"[-+]?0x([0-9a-fA-F_]+)"), 16),
    (re.compile(r"[-+]?(0|[1-9][0-9_]*)"), 10),
)
_SEXAGESIMAL = re.compile(r"[-+]?([1-9][0-9_]*(?::[0-5]?[0-9])+)")


@dataclass(frozen=True)
class Given:
    """A text that the user wrote.

    Attributes:
        text: The text.
        number: Whether YAML made a number of it, which may have been spelled in another way.
    """

    text: str
    number: bool = False


# A key's value, or those of a key that stands on several lines.
Wish: t.TypeAlias = "Given | tuple[Given, ...]"


@dataclass(frozen=True)
class SectionWish:
    """What is wanted of one section.

    Attributes:
        name: Its name.
        named: Whether the user wants it to exist, with ``sections`` or ``bare_keys``.
        number: Whether YAML made a number of the name.
        keys: Values of keys.
        bare: Keys that stand alone on a line.
        absent: Keys that must not exist.
        numbers: Keys whose names YAML made numbers of.
    """

    name: str
    named: bool
    number: bool
    keys: Mapping[str, Wish]
    bare: tuple[str, ...]
    absent: tuple[str, ...]
    numbers: frozenset[str]


@dataclass(frozen=True)
class IniWanted:
    """What the user asked for, checked.

    Attributes:
        path: The file, as the server has it.
        sections: What is wanted of each section.
        absent: Sections that must not exist.
        exclusive: ``none``, ``sections`` (in the named ones nothing but the named keys) or ``file`` (nothing else).
        select: Of several sections of one name, the key and value of the one that is meant, by folded name.
        encoding: Encoding of a file without byte order mark, or ``auto``.
        newline: ``auto``, ``crlf`` or ``lf``, for new lines.
        quotes: ``keep``, ``always`` or ``never``.
        reader: ``windows`` or ``last_wins``.
        uncomment: Whether a key in a comment is turned into the key.
        duplicates: ``keep``, ``remove`` or ``fail``.
        create: Whether a missing file is made.
        redactor: What judges whose values are shown nowhere.
        expect_sha256: Hash that the file must have before, or None.
    """

    path: str
    sections: tuple[SectionWish, ...]
    absent: tuple[str, ...]
    exclusive: str
    select: Mapping[str, tuple[str, str]]
    encoding: str
    newline: str
    quotes: Quotes
    reader: Reader
    uncomment: bool
    duplicates: Duplicates
    create: bool
    redactor: Redactor
    expect_sha256: str | None


def same_name(name: str) -> str:
    """Return the form in which Windows compares a name that it is asked for."""
    return fold(name.strip(BLANKS))


def read_ini_wanted(options: Mapping[str, t.Any]) -> IniWanted:
    """Check the options of ``win_ini``.

    Raises:
        Refused: With every problem that was found.
    """
    reading = _Options(options)
    sections = tuple(reading.sections())
    absent = reading.names("absent_sections")
    reading.contradictions(sections, absent)
    select = reading.select()
    expect = options.get("expect_sha256")
    if expect is not None and not _SHA256.match(expect):
        remedy = "Give 64 hexadecimal digits, such as the result's sha256 of an earlier task."
        reading.wrong("this is no SHA-256", remedy, "expect_sha256", expect)
    if options["exclusive"] == "file" and not any(section.named for section in sections):
        remedy = "Name the sections that stay; an empty file is nobody's wish."
        reading.wrong("it would empty the file", remedy, "exclusive", "file")
    if not reading.problems and "" in map(same_name, absent):
        remedy = "Keys before the first section are removed with absent_keys, under the empty name ''."
        reading.wrong("what stands before the first section is no section", remedy, "absent_sections", "")
    if reading.problems:
        raise Refused(reading.problems)
    return IniWanted(
        path=read_path(options),
        sections=sections,
        absent=absent,
        exclusive=options["exclusive"],
        select=select,
        encoding=options["encoding"],
        newline=options["newline"],
        quotes=options["quotes"],
        reader=options["reader"],
        uncomment=options["uncomment"],
        duplicates=options["duplicates"],
        create=options["create"],
        redactor=reading.redactor,
        expect_sha256=expect.lower() if expect else None,
    )


def read_names(options: Mapping[str, t.Any], option: str) -> tuple[str, ...]:
    """Return the names that a list option holds.

    Raises:
        Refused: Some of them are no text.
    """
    reading = _Options(options)
    names = reading.names(option)
    if reading.problems:
        raise Refused(reading.problems)
    return names


class _Options:
    """Reads options, and collects what is wrong with them in ``problems``."""

    def __init__(self, options: Mapping[str, t.Any]) -> None:
        self.problems: list[Problem] = []
        self.redactor = Redactor(options.get("redact") or ())
        self._options = options

    def wrong(self, cause: str, remedy: str, option: str, where: str) -> None:
        self.problems.append(Problem("bad_option", cause, remedy, option, printable(where)))

    def names(self, option: str) -> tuple[str, ...]:
        return tuple(self._text(name, option, str(name)).text for name in self._options.get(option) or ())

    def sections(self) -> Iterator[SectionWish]:
        """Return what is wanted of each section, those of all options together."""
        names: dict[str, Given] = {}
        rows: dict[tuple[str, str], t.Any] = {}
        for option in ("sections", "bare_keys", "absent_keys"):
            for name, keys in self._dictionary(option).items():
                given = self._text(name, option, f"section {name}")
                place = (option, same_name(given.text))
                if place in rows:
                    self._twice(option, given.text)
                rows[place] = keys
                names.setdefault(place[1], given)
        for folded, given in names.items():
            keys, bare, absent = (rows.get((option, folded)) for option in ("sections", "bare_keys", "absent_keys"))
            yield self._section(given, keys, bare, absent)

    def _section(
        self,
        given: Given,
        values: Mapping[t.Any, t.Any] | None,
        bare: Sequence[t.Any] | None,
        absent: Sequence[t.Any] | None,
    ) -> SectionWish:
        wishes: dict[str, Wish] = {}
        numbers: set[str] = set()
        for key, value in (values or {}).items():
            where = f"[{given.text}] {key}"
            name = self._text(key, "sections", where)
            if name.text and name.text in wishes:  # such as 1 and "1", which YAML tells apart
                self._twice("sections", where)
            wishes[name.text] = self._wish(value, given.text, name.text, where)
            numbers |= {name.text} if name.number else set()
        return SectionWish(
            name=given.text,
            named=values is not None or bare is not None,
            number=given.number,
            keys=wishes,
            bare=tuple(self._key_names("bare_keys", given.text, bare or ())),
            absent=tuple(self._key_names("absent_keys", given.text, absent or ())),
            numbers=frozenset(numbers),
        )

    def _dictionary(self, option: str) -> Mapping[t.Any, t.Any]:
        """Return a dictionary by section; what is no dictionary or list of keys in it is told and left out."""
        rows = self._options.get(option) or {}
        kind, what = (Mapping, "dictionary") if option == "sections" else (list, "list")
        for name, keys in rows.items():
            if not isinstance(keys, kind):
                remedy = f"Give a {what} of keys; to remove a section use absent_sections, to remove a key absent_keys."
                self.wrong(f"this section has no {what} of keys", remedy, option, str(name))
        return {name: keys for name, keys in rows.items() if isinstance(keys, kind)}

    def _key_names(self, option: str, section: str, keys: Sequence[t.Any]) -> Iterator[str]:
        for key in keys:
            yield self._text(key, option, f"[{section}] {key}").text

    def _wish(self, value: t.Any, section: str, key: str, where: str) -> Wish:
        hidden = self.redactor.hides(section, key)
        if isinstance(value, (list, tuple)):
            if not value:
                remedy = "Give at least one value; a key is removed with absent_keys."
                self.wrong("this list is empty", remedy, "sections", where)
            return tuple(self._text(item, "sections", where, hidden=hidden) for item in value)
        return self._text(value, "sections", where, hidden=hidden)

    def _text(self, value: t.Any, option: str, where: str, *, hidden: bool = False) -> Given:
        """Return what the user wrote as text; YAML's own ideas of a value would lose how it was written."""
        # ansible-core before 2.19 hands over a value that was written with !vault as an object of its own.
        if isinstance(value, str) or getattr(value, "__ENCRYPTED__", False):
            text = str(value)
            half = _SURROGATE.search(text)
            if half:
                shown = HIDDEN if hidden else ascii(text)
                remedy = "Write the character itself, or both halves of its surrogate pair."
                self.wrong(f"{shown} holds U+{ord(half[0]):04X}, half of a character", remedy, option, where)
                return Given("")
            return Given(text)
        if isinstance(value, int) and not isinstance(value, bool):
            return Given(str(int(value)), number=True)
        if value is None:
            remedy = (
                "A key is removed with absent_keys: {Section: [key]} and left alone with default(omit); an empty value "
                "is ''. Some releases of Ansible make null of default(none), and others an empty text."
            )
            if option != "sections" or where.startswith("section "):
                remedy = "Put the text in quotes in the playbook, as it is to stand in the file."
            self.wrong("null is no text", remedy, option, where)
            return Given("")
        remedy = "Put the text in quotes in the playbook, as it is to stand in the file."
        self.wrong(f"YAML made {_kind(value)} of what should be text", remedy, option, where)
        return Given("")

    def select(self) -> dict[str, tuple[str, str]]:
        """Return the key and value by which each section is selected."""
        chosen: dict[str, tuple[str, str]] = {}
        for name, row in (self._options.get("select") or {}).items():
            section = self._text(name, "select", f"section {name}").text
            if not isinstance(row, Mapping) or set(row) != {"key", "value"}:
                remedy = "Give key and value of a line that only the section that is meant has."
                self.wrong("this section has no key and value", remedy, "select", section)
                continue
            key = self._text(row["key"], "select", section).text
            hidden = self.redactor.hides(section, key)
            chosen[same_name(section)] = (key, self._text(row["value"], "select", section, hidden=hidden).text)
        return chosen

    def contradictions(self, sections: Sequence[SectionWish], absent: Sequence[str]) -> None:
        gone = {same_name(name) for name in absent}
        for section in sections:
            if section.name and same_name(section.name) in gone:
                remedy = "Name it in sections or in absent_sections."
                self.wrong("this section is wanted and unwanted", remedy, "absent_sections", section.name)
            seen: dict[str, str] = {}
            named = (("sections", section.keys), ("bare_keys", section.bare), ("absent_keys", section.absent))
            for option, name in ((option, name) for option, names in named for name in names):
                other = seen.setdefault(same_name(name), option)
                where = f"[{section.name}] {name}"
                if other != option:
                    self.wrong(f"this key is in {other}, too", "Name it in one of them.", option, where)
            for option, names in named[:2]:
                folded: set[str] = set()
                for name in names:
                    if same_name(name) in folded:
                        self._twice(option, f"[{section.name}] {name}")
                    folded.add(same_name(name))

    def _twice(self, option: str, where: str) -> None:
        remedy = "Windows tells neither upper from lower case nor blanks around a name; name it once."
        self.wrong("this name is given twice", remedy, option, where)


def _kind(value: t.Any) -> str:
    """Return what a value is in the user's words; Ansible's own classes stand behind Python's, which tell enough."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, float):
        return "a decimal number"
    own = next((kind for kind in type(value).__mro__ if kind.__module__ in ("builtins", "datetime")), object)
    return {list: "a list", dict: "a dictionary", object: "something"}.get(own, f"a {own.__name__}")


def yaml_integer(text: str) -> int | None:
    """Return the integer that YAML 1.1 makes of a text without quotes, None if it makes none."""
    sign = -1 if text.startswith("-") else 1
    for pattern, base in _INTEGERS:
        match = pattern.fullmatch(text)
        digits = match[1].replace("_", "") if match else ""
        if digits:
            return sign * int(digits, base)
    match = _SEXAGESIMAL.fullmatch(text)
    if match is None:
        return None
    total = 0
    for part in match[1].replace("_", "").split(":"):
        total = total * 60 + int(part)
    return sign * total
