# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ``wspcfg`` task does: inspect, plan, apply, report."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..exchange.content import Content
from ..exchange.file import FilePlan, unchanged_files
from ..exchange.inspection import FileState, Inspection, read_inspection
from ..exchange.installation import Exchange, Places, directory_problems, identify, inspection_request, proxy_here
from ..exchange.journal import journal_result, journal_warnings, owed_by_journal
from ..exchange.plan import Plan, finish_plan, make_plan
from ..exchange.restart_plan import RestartPlan
from ..exchange.wanted import exchange_version_problems, read_wanted
from ..problems.advice import problem_of
from ..problems.problem import Problem, Refused
from ..shapes import Json
from ..target.errors import TargetError
from ..target.session import Session
from .exposed import exposed_findings, exposed_warnings
from .failure import failure


@dataclass(frozen=True)
class View:
    """One inspection, understood."""

    inspection: Inspection
    exchange: Exchange


EMPTY = Plan((), (), RestartPlan(), (), (), (), (), ())


def places_of(options: Mapping[str, t.Any]) -> Places:
    """Return the directories that the user gave, checked.

    Raises:
        Refused: One of them is no absolute Windows path.
    """
    places = Places(options.get("bin_dir"), options.get("imc_dir"))
    problems = directory_problems(places)
    if problems:
        raise Refused(problems)
    return places


def ask(session: Session, options: Mapping[str, t.Any], **request: t.Any) -> View:
    """Inspect a server once.

    Args:
        session: The target.
        options: With ``bin_dir``, ``imc_dir`` and ``exchange_version``, where given.
        **request: Further arguments of ``inspection``.

    Raises:
        Refused: An option is wrong; nothing was sent.
        TargetError: The target's error; ``wrong_answer`` when its answer has another shape than agreed.
    """
    places = places_of(options)
    override = options.get("exchange_version")
    problems = exchange_version_problems(override)
    if problems:
        raise Refused(problems)
    answer = session.inspect(**inspection_request(places, **request))
    try:
        inspection = read_inspection(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise TargetError("wrong_answer", repr(error)) from error
    return View(inspection, identify(inspection, override=override))


def run(session: Session, options: Mapping[str, t.Any], *, host: str, check: bool) -> Json:
    """Bring Wspcfg.ini to the wanted state, or put a backup back.

    Args:
        session: The target.
        options: The module's options, validated.
        host: Name for messages.
        check: Predict only.

    Returns:
        The module's result, with ``failed`` and ``msg`` when something is in the way; the keys are the same either way.
    """
    try:
        return _run(session, options, host=host, check=check)
    except _Healed as healed:
        result = _run(session, options, host=host, check=check, again=True)
        return {**result, "changed": True, "healed": list(dict.fromkeys([*healed.paths, *result["healed"]]))}


class _Healed(Exception):
    """A run that died had left files half written; they are whole now, and what was planned is not right any more."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(*paths)
        self.paths = paths


def _run(session: Session, options: Mapping[str, t.Any], *, host: str, check: bool, again: bool = False) -> Json:
    view = None
    plan = EMPTY
    try:
        if options.get("restore") or options.get("undo"):
            view = ask(session, options)
            plan = _plan_back(session, options, view)
        else:
            wanted = read_wanted(options)
            view = ask(session, options)
            plan = make_plan(wanted, view.inspection, view.exchange)
        if plan.problems:
            raise Refused(plan.problems)
        answer = {} if check or not plan.writes else _apply(session, plan, options)
    except Refused as refused:
        return {**_result(plan, view, session, host), "changed": False, **failure(refused, host)}
    except TargetError as error:
        if error.code in ("changed", "not_found") and error.answer.get("healed") and not again:
            raise _Healed(error.answer["healed"]) from error
        result = {**_result(plan, view, session, host), **_failure(error, host)}
        _add_exposed(result, error.answer, host)
        return result
    result = _result(plan, view, session, host)
    _add_backups(result, answer)
    _add_exposed(result, answer, host)
    return {**result, **{key: answer[key] for key in ("healed", "left") if key in answer}}


def _apply(session: Session, plan: Plan, options: Mapping[str, t.Any]) -> Json:
    return session.apply(
        files=[file.as_request() for file in plan.writes],
        records=plan.records(),
        lock_wait=options.get("lock_wait", 0),
        lock=True,
    )


def _failure(error: TargetError, host: str) -> Json:
    applied, left, healed = (error.answer.get(key) or [] for key in ("applied", "left", "healed"))
    return {
        **failure(error, host),
        "changed": bool(left or healed) or (bool(applied) and not error.answer.get("restored")),
        "applied": applied,
        "restored": error.answer.get("restored") or [],
        "left": left,
        "healed": healed,
    }


def _add_backups(result: Json, answer: Mapping[str, t.Any]) -> None:
    backups = {row["path"].lower(): row["backup"] for row in answer.get("applied", ())}
    for row in result["files"]:
        row["backup"] = backups.get(row["path"].lower())


def _add_exposed(result: Json, answer: Mapping[str, t.Any], host: str) -> None:
    result["findings"] += exposed_findings(answer)
    result["warnings"] += exposed_warnings(answer, host)


def _result(plan: Plan, view: View | None, session: Session, host: str) -> Json:
    targets = list(plan.targets)
    closed = [port.as_target() for port in plan.ports if port.leaves and port.host]
    result: Json = {
        "changed": bool(plan.writes),
        "files": [file.as_result() for file in plan.files],
        "healed": [file.path for file in plan.writes if file.state.healing],
        "left": [],
        "diff": [file.diff() for file in plan.writes],
        "owed": [debt.as_result() for debt in plan.owed],
        "restart": plan.restart.as_result(),
        "targets": targets,
        "closed_targets": closed,
        "unproven": list(plan.unproven),
        "predicted": [port.as_result() for port in plan.ports],
        "in_force": [port.as_target() for port in plan.ports if port.now],
        "proxy_on_server": plan.proxy_on_server,
        "findings": list(plan.findings),
        "warnings": [f"{host}: {warning}" for warning in plan.warnings],
        "problems": [],
        "executions": session.executions,
    }
    if view is None:
        return {**result, "exchange": None, "clock": None, "unfinished": None}
    inspection = view.inspection
    left = journal_result(inspection)
    result["owed"] += owed_by_journal(inspection)
    result["restart"]["unfinished"] = bool(owed_by_journal(inspection))
    result["restart"]["left_down"] = [] if left is None else [row["service"] for row in left["owed"]]
    result["restart"]["machine"] = inspection.clock_result()["machine"]
    result["warnings"] += [f"{host}: {warning}" for warning in journal_warnings(inspection)]
    return {
        **result,
        "exchange": view.exchange.as_result(inspection),
        "clock": inspection.clock_result(),
        "unfinished": left,
    }


# -- putting something back ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Restoration:
    """One file that gets the content of a backup back; None: it did not exist."""

    state: FileState
    sha256: str | None


def _files(inspection: Inspection) -> list[FileState]:
    return [file.state for file in unchanged_files(inspection)]


def _choose(inspection: Inspection, restore: str) -> list[_Restoration]:
    """Return which backup goes where.

    Raises:
        Refused: There is none.
    """
    chosen = []
    for file in _files(inspection):
        rows = [row for row in inspection.backups if row.path.lower() == (file.path or "").lower()]
        if restore not in ("original", "latest"):
            rows = [row for row in rows if row.sha256 == restore.lower()]
        if rows:
            row = rows[0] if restore == "original" else rows[-1]
            chosen.append(_Restoration(file, row.sha256))
    if not chosen:
        known = ", ".join(dict.fromkeys(row.sha256[:12] + "..." for row in inspection.backups)) or "none"
        remedy = f"wspcfg_info lists the backups of this server; known are: {known}."
        raise Refused([Problem("backup_missing", "there is no such backup of these files", remedy, "restore", restore)])
    return chosen


def _choose_undo(inspection: Inspection, undo: Sequence[Mapping[str, t.Any]]) -> list[_Restoration]:
    """Return what was there before an earlier run.

    Raises:
        Refused: A file is not as that run left it; it is then somebody else's work.
    """
    by_path = {(file.path or "").lower(): file for file in _files(inspection)}
    chosen, problems = [], []
    for row in undo:
        if row["sha256"] == row["sha256_before"]:
            continue
        file = by_path.get(row["path"].lower())
        if file is None:
            remedy = "Give the key files of the result of a run on this server."
            problems.append(Problem("bad_option", "this server has no such file", remedy, "undo", row["path"]))
        elif (file.sha256 if file.exists else None) == row["sha256"]:
            chosen.append(_Restoration(file, row["sha256_before"]))
        elif (file.sha256 if file.exists else None) != row["sha256_before"]:
            problems.append(problem_of("changed", {"path": row["path"]}))
    if problems:
        raise Refused(problems)
    return chosen


def _plan_back(session: Session, options: Mapping[str, t.Any], view: View) -> Plan:
    inspection = view.inspection
    if proxy_here(inspection) is not None:
        cause = "Proxy Server runs on this server, so Wspcfg.ini is left alone (Q178532)"
        raise Refused([Problem("proxy_on_server", cause, "Restore it by hand if it must be.", "restore")])
    chosen = (
        _choose_undo(inspection, options["undo"]) if options.get("undo") else _choose(inspection, options["restore"])
    )
    back = {row.state.id: _file_back(session, options, row, inspection) for row in chosen}
    files = [back.get(file.state.id, file) for file in unchanged_files(inspection)]
    return finish_plan(inspection, files, None, where=read_wanted({**options, "listeners": None, "state": "absent"}))


def _file_back(session: Session, options: Mapping[str, t.Any], back: _Restoration, inspection: Inspection) -> FilePlan:
    content = None if back.sha256 is None else _backup_content(session, options, back.sha256, back.state)
    return FilePlan(back.state, content, _still_owned(inspection, content), (), back.sha256)


def _backup_content(session: Session, options: Mapping[str, t.Any], sha256: str, state: FileState) -> Content:
    if state.sha256 == sha256 and state.content is not None:
        return state.content
    answer = session.inspect(**inspection_request(places_of(options), backup=sha256))
    content = read_backup(answer.get("backup"))
    if content is None or content.sha256 != sha256:
        raise TargetError("backup_missing", "", {"sha256": sha256})
    return content


def read_backup(row: Mapping[str, t.Any] | None) -> Content | None:
    """Return a backup's content from an answer of ``inspect``, None when there is none."""
    return None if row is None else Content(base64.b64decode(row["content"]))


def _still_owned(inspection: Inspection, content: Content | None) -> tuple[str, ...]:
    """Return the keys of our record that the content still holds."""
    if content is None:
        return ()
    reading = content.document.text_reading
    names = (name for record in inspection.records.values() for name in record.owned)
    pairs = ((name, *name.partition(".")[::2]) for name in names)
    return tuple(sorted({name for name, section, key in pairs if reading.get(section, key) is not None}))
