# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``win_ini`` plans: from the wishes and a file's bytes to its new bytes, and what to tell about them."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..problems.advice import problem_of
from ..problems.problem import Problem, Refused
from ..shapes import Json
from .diff import unified_diff
from .document import Document
from .edits import AddSection, Change, Edit, Manner, Quotes, RemoveKey, RemoveSection, SetBare, SetKey, SetKeys
from .encoding import Judged, judge
from .readers import Finding
from .redact import HIDDEN, Redactor
from .report import change_row, duplicate_rows, finding_rows, is_duplicate, told, with_shown_names
from .survey import BEFORE_SECTION, Section, Survey, survey
from .text import IniError, fold, is_remark, unquote
from .wishes import Given, IniWanted, SectionWish, Wish, same_name, yaml_integer

# base64 of more does not fit into the 2,097,152 characters that Windows PowerShell 5.1 reads as one JSON text.
INI_MAX_BYTES = 1024 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Wrong option first: what an IniError's code says about the options of the module.
_OPTIONS_OF_CODES: t.Mapping[str, str] = {
    "bad_name": "sections",
    "bad_value": "sections",
    "duplicate_key": "duplicates",
    "duplicate_section": "duplicates",
    "select_none": "select",
    "select_several": "select",
}


@dataclass(frozen=True)
class IniPlan:
    """What becomes of the file.

    Attributes:
        before: The file as it is; an empty document if it does not exist.
        after: The file afterwards.
        changes: One row per line that differs, values hidden where they have to be.
        duplicates: Names that stand in the file more than once.
        findings: What else is odd about the file.
        warnings: What the user should know about what the task touches.
    """

    before: Document
    after: Document
    changes: tuple[Json, ...]
    duplicates: tuple[Json, ...]
    findings: tuple[Json, ...]
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return self.before.body != self.after.body or self.before.bom != self.after.bom


def plan_ini(
    wanted: IniWanted, data: bytes | None, *, findings: Iterable[Finding] = (), max_bytes: int = INI_MAX_BYTES
) -> IniPlan:
    """Say what becomes of the file.

    Args:
        wanted: The checked options.
        data: The file's bytes, None if it does not exist.
        findings: What is known about the file besides.
        max_bytes: How large the file may become.

    Raises:
        Refused: The edits cannot be done, or the result would be too large.
    """
    try:
        judged = judge(data or b"", wanted.encoding)
        _check_encoding(wanted, judged)
        before = judged.document
        seen = survey(before, wanted.reader)
        edits = list(_Planner(wanted, seen).edits())
        edited = before.edit(edits, _manner(wanted))
    except IniError as error:
        raise Refused([_problem(error, wanted)]) from error
    after = edited.document
    size = len(after.bom) + len(after.body)
    if size > max_bytes:
        raise Refused([problem_of("too_large", {"path": wanted.path, "size": size, "max_bytes": max_bytes})])
    about = [*judged.findings, *seen.findings, *findings, *_about_wishes(wanted, seen), *_about_edits(edited.changes)]
    touched = filter(_Touched(wanted).has, about)
    return IniPlan(
        before=before,
        after=after,
        changes=tuple(change_row(change, wanted.redactor) for change in edited.changes),
        duplicates=tuple(duplicate_rows(seen, wanted.redactor)),
        findings=tuple(finding_rows(about, wanted.redactor)),
        warnings=tuple(told(touched, wanted.path, wanted.redactor)),
    )


def _check_encoding(wanted: IniWanted, judged: Judged) -> None:
    document = judged.document
    if document.bom and wanted.encoding not in ("auto", document.encoding):
        cause = f"the file begins with the byte order mark of {document.encoding}"
        remedy = "Use auto; a byte order mark always says what the file is."
        raise Refused([Problem("bad_option", cause, remedy, "encoding", wanted.encoding, wanted.path)])
    if judged.refusal is not None:
        raise judged.refusal


def _manner(wanted: IniWanted) -> Manner:
    return Manner(
        duplicates=wanted.duplicates,
        newline=wanted.newline,
        reader=wanted.reader,
        free_keys=True,
        commented="turn" if wanted.uncomment else "after",
        select=wanted.select,
    )


class _Planner:
    """Turns wishes into edits, with what the file says now."""

    def __init__(self, wanted: IniWanted, seen: Survey) -> None:
        self._wanted = wanted
        self._sections: dict[str, list[Section]] = {}
        for section in seen.sections:
            self._sections.setdefault(fold(section.name), []).append(section)
        self._seen = seen

    def edits(self) -> Iterator[Edit]:
        wanted = self._wanted
        yield from (RemoveSection(name) for name in wanted.absent)
        if wanted.exclusive == "file":
            named = {same_name(section.name) for section in wanted.sections if section.named}
            others = (rows[0].name for name, rows in self._sections.items() if name and name not in named)
            yield from (RemoveSection(name, keep_comments=True) for name in others)
        for wish in wanted.sections:
            yield from self._of_section(wish)

    def _of_section(self, wish: SectionWish) -> Iterator[Edit]:
        self._check_names(wish)
        rows = self._sections.get(same_name(wish.name), [])
        section = _chosen(rows, wish, self._wanted, self._seen)
        if wish.named and wish.name and not wish.keys and not wish.bare:
            yield AddSection(wish.name)
        for key, value in wish.keys.items():
            yield self._of_key(wish.name, key, value, section)
        yield from (SetBare(wish.name, key) for key in wish.bare)
        yield from (RemoveKey(wish.name, key) for key in wish.absent)
        # Last, so that new keys take place and style of those that leave.
        if self._wanted.exclusive != "none" and wish.named:
            yield from self._removals(
                wish, rows if self._wanted.reader == "last_wins" else [section] if section else []
            )

    def _of_key(self, name: str, key: str, value: Wish, section: Section | None) -> Edit:
        lines = section.by_key.get(fold(key), []) if section else []
        present = [line.value for line in lines if line.kind == "key"]
        if isinstance(value, Given):
            counting = self._seen.counting(section, key) if section else None
            now = [counting.value] if counting is not None else []
            self._check_number(name, key, value, now)
            return SetKey(name, key, *self._saying(value, now))
        for item in value:
            self._check_number(name, key, item, present)
        return SetKeys(name, key, tuple(self._saying(item, present) for item in value))

    def _saying(self, given: Given, present: Sequence[str]) -> tuple[str, Quotes]:
        """Return the value as it is to be read and how it is quoted; a wish in quotes means what is in them."""
        inner = unquote(given.text)
        if given.text in present or inner == given.text:
            return given.text, self._wanted.quotes
        return inner, "'" if given.text[0] == "'" else '"'

    def _removals(self, wish: SectionWish, sections: Iterable[Section]) -> Iterator[Edit]:
        """Return what takes away the keys that the reader sees and nobody named; what looks like a comment stays."""
        named = {same_name(key) for key in (*wish.keys, *wish.bare)}
        last_wins = self._wanted.reader == "last_wins"
        for line in (line for section in sections for line in section.lines):
            seen = line.kind == "key" or last_wins
            if seen and fold(line.name) not in named and not is_remark(line.name):
                named.add(fold(line.name))
                yield RemoveKey(wish.name, line.name)

    def _check_number(self, section: str, key: str, given: Given, present: Iterable[str]) -> None:
        for text in present:
            if given.number and text != given.text and yaml_integer(text) == int(given.text):
                hidden = self._wanted.redactor.hides(section, key)
                shown = "another spelling of it" if hidden else repr(text)
                number = "a number" if hidden else given.text
                cause = f"[{section}] {key}: YAML made {number} of it, and the file has {shown}"
                raise Refused([Problem("bad_option", cause, _QUOTE_IT, "sections", f"[{section}] {key}")])

    def _check_names(self, wish: SectionWish) -> None:
        """Refuse a number as a name where the file has a name that YAML would take for the same number."""
        if wish.number and same_name(wish.name) not in self._sections:
            self._check_spelling(wish.name, (rows[0].name for rows in self._sections.values()), f"section {wish.name}")
        if not wish.numbers:
            return
        section = next(iter(self._sections.get(same_name(wish.name), [])), None)
        for key in wish.numbers if section else ():
            if section and fold(key) not in section.by_key:
                names = (line.name for line in section.lines)
                self._check_spelling(key, names, f"[{wish.name}] {key}")

    @staticmethod
    def _check_spelling(name: str, others: Iterable[str], where: str) -> None:
        other = next((other for other in others if yaml_integer(other) == int(name)), None)
        if other is not None:
            cause = f"YAML made the number {name} of it, and the file has {other!r}"
            raise Refused([Problem("bad_option", cause, _QUOTE_IT, "sections", where)])


_QUOTE_IT = "Quote it in the playbook, as it is to stand in the file; YAML reads 0407 as 263 and 22:30 as 1350."


def _chosen(rows: Sequence[Section], wish: SectionWish, wanted: IniWanted, seen: Survey) -> Section | None:
    """Return the section whose keys are compared with the wish, None if there is none."""
    select = wanted.select.get(same_name(wish.name))
    if select is None:
        return rows[0] if rows else None
    key, value = select
    lines = ((row, seen.counting(row, key)) for row in rows)
    return next((row for row, line in lines if line is not None and line.value == value), None)


def _about_wishes(wanted: IniWanted, seen: Survey) -> Iterator[Finding]:
    """Return what is odd about the wishes themselves."""
    for section in wanted.sections:
        nameless = not section.name and section.named and wanted.reader == "windows"
        if nameless and not any(finding.code == BEFORE_SECTION for finding in seen.findings):
            yield Finding(BEFORE_SECTION, 0, "Windows' profile functions cannot read keys before the first section")
        for key, value in section.keys.items():
            if not isinstance(value, Given) and wanted.reader == "windows":
                message = f"a list was given for {key}; Windows' profile functions read the first of its lines only"
                yield Finding("repeated_key", 0, message, section.name, key)
            for given in (value,) if isinstance(value, Given) else value:
                odd = _CONTROL.search(given.text)
                if odd:
                    message = (
                        f"the value given for {key} holds U+{ord(odd[0]):04X}; in double quotes YAML makes a control "
                        "character of \\t, \\b and others, put it in single quotes"
                    )
                    yield Finding("control_character", 0, message, section.name, key)


def _about_edits(changes: Iterable[Change]) -> Iterator[Finding]:
    for change in changes:
        if change.remark and change.key is not None:
            message = f"the remark behind the value of {change.key} leaves with it; to Windows it was part of the value"
            yield Finding("remark_removed", change.line, message, change.section, change.key)


_LOUD = ("ambiguous_", "encoding_bom", "repeated_key", "control_character", "remark_removed", BEFORE_SECTION)


class _Touched:
    """Which names a task touches."""

    def __init__(self, wanted: IniWanted) -> None:
        self._absent = {same_name(name) for name in wanted.absent}
        # Keys by section, None for all of them; and those that are meant to stand on several lines.
        self._keys: dict[str, set[str] | None] = {}
        self._lists: set[tuple[str, str]] = set()
        for section in wanted.sections:
            name, keys = same_name(section.name), (*section.keys, *section.bare, *section.absent)
            whole = wanted.exclusive != "none" and section.named
            self._keys[name] = None if whole else {same_name(key) for key in keys}
            self._lists |= {
                (name, same_name(key)) for key, value in section.keys.items() if not isinstance(value, Given)
            }

    def has(self, finding: Finding) -> bool:
        """Whether a finding is about something that the task names, and worth a warning."""
        if not finding.code.startswith(_LOUD) or finding.code == "ambiguous_header":
            return False
        section, key = fold(finding.section), fold(finding.key)
        if section in self._absent:
            return is_duplicate(finding) or finding.code == "encoding_bom"
        if section not in self._keys or (is_duplicate(finding) and (section, key) in self._lists):
            return False
        keys = self._keys[section]
        return not key or keys is None or key in keys


def _problem(error: IniError, wanted: IniWanted) -> Problem:
    cause, remedy = error.message, f"{error.remedy[:1].upper()}{error.remedy[1:]}"
    if error.place is not None:
        cause = with_shown_names(cause, *error.place, wanted.redactor)
        cause += _value_of(wanted, *error.place) if error.code in ("encoding_cannot", "encoding_unsure") else ""
    if error.code == "encoding_cannot":
        remedy += ", or name the right code page in the option encoding"
    option = _OPTIONS_OF_CODES.get(error.code) or ("encoding" if error.code.startswith("encoding_") else None)
    value = {"encoding": wanted.encoding, "duplicates": wanted.duplicates}.get(option or "")
    return Problem(error.code, cause, f"{remedy}.", option, value, wanted.path)


def _value_of(wanted: IniWanted, section: str, key: str) -> str:
    """Return the value that was given for a key, for a message."""
    wish = next((wish for wish in wanted.sections if wish.name == section), None)
    value = wish.keys.get(key) if wish else None
    if value is None:
        return ""
    if wanted.redactor.hides(section, key):
        return f" (in the value {HIDDEN})"
    values = (value,) if isinstance(value, Given) else value
    return f" (in the value {', '.join(repr(given.text) for given in values)})"


def diff_of(plan: IniPlan, path: str, redactor: Redactor) -> dict[str, str]:
    """Return Ansible's diff of a plan."""
    return unified_diff(plan.before, plan.after, path=path, redact=redactor)
