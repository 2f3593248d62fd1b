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
import secrets
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..shapes import Json
from .errors import TargetError
from .leftovers import mended, set_apart, telling
from .script import PROTOCOL_VERSION, NoAnswer, begin_marker, loader, parse_answer, payload, printable
from .unreached import silence_of

RECONNECT_FIRST_S = 1.0
RECONNECT_LONGEST_S = 30.0
# A script whose connection was cut may still be starting; only after this long is "no trace of it" believed.
TRACE_WAIT_S = 5.0
TRACE_TRIES = 3
WRITE_TRIES = 3
# A line every minute: what an execution takes on top of its wait has to fit in as well.
# A launch that lost its launcher blocks the next one for a minute (docs/target_protocol.md, section 4).
# Asked again, the answer would be the same, or the account would be locked.
FINAL_CODES = frozenset(
    {"bad_request", "powershell_too_old", "constrained_language", "credential_refused", "connection_lost"}
)
# What ``restart`` is refused with before anything was launched; any other error may have come after that.


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
        cause: Code of why the host was not reached, where nothing was sent; None: the text has to tell.
    """

    def __init__(self, text: str, *, sent: bool, quota: bool = False, cause: str | None = None) -> None:
        self.text = text
        self.sent = sent
        self.quota = quota
        self.cause = cause
        super().__init__(text)

    def as_sent(self) -> ConnectionLost:
        """Return it as a later question's: even a refused connection is waited for then, for the request was sent."""
        return ConnectionLost(self.text, sent=True)


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
        clock: The controller's time.
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
        self.clock = clock
        self.deadline = deadline
        self._listener = say
        self.executions = 0

    def say(self, line: str) -> None:
        """Tell the person who waits; what machines said in it is no order for the terminal.

        Args:
            line: What happens.
        """
        self._listener(printable(line))

    # -- operations ---------------------------------------------------------------------------------------------

    def inspect(self, **request: t.Any) -> Json:
        """Read; repeated after a lost connection, because reading twice harms nobody.

        A file that a run left half written, or without its name, is told as ``apply`` will find it once it has put the
        old text back; ``healing`` is true there, and the leftover that tells costs a second execution.

        Args:
            **request: Keys of docs/target_protocol.md, section 2, without the common ones.

        Raises:
            TargetError: The target's error, or ``no_answer``, ``connection_lost``.
            ConnectionLost: With ``sent`` false: the host was never reached.
        """
        return self._as_mended(self._read(request), request["files"])

    def _read(self, request: Json) -> Json:
        try:
            return self.ask("inspect", request)
        except ConnectionLost as lost:
            return self._again(lost, lambda: self.ask("inspect", request))

    def _as_mended(self, answer: Json, asked: Sequence[Mapping[str, t.Any]]) -> Json:
        """Return an answer of ``inspect`` with its files as ``apply`` will find them."""
        try:
            rows = [set_apart(row) for row in answer["files"]]
            paths = {row["id"]: path for row in rows if (path := telling(row))}
        except (KeyError, TypeError, AttributeError) as error:
            raise TargetError("wrong_answer", repr(error), answer=answer) from error
        answer = {**answer, "files": rows}
        if not paths:
            return answer
        wanted = [_whole_file(str(file_id), path, content=True) for file_id, path in paths.items()]
        seen = self._read({**_NOTHING, "files": wanted, "state": True})
        if seen["lock"] is not None:
            return answer  # it is being written right now
        found = {row["id"]: row for row in seen["files"]}
        contents = {row["id"]: row["content"] for row in asked}
        rows = [
            mended(row, found[row["id"]], content=contents[row["id"]]) if row["id"] in found else row for row in rows
        ]
        return {**answer, "files": rows}

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
                return self.ask("apply", request)
            except ConnectionLost as error:
                if lost is None and not error.sent:
                    raise
                lost = error.as_sent()
            except TargetError as error:
                # The write that was lost may have been at work all the same: then it is what this one met.
                if lost is None:
                    raise
                refused = error
            state, seen = self._look_for_write(None if refused else lost, request["files"])
            if state == "new":
                return {**seen, "op": "apply", "applied": _applied(request["files"], seen), **_NO_CHANGES}
            if refused is not None and not self._is_mine(refused.detail):
                raise refused
            if state != "old" or seen["lock"] is not None:
                break
        raise TargetError("connection_lost", lost.text if lost else "", answer=_half_written(request["files"], seen))

    def close(self) -> None:
        """End the session; the connection itself belongs to the caller."""
        self._transport.release()

    # -- one exchange -------------------------------------------------------------------------------------------

    def _request(self, op: str, keys: Mapping[str, t.Any]) -> Json:
        who = self.identity
        secret = who.credential
        credential = None if secret is None else {"username": secret.username, "password": secret.password}
        common = {"version": PROTOCOL_VERSION, "op": op, "computer": who.computer, "credential": credential}
        return {**common, "run": who.run, "who": who.who, **keys}

    def ask(self, op: str, keys: Mapping[str, t.Any]) -> Json:
        """Run one operation, once.

        Args:
            op: Its name.
            keys: Its own keys of the request.

        Raises:
            TargetError: The target's error, or ``no_answer``.
            ConnectionLost: Whatever was lost, nothing is tried again.
        """
        request = self._request(op, keys)
        nonce = secrets.token_hex(8)
        execution = self._execute(payload(request, nonce))
        try:
            answer = parse_answer(execution.stdout, nonce)
        except NoAnswer as error:
            heard = {"stdout": printable(execution.stdout[-500:]), "stderr": printable(execution.stderr[-500:])}
            text = f"{error}; {_first_line(execution)}"
            other = "" if begin_marker(nonce) in execution.stdout else execution.stdout
            code = silence_of(execution.rc, other, execution.stderr)
            raise TargetError(code, text, {"rc": execution.rc, **heard}) from error
        if answer.get("error"):
            raise self._error_in(answer)
        return answer

    def _error_in(self, answer: Json) -> TargetError:
        """Return what an answer with an error means; whoever wrote it may have written anything."""
        found = answer["error"]
        code = found.get("code") if isinstance(found, dict) else None
        detail = (found.get("detail") or {}) if isinstance(found, dict) else None
        if not isinstance(code, str) or not isinstance(detail, dict):
            return TargetError("wrong_answer", f"an error without code and detail: {str(found)[:200]}", answer=answer)
        secret = self.identity.credential
        mine = {"computer": self.identity.computer, "username": None if secret is None else secret.username}
        return TargetError(code, str(found.get("message") or code), {**mine, **detail}, answer)

    def _execute(self, stdin: str) -> Execution:
        """Run the loader once; a used-up quota is waited for, since nothing ran then."""
        pause = RECONNECT_FIRST_S
        end = self.clock.monotonic() + self.deadline
        while True:
            self.executions += 1
            try:
                return self._transport.execute(loader(), stdin)
            except ConnectionLost as lost:
                self.executions -= 0 if lost.sent else 1
                if not lost.quota or self.clock.monotonic() + pause > end:
                    raise
                self.say(f"WinRM quota of this user reached ({lost.text}); trying again in {pause:.0f} s")
                self.clock.sleep(pause)
                pause = min(pause * 2, RECONNECT_LONGEST_S)

    # -- after a lost connection --------------------------------------------------------------------------------

    def _again(self, lost: ConnectionLost, ask: Callable[[], Json]) -> Json:
        """Reconnect and ask until the deadline; used for questions only."""
        if not lost.sent:
            raise lost
        pause = RECONNECT_FIRST_S
        end = self.clock.monotonic() + self.deadline
        while self.clock.monotonic() + pause <= end:
            self.say(f"connection lost ({lost.text}); reconnecting in {pause:.0f} s")
            self.clock.sleep(pause)
            pause = min(pause * 2, RECONNECT_LONGEST_S)
            try:
                self._transport.reset()
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
        end = self.clock.monotonic() + self.deadline
        while True:
            try:
                return self.ask(op, keys) if lost is None else self._again(lost, lambda: self.ask(op, keys))
            except ConnectionLost as error:
                lost = error.as_sent()
            except TargetError as error:
                if error.code in FINAL_CODES or error.ends_restart or self.clock.monotonic() + pause > end:
                    raise
                lost = None
                self.say(f"no news ({_code_and_text(error)}); asking again in {pause:.0f} s")
                self.clock.sleep(pause)
                pause = min(pause * 2, RECONNECT_LONGEST_S)

    def _look_for_write(self, lost: ConnectionLost | None, files: Sequence[Mapping[str, t.Any]]) -> tuple[str, Json]:
        """Look at the files until nobody is at work any more; ours is waited for longer than somebody else."""
        end = self.clock.monotonic() + self.deadline
        seen = self._look(files, lost)
        looks = 1
        while _compare(files, _by_path(seen)) != "new" and seen["lock"] is not None:
            patient = self._is_mine(seen["lock"]) and self.clock.monotonic() < end
            if looks >= TRACE_TRIES and not patient:
                break
            self.clock.sleep(TRACE_WAIT_S)
            seen = self._look(files)
            looks += 1
        return _compare(files, _by_path(seen)), seen

    def _look(self, files: Sequence[Mapping[str, t.Any]], lost: ConnectionLost | None = None) -> Json:
        """Return the files; one that nobody writes any more as the next try will find it."""
        request = _look_at(files)
        seen = self.learn("inspect", request, lost)
        return seen if seen["lock"] is not None else self._as_mended(seen, request["files"])

    def _is_mine(self, holder: Mapping[str, t.Any]) -> bool:
        return bool(holder.get("run") == self.identity.run)


def _code_and_text(error: TargetError) -> str:
    return f"{error.code}: {error.text}"[:200] if error.text else error.code


def _first_line(execution: Execution) -> str:
    """Return the first telling line of what came instead of an answer."""
    for text in (execution.stderr, execution.stdout):
        for line in text.splitlines():
            if line.strip() and not line.startswith("#< CLIXML"):
                return printable(line.strip()[:200])
    return f"exit code {execution.rc}, no output"


_NO_CHANGES: t.Final[Json] = {"restored": [], "left": [], "healed": []}
_NOTHING: t.Final[Json] = {"registry": [], "services": [], "backup": None, "events": None, "ports": []}


def _whole_file(file_id: str, path: str, *, content: bool) -> Json:
    """Return a file of ``inspect`` that is where its path says."""
    nowhere: Json = {"beside": [], "root": None, "below": None, "pointer": None}
    about = {"content": content, "executables": False, "max_bytes": 16 * 1024 * 1024}
    return {"id": file_id, "name": path.rpartition("\\")[2], "path": path, **nowhere, **about}


def _look_at(files: Sequence[Mapping[str, t.Any]]) -> Json:
    """Return an inspection of just these files and of the lock."""
    rows = [_whole_file(str(number), row["path"], content=False) for number, row in enumerate(files)]
    return {**_NOTHING, "files": rows, "state": True}


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
