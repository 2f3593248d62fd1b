# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with one target: operations in, answers out, whatever the connection does.

One operation is one remote execution. When the connection goes away after a request was sent, the session reconnects,
looks what is there and goes on from that; it never repeats a write without having looked (docs/target_protocol.md).
"""

from __future__ import annotations

import base64
import hashlib
import typing as t
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..shapes import Json
from .errors import TargetError
from .merging import told_names, united
from .script import NoAnswer, loader, parse_answer, payload

RECONNECT_FIRST_S = 1.0
RECONNECT_LONGEST_S = 30.0
# A script whose connection was cut may still be starting; only after this long is "no trace of it" believed.
TRACE_WAIT_S = 5.0
TRACE_TRIES = 3
WRITE_TRIES = 3
POLL_WAIT_S = 40
# A line every minute: what an execution takes on top of its wait has to fit in as well.
NOTIFY_EVERY_S = 55.0
# A launch that lost its launcher blocks the next one for a minute (docs/target_protocol.md, section 4).
OWN_LAUNCH_S = 150.0
# Asked again, the answer would be the same, or the account would be locked.
_FINAL = frozenset({"bad_request", "powershell_too_old", "credential_refused", "connection_lost"})
# What ``restart`` is refused with before anything was launched; any other error may have come after that.
_NOT_LAUNCHED = _FINAL | {"busy", "journal_corrupt", "outside_window", "worker_failed"}


@dataclass(frozen=True)
class Execution:
    """What one remote execution left behind."""

    rc: int
    stdout: str
    stderr: str


class ConnectionLost(Exception):
    """The transport failed.

    Attributes:
        sent: Whether the request may have reached the target.
        quota: Whether the host refused because the user's WinRM quota is used up; nothing ran then.
    """

    def __init__(self, text: str, *, sent: bool, quota: bool = False) -> None:
        self.text = text
        self.sent = sent
        self.quota = quota
        super().__init__(text)


class Transport(t.Protocol):
    """How a command reaches the host; replayed from recordings in tests."""

    def execute(self, command: str, stdin: str) -> Execution:
        """Run one command; raises ConnectionLost."""

    def reset(self) -> None:
        """Forget the connection, so that the next command opens another; raises ConnectionLost."""

    def release(self) -> None:
        """Give back what lost connections still hold on the host; never fails."""


class Clock(t.Protocol):
    """The controller's time, in seconds."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Credential:
    """Account for the second hop; travels on standard input only."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, ***)"


@dataclass(frozen=True)
class Identity:
    """Who asks, and about which server.

    Attributes:
        run: Identifier of the run, ``[0-9a-f-]{8,36}``.
        who: ``user@controller``, for lock and journal.
        computer: Name of the Exchange server behind a management host; None: the host itself.
        credential: Account for the second hop; None: the connection's own.
    """

    run: str
    who: str
    computer: str | None = None
    credential: Credential | None = None


def _silent(_line: str) -> None:
    """Take a progress line and drop it."""


class Session:
    """Operations on one target.

    Args:
        transport: Way to the host.
        identity: Who asks, about which server.
        clock: The controller's clock.
        deadline: Seconds that a lost connection may take to come back.
        say: Takes lines for the person who waits.
    """

    def __init__(
        self,
        transport: Transport,
        identity: Identity,
        *,
        clock: Clock,
        deadline: float = 300.0,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self._transport = transport
        self.identity = identity
        self._clock = clock
        self._deadline = deadline
        self._say = say
        self.executions = 0
        self.reconnects = 0

    # -- operations ---------------------------------------------------------------------------------------------

    def inspect(self, **request: t.Any) -> Json:
        """Read; repeated after a lost connection, because reading twice harms nobody.

        Args:
            **request: Keys of docs/target_protocol.md, section 2, without the common ones.

        Raises:
            TargetError: The target's error, or ``no_answer``, ``connection_lost``.
            ConnectionLost: With ``sent`` false: the host was never reached.
        """
        try:
            return self._ask("inspect", request)
        except ConnectionLost as lost:
            return self._again(lost, lambda: self._ask("inspect", request))

    def apply(self, **request: t.Any) -> Json:
        """Write files, compare-and-swap.

        After a lost connection the files are looked at: all new is success, all old and nobody at work is tried once
        more (the swap compares again), anything else is the error ``connection_lost`` with what was seen.

        Args:
            **request: Keys of docs/target_protocol.md, section 3, without the common ones.
        """
        lost: ConnectionLost | None = None
        for _attempt in range(WRITE_TRIES):
            refused: TargetError | None = None
            try:
                return self._ask("apply", request)
            except ConnectionLost as error:
                if lost is None and not error.sent:
                    raise
                lost = _as_sent(error)
            except TargetError as error:
                # The write that was lost may have been at work all the same: then it is what this one met.
                if lost is None:
                    raise
                refused = error
            state, seen = self._look_for_write(None if refused else lost, request["files"])
            if state == "new":
                return {**seen, "op": "apply", "applied": _applied(request["files"], seen), "restored": [], "left": []}
            if refused is not None and not self._is_mine(refused.detail):
                raise refused
            if state != "old" or seen["lock"] is not None:
                break
        raise TargetError("connection_lost", lost.text if lost else "", answer=_half_written(request["files"], seen))

    def restart(self, **request: t.Any) -> Json:
        """Restart services and wait for the outcome, polling once a minute at least.

        Args:
            **request: Keys of docs/target_protocol.md, section 4, without the common ones.

        Returns:
            The final answer (``done`` true).

        Raises:
            TargetError: Its ``answer`` carries the same keys as a success.
        """
        return _Restarting(self, request).run()

    def close(self) -> None:
        """End the session; the connection itself belongs to the caller."""
        self._transport.release()

    # -- one exchange -------------------------------------------------------------------------------------------

    def _request(self, op: str, keys: Mapping[str, t.Any]) -> Json:
        who = self.identity
        secret = who.credential
        credential = None if secret is None else {"username": secret.username, "password": secret.password}
        common = {"version": 1, "op": op, "computer": who.computer, "credential": credential}
        return {**common, "run": who.run, "who": who.who, **keys}

    def _ask(self, op: str, keys: Mapping[str, t.Any]) -> Json:
        request = self._request(op, keys)
        execution = self._execute(payload(request))
        try:
            answer = parse_answer(execution.stdout)
        except NoAnswer as error:
            detail = {"rc": execution.rc, "stdout": execution.stdout[-500:], "stderr": execution.stderr[-500:]}
            raise TargetError("no_answer", _first_line(execution) or str(error), detail) from error
        error_object = answer.get("error")
        if error_object:
            secret = self.identity.credential
            mine = {"computer": self.identity.computer, "username": None if secret is None else secret.username}
            detail = {**mine, **(error_object.get("detail") or {})}
            raise TargetError(error_object["code"], error_object.get("message") or "", detail, answer)
        return answer

    def _execute(self, stdin: str) -> Execution:
        """Run the loader once; a used-up quota is waited for, since nothing ran then."""
        pause = RECONNECT_FIRST_S
        end = self._clock.monotonic() + self._deadline
        while True:
            self.executions += 1
            try:
                return self._transport.execute(loader(), stdin)
            except ConnectionLost as lost:
                self.executions -= 0 if lost.sent else 1
                if not lost.quota or self._clock.monotonic() + pause > end:
                    raise
                self._say(f"WinRM quota of this user reached ({lost.text}); trying again in {pause:.0f} s")
                self._clock.sleep(pause)
                pause = min(pause * 2, RECONNECT_LONGEST_S)

    # -- after a lost connection --------------------------------------------------------------------------------

    def _again(self, lost: ConnectionLost, ask: Callable[[], Json]) -> Json:
        """Reconnect and ask until the deadline; used for questions only."""
        if not lost.sent:
            raise lost
        pause = RECONNECT_FIRST_S
        end = self._clock.monotonic() + self._deadline
        while self._clock.monotonic() + pause <= end:
            self._say(f"connection lost ({lost.text}); reconnecting in {pause:.0f} s")
            self._clock.sleep(pause)
            pause = min(pause * 2, RECONNECT_LONGEST_S)
            try:
                self._transport.reset()
                self.reconnects += 1
                return ask()
            except ConnectionLost as error:
                lost = error
        raise TargetError("connection_lost", lost.text)

    def learn(self, op: str, keys: Mapping[str, t.Any], lost: ConnectionLost | None = None) -> Json:
        """Ask until the target tells or the deadline is over: for questions about what was sent before.

        Whatever happens to the question, an error of the target included, says nothing about that.

        Args:
            op: ``inspect`` or ``restart_status``.
            keys: The operation's own.
            lost: The accident that has just happened.

        Raises:
            TargetError: The last error; ``done`` is true in the answer of one that is the restart's own.
        """
        pause = RECONNECT_FIRST_S
        end = self._clock.monotonic() + self._deadline
        while True:
            try:
                return self._ask(op, keys) if lost is None else self._again(lost, lambda: self._ask(op, keys))
            except ConnectionLost as error:
                lost = _as_sent(error)
            except TargetError as error:
                if error.code in _FINAL or _is_end(error) or self._clock.monotonic() + pause > end:
                    raise
                lost = None
                self._say(f"no news ({_short(error)}); asking again in {pause:.0f} s")
                self._clock.sleep(pause)
                pause = min(pause * 2, RECONNECT_LONGEST_S)

    def _look_for_write(self, lost: ConnectionLost | None, files: Sequence[Mapping[str, t.Any]]) -> tuple[str, Json]:
        """Look at the files until nobody is at work any more; ours is waited for longer than somebody else."""
        end = self._clock.monotonic() + self._deadline
        seen = self.learn("inspect", _look_at(files), lost)
        looks = 1
        while _compare(files, _by_path(seen)) != "new" and seen["lock"] is not None:
            patient = self._is_mine(seen["lock"]) and self._clock.monotonic() < end
            if looks >= TRACE_TRIES and not patient:
                break
            self._clock.sleep(TRACE_WAIT_S)
            seen = self.learn("inspect", _look_at(files))
            looks += 1
        return _compare(files, _by_path(seen)), seen

    def _is_mine(self, holder: Mapping[str, t.Any]) -> bool:
        return bool(holder.get("run") == self.identity.run)


class _Restarting:
    """One restart, from its launch to its end, whatever happens to connections, launchers and workers.

    Attributes:
        last: The last answer that told how far it is.
    """

    def __init__(self, session: Session, request: Mapping[str, t.Any]) -> None:
        self._session = session
        self._request = request
        self._clock = session._clock
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
                return self._session._ask("restart", {**request, "wait": self._wait(request["wait"])})
            except ConnectionLost as error:
                if not error.sent and not known:
                    raise
                lost = _as_sent(error)
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
        if error.code in _NOT_LAUNCHED or _is_end(error):
            return _interrupted_or_raise(error)
        for attempt in range(TRACE_TRIES):
            if attempt:
                self._clock.sleep(TRACE_WAIT_S)
            try:
                answer = self._session._ask("restart_status", self._question())
            except ConnectionLost:
                continue
            except TargetError as another:
                if _is_end(another):
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
            TargetError: It ended with an error, or nobody can tell how it ended: that is no success.
        """
        patience = self._session._deadline
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
            if _is_end(error):
                return _interrupted_or_raise(error)
            raise TargetError(error.code, error.text, error.detail, {**self.last, **error.answer}) from error
        if not answer.get("done"):
            self.last = answer
        return answer

    def _question(self) -> Json:
        return {"of": self._session.identity.run, "wait": self._wait(POLL_WAIT_S)}

    def _wait(self, longest: float) -> int:
        """Seconds that the target may take: no longer than until the next line is due."""
        if self._said is None:
            return int(longest)
        return int(max(1.0, min(longest, self._said + NOTIFY_EVERY_S - self._clock.monotonic())))

    def _tell(self, answer: Json) -> None:
        now = self._clock.monotonic()
        if self._said is None or now - self._said >= NOTIFY_EVERY_S:
            self._session._say(_progress(answer, self._session.identity.computer))
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
        answer = united(cut, end, self._states(told_names(cut, end)))
        if failure is None:
            return TargetError("interrupted", answer=answer)
        told = {"code": failure.code, "message": failure.text, "detail": failure.detail}
        return TargetError("interrupted", detail={"finish_error": told}, answer=answer)

    def _states(self, names: Sequence[str]) -> Json:
        """Return services as they are now, by lower-case name; empty when they cannot be seen."""
        keys: Json = {"registry": [], "services": list(names), "files": [], "state": False}
        try:
            seen = self._session.learn("inspect", {**keys, "backup": None, "events": None, "ports": []})
        except TargetError:
            return {}
        return {row["name"].lower(): row for row in seen["services"]}


def _is_end(error: TargetError) -> bool:
    """Tell whether the error is the restart's own, and not one of the question."""
    return bool(error.answer.get("done")) and error.answer.get("outcome") in ("failed", "interrupted")


def _interrupted_or_raise(error: TargetError) -> Json:
    """A worker may die after a first error: what it left down is completed then, as without one."""
    if error.answer.get("outcome") == "interrupted":
        return error.answer
    raise error


def _announced(answer: Mapping[str, t.Any]) -> float:
    """Seconds that the step under way may still take, by the clock that set its deadline."""
    now = (answer.get("clock") or {}).get("now")
    return float(answer["deadline"]) - float(now) if now and answer.get("deadline") else 0.0


def _short(error: TargetError) -> str:
    return f"{error.code}: {error.text}"[:200] if error.text else error.code


def _was_touched(answer: Mapping[str, t.Any]) -> bool:
    """Tell whether the run took a first step; rows that it took over from an earlier one are none of its steps."""
    taken = {step["service"] for step in answer.get("timeline") or () if step["step"] != "recorded"}
    rows = answer.get("services") or ()
    return any(row.get("step") not in (None, "recorded") and row["name"] in taken for row in rows)


def _as_sent(lost: ConnectionLost) -> ConnectionLost:
    """While a restart runs, even a refused connection is waited for: the request of old was sent."""
    return ConnectionLost(lost.text, sent=True)


def _first_line(execution: Execution) -> str:
    """Return the first telling line of what came instead of an answer."""
    for text in (execution.stderr, execution.stdout):
        for line in text.splitlines():
            if line.strip() and not line.startswith("#< CLIXML"):
                return line.strip()[:200]
    return f"exit code {execution.rc}, no output"


def _progress(answer: Mapping[str, t.Any], computer: str | None) -> str:
    where = f"{computer}: " if computer else ""
    service = answer.get("service") or "services"
    step = answer.get("step") or "working"
    since, until = (_utc(answer.get(key)) for key in ("since", "deadline"))
    return f"{where}{service} {step} since {since}, until {until} at most"


def _utc(seconds: float | None) -> str:
    if not seconds:
        return "?"
    minutes, rest = divmod(int(seconds) % 86400, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d} UTC"


def _look_at(files: Sequence[Mapping[str, t.Any]]) -> Json:
    """Return an inspection of just these files and of the lock."""
    rows = [
        {
            "id": str(number),
            "name": row["path"].rpartition("\\")[2],
            "path": row["path"],
            "beside": [],
            "root": None,
            "below": None,
            "pointer": None,
            "content": False,
            "executables": False,
            "max_bytes": 16 * 1024 * 1024,
        }
        for number, row in enumerate(files)
    ]
    keys: Json = {"registry": [], "services": [], "files": rows, "state": True}
    return {**keys, "backup": None, "events": None, "ports": []}


def _by_path(seen: Mapping[str, t.Any]) -> dict[str, Mapping[str, t.Any]]:
    return {row["path"].lower(): row for row in seen["files"] if row["path"]}


def _wanted_sha(row: Mapping[str, t.Any]) -> str | None:
    if row["from_backup"] is not None:
        return str(row["from_backup"])
    if row["content"] is None:
        return None
    return hashlib.sha256(base64.b64decode(row["content"])).hexdigest()


def _found_sha(row: Mapping[str, t.Any], found: Mapping[str, Mapping[str, t.Any]]) -> str | None:
    seen = found.get(row["path"].lower())
    return None if seen is None else seen["sha256"]


def _is_new(row: Mapping[str, t.Any], found: Mapping[str, Mapping[str, t.Any]]) -> bool:
    return _found_sha(row, found) == _wanted_sha(row)


def _compare(files: Sequence[Mapping[str, t.Any]], found: Mapping[str, Mapping[str, t.Any]]) -> str:
    if all(_is_new(row, found) for row in files):
        return "new"
    if all(_found_sha(row, found) == row["expect_sha256"] for row in files):
        return "old"
    return "mixed"


def _half_written(files: Sequence[Mapping[str, t.Any]], seen: Mapping[str, t.Any]) -> Json:
    left = [row["path"] for row in files if _is_new(row, _by_path(seen))]
    return {"applied": [], "restored": [], "left": left}


def _applied(files: Sequence[Mapping[str, t.Any]], answer: Mapping[str, t.Any]) -> list[Json]:
    found = _by_path(answer)
    rows = []
    for row in files:
        seen = found[row["path"].lower()]
        rows.append(
            {
                "path": row["path"],
                "sha256": seen["sha256"],
                "size": seen["size"],
                "modified": seen["modified"],
                # Its copy was written before the file was; the name of one in the store is not known here.
                "backup": row["backup_path"] if row["expect_sha256"] is not None else None,
            }
        )
    return rows
