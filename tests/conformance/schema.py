# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a conformance case may say.

An unknown key is an error: a misspelt expectation must not pass for one that holds.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conformance import expand
from tests.conformance.expand import CaseError

CASES: t.Final = Path(__file__).parent / "cases"
MODES: t.Final = ("direct", "computer")
EXECUTORS: t.Final = ("lab", "pwsh")

# What the clock of a lab server shows when a case begins, unless the case says something else.
LAB_NOW: t.Final = 946_728_000
_RELATIVE = re.compile(r"@now([+-]\d+)?")

_CASE: t.Final = {"name", "modes", "executors", "requires", "why", "replaced", "given", "steps", "then"}
_STEP: t.Final = {"before", "fault", "request", "answer", "answer_direct", "answer_computer"}
_GIVEN: t.Final = {
    "files",
    "registry",
    "services",
    "drives",
    "disk_free",
    "clock",
    "lock",
    "journal",
    "boot",
    "records",
    "backups",
    "events",
    "event_errors",
    "ports",
    "network",
    "management",
    "system_root",
    "powershell",
}
_BEFORE: t.Final = (_GIVEN - {"clock", "management", "system_root", "powershell"}) | {"seconds"}
_FILE: t.Final = {"text", "encoding", "base64", "read_only", "held_open", "modified", "denied", "directory"}
_SERVICE: t.Final = {
    "name",
    "display_name",
    "image",
    "state",
    "start_type",
    "account",
    "depends_on",
    "depends_on_groups",
    "group",
    "type",
    "behaviour",
}
_BEHAVIOUR: t.Final = {"stop_ms", "start_ms", "stop", "start", "die_ms", "late_ms", "code"}
_THEN: t.Final = {"files", "directories", "services", "registry", "records", "journal", "backups", "locked", "access"}
_REQUIRES: t.Final = ("real-windows",)


@dataclass(frozen=True)
class Case:
    """One behaviour of the target script.

    Attributes:
        id: the file's name without its ending.
        data: the whole case in full, as :class:`tests.conformance.run.Executor` takes it.
    """

    id: str
    data: Mapping[str, t.Any]

    @property
    def modes(self) -> tuple[str, ...]:
        return tuple(self.data.get("modes", MODES))

    @property
    def executors(self) -> tuple[str, ...]:
        return tuple(self.data.get("executors", EXECUTORS))

    @property
    def steps(self) -> list[Mapping[str, t.Any]]:
        return list(self.data["steps"])


def _known(what: str, value: t.Any, known: t.Collection[str]) -> None:
    if not isinstance(value, Mapping):
        raise CaseError(f"{what}: must be a mapping")
    unknown = sorted(str(key) for key in value if key not in known)
    if unknown:
        raise CaseError(f"{what}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _check_given(what: str, given: Mapping[str, t.Any], known: t.Collection[str]) -> None:
    _known(what, given, known)
    for path, item in (given.get("files") or {}).items():
        if item is not None:
            _known(f"{what}.files.{path}", item, _FILE)
    for item in given.get("services") or ():
        _known(f"{what}.services", item, _SERVICE)
        _known(f"{what}.services.{item['name']}.behaviour", item.get("behaviour", {}), _BEHAVIOUR)


def _check_step(what: str, step: t.Any) -> None:
    _known(what, step, _STEP)
    if "request" not in step and not {"before", "fault"} >= set(step):
        raise CaseError(f"{what}: an answer without a request")
    for change in as_list(step.get("before")):
        _check_given(f"{what}.before", change, _BEFORE)
    if "request" in step and "answer" not in step:
        raise CaseError(f"{what}: a request whose answer nobody looks at")


def expected_answers(step: Mapping[str, t.Any], mode: str) -> list[t.Any]:
    """Return what a step's answer must match in one mode: what holds in both, and what only this one can know."""
    return [step[key] for key in ("answer", f"answer_{mode}") if key in step]


def as_list(value: t.Any) -> list[t.Any]:
    """Return what may be written as one thing or as a list of them, as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def check(data: t.Any) -> None:
    """Raise CaseError for the first thing in a case that the format does not know.

    Args:
        data: the case, in full.
    """
    _known("case", data, _CASE)
    for key in ("name", "steps"):
        if not data.get(key):
            raise CaseError(f"case: {key} is missing")
    narrowed = [key for key in ("modes", "executors", "requires") if key in data]
    if narrowed and not data.get("why"):
        raise CaseError(f"case: {', '.join(narrowed)} without why")
    for key, allowed in (("modes", MODES), ("executors", EXECUTORS)):
        if not set(data.get(key, allowed)) <= set(allowed):
            raise CaseError(f"case.{key}: known are {', '.join(allowed)}")
    if data.get("requires", _REQUIRES[0]) not in _REQUIRES:
        raise CaseError(f"case.requires: known are {', '.join(_REQUIRES)}")
    if "replaced" in data and data.get("executors") != ["pwsh"]:
        raise CaseError("case: only the script has functions that can be replaced, so it must say executors: [pwsh]")
    _check_given("given", data.get("given") or {}, _GIVEN)
    for number, step in enumerate(data["steps"], 1):
        _check_step(f"steps[{number}]", step)
    if any("fault" in step for step in data["steps"]) and data.get("executors") != ["lab"]:
        raise CaseError("case: a fault is injected in the lab only, so the case must say executors: [lab]")
    _known("then", data.get("then") or {}, _THEN)


def _resolved(value: t.Any, now: float) -> t.Any:
    if isinstance(value, Mapping):
        return {key: _resolved(item, now) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, now) for item in value]
    match = _RELATIVE.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else now + int(match[1] or 0)


def at_time(case: Case, now: float) -> Case:
    """Return a case whose relative times (``@now``, ``@now-300``) are numbers.

    Args:
        case: the case.
        now: seconds since 1970 on the server's clock.
    """
    return Case(case.id, _resolved(case.data, now))


def load(path: Path) -> Case:
    """Return one case, in full.

    Args:
        path: its file.

    Raises:
        CaseError: with the file's name.
    """
    try:
        data = expand.case(yaml.safe_load(path.read_text(encoding="ascii")))
        check(data)
    except CaseError as error:
        raise CaseError(f"{path.name}: {error}") from error
    return Case(path.stem, data)


def load_all() -> list[Case]:
    """Return every case, by name of its file."""
    return [load(path) for path in sorted(CASES.glob("*.yml"))]
