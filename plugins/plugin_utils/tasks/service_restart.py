# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ``service_restart`` task does: plan or take a plan, refuse, restart, tell the truth."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...module_utils.listeners import OWNERS
from ..exchange.debts import loads_of
from ..exchange.file import unchanged_files
from ..exchange.inspection import Inspection
from ..exchange.journal import as_finished, journal_result, journal_warnings, owed_by_journal
from ..exchange.pending import verdicts
from ..exchange.restart_plan import Entry, Loads, RestartPlan, Wish, plan_restart
from ..problems.advice import down_advice, problem_of
from ..problems.problem import Problem, Refused
from ..problems.window import REMEDY, WindowError, read_window
from ..shapes import Json
from ..target.errors import TargetError, explain
from ..target.restarting import NOTIFY_EVERY_S, restart
from ..target.session import Session
from .exposed import exposed_warnings
from .failure import failure
from .wspcfg import ask

_SECONDS = ("stop_timeout", "start_timeout", "deadline", "settle")
# What is over by then needs no second execution; what is not is told to the person who waits.
WAIT_S = int(NOTIFY_EVERY_S)
PREDICTED = "predicted"
# Parts of the journal's rows that say nothing to people about what happened.
REQUEST_KEYS = frozenset({"depends_on", "file", "file_sha256", "loaded", "ran", "stop_at"})
# What a result tells of an earlier restart; the rest of it is for the target script.
PREVIOUS_KEYS = ("run", "who", "began", "down")
# A service that was started in vain.
REST = frozenset({None, "stopped"})
ALLOWS = ("allow_kms", "allow_cluster", "allow_disabled", "start_dependencies")


@dataclass(frozen=True)
class Job:
    """A restart that is ready to be asked for.

    Attributes:
        plan: What is restarted.
        unfinished: Whether an interrupted restart is completed with it.
        states: State of every service before, as far as it was inspected.
        warnings: What the user should know.
        clock: Time of the inspection, None when there was none.
        machine: Whose clock is told; None for a plan that somebody made by hand.
        journal: What an interrupted restart left, None when unknown or nothing.
        skipped: Reasons why services that were named are not restarted.
    """

    plan: RestartPlan
    unfinished: bool
    states: Mapping[str, str | None]
    warnings: tuple[str, ...] = ()
    clock: Json | None = None
    machine: str | None = None
    journal: Json | None = None
    skipped: tuple[Json, ...] = ()


NO_JOB = Job(RestartPlan(), False, {})


# -- options ------------------------------------------------------------------------------------------------------


def _window(text: str | None) -> Json | None:
    """Return a window as the target script wants it.

    Raises:
        Refused: It cannot be read.
    """
    try:
        window = read_window(text)
    except WindowError as error:
        raise Refused([Problem("bad_option", "this is no window", REMEDY, "window", text)]) from error
    return None if window is None else window.as_request()


def _check(options: Mapping[str, t.Any]) -> None:
    problems = []
    for name in _SECONDS:
        if options[name] < 0 or (options[name] == 0 and name != "settle"):
            remedy = "Give a positive number of seconds."
            problems.append(Problem("bad_option", "this is no duration", remedy, name, str(options[name])))
    for name in options.get("names") or ():
        if not re.match(r"[^\x00-\x1f\\/]{1,256}\Z", name.strip()):
            remedy = "Give the service's name, as sc query shows it."
            problems.append(Problem("bad_option", "this can be no service", remedy, "names", name))
    if options.get("plan") is None and not options.get("names") and not options.get("only_if_pending"):
        problems.append(Problem("bad_option", "nothing to restart", "Give names or plan.", "names"))
    if problems:
        raise Refused(problems)
    _window(options.get("window"))


# -- the plan, taken or made --------------------------------------------------------------------------------------


def _taken(value: Mapping[str, t.Any], finish: str) -> Job:
    """Take the plan that ``wspcfg`` made.

    Args:
        value: The plan.
        finish: The option of that name: ``any`` completes what a run before the last boot left down as well.

    Raises:
        Refused: It has not the shape that ``wspcfg`` returns.
    """
    try:
        entries = tuple(_entry(row) for row in value["services"])
        refusals = tuple(Problem(**row) for row in value["refusals"])
        if_started = tuple(Problem(**row) for row in value.get("refusals_if_started", value["refusals"]))
        names = {key: tuple(value[key]) for key in ("roots", "takes_down", "stopped", "warnings")}
    except (KeyError, TypeError) as error:
        remedy = "Give the key restart of a result of wspcfg, unchanged."
        raise Refused([Problem("bad_option", f"this is no plan ({error!r})", remedy, "plan")]) from error
    plan = RestartPlan(entries, **names, refusals=refusals, refusals_if_started=if_started)
    states = {row.name: "stopped" if row.name in plan.stopped else "running" for row in entries}
    unfinished = bool(value.get("unfinished") or (finish == "any" and value.get("left_down")))
    return Job(plan, unfinished, states, plan.warnings if plan.roots else (), machine=value.get("machine"))


def _entry(row: Mapping[str, t.Any]) -> Entry:
    loads = None if row["file"] is None else Loads(row["file"], row["file_sha256"], row["loaded"])
    return Entry(row["name"], row["role"], tuple(row["depends_on"]), loads)


def _only_pending(inspection: Inspection, names: Sequence[str]) -> tuple[list[str], list[Json]]:
    """Divide names into those that must restart and those that need not.

    Raises:
        Refused: A service that reads no Wspcfg.ini: nothing could ever be pending there.
    """
    found = verdicts(inspection)
    known = ", ".join(owner.service for owner in OWNERS)
    remedy = f"Leave only_if_pending out, or name some of: {known}."
    cause = "this service reads no Wspcfg.ini, so nothing is ever pending there"
    problems = [Problem("bad_option", cause, remedy, "names", name) for name in names if name.lower() not in found]
    if problems:
        raise Refused(problems)
    kept = [name for name in names if found[name.lower()].pending]
    skipped = [{"name": name, "reason": found[name.lower()].text} for name in names if name not in kept]
    return kept, skipped


def _made(session: Session, options: Mapping[str, t.Any]) -> Job:
    # A list that is written as one string keeps the blanks after its commas.
    names = [name.strip() for name in options.get("names") or (owner.service for owner in OWNERS)]
    inspection = ask(session, options, names=names).inspection
    skipped: list[Json] = []
    if options["only_if_pending"]:
        names, skipped = _only_pending(inspection, names)
    loads = loads_of(unchanged_files(inspection))
    wish = Wish(tuple(names), loads, options["start"], options["start_dependencies"])
    plan = plan_restart(as_finished(inspection, _finishable(inspection, options)), wish)
    return Job(
        plan=plan,
        unfinished=bool(_finishable(inspection, options)),
        states={row.name: row.state for row in inspection.services},
        warnings=(*(plan.warnings if plan.roots else ()), *journal_warnings(inspection)),
        clock=inspection.clock_result(),
        machine=inspection.clock_result()["machine"],
        journal=journal_result(inspection),
        skipped=tuple(skipped),
    )


def _finishable(inspection: Inspection, options: Mapping[str, t.Any]) -> list[str]:
    """Name the services that are started to complete an interrupted restart."""
    left = journal_result(inspection)
    if options["finish"] == "any" and left is not None:
        return list(left["down"])
    return [row["service"] for row in owed_by_journal(inspection)]


def _narrowed(job: Job, options: Mapping[str, t.Any]) -> Job:
    """Leave out what is stopped and not to be started, and the dependents' refusals that were accepted."""
    plan = job.plan
    left_out = set() if options["start"] else set(plan.stopped)
    entries = tuple(entry for entry in plan.entries if entry.name not in left_out)
    against = plan.refusals_if_started if options["start"] else plan.refusals
    refusals = tuple(row for row in against if not (row.option in ALLOWS and options[row.option]))
    if options["dependents"] == "fail" and plan.takes_down:
        cause = f"{', '.join(plan.takes_down)} would be stopped with it"
        remedy = "Set dependents to restore (they are started again) or leave_stopped."
        refusals += (Problem("dependents_running", cause, remedy, "dependents", "fail"),)
    stopped = tuple({"name": name, "reason": "it is not running; start: true starts it"} for name in plan.stopped)
    skipped = job.skipped if options["start"] else (*job.skipped, *stopped)
    return replace(job, plan=replace(plan, entries=entries, refusals=refusals), skipped=skipped)


# -- the task -----------------------------------------------------------------------------------------------------


def run(session: Session, options: Mapping[str, t.Any], *, host: str, check: bool) -> Json:
    """Restart services, or predict it.

    Args:
        session: The target.
        options: The module's options, validated.
        host: Name for messages.
        check: Predict only.

    Returns:
        The module's result, with ``failed`` and ``msg`` when something went wrong; the keys are the same either way.
    """
    job = NO_JOB
    try:
        _check(options)
        job = _taken(options["plan"], options["finish"]) if options.get("plan") is not None else _made(session, options)
        job = _narrowed(job, options)
        if job.plan.refusals:
            raise Refused(job.plan.refusals)
        if check or not (job.plan.entries or job.unfinished):
            return _predicted(job, options, session, host)
        answer = restart(session, _request(job, options))
    except Refused as refused:
        return {**_result(job, {}, session, host), **failure(refused, host)}
    except TargetError as error:
        return _failed(job, error, session, host, options)
    result = _result(job, answer, session, host)
    return {**result, "advice": _advice(result, None, options)}


def _request(job: Job, options: Mapping[str, t.Any]) -> Json:
    plan = job.plan
    keys = ("dependents", "stop_timeout", "start_timeout", "deadline", "settle", "lock_wait")
    return {
        **{key: options[key] for key in (*keys, "allow_disabled", "start_dependencies", "finish")},
        "services": [entry.as_request() for entry in plan.entries],
        "start": list(plan.stopped) if options["start"] else [],
        "wait": WAIT_S,
        "window": _window(options.get("window")),
    }


def _predicted(job: Job, options: Mapping[str, t.Any], session: Session, host: str) -> Json:
    """Return what a run would do; dependents as ``dependents`` says."""
    rows = []
    for entry in job.plan.entries:
        stays_down = entry.role == "dependent" and options["dependents"] == "leave_stopped"
        before = job.states.get(entry.name)
        rows.append(_row(entry, before, "stopped" if stays_down else "running"))
    outcome = PREDICTED if rows or job.unfinished else "nothing"
    answer = {"done": True, "outcome": outcome, "services": rows, "timeline": []}
    return {**_result(job, answer, session, host), "changed": outcome == PREDICTED}


def _row(entry: Entry, before: str | None, after: str) -> Json:
    empty = dict.fromkeys(("process_before", "process_after", "process_source", "stop_ms", "start_ms", "error"))
    return {**empty, "name": entry.name, "role": entry.role, "before": before, "after": after, "step": PREDICTED}


def _changed_state(row: Mapping[str, t.Any], timeline: Iterable[Mapping[str, t.Any]]) -> bool:
    """Tell whether this run stopped or started a service, or would; a row may also tell of the run before."""
    if row.get("step") == PREDICTED:
        return True
    steps = {step["step"] for step in timeline if step["service"] == row["name"]}
    after = row.get("after")
    stopped = row.get("stop_ms") is not None or after not in (None, row.get("before"))
    return ("stopping" in steps and stopped) or "running" in steps or ("starting" in steps and after not in REST)


def _services(answer: Mapping[str, t.Any]) -> list[Json]:
    names = {"root": "requested", "dependent": "dependent"}
    rows = [{**row, "role": names.get(row["role"], row["role"])} for row in answer.get("services") or ()]
    return [{key: value for key, value in row.items() if key not in REQUEST_KEYS} for row in rows]


def _transition(rows: Iterable[Mapping[str, t.Any]], timeline: Sequence[Mapping[str, t.Any]]) -> Json:
    """Return the change of states as Ansible's diff shows it."""
    moved = [row for row in rows if _changed_state(row, timeline)]
    before = "".join(f"{row['name']}: {_state(row, 'before')}\n" for row in moved)
    after = "".join(f"{row['name']}: {_state(row, 'after')}\n" for row in moved)
    return {"before_header": "services before", "after_header": "services after", "before": before, "after": after}


def _state(row: Mapping[str, t.Any], when: str) -> str:
    process = row.get(f"process_{when}")
    again = ", restarted" if when == "after" and row.get("before") == row.get("after") == "running" else ""
    return f"{row.get(when)} as process {process['id']}" if process else f"{row.get(when)}{again}"


def _result(job: Job, answer: Mapping[str, t.Any], session: Session, host: str) -> Json:
    rows = _services(answer)
    timeline = answer.get("timeline") or []
    previous = answer.get("previous")
    plan = job.plan
    return {
        "changed": any(_changed_state(row, timeline) for row in rows) or bool(answer.get("finished")),
        "outcome": answer.get("outcome", "nothing"),
        "launched": answer.get("launched"),
        "services": rows,
        "timeline": timeline,
        "roots": list(plan.roots),
        "takes_down": list(plan.takes_down),
        # Not "skipped": Ansible takes a result with that key for a task that did not run.
        "not_concerned": list(job.skipped),
        "down": _down(answer),
        "advice": [],
        "left_alone": answer.get("left_alone") or [],
        "completed": answer.get("finished") or [],
        "previous": previous and {key: previous.get(key) for key in PREVIOUS_KEYS},
        "unfinished": job.journal,
        "refusals": [problem.as_result() for problem in plan.refusals],
        "problems": [],
        "warnings": [f"{host}: {warning}" for warning in (*job.warnings, *_launched(answer))]
        + [*exposed_warnings(answer, host)],
        "diff": _transition(rows, timeline),
        "executions": session.executions,
        "clock": _clock(answer, job),
    }


def _launched(answer: Mapping[str, t.Any]) -> Iterable[str]:
    """Warn of a worker that Windows may end together with the connection."""
    if answer.get("launched") == "process":
        yield (
            "WMI did not start the process that restarts the services, so it was started within the connection's own "
            "job and may end with it; the next run would then start what is down. See that WMI answers on that machine "
            "(service Winmgmt)."
        )


def _clock(answer: Mapping[str, t.Any], job: Job) -> Json | None:
    """Return the latest time that was told, with the name of the machine whose clock it is."""
    told = answer.get("clock")
    return job.clock if told is None else {**told, "machine": job.machine}


def _down(answer: Mapping[str, t.Any]) -> list[str]:
    """Name what ran before this run, or before an earlier one that it was to complete, and does not now."""
    earlier = (answer.get("previous") or {}).get("down") or ()
    # One that hangs on its way down is not stopped yet; the error that names it says so.
    detail = (answer.get("error") or {}).get("detail") or {}
    hanging = [detail["service"]] if detail.get("state") == "stop_pending" and detail.get("service") else []
    return list(dict.fromkeys([*(answer.get("down") or ()), *earlier, *hanging]))


def _failed(job: Job, error: TargetError, session: Session, host: str, options: Mapping[str, t.Any]) -> Json:
    if error.code == "outside_window" and job.machine is not None:
        error.detail.setdefault("machine", job.machine)
    result = _result(job, error.answer, session, host)
    completing = _completing(error)
    told = [f"Completing it failed: {problem.cause}. {problem.remedy}" for problem in completing]
    if result["down"]:
        told.append(f"Down now: {', '.join(result['down'])}.")
    if not error.answer.get("done"):
        told += _seen_last(result["services"])
    return {
        **result,
        **failure(error, host, further=completing),
        "outcome": error.answer.get("outcome", "failed"),
        "msg": " ".join([explain(error, host), *told]),
        "advice": _advice(result, error, options),
    }


def _completing(error: TargetError) -> list[Problem]:
    """Return why an interrupted restart could not be completed."""
    failure = error.detail.get("finish_error")
    return [problem_of(failure["code"], failure["detail"], text=failure["message"])] if failure else []


def _seen_last(rows: Iterable[Mapping[str, t.Any]]) -> list[str]:
    """Say what was on its way when the target was heard of last."""
    moving = [f"{row['name']} {row['step']}" for row in rows if row["step"] in ("stopping", "stopped", "starting")]
    return [f"Seen last: {', '.join(moving)}."] if moving else []


def _advice(result: Mapping[str, t.Any], error: TargetError | None, options: Mapping[str, t.Any]) -> list[str]:
    """Say what to do about each service that failed or is down."""
    rows = {row["name"]: row for row in result["services"]}
    texts = {name: _what_failed(name, row["error"]) for name, row in rows.items() if row.get("error")}
    concerned = None if error is None else error.detail.get("service")
    if error is not None and concerned and concerned not in texts:
        texts[concerned] = _what_failed(concerned, {"code": error.code, "detail": error.detail})
    for name in result["down"]:
        if name not in texts:
            texts[name] = down_advice(_why_down(name, result, error, options), name)
    return [f"{name}: {text}" for name, text in texts.items()]


def _what_failed(name: str, error: Mapping[str, t.Any]) -> str:
    problem = problem_of(error["code"], {"service": name, **(error.get("detail") or {})})
    return f"{problem.cause}. {problem.remedy}"


def _why_down(name: str, result: Mapping[str, t.Any], error: TargetError | None, options: Mapping[str, t.Any]) -> str:
    """Tell why a service without an error of its own is down, as ``down_advice`` has it."""
    earlier = (result["previous"] or {}).get("down") or ()
    row = next((row for row in result["services"] if row["name"] == name), None)
    if row is None or (error is not None and error.code == "interrupted" and not error.detail and name in earlier):
        # A run that fails to complete an earlier one does not look at its own services: what is down is owed as before.
        completing = error is not None and not any(row.get("before") for row in result["services"])
        return "stopped" if completing else "earlier"
    if error is not None:
        return "stopped"
    wished = options["dependents"] == "leave_stopped" and row["role"] == "dependent"
    return "wished" if wished or row["step"] == "left" else "disabled"
