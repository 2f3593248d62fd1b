# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One restart: launched, followed to its end, and completed by another run where its worker died.

Launch and poll, because WinRM ends a command when the client gives up, and a mail server must not hang on that
(docs/target_protocol.md, sections 4 and 5).
"""

from __future__ import annotations

import math
import typing as t
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..problems.advice import slow_hint
from ..problems.window import wall_time
from ..shapes import Json
from .errors import TargetError
from .session import FINAL_CODES, TRACE_TRIES, TRACE_WAIT_S, WRITE_TRIES, ConnectionLost, Session

# A person who waits reads a line this often, and the first one after this time.
NOTIFY_EVERY_S = 30.0
OWN_LAUNCH_S = 150.0
_NOT_LAUNCHED = FINAL_CODES | {"busy", "journal_corrupt", "outside_window", "worker_failed"}


def restart(session: Session, request: Mapping[str, t.Any]) -> Json:
    """Restart services and wait for the outcome; while it takes long, say so every NOTIFY_EVERY_S.

    Args:
        session: The target.
        request: Keys of docs/target_protocol.md, section 4, without the common ones.

    Returns:
        The final answer (``done`` true).

    Raises:
        TargetError: Its ``answer`` carries the same keys as a success.
    """
    return _Restarting(session, request).run()


class _Restarting:
    """One restart, from its launch to its end, whatever happens to connections, launchers and workers.

    Attributes:
        last: The last answer that told how far it is.
    """

    def __init__(self, session: Session, request: Mapping[str, t.Any]) -> None:
        self._session = session
        self._request = request
        self._clock = session.clock
        self._runs: set[str] = set()
        self._said: float | None = None
        self.last: Json = {}

    def run(self) -> Json:
        answer = self._until_done(self._launch(self._request))
        if answer["outcome"] == "interrupted" and not _was_touched(answer):
            # The script was cut down before its worker took over; nothing was stopped, so it is launched anew.
            answer = self._until_done(self._anew(self._request))
        if answer["outcome"] == "interrupted":
            raise self._finished(answer)
        return answer

    # -- launching ----------------------------------------------------------------------------------------------

    def _launch(self, request: Mapping[str, t.Any]) -> Json:
        """Launch; after an accident the run is looked for, and launched again only when there is no trace of it."""
        lost: ConnectionLost | None = None
        for _attempt in range(WRITE_TRIES):
            known, own = bool(self._runs), self._session.identity.run
            try:
                # Once the request may have arrived, even a host that cannot be reached is waited for.
                self._runs.add(own)
                return self._session.ask("restart", {**request, "wait": self._wait(request["wait"])})
            except ConnectionLost as error:
                if not error.sent and not known:
                    raise
                lost = error.as_sent()
            except TargetError as error:
                if error.code != "busy" or error.detail.get("run") != own:
                    return self._after_error(error)
                lost = None
            answer = self._trace(lost)
            if answer is not None:
                return answer
        raise TargetError("connection_lost", lost.text if lost else "it was launched, and left no trace")

    def _after_error(self, error: TargetError) -> Json:
        """Go on with a run that was launched before the error; else the error is raised."""
        if error.code in _NOT_LAUNCHED or error.ends_restart:
            return _interrupted_or_raise(error)
        for attempt in range(TRACE_TRIES):
            if attempt:
                self._clock.sleep(TRACE_WAIT_S)
            try:
                answer = self._session.ask("restart_status", self._question())
            except ConnectionLost:
                continue
            except TargetError as another:
                if another.ends_restart:
                    return _interrupted_or_raise(another)
                continue
            if answer.get("outcome") == "unknown":
                break
            return answer
        raise error

    def _trace(self, lost: ConnectionLost | None) -> Json | None:
        """Return what is told of the run, None when for a while nothing is: a script that was cut may still start."""
        for attempt in range(TRACE_TRIES):
            if attempt:
                self._clock.sleep(TRACE_WAIT_S)
            answer = self._status(lost)
            if answer.get("outcome") != "unknown":
                return answer
            lost = None
        return None

    def _anew(self, request: Mapping[str, t.Any]) -> Json:
        """Launch under another run's name, because the journal holds the old one.

        As long as the old launch is young it counts as busy; should its worker come after all, that one is followed.
        """
        old = self._session.identity
        end = self._clock.monotonic() + OWN_LAUNCH_S
        while True:
            self._session.identity = replace(old, run=str(uuid.uuid4()))
            try:
                return self._launch(request)
            except TargetError as error:
                mine = error.code == "busy" and error.detail.get("run") in self._runs
                if not mine or self._clock.monotonic() > end:
                    raise
            self._session.identity = old
            answer = self._status()
            if answer.get("outcome") != "interrupted":
                return answer
            self._clock.sleep(TRACE_WAIT_S)

    # -- waiting ------------------------------------------------------------------------------------------------

    def _until_done(self, answer: Json) -> Json:
        """Poll until the run has ended.

        Raises:
            TargetError: It ended with an error, or it cannot be known how it ended, which is no success.
        """
        patience = self._session.deadline
        end = self._clock.monotonic() + float(self._request["deadline"]) + patience
        while not answer.get("done"):
            now = self._clock.monotonic()
            end = max(end, now + _announced(answer) + patience)
            if now > end:
                raise TargetError("connection_lost", "the worker did not report an end", answer=answer)
            self._tell(answer)
            answer = self._status()
        if answer.get("outcome") == "unknown":
            raise TargetError("connection_lost", "the server has no journal of this run any more", answer=self.last)
        return answer

    def _status(self, lost: ConnectionLost | None = None) -> Json:
        try:
            answer = self._session.learn("restart_status", self._question(), lost)
        except TargetError as error:
            if error.ends_restart:
                return _interrupted_or_raise(error)
            raise TargetError(error.code, error.text, error.detail, {**self.last, **error.answer}) from error
        if not answer.get("done"):
            self.last = answer
        return answer

    def _question(self) -> Json:
        return {"of": self._session.identity.run, "wait": self._wait(NOTIFY_EVERY_S)}

    def _wait(self, longest: float) -> int:
        """Seconds that the target may take: no longer than until the next line is due."""
        passed = 0.0 if self._said is None else self._clock.monotonic() - self._said
        return math.ceil(max(1.0, min(longest, NOTIFY_EVERY_S - passed)))

    def _tell(self, answer: Json) -> None:
        now = self._clock.monotonic()
        if self._said is None or now - self._said >= NOTIFY_EVERY_S:
            self._session.say(_progress(answer))
            self._said = now

    # -- after the worker's death -------------------------------------------------------------------------------

    def _finished(self, cut: Json) -> TargetError:
        """Have what the dead worker left down started again; nothing is stopped for it. Return the run's error."""
        keys = {**self._request, "services": [], "start": [], "window": None}
        failure: TargetError | None = None
        try:
            end = self._until_done(self._anew(keys))
            if end["outcome"] == "interrupted":
                failure = TargetError("interrupted", answer=end)
        except TargetError as error:
            failure, end = error, error.answer
        answer = _merged(cut, end, self._states_at_rest(_told_names(cut, end)))
        if failure is None:
            return TargetError("interrupted", answer=answer)
        told = {"code": failure.code, "message": failure.text, "detail": failure.detail}
        return TargetError("interrupted", detail={"finish_error": told}, answer=answer)

    def _states_at_rest(self, names: Sequence[str]) -> Json:
        """Return services once none of them is on its way up any more: a machine that boots starts them by itself."""
        end = self._clock.monotonic() + float(self._request["start_timeout"])
        while True:
            seen = self._states(names)
            pending = [row["name"] for row in seen.values() if row["state"] == "start_pending"]
            if not pending or self._clock.monotonic() > end:
                return seen
            self._tell({"service": pending[0], "step": "starting"})
            self._clock.sleep(TRACE_WAIT_S)

    def _states(self, names: Sequence[str]) -> Json:
        """Return services as they are now, by lower-case name; empty when they cannot be seen."""
        keys: Json = {"registry": [], "services": list(names), "files": [], "state": False}
        try:
            seen = self._session.learn("inspect", {**keys, "backup": None, "events": None, "ports": []})
        except TargetError:
            return {}
        return {row["name"].lower(): row for row in seen["services"]}


def _interrupted_or_raise(error: TargetError) -> Json:
    """A worker may die after a first error: what it left down is completed then, as without one."""
    if error.answer.get("outcome") == "interrupted":
        return error.answer
    raise error


def _announced(answer: Mapping[str, t.Any]) -> float:
    """Seconds that the step under way may still take, by the clock that set its deadline."""
    now = (answer.get("clock") or {}).get("now")
    return float(answer["deadline"]) - float(now) if now and answer.get("deadline") else 0.0


def _was_touched(answer: Mapping[str, t.Any]) -> bool:
    """Tell whether the run took a first step; rows that it took over from an earlier one are none of its steps."""
    taken = {step["service"] for step in answer.get("timeline") or () if step["step"] != "recorded"}
    rows = answer.get("services") or ()
    return any(row.get("step") not in (None, "recorded") and row["name"] in taken for row in rows)


def _progress(answer: Mapping[str, t.Any]) -> str:
    """Say what is under way; times are those of the machine that runs the script."""
    service, step = answer.get("service") or "services", answer.get("step") or "working"
    clock, since, until = answer.get("clock") or {}, answer.get("since"), answer.get("deadline")
    parts = [f"{service} {step}"]
    if clock and since:
        parts[0] += f" for {_duration(clock['now'] - since)}"
    if clock and until:
        parts.append(f"at most until {wall_time({**clock, 'now': until})}")
    hint = slow_hint(service, step)
    return ", ".join(parts) + (f"; {hint}" if hint else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


# -- one answer of two ------------------------------------------------------------------------------------------------


def _told_names(cut: Mapping[str, t.Any], end: Mapping[str, t.Any]) -> list[str]:
    """Name every service that an interrupted run and the one that completed it tell of."""
    rows = [row["name"] for answer in (cut, end) for row in answer.get("services") or ()]
    return list(dict.fromkeys([*rows, *_down_names(cut), *_down_names(end)]))


def _down_names(answer: Mapping[str, t.Any]) -> list[str]:
    return [*(answer.get("down") or ()), *((answer.get("previous") or {}).get("down") or ())]


def _merged(cut: Mapping[str, t.Any], end: Mapping[str, t.Any], now: Mapping[str, Mapping[str, t.Any]]) -> Json:
    """Return one answer of an interrupted run and of the run that completed it.

    Args:
        cut: Answer of the first.
        end: Answer of the second, empty or an error's when it failed.
        now: Services as they were seen afterwards, by lower-case name.
    """
    later = {row["name"]: row for row in end.get("services") or ()}
    rows = [_one_row(row, later.pop(row["name"], {})) for row in cut.get("services") or ()]
    rows = [_as_seen(row, now.get(row["name"].lower())) for row in [*rows, *later.values()]]
    ran = [row["name"] for row in rows if row.get("before") == "running"]
    return {
        **{key: value for key, value in {**cut, **end}.items() if key != "error"},
        "finished": _both(cut, end, "finished"),
        "left_alone": _both(cut, end, "left_alone"),
        "done": True,
        "outcome": "interrupted",
        "services": rows,
        "timeline": [*(cut.get("timeline") or ()), *(end.get("timeline") or ())],
        "down": _down_afterwards(cut, end, now, ran),
    }


def _both(cut: Mapping[str, t.Any], end: Mapping[str, t.Any], key: str) -> list[t.Any]:
    return list(dict.fromkeys([*(cut.get(key) or ()), *(end.get(key) or ())]))


def _down_afterwards(
    cut: Mapping[str, t.Any], end: Mapping[str, t.Any], now: Mapping[str, Mapping[str, t.Any]], ran: Iterable[str]
) -> list[str]:
    """Name what ran before, or was to be started, and does not run now; what was told where nobody could look."""
    if not now:
        return list(dict.fromkeys(_left(cut, end)))
    up = {name for name, row in now.items() if row["state"] == "running"}
    names = dict.fromkeys([*ran, *_down_names(cut), *_down_names(end)])
    return [name for name in names if name.lower() not in up]


def _left(cut: Mapping[str, t.Any], end: Mapping[str, t.Any]) -> list[str]:
    """Name what is down when nobody could look: what was, without what came up again."""
    started = end.get("finished") or ()
    return [*(name for name in _down_names(cut) if name not in started), *_down_names(end)]


def _one_row(cut: Mapping[str, t.Any], end: Mapping[str, t.Any]) -> Json:
    """What the completing run did to a service goes over what the first did; how it was before does not."""
    new = {key: value for key, value in end.items() if value is not None}
    kept = ("role", "before", "process_before", "process_source", "stop_ms")
    return {**cut, **new, **{key: cut[key] for key in kept if cut.get(key) is not None}}


def _as_seen(row: Mapping[str, t.Any], seen: Mapping[str, t.Any] | None) -> Json:
    if seen is None:
        return {**row, "after": None, "process_after": None}
    source = "path" if seen["process"] else row.get("process_source")
    return {**row, "after": seen["state"], "process_after": seen["process"], "process_source": source}
