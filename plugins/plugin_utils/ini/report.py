# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``win_ini`` and ``win_ini_info`` tell about a file, in rows of their results and in warnings."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator
from itertools import groupby

from ..shapes import Json
from .edits import Change
from .readers import Finding
from .redact import HIDDEN, Redactor
from .survey import Section, Survey
from .text import Line, fold
from .wishes import same_name

# So many of one kind are told in warnings, after their count.
_TOLD: t.Final = 3


def is_duplicate(finding: Finding) -> bool:
    """Whether a finding is a name that stands more than once."""
    return finding.code.startswith("ambiguous_duplicate")


def change_row(change: Change, redactor: Redactor) -> Json:
    """Return a change as the result has it."""
    row: Json = {"section": redactor.section(change.section), "key": None, "action": change.action}
    row |= {"before": None, "after": None, "line": change.line or None}
    if change.key is None:
        return row
    old, new = (redactor.value(change.section, change.key, value) for value in (change.before, change.after))
    if change.looks and redactor.hides(change.section, change.looks):
        old, new = (None if value is None else HIDDEN for value in (old, new))
    return {**row, "key": redactor.key(change.section, change.key, change.before), "before": old, "after": new}


def duplicate_rows(survey: Survey, redactor: Redactor) -> Iterator[Json]:
    """Return the rows of names that stand in the file more than once; the line is that of one that does not count."""
    for finding in filter(is_duplicate, survey.findings):
        key = redactor.key(finding.section, finding.key) if finding.key else None
        yield {"section": redactor.section(finding.section), "key": key, "line": finding.line}


def finding_rows(findings: Iterable[Finding], redactor: Redactor) -> Iterator[Json]:
    """Return the rows of everything else that is odd, in the order of lines."""
    others = (finding for finding in findings if not is_duplicate(finding))
    for finding in sorted(others, key=lambda finding: finding.line):
        names = {
            "section": redactor.section(finding.section) or None,
            "key": redactor.key(finding.section, finding.key) if finding.key else None,
        }
        message = _message(finding, redactor)
        yield {"code": finding.code, "line": finding.line or None, "message": message, **names}


def _message(finding: Finding, redactor: Redactor) -> str:
    return with_shown_names(finding.message, finding.section, finding.key, redactor)


def with_shown_names(message: str, section: str, key: str, redactor: Redactor) -> str:
    """Return a message about a section and a key with their names as they may be shown."""
    for name, shown in ((section, redactor.section(section)), (key, redactor.key(section, key))):
        if name != shown:
            message = message.replace(name, shown)
    return message


def told(findings: Iterable[Finding], path: str, redactor: Redactor) -> Iterator[str]:
    """Return warnings: of many of one kind the count, and the first three."""
    ordered = sorted(findings, key=lambda finding: (finding.code, finding.line))
    for code, group in groupby(ordered, key=lambda finding: finding.code):
        rows = list(group)
        if len(rows) > _TOLD:
            yield f"{path}: {len(rows)} findings {code}, the first {_TOLD} follow; the result has all"
        for row in rows[:_TOLD]:
            where = f"{path}, line {row.line}" if row.line else path
            yield f"{where}: {_message(row, redactor)}"


def section_rows(survey: Survey, only: Iterable[str] | None, redactor: Redactor) -> list[Json]:
    """Return what ``win_ini_info`` tells about sections, each section line and in it each key's line."""
    chosen = None if only is None else {same_name(name) for name in only}
    return [
        {
            "name": redactor.section(section.name),
            "line": section.line or None,
            "in_force": section.in_force,
            "entries": [_entry(survey, section, line, redactor) for line in survey.entries(section)],
        }
        for section in survey.sections
        if chosen is None or fold(section.name) in chosen
    ]


def _entry(survey: Survey, section: Section, line: Line, redactor: Redactor) -> Json:
    value = line.value if line.kind == "key" else None
    same = section.by_key[fold(line.name)]
    counts = section.in_force and line is (same[-1] if survey.reader == "last_wins" else same[0])
    return {
        "name": redactor.key(section.name, line.name, value),
        "value": redactor.value(section.name, line.name, value, line),
        "line": line.number,
        "in_force": counts,
    }


def content_of(rows: Iterable[Json]) -> dict[str, dict[str, t.Any]]:
    """Return the values in force by section and key, names as they are written first in the file."""
    content: dict[str, dict[str, t.Any]] = {}
    written: dict[str, str] = {}
    for row in rows:
        if not row["in_force"]:
            continue
        keys = content.setdefault(written.setdefault(fold(row["name"]), row["name"]), {})
        keys |= {
            entry["name"]: entry["value"]
            for entry in row["entries"]
            if entry["in_force"] and entry["value"] is not None
        }
    return content
