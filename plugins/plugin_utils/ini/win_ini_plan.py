# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``win_ini`` plans: from options and a file's bytes to its new bytes, and what to tell about them."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..problems.advice import problem_of
from ..problems.problem import Problem, Refused
from ..shapes import Json
from .diff import HIDDEN, is_redacted, unified_diff
from .document import Document
from .edits import AddSection, Edit, RemoveKey, RemoveSection, SetKey
from .readers import Finding, Reading, read_profile, read_text
from .text import BLANKS, IniError, fold

# base64 of more does not fit into the 2,097,152 characters that Windows PowerShell 5.1 reads as one JSON text.
MAX_BYTES = 1024 * 1024

# No device (\\.\), no alternate stream (a.ini:name), and no name that Windows would cut (a.ini. or a blank at its end).
_ABSOLUTE = re.compile(
    r"(?:[A-Za-z]:\\|\\\\[^\\/?*.:][^\\/?*:]*\\[^\\/:?*]+\\|%[^%\\]+%\\)"
    r"[^\x00-\x1f<>|*?\":]*[^\x00-\x1f<>|*?\":\\. ]\Z"
)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
# Wrong option first: what an IniError's code says about the options of the module.
_OPTIONS_OF_CODES: t.Mapping[str, str] = {
    "bad_name": "sections",
    "bad_value": "sections",
    "encoding_cannot": "encoding",
    "encoding_unknown": "encoding",
    "duplicate_key": "duplicates",
    "duplicate_section": "duplicates",
}


@dataclass(frozen=True)
class Wanted:
    """What the user asked for, checked.

    Attributes:
        path: The file, as the server has it.
        sections: Keys and values by section; None removes the key.
        absent: Sections that shall not exist.
        exclusive: ``none``, ``sections`` (in the named ones nothing but the named keys) or ``file`` (nothing else).
        encoding: Encoding of a file without byte order mark, or ``auto``.
        newline: ``auto``, ``crlf`` or ``lf``, for new lines.
        duplicates: ``keep``, ``remove`` or ``fail``.
        create: Whether a missing file is made.
        redact: Patterns of keys whose values are shown nowhere.
        expect_sha256: Hash that the file must have before, or None.
    """

    path: str
    sections: Mapping[str, Mapping[str, str | None]]
    absent: tuple[str, ...]
    exclusive: str
    encoding: str
    newline: str
    duplicates: t.Literal["keep", "remove", "fail"]
    create: bool
    redact: tuple[str, ...]
    expect_sha256: str | None


@dataclass(frozen=True)
class Plan:
    """What becomes of the file.

    Attributes:
        before: The file as it is; an empty document if it does not exist.
        after: The file as it shall be.
        changes: One row per key or section that differs, values hidden where they have to be.
        duplicates: Names that stand in the file more than once.
        findings: What else is odd about the file.
        warnings: What the user should know.
    """

    before: Document
    after: Document
    changes: tuple[Json, ...]
    duplicates: tuple[Json, ...]
    findings: tuple[Json, ...]
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bytes(self.before) != bytes(self.after)


def read_path(options: Mapping[str, t.Any]) -> str:
    """Return the path with backslashes.

    Raises:
        Refused: It is no absolute Windows path, or leads over the network to a server that ``computer`` should name.
    """
    path = str(options["path"]).replace("/", "\\")
    remedy = "Give an absolute path as the server has it, such as C:\\app\\settings.ini or %SystemRoot%\\app.ini."
    if not _ABSOLUTE.match(path):
        raise Refused([Problem("bad_option", "this is no absolute Windows path of a file", remedy, "path", path)])
    if options.get("computer") and path.startswith("\\\\"):
        remedy = "With computer, give the path as that server itself has it, such as C:\\app\\settings.ini."
        raise Refused([Problem("bad_option", "this is a network path", remedy, "path", path)])
    return path


def read_wanted(options: Mapping[str, t.Any]) -> Wanted:
    """Check the options of ``win_ini``.

    Raises:
        Refused: With every problem that was found.
    """
    sections, problems = _read_sections(options.get("sections") or {})
    absent, more = read_names(options, "absent_sections")
    problems += more + _contradictions(sections, absent)
    expect = options.get("expect_sha256")
    if expect is not None and not _SHA256.match(expect):
        remedy = "Give 64 hexadecimal digits, such as the result's sha256 of an earlier task."
        problems.append(Problem("bad_option", "this is no SHA-256", remedy, "expect_sha256", expect))
    if options["exclusive"] == "file" and not sections:
        remedy = "Name the sections that stay; an empty file is nobody's wish."
        problems.append(Problem("bad_option", "it would empty the file", remedy, "exclusive", "file"))
    if problems:
        raise Refused(problems)
    return Wanted(
        path=read_path(options),
        sections=sections,
        absent=absent,
        exclusive=options["exclusive"],
        encoding=options["encoding"],
        newline=options["newline"],
        duplicates=options["duplicates"],
        create=options["create"],
        redact=tuple(options.get("redact") or ()),
        expect_sha256=expect.lower() if expect else None,
    )


def _read_sections(given: Mapping[t.Any, t.Any]) -> tuple[dict[str, dict[str, str | None]], list[Problem]]:
    sections: dict[str, dict[str, str | None]] = {}
    problems = []
    for name, keys in given.items():
        if not isinstance(keys, Mapping):
            remedy = "Give a dictionary of keys, {} for an empty section; to remove a section use absent_sections."
            problems.append(
                Problem("bad_option", "this section has no dictionary of keys", remedy, "sections", str(name))
            )
            continue
        section = _text(name, problems, "sections", f"section {name}")
        rows: dict[str, str | None] = {}
        for key, value in keys.items():
            where = f"[{name}] {key}"
            text = _text(key, problems, "sections", where)
            if text and text in rows:  # such as 1 and "1", which YAML tells apart
                problems.append(_twice(where))
            rows[text] = None if value is None else _text(value, problems, "sections", where)
        if section and section in sections:
            problems.append(_twice(section))
        sections[section] = rows
    return sections, problems


def read_names(options: Mapping[str, t.Any], option: str) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the names that a list option holds, and what is wrong with them."""
    problems: list[Problem] = []
    names = options.get(option) or ()
    return tuple(_text(name, problems, option, str(name)) for name in names), problems


def _text(value: t.Any, problems: list[Problem], option: str, where: str) -> str:
    """Return what the user wrote as text; YAML's own ideas of a value would lose how it was written."""
    # ansible-core before 2.19 hands over a value that was written with !vault as an object of its own.
    if isinstance(value, str) or getattr(value, "__ENCRYPTED__", False):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    kind = {bool: "a boolean", float: "a decimal number"}.get(type(value), f"a {type(value).__name__}")
    remedy = "Put the text in quotes in the playbook, as it shall stand in the file."
    problems.append(Problem("bad_option", f"YAML made {kind} of what should be text", remedy, option, where))
    return ""


def _contradictions(sections: Mapping[str, Mapping[str, t.Any]], absent: Sequence[str]) -> list[Problem]:
    gone = {_same(name) for name in absent}
    remedy = "Name it in sections or in absent_sections."
    problems = [
        Problem("bad_option", "this section is wanted and unwanted", remedy, "absent_sections", name)
        for name in sections
        if _same(name) in gone
    ]
    for where, names in [("", sections), *((f"[{name}] ", keys) for name, keys in sections.items())]:
        seen: set[str] = set()
        for name in names:
            if _same(name) in seen:
                problems.append(_twice(f"{where}{name}"))
            seen.add(_same(name))
    return problems


def _same(name: str) -> str:
    """Return the form in which Windows compares a name that it is asked for."""
    return fold(name.strip(BLANKS))


def _twice(where: str) -> Problem:
    remedy = "Windows tells neither upper from lower case nor blanks around a name; name it once."
    return Problem("bad_option", "this name is given twice", remedy, "sections", where)


def make_plan(wanted: Wanted, data: bytes | None) -> Plan:
    """Say what becomes of the file.

    Args:
        wanted: The checked options.
        data: The file's bytes, None if it does not exist.

    Raises:
        Refused: The edits cannot be done, or the result would be too large.
    """
    try:
        before = Document.parse(data or b"", encoding=wanted.encoding)
        _check_encoding(wanted, before)
        edits = list(_edits(wanted, read_text(before)))
        after = before.apply(edits, duplicates=wanted.duplicates, newline=wanted.newline)
    except IniError as error:
        raise Refused([_problem(error, wanted)]) from error
    if len(bytes(after)) > MAX_BYTES:
        detail = {"path": wanted.path, "size": len(bytes(after)), "max_bytes": MAX_BYTES}
        raise Refused([problem_of("too_large", detail)])
    profile = read_profile(before)
    return Plan(
        before=before,
        after=after,
        changes=tuple(_changes(read_text(before), read_text(after), wanted.redact)),
        duplicates=tuple(duplicates_of(profile)),
        findings=tuple(findings_of(profile)),
        warnings=tuple(f"{wanted.path}, line {row.line}: {row.message}" for row in profile.findings if _is_loud(row)),
    )


def _check_encoding(wanted: Wanted, document: Document) -> None:
    if document.bom and wanted.encoding not in ("auto", document.encoding):
        cause = f"the file begins with the byte order mark of {document.encoding}"
        remedy = "Use auto; a byte order mark always says what the file is."
        raise Refused([Problem("bad_option", cause, remedy, "encoding", wanted.encoding, wanted.path)])


def _edits(wanted: Wanted, reading: Reading) -> t.Iterator[Edit]:
    yield from (RemoveSection(name) for name in wanted.absent)
    if wanted.exclusive == "file":
        named = {_same(name) for name in wanted.sections}
        yield from (RemoveSection(section.name) for section in reading.sections if fold(section.name) not in named)
    for name, keys in wanted.sections.items():
        if wanted.exclusive != "none":
            yield from _removals(reading, name, keys)
        if not keys:
            yield AddSection(name)
        for key, value in keys.items():
            yield RemoveKey(name, key) if value is None else SetKey(name, key, value)


def _removals(reading: Reading, name: str, keys: Mapping[str, str | None]) -> t.Iterator[Edit]:
    section = reading.section(name)
    named = {_same(key) for key in keys}
    for key in section.keys if section else ():
        if fold(key.name) not in named:
            yield RemoveKey(name, key.name)


def _problem(error: IniError, wanted: Wanted) -> Problem:
    other_page = ", or name the right code page in the option encoding" if error.code == "encoding_cannot" else ""
    remedy = f"{error.remedy[:1].upper()}{error.remedy[1:]}{other_page}."
    option = _OPTIONS_OF_CODES.get(error.code)
    value = {"encoding": wanted.encoding, "duplicates": wanted.duplicates}.get(option or "")
    return Problem(error.code, error.message, remedy, option, value, wanted.path)


def _is_loud(finding: Finding) -> bool:
    return finding.code.startswith(("ambiguous_duplicate", "encoding"))


def duplicates_of(reading: Reading) -> t.Iterator[Json]:
    """Return the rows of names that stand in the file more than once; the line is that of the later one."""
    for finding in reading.findings:
        if finding.code.startswith("ambiguous_duplicate"):
            yield {"section": finding.section, "key": finding.key or None, "line": finding.line}


def findings_of(reading: Reading) -> t.Iterator[Json]:
    """Return the rows of everything else that is odd."""
    for finding in reading.findings:
        if not finding.code.startswith("ambiguous_duplicate"):
            names = {"section": finding.section or None, "key": finding.key or None}
            yield {"code": finding.code, "line": finding.line, "message": finding.message, **names}


def shown(section: str, key: str, value: str | None, redact: Sequence[str]) -> str | None:
    """Return a value as it may be shown."""
    return HIDDEN if value is not None and is_redacted(section, key, redact) else value


def _changes(before: Reading, after: Reading, redact: Sequence[str]) -> t.Iterator[Json]:
    old, new = _by_name(before), _by_name(after)
    for name in dict.fromkeys([*old, *new]):
        section = (new.get(name) or old[name])[0]
        if (name in old) != (name in new):
            yield {"section": section, "key": None, "action": _action(name in old), "before": None, "after": None}
        old_keys, new_keys = (side.get(name, ("", {}))[1] for side in (old, new))
        for folded in dict.fromkeys([*old_keys, *new_keys]):
            was, now = old_keys.get(folded), new_keys.get(folded)
            if was is not None and now is not None and was[1] == now[1]:
                continue
            key = (now or was or ("", ""))[0]
            values = [shown(section, key, pair[1] if pair else None, redact) for pair in (was, now)]
            action = "changed" if was and now else _action(was is not None)
            yield {"section": section, "key": key, "action": action, "before": values[0], "after": values[1]}


def _action(existed: bool) -> str:
    return "removed" if existed else "added"


def _by_name(reading: Reading) -> dict[str, tuple[str, dict[str, tuple[str, str]]]]:
    return {
        fold(section.name): (section.name, {fold(key.name): (key.name, key.value) for key in section.keys})
        for section in reading.sections
    }


def diff_of(plan: Plan, path: str, redact: Sequence[str]) -> dict[str, str]:
    """Return Ansible's diff of a plan."""
    return unified_diff(bytes(plan.before), bytes(plan.after), path=path, redact=redact, encoding=plan.before.encoding)


def content_of(document: Document, only: Iterable[str] | None, redact: Sequence[str]) -> list[Json]:
    """Return what ``win_ini_info`` tells about the sections in force, each name once."""
    chosen = None if only is None else {_same(name) for name in only}
    return [
        {
            "name": section.name,
            "line": section.line,
            "entries": [
                {"name": key.name, "value": shown(section.name, key.name, key.value, redact), "line": key.line}
                for key in section.keys
            ],
        }
        for section in read_text(document).sections
        if chosen is None or fold(section.name) in chosen
    ]
