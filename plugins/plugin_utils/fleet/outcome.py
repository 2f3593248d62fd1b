# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of one server: what it owes right now, whether that succeeded, and what the summary says of it.

Pure functions of what the role's tasks returned for that server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from ..shapes import Json, JsonObject
from .look import Look
from .owed import Owes, refusals
from .plan import owed_now, restart_arguments
from .report import Back, Case, causes_since, report
from .verdict import Evidence, judge
from .wording import unprobed, why

# How far the clocks of a server and of its management host may be apart.
OTHER_CLOCK_S = 86400.0


@dataclass(frozen=True)
class Told:
    """What the plan told about one server that owes something.

    Attributes:
        look: Its look.
        more: Debts that only the ports show.
        elsewhere: Ports that it leaves and another server claims.
    """

    look: Look
    more: Sequence[JsonObject] = ()
    elsewhere: Sequence[Sequence[object]] = ()

    def owes(self, found: JsonObject | None, *, more: bool = True) -> Owes:
        """Return what is owed by a newer result of ``wspcfg``, or by the look."""
        places = {(place[0], place[1]) for place in self.elsewhere}
        return owed_now(
            self.look,
            claimed=lambda host, port: (host, port) in places,
            found=found,
            more=self.more if more else (),
        )


def owed_result(
    told: Told,
    *,
    found: JsonObject | None,
    probed: JsonObject | None = None,
    restarted: JsonObject | None = None,
    again: bool = False,
) -> Json:
    """Return what one server owes now: just before it is written with fresh answers, or after it was written.

    Args:
        told: What the plan told.
        found: Newest result of ``wspcfg``; None before anything was written.
        probed: Result of ``port_probe`` just before; None when nothing is refused any more.
        restarted: Result of ``service_restart``, once it has run.
        again: Whether this is after a rollback; what only the ports show has been restarted then.

    Returns:
        ``refused``, and :class:`Owes` as data with ``service_restart``, the arguments of the handler;
        ``probe_deadline``, for how many seconds waiting for ports makes sense; ``readable``, whether the newer result
        tells anything.
    """
    look = told.look
    if found is not None and not _is_readable(found):
        empty: Json = {"restarts": [], "deferred": [], "topics": [], "prove": [], "probe_deadline": 0.0}
        return {"refused": [_named(look.host, why(found))], "readable": False, **empty}
    owes = told.owes(found, more=not again)
    reasons = refusals(
        look.host,
        owes.as_result(),
        probed=probed,
        probe_host=look.wishes["probe_host"],
        blind=look.wishes["blind"],
    )
    waits = bool(owes.restarts) and came_back(restarted or {})
    return {
        "refused": [f"{look.host}: {reason}" for reason in reasons] if found is None else [],
        "readable": True,
        **owes.as_result(),
        "service_restart": restart_arguments(look, owes, () if again else told.more),
        "probe_deadline": float(look.wishes["probe_deadline"]) if waits else 0.0,
    }


def _is_readable(found: JsonObject) -> bool:
    """Whether a result of ``wspcfg`` tells what became of the files."""
    return "files" in found and not found.get("problems")


def _named(host: str, message: str) -> str:
    return message if message.startswith(f"{host}: ") else f"{host}: {message}"


@dataclass(frozen=True)
class Run:
    """Everything that the tasks of one server returned, empty where a task did not run.

    Attributes:
        before: Result of ``port_probe`` before anything was written.
        written: Result of ``wspcfg``.
        owed: Result of ``publish_owed`` after that.
        restarted: Result of ``service_restart``.
        after: Result of ``port_probe`` afterwards.
        inside: Result of ``wspcfg_info``.
        undone: Result of ``wspcfg`` that put the file of before back.
        owed_again: Result of ``publish_owed`` after that.
        restarted_again: Result of the restart that followed.
        back: Result of ``port_probe`` after that.
        failure: Result of the task that broke the run of this server.
        judged: Result of ``publish_verdict`` before that.
    """

    before: JsonObject = field(default_factory=dict)
    written: JsonObject = field(default_factory=dict)
    owed: JsonObject = field(default_factory=dict)
    restarted: JsonObject = field(default_factory=dict)
    after: JsonObject = field(default_factory=dict)
    inside: JsonObject = field(default_factory=dict)
    undone: JsonObject = field(default_factory=dict)
    owed_again: JsonObject = field(default_factory=dict)
    restarted_again: JsonObject = field(default_factory=dict)
    back: JsonObject = field(default_factory=dict)
    failure: JsonObject = field(default_factory=dict)
    judged: JsonObject = field(default_factory=dict)


def outcome_of(told: Told, run: Run) -> Json:
    """Judge what came of one server.

    Returns:
        ``ok``; ``action`` (``none``, ``rollback`` or ``keep``) and ``because`` of the judgement; ``msg``, empty when
        ok; ``restarted``, the restart that was judged; ``answered``, targets of the ports that were open before;
        ``events_since``, from when on events of the server tell about this run; ``summary``.
    """
    look = told.look
    if run.failure:
        return _broken(told, run)
    restarted = _judged(run.restarted) if run.owed.get("restarts") else {}
    missing = unprobed(run.after, look.wishes["probe_host"]) if look.wishes["probe"] else ""
    verdict = judge(
        Evidence(
            before=run.before.get("results") or (),
            after=run.after.get("results") or (),
            wrote=bool(run.written.get("changed")),
            restarted=restarted or None,
            unproven=bool(missing),
        ),
        policy=look.wishes["rollback"],
    )
    message = "" if verdict.ok else _message(told, run, restarted, asdict(verdict), missing)
    return {
        "ok": verdict.ok,
        "action": verdict.action,
        "because": list(verdict.because),
        "msg": message,
        "restarted": restarted,
        "answered": [
            {name: row[name] for name in ("host", "port", "protocol")}
            for row in run.before.get("results") or ()
            if row["status"] == "open"
        ],
        "events_since": _events_since(look, run.written),
        "summary": _summary(told, run, message),
    }


def _broken(told: Told, run: Run) -> Json:
    """Add what broke a server's run to what was done and judged before."""
    host, judged = told.look.host, run.judged
    broke = why({"msg": "failed without a message", **run.failure}) + "."
    if not judged:
        message = _named(host, broke)
        nothing: Json = {"restarted": {}, "answered": [], "events_since": 0.0}
        return {
            "ok": False,
            "action": "none",
            "because": [],
            "msg": message,
            "summary": _summary(told, run, message),
        } | nothing
    # After a rollback the newest restart is the second; the first one was judged.
    rolled_back = judged["action"] == "rollback"
    seen = replace(run, restarted=judged["restarted"], restarted_again=run.restarted if rolled_back else {})
    after = f"{host}: after that, a task failed: {broke.removeprefix(f'{host}: ')}"
    message = "\n".join(filter(None, (str(judged["msg"]), after)))
    told_before = {name: judged[name] for name in ("action", "because", "restarted", "answered", "events_since")}
    return {"ok": False, "msg": message, "summary": _summary(told, seen, message), **told_before}


def _events_since(look: Look, written: JsonObject) -> float:
    """Events carry the server's own time, which through a management host may be another than the script's."""
    now = float((written.get("clock") or {}).get("now") or 0.0)
    return max(now - (OTHER_CLOCK_S if look.wishes.get("computer") else 0.0), 0.0)


def came_back(restarted: JsonObject) -> bool:
    """Whether a restart ended well, so that waiting for its ports makes sense."""
    return bool(restarted) and not _judged(restarted)["failed"]


def _judged(restarted: JsonObject) -> Json:
    """The handler never fails by itself; its problems tell."""
    failed = bool(restarted.get("unreachable") or restarted.get("problems") or restarted.get("failed"))
    return {**restarted, "failed": failed}


def _message(told: Told, run: Run, restarted: JsonObject, verdict: JsonObject, missing: str) -> str:
    look = told.look
    back = None
    if run.undone:
        again = _judged(run.restarted_again) if run.owed_again.get("restarts") else None
        back = Back(run.undone, again, run.owed_again.get("deferred") or (), run.back.get("results") or ())
    return report(
        Case(
            host=look.host,
            results=run.after.get("results") or (),
            inside=run.inside.get("inside") or (),
            causes=causes_since(run.inside, run.written, remote=bool(look.wishes.get("computer"))),
            deferred=run.owed.get("deferred") or (),
            restarted=restarted or None,
            verdict=verdict if run.written else None,
            unprobed=missing,
            back=back,
        )
    )


# -- what the summary says ------------------------------------------------------------------------------------------


def _summary(told: Told, run: Run, message: str) -> Json:
    undone = _is_readable(run.undone)
    written = run.written if _is_readable(run.written) else {}
    wrote = [
        {"path": row["path"], "action": row["action"], "backup": row.get("backup")}
        for row in written.get("files") or ()
        if row["action"] != "none"
    ]
    restarts = [*_restarts(run.restarted)] if run.owed.get("restarts") else []
    if run.owed_again.get("restarts"):
        restarts += _restarts(run.restarted_again)
    results = run.back.get("results") if undone else run.after.get("results")
    return {
        "wrote": wrote,
        "put_back": undone,
        "restarted": restarts,
        "proven": [dict(row) for row in results or () if row["ok"]],
        "wrong": [dict(row) for row in results or () if not row["ok"]],
        "waits": [dict(entry) for entry in run.owed.get("deferred") or ()],
        "failed": message,
        "asked_from": told.look.wishes.get("probe_host") if told.look.wishes.get("probe") else "",
    }


def _restarts(restarted: JsonObject) -> Iterator[Json]:
    """Services that went down or up, and for how many seconds each was down; None where nothing tells."""
    times: dict[str, dict[str, float]] = {}
    for step in restarted.get("timeline") or ():
        times.setdefault(step["service"], {})[step["step"]] = float(step["at"])
    for row in restarted.get("services") or ():
        steps = times.get(row["name"], {})
        begin, end = steps.get("stopping"), steps.get("running")
        if begin is None and end is None:
            continue
        down = None if begin is None or end is None else max(end - begin, 0.0)
        processes = [(row.get(f"process_{when}") or {}).get("id") for when in ("before", "after")]
        told = {"service": row["name"], "down_s": down, "state": row.get("after"), "started": begin is None}
        yield {**told, "steps": steps, "processes": processes}
