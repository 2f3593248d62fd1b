# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Wspcfg.ini: what becomes of it, and why nothing may."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...module_utils.listeners import EMSMTA, OWNERS
from ..ini.diff import unified_diff
from ..ini.document import Document
from ..problems.advice import problem_of
from ..problems.problem import Problem
from ..shapes import Json
from .content import Content
from .edits import range_problems, shape, unsure_sections
from .inspection import FileState, Inspection
from .installation import MAX_BYTES
from .section import PUBLISHERS
from .wanted import Wanted

FILES = ("bin", "imc")


@dataclass(frozen=True)
class FilePlan:
    """What becomes of one file.

    Attributes:
        state: The file as inspected.
        after: Its content afterwards, None when it does not exist then.
        owned: ``SECTION.Key`` names beyond our own keys that are ours afterwards.
        copied: Sections taken over from Mspclnt.ini.
        from_backup: sha256 of the backup that is put back, None when content is written.
    """

    state: FileState
    after: Content | None
    owned: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    from_backup: str | None = None

    @property
    def path(self) -> str:
        return self.state.path or ""

    @property
    def before(self) -> Content | None:
        return self.state.content if self.state.exists else None

    @property
    def action(self) -> str:
        """``none``, ``create``, ``replace`` or ``delete``; what comes back first is not what lies there now."""
        if self.before == self.after:
            if self.state.healing:
                return "delete" if self.after is None else "replace"
            return "none"
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "replace"

    @property
    def sha256(self) -> str | None:
        return None if self.after is None else self.after.sha256

    def as_result(self) -> Json:
        """Return it as a result without backup, which only the target knows."""
        return {
            "path": self.path,
            "action": self.action,
            "sha256_before": self.state.sha256 if self.state.exists else None,
            "sha256": self.sha256,
            "backup": None,
        }

    def as_request(self) -> Json:
        """Return it as a file of ``apply`` (docs/target_protocol.md, section 3)."""
        content = self.after if self.from_backup is None else None
        return {
            "path": self.path,
            "expect_sha256": self.state.sha256 if self.state.exists else None,
            "content": None if content is None else base64.b64encode(content.data).decode("ascii"),
            "from_backup": self.from_backup,
            "backup": "store",
            "backup_path": None,
        }

    def diff(self) -> Mapping[str, t.Any]:
        before, after = (Document.new() if side is None else side.document for side in (self.before, self.after))
        return unified_diff(before, after, path=self.path)


def _owned(inspection: Inspection, file_id: str) -> tuple[str, ...]:
    """Return what our records say about keys of one file that we wrote."""
    records = [inspection.record(owner.service) for owner in OWNERS if owner.file_id == file_id]
    return tuple(name for record in records if record is not None for name in record.owned)


def plan_file(inspection: Inspection, file_id: str, wanted: Wanted) -> FilePlan | None:
    """Plan one file; None when no directory for it is known, or it could not be read.

    Raises:
        IniError: The text cannot be edited safely.
    """
    state = inspection.file(file_id)
    if state.error is not None or state.path is None:
        return None
    outcome = shape(
        file_id,
        state.content if state.exists else None,
        wanted,
        owned=_owned(inspection, file_id),
        client=inspection.file("client").content,
        executables=state.executables,
    )
    return FilePlan(state, outcome.after, outcome.owned, outcome.copied)


def _wants(wanted: Wanted, file_id: str) -> bool:
    named = any(item.listener.owner.file_id == file_id for item in wanted.published)
    return named or (file_id == EMSMTA.file_id and wanted.present and wanted.mta_direct == "true")


def place_problems(inspection: Inspection, file_id: str, wanted: Wanted) -> Iterable[Problem]:
    """Say why a file that is needed cannot be planned."""
    state = inspection.file(file_id)
    if state.error is not None and (_wants(wanted, file_id) or state.exists):
        detail = {"path": state.path, "size": state.size, "max_bytes": MAX_BYTES, **(state.error.get("detail") or {})}
        yield problem_of(str(state.error["code"]), detail, text=str(state.error.get("message") or ""))
    elif not (wanted.present and _wants(wanted, file_id)):
        return
    elif state.path is None:
        option = f"{file_id}_dir"
        cause = "the installation was not found: neither the registry nor a service tells where Exchange is"
        remedy = f"Set {option} to the directory of the executable as the server has it, or install Exchange first."
        yield Problem("not_installed", cause, remedy, option)
    elif not state.directory_exists:
        remedy = f"Check the path; set {file_id}_dir when Exchange is installed elsewhere."
        yield replace(problem_of("parent_missing", {"path": state.path}), remedy=remedy)


def content_problems(plan: FilePlan, wanted: Wanted) -> Iterable[Problem]:
    """Refuse what the file says and what would not become sure by the edits."""
    if wanted.present and plan.before is not None:
        yield from _prose_problems(plan.before, plan.path)
    yield from range_problems(plan.before, plan.state.id, wanted)
    if plan.action != "none" and plan.state.exists and plan.state.read_only:
        yield problem_of("read_only", {"path": plan.path})
    for section in unsure_sections(plan.after, plan.state.id, wanted):
        cause = f"parsers read [{section}] of this file differently, and a key of ours would not be sure"
        yield Problem("ambiguous", cause, _correction(plan, section), path=plan.path)


def _correction(plan: FilePlan, section: str) -> str:
    """Say which lines of a section are read differently; those of the whole file where none of its own is."""
    found = () if plan.before is None else plan.before.strict.findings
    own = [finding for finding in found if finding.section.lower() == section.lower()] or found
    lines = "; ".join(f"line {finding.line}: {finding.message}" for finding in own)
    what = f"Correct {lines}" if lines else "Write section lines alone and each key once"
    return f"{what}; save the file as ANSI with CRLF, then run again."


def _prose_problems(before: Content, path: str) -> Iterable[Problem]:
    sections = {owner.section.lower(): owner for owner in PUBLISHERS}
    for finding in before.as_ansi.strict_reading.findings:
        if finding.code == "prose_value" and finding.section.lower() in sections:
            cause = f"line {finding.line}: {finding.message}"
            remedy = (
                "It is an article's explanation, not syntax. Write ports as numbers with commas, or delete the line; "
                "state: absent removes it."
            )
            yield Problem("prose_value", cause, remedy, finding.key, path=path)


def unchanged_files(inspection: Inspection) -> tuple[FilePlan, ...]:
    """Return the files whose place is known, planned as they are."""
    states = (inspection.file(file_id) for file_id in FILES)
    return tuple(FilePlan(state, state.content) for state in states if state.path is not None and state.error is None)
