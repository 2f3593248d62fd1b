# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with one target: operations in, answers out, whatever the connection does.

Private to this collection: names and shapes may change in any release.
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

from ._errors import TargetError
from ._target_script import NoAnswer, loader, parse_answer, payload

Json = dict[str, t.Any]

RECONNECT_FIRST_S = 1.0
RECONNECT_LONGEST_S = 30.0
# A script whose connection was cut may still be starting; only after this long is "no trace of it" believed.
TRACE_WAIT_S = 5.0
TRACE_TRIES = 3
POLL_WAIT_S = 40
NOTIFY_EVERY_S = 60.0


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
        try:
            return self._ask("apply", request)
        except ConnectionLost as lost:
            return self._after_lost_apply(lost, request)

    def restart(self, **request: t.Any) -> Json:
        """Restart services and wait for the outcome, polling once a minute at least.

        Args:
            **request: Keys of docs/target_protocol.md, section 4, without the common ones.

        Returns:
            The final answer (``done`` true).

        Raises:
            TargetError: Its ``answer`` carries the same keys as a success.
        """
        began = self._clock.monotonic()
        try:
            answer = self._ask("restart", request)
        except ConnectionLost as lost:
            answer = self._after_lost_restart(lost, request)
        answer = self._wait_until_done(answer, request, began)
        if answer.get("outcome") == "interrupted" and not _was_touched(answer):
            # The script was cut down before its worker took over; nothing was stopped, so it is launched anew.
            answer = self._wait_until_done(self._as_new_run("restart", request), request, began)
        if answer.get("outcome") == "interrupted":
            raise TargetError("interrupted", answer={**answer, **self._finish(request)})
        return answer

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

    def _after_lost_apply(self, lost: ConnectionLost, request: Mapping[str, t.Any]) -> Json:
        for _attempt in range(TRACE_TRIES):
            seen = self._again(lost, lambda: self._ask("inspect", _look_at(request["files"])))
            found = {row["path"].lower(): row for row in seen["files"] if row["path"]}
            state = _compare(request["files"], found)
            if state == "new":
                return {**seen, "op": "apply", "applied": _applied(request["files"], found), "restored": [], "left": []}
            if seen["lock"] is None:
                break
            self._clock.sleep(TRACE_WAIT_S)
        if state == "old" and seen["lock"] is None:
            return self._ask_once_more("apply", request)
        left = [row["path"] for row in request["files"] if _is_new(row, found)]
        raise TargetError("connection_lost", lost.text, answer={"applied": [], "restored": [], "left": left})

    def _after_lost_restart(self, lost: ConnectionLost, request: Mapping[str, t.Any]) -> Json:
        """Find the run that was launched; launch it again only when there is no trace of it."""
        status = {"of": self.identity.run, "wait": POLL_WAIT_S}
        for _attempt in range(TRACE_TRIES):
            answer = self._again(lost, lambda: self._ask("restart_status", status))
            if answer.get("outcome") != "unknown":
                return answer
            self._clock.sleep(TRACE_WAIT_S)
        return self._ask_once_more("restart", request)

    def _ask_once_more(self, op: str, request: Mapping[str, t.Any]) -> Json:
        """Repeat a write after it was seen that it left no trace; a second accident ends the matter or is polled."""
        try:
            return self._ask(op, request)
        except ConnectionLost as lost:
            if op == "restart":
                return self._poll()
            raise TargetError("connection_lost", lost.text) from lost
        except TargetError as error:
            if op == "restart" and error.code == "busy" and error.detail.get("run") == self.identity.run:
                return self._poll()
            raise

    def _as_new_run(self, op: str, request: Mapping[str, t.Any]) -> Json:
        """Ask under another run's name, because the journal holds the old one."""
        self.identity = replace(self.identity, run=str(uuid.uuid4()))
        return self._ask_once_more(op, request)

    # -- waiting for a restart ----------------------------------------------------------------------------------

    def _wait_until_done(self, answer: Json, request: Mapping[str, t.Any], began: float) -> Json:
        end = began + float(request["deadline"]) + self._deadline
        said = began
        while not answer.get("done"):
            now = self._clock.monotonic()
            if now > end:
                raise TargetError("connection_lost", "the worker did not report an end", answer=answer)
            if now - said >= NOTIFY_EVERY_S or said == began:
                self._say(_progress(answer, self.identity.computer))
                said = now
            answer = self._poll()
        return answer

    def _poll(self) -> Json:
        status = {"of": self.identity.run, "wait": POLL_WAIT_S}
        try:
            return self._ask("restart_status", status)
        except ConnectionLost as lost:
            return self._again(_as_sent(lost), lambda: self._ask("restart_status", status))

    def _finish(self, request: Mapping[str, t.Any]) -> Json:
        """Have the services that the dead worker left down started again; nothing is stopped for it."""
        keys = {**request, "services": [], "start": [], "window": None}
        try:
            answer = self._wait_until_done(self._as_new_run("restart", keys), keys, self._clock.monotonic())
        except TargetError as error:
            return {"finish_error": {"code": error.code, "message": error.text}}
        return {key: answer[key] for key in ("finished", "left_alone", "previous", "down") if key in answer}


def _was_touched(answer: Mapping[str, t.Any]) -> bool:
    return any(row.get("step") not in (None, "recorded") for row in answer.get("services") or ())


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


def _applied(files: Sequence[Mapping[str, t.Any]], found: Mapping[str, Mapping[str, t.Any]]) -> list[Json]:
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
