# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``win_ini`` and ``win_ini_info`` tasks do: inspect, plan, apply, report."""

from __future__ import annotations

import base64
import hashlib
import time
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..ini.document import Document
from ..ini.encoding import judge
from ..ini.paths import drive_hint, read_path, unknown_place
from ..ini.readers import Finding
from ..ini.redact import Redactor
from ..ini.report import content_of, duplicate_rows, finding_rows, section_rows
from ..ini.survey import survey
from ..ini.win_ini_plan import INI_MAX_BYTES, IniPlan, diff_of, plan_ini
from ..ini.wishes import IniWanted, read_ini_wanted, read_names
from ..problems.advice import problem_of
from ..problems.problem import Problem, Refused
from ..shapes import Json
from ..target.errors import TargetError
from ..target.session import Session
from .exposed import exposed_warnings
from .failure import failure


@dataclass(frozen=True)
class FileView:
    """The file as one inspection found it.

    Attributes:
        path: Its path on the server, variables expanded.
        data: Its bytes, None if it does not exist.
        sha256: Its hash, None if it does not exist.
        directory_exists: Whether its directory does.
        read_only: Whether it has that attribute.
        healing: Whether a run that died left it half written or without its name; everything else tells how it will be
            once its old text is back, with which writing begins.
        stamp: The clock of the machine that runs the script, as ``YYYYMMDD-HHMMSS`` in its own time zone.
        mapped: Whether Windows keeps the file's settings in the registry (IniFileMapping).
    """

    path: str
    data: bytes | None
    sha256: str | None
    directory_exists: bool
    read_only: bool
    healing: bool
    stamp: str
    mapped: bool

    def findings(self) -> list[Finding]:
        """Return what is odd about the file's place."""
        if not self.mapped:
            return []
        message = (
            "Windows' profile functions keep settings of a file of this name in the registry (IniFileMapping); what is "
            "written into the file they may never read"
        )
        return [Finding("ini_file_mapping", 0, message)]


# Windows maps these two in any case; the registry tells of others.
_MAPPED = frozenset({"win.ini", "system.ini"})
_MAPPING = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\IniFileMapping"
# So many sections are looked up there.
_SECTIONS_LOOKED_UP = 20


def _mapping_rows(path: str, sections: Iterable[str]) -> list[Json]:
    """Return what to ask the registry: the file's own row, and for each section a value or a key of its name."""
    key = f"{_MAPPING}\\{path.rsplit(chr(92), 1)[-1]}"
    names = [name for name in sections if name and "\\" not in name][:_SECTIONS_LOOKED_UP]
    places = [(key, ""), *((key, name) for name in names), *((f"{key}\\{name}", "") for name in names)]
    return [{"id": f"mapping{at}", "key": place, "value": value} for at, (place, value) in enumerate(places)]


def _look(session: Session, path: str, sections: Iterable[str]) -> FileView:
    """Read the file.

    Args:
        session: The target.
        path: The file.
        sections: Names of sections for which IniFileMapping is looked up.

    Raises:
        TargetError: The target's error, that of the file included.
    """
    row: Json = {
        "id": "file",
        "name": path.rsplit("\\", 1)[-1],
        "path": path,
        "beside": [],
        "root": None,
        "below": None,
    }
    wish = {"pointer": None, "content": True, "executables": False, "max_bytes": INI_MAX_BYTES}
    answer = session.inspect(
        registry=_mapping_rows(path, sections),
        services=[],
        files=[{**row, **wish}],
        state=False,
        backup=None,
        events=None,
        ports=[],
    )
    try:
        found = answer["files"][0]
        if found["error"]:
            limits = {"size": found["size"], "max_bytes": INI_MAX_BYTES}
            detail = {"path": path, **limits, **(found["error"].get("detail") or {})}
            raise TargetError(found["error"]["code"], found["error"].get("message") or "", detail, answer)
        return FileView(
            path=found["path"] or path,
            data=base64.b64decode(found["content"], validate=True) if found["exists"] else None,
            sha256=found["sha256"] if found["exists"] else None,
            directory_exists=found["directory_exists"],
            read_only=bool(found["read_only"]),
            healing=bool(found.get("healing")),
            stamp=_stamp(answer["clock"]),
            mapped=path.rsplit("\\", 1)[-1].lower() in _MAPPED
            or any(item["value"] is not None for item in answer.get("registry") or ()),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise TargetError("wrong_answer", repr(error)) from error


def _stamp(clock: Mapping[str, t.Any]) -> str:
    local = time.gmtime(clock["now"] + clock["utc_offset_minutes"] * 60)
    return time.strftime("%Y%m%d-%H%M%S", local)


# -- win_ini ----------------------------------------------------------------------------------------------------------


def run(session: Session, options: Mapping[str, t.Any], *, host: str, check: bool) -> Json:
    """Bring an INI file to the wanted state.

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
        return {**result, "changed": True, "healed": list(healed.args)}


class _Healed(Exception):
    """A run that died had left the file half written; it is whole now, and what was planned is not right any more."""


def _run(session: Session, options: Mapping[str, t.Any], *, host: str, check: bool, again: bool = False) -> Json:
    view: FileView | None = None
    plan: IniPlan | None = None
    path = str(options["path"])
    redactor = Redactor(options.get("redact") or ())
    try:
        wanted = read_ini_wanted(options)
        view = _look(session, wanted.path, [section.name for section in wanted.sections])
        _check_view(wanted, view)
        plan = plan_ini(wanted, view.data, findings=view.findings())
        writes = plan.changed or view.healing
        if writes:
            _check_writable(view)
        answer = _write(session, options, view, plan) if writes and not check else {}
    except Refused as refused:
        return {**_untouched(session, path, view, plan, redactor, host), **failure(refused, host)}
    except TargetError as error:
        healed = error.answer.get("healed") or []
        if error.code in ("changed", "not_found") and healed and not again:
            raise _Healed(*healed) from error
        failed = failure(error, host)
        applied = error.answer.get("applied") or []
        backup = {"backup_file": applied[0].get("backup") if applied else None}
        if applied and not error.answer.get("restored"):
            return {**_result(session, path, view, plan, redactor, host), **backup, **failed}
        result = {**_untouched(session, path, view, plan, redactor, host), **backup, **failed}
        return {**result, **(_left_by(error) if plan is not None else {})}
    result = _result(session, path, view, plan, redactor, host)
    applied = answer.get("applied") or [{}]
    told: Json = {key: answer[key] for key in ("healed", "left") if key in answer}
    result["warnings"] += exposed_warnings(answer, host)
    return {**result, **told, "backup_file": applied[0].get("backup")}


def _left_by(error: TargetError) -> Json:
    """Return what a failed apply says about the file, where that is not what inspect found."""
    if error.answer.get("left"):
        return {"changed": True, "sha256": None, "left": error.answer["left"]}
    if "applied" not in error.answer:
        return {"sha256": None}
    if error.code == "changed":
        return {"sha256": error.detail.get("found")}
    return {}


def _check_view(wanted: IniWanted, view: FileView) -> None:
    if wanted.expect_sha256 is not None and view.sha256 != wanted.expect_sha256:
        cause = f"the file has the SHA-256 {view.sha256 or '(it does not exist)'}; nothing was written"
        remedy = "Look at what changed it, then give the hash that the file has now."
        raise Refused([Problem("changed", cause, remedy, "expect_sha256", wanted.expect_sha256, view.path)])
    unknown = unknown_place(view.path)
    if unknown is not None:
        raise Refused([unknown])
    if view.data is None and not view.directory_exists:
        problem = problem_of("parent_missing", {"path": view.path})
        raise Refused([replace(problem, remedy=problem.remedy + drive_hint(view.path))])
    if view.data is None and not wanted.create:
        remedy = "Check the path, or set create to true."
        raise Refused([Problem("not_found", f"{view.path} does not exist", remedy, "create", "false")])


def _check_writable(view: FileView) -> None:
    if view.read_only:
        raise Refused([problem_of("read_only", {"path": view.path})])


def _write(session: Session, options: Mapping[str, t.Any], view: FileView, plan: IniPlan) -> Json:
    backup, exists = None, plan.changed or view.data is not None
    if options["backup"] and view.data is not None:
        backup = f"{view.path}.{session.identity.run[:8]}.{view.stamp}.bak"
    file = {
        "path": view.path,
        "expect_sha256": view.sha256,
        "content": base64.b64encode(bytes(plan.after)).decode("ascii") if exists else None,
        "from_backup": None,
        "backup": "beside" if backup else "none",
        "backup_path": backup,
    }
    return session.apply(files=[file], records=[], lock_wait=options.get("lock_wait", 0), lock=True)


def _result(
    session: Session, path: str, view: FileView | None, plan: IniPlan | None, redactor: Redactor, host: str
) -> Json:
    result: Json = {
        "changed": plan is not None and (plan.changed or (view is not None and view.healing)),
        "path": view.path if view else path,
        "created": bool(view and plan and plan.changed and view.data is None),
        "sha256_before": view.sha256 if view else None,
        "sha256": view.sha256 if view else None,
        "encoding": None,
        "newline": None,
        "backup_file": None,
        "healed": [view.path] if view is not None and view.healing else [],
        "left": [],
        "changes": [],
        "duplicates": [],
        "findings": [],
        "warnings": [],
        "problems": [],
        "executions": session.executions,
    }
    if view is None or plan is None:
        return result
    exists = view.data is not None or plan.changed
    return {
        **result,
        "sha256": hashlib.sha256(bytes(plan.after)).hexdigest() if exists else None,
        "encoding": plan.after.encoding,
        "newline": _newline_name(plan.after),
        "changes": list(plan.changes),
        "duplicates": list(plan.duplicates),
        "findings": list(plan.findings),
        "warnings": [f"{host}: {warning}" for warning in (*_cut(view), *plan.warnings)],
        "diff": diff_of(plan, view.path, redactor),
    }


def _cut(view: FileView) -> list[str]:
    told = "a run died while it wrote this file; its text from before comes back first"
    return [f"{view.path}: {told}."] if view.healing else []


def _untouched(
    session: Session, path: str, view: FileView | None, plan: IniPlan | None, redactor: Redactor, host: str
) -> Json:
    """Return the result of a task that wrote nothing: the file is what was found, and nothing in it differs."""
    result = _result(session, path, view, plan, redactor, host)
    result.pop("diff", None)
    result |= {"changed": False, "created": False, "changes": [], "healed": [], "sha256": result["sha256_before"]}
    if view is not None and view.data is None:
        result |= {"encoding": None, "newline": None}
    elif plan is not None:
        result |= {"encoding": plan.before.encoding, "newline": _newline_name(plan.before)}
    return result


def _newline_name(document: Document) -> str:
    return {"\r\r\n": "crcrlf", "\r\n": "crlf", "\n": "lf", "\r": "cr"}[document.newline]


# -- win_ini_info -----------------------------------------------------------------------------------------------------


def read(session: Session, options: Mapping[str, t.Any], *, host: str) -> Json:
    """Read an INI file.

    Args:
        session: The target.
        options: The module's options, validated.
        host: Name for messages.

    Returns:
        The module's result; a file that does not exist is no failure.
    """
    redactor = Redactor(options.get("redact") or ())
    empty: Json = {"changed": False, "path": str(options["path"]), "exists": False, "size": None, "sha256": None}
    empty |= {"encoding": None, "bom": False, "newline": None, "sections": [], "content": {}}
    empty |= {"duplicates": [], "findings": [], "problems": [], "executions": 0}
    try:
        only = read_names(options, "sections")
        view = _look(session, read_path(options), only)
        judged = judge(view.data or b"", options["encoding"])
    except (Refused, TargetError) as error:
        return {**empty, "executions": session.executions, **failure(error, host)}
    result = {**empty, "path": view.path, "executions": session.executions}
    if view.data is None:
        return result
    document = judged.document
    seen = survey(document, options["reader"])
    rows = section_rows(seen, None if options.get("sections") is None else only, redactor)
    return {
        **result,
        "exists": True,
        "size": len(view.data),
        "sha256": view.sha256,
        "encoding": document.encoding,
        "bom": bool(document.bom),
        "newline": _newline_name(document),
        "sections": rows,
        "content": content_of(rows),
        "duplicates": list(duplicate_rows(seen, redactor)),
        "findings": list(finding_rows([*judged.findings, *seen.findings, *view.findings()], redactor)),
    }
