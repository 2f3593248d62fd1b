# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The detached worker of a restart: it outlives shell, connection and controller, and obeys only its deadlines."""

from __future__ import annotations

import typing as t

from ..machines.errors import (
    INVALID_SERVICE_CONTROL,
    SERVICE_ALREADY_RUNNING,
    SERVICE_CANNOT_ACCEPT_CTRL,
    SERVICE_NOT_ACTIVE,
    SERVICE_REQUEST_TIMEOUT,
    RegistryFailure,
    WindowsFailure,
)
from ..machines.services import Service, State
from .failures import Json, TargetFailure, denied, windows_failure
from .journal import TOLD_S, Journal, new_entry, owed_step, ran
from .scene import Scene, sha256
from .state import Lock, Store, format_process, process_json, visible_process

LOCK_WAIT_S: t.Final = 30.0
RETRY_S: t.Final = 0.5
_BUSY_CODES: t.Final = (SERVICE_CANNOT_ACCEPT_CTRL, INVALID_SERVICE_CONTROL)
# The caller does not know whether the service has taken the control.
_UNSURE_CODES: t.Final = (SERVICE_REQUEST_TIMEOUT, *range(1700, 1800))
_CALM: t.Final = ("running", "stopped", "missing")
Names: t.TypeAlias = set[str]


class Cut(Exception):
    """The worker is gone between two steps: killed, or its machine lost power."""


class Worker:
    """One restart, from the moment at which the worker takes the lock."""

    def __init__(self, scene: Scene, request: Json, journal: Json) -> None:
        self.scene = Scene(scene.runner, scene.server, "worker", scene.run, scene.who)
        self.request = request
        self.journal = Journal(self.scene, journal)
        self.manager = scene.server.services
        self.store = Store(scene.server)
        self.began = scene.clock.elapsed()
        self.failed: Names = set()
        self.late: list[Json] = []
        self.earlier: Names = set()
        self.rested = False
        # When a service was first told to stop and to start, and what its file was then.
        self.told: dict[str, float] = {}
        self.begun: dict[str, tuple[float, bytes | None]] = {}

    async def run(self) -> None:
        lock = Lock(self.scene)
        try:
            await self.scene.point("begin")
            await lock.take(LOCK_WAIT_S)
            current = self.store.journal()
            if current is None or current["run"] != self.scene.run or current["phase"] != "launching":
                return
            await self._guarded(self._work())
            await self._guarded(self._wait_for_late())
            if self._taken_over():
                return
            # After a failure as well: what was started has to stay up.
            await self._guarded(self._settle())
            self._complete()
        except Cut:
            pass  # nobody is left who could write anything
        except TargetFailure as failure:
            if failure.code not in ("busy", "computer_unreachable"):
                raise
        finally:
            lock.release()

    async def _guarded(self, work: t.Coroutine[t.Any, t.Any, None]) -> None:
        try:
            await work
        except TargetFailure as failure:
            if failure.code == "computer_unreachable":
                raise
            self.journal.fail(None, "", failure)
        except WindowsFailure as failure:
            self.journal.fail(None, "", denied(failure))

    async def _work(self) -> None:
        self.journal.write(phase="finishing")
        await self.scene.point("finishing")
        await self._finish_previous()
        if self.journal.data["error"] is not None:
            return
        stop, start, need = await self._plan()
        await self.scene.point("recorded")
        if need:
            self.journal.write(phase="starting")
            await self._start_all(need)
            if self.journal.data["error"] is not None:
                return
        if stop:
            self.journal.write(phase="stopping")
            await self._stop_all(stop)
        back = self._returning(stop, start)
        if back:
            self.journal.write(phase="starting")
            await self._start_all(back)

    # finishing what an earlier run left
    async def _finish_previous(self) -> None:
        """Start what an earlier run has left down; nothing is stopped for it."""
        owed = [entry for entry in self.journal.services if entry["ran"]]
        self.earlier = {entry["name"] for entry in owed}
        rising = [entry for entry in [await self._met(entry) for entry in owed] if entry is not None]
        asked = {item["name"].lower() for item in self.request["services"]}
        self.journal.data["services"] = [
            entry for entry in self.journal.services if entry["ran"] or entry["name"].lower() in asked
        ]
        await self._start_all(rising)
        self.journal.data["finished"] = [entry["name"] for entry in rising if entry["name"] not in self.failed]
        self.journal.write()

    async def _met(self, entry: Json) -> Json | None:
        """How a service of an earlier run is found once it has come to rest; returned when it is to be started."""
        await self._until_calm(entry["name"])
        if self._state(entry["name"]) == "running" and entry["step"] == "starting":
            # Nobody has seen yet that it stays up.
            if not self.rested:
                await self.scene.clock.sleep(self.request["settle"])
            self.rested = True
            await self._until_calm(entry["name"])
        state = self._state(entry["name"])
        if self._may_stop(entry):
            entry.update(before=state, after=state, process_source="unknowable")
            return None
        entry.update(stop_at=None, process_before=None)
        if state in ("running", "missing"):
            # Somebody else has ended that.
            entry.update(ran=False, step=None)
            return None
        entry.update(before=state, after=state, process_source="unknowable")
        if state == "stopped":
            return None if self._disabled(entry["name"]) else entry
        # What depends on a service that did not come to rest is not tried.
        self.failed.add(entry["name"])
        self.late.append(entry)
        failure = TargetFailure("service_pending", f"the service stays {state}", service=entry["name"], state=state)
        entry["error"] = failure.as_json()
        self.journal.fail(None, "", failure)
        return None

    # the plan
    async def _plan(self) -> tuple[list[Json], list[Json], list[Json]]:
        """What to stop and start again, what to start besides, and what has to be started before anything.

        Raises:
            TargetFailure: Why nothing may be stopped.
        """
        entries = self.journal.services
        for item in self.request["services"]:
            if self.manager.find(item["name"]) is None:
                raise TargetFailure("service_missing", "there is no such service", service=item["name"])
        for entry in entries:
            if not entry["ran"] or (entry["before"] == "running" and self._asked(entry)):
                await self._look(entry)
        stop = self._affected(entries)
        asked = {name.lower() for name in self.request["start"]}
        start = [entry for entry in entries if entry["name"].lower() in asked and not self._up(entry)]
        need = self._needed(stop + start, {entry["name"].lower() for entry in stop} | asked)
        self._refuse(stop, start, need)
        missing = [self._dependency(name) for name in need]
        for entry in stop + start:
            self.journal.step(entry, "recorded")
        return stop, start, missing

    async def _look(self, entry: Json) -> None:
        """Wait until a service has settled, and note how it is."""
        service = self.manager.open(entry["name"])
        await self._until_calm(service.name)
        entry["before"] = entry["after"] = service.state
        entry["ran"] = entry["ran"] or service.state == "running"
        if service.state not in ("running", "stopped"):
            raise TargetFailure(
                "service_pending", f"the service stays {service.state}", service=service.name, state=service.state
            )
        process = visible_process(self.scene, service)
        entry["process_before"] = process_json(process)
        entry["process_source"] = "unknowable" if process is None else "path"

    def _affected(self, entries: list[Json]) -> list[Json]:
        """Running roots, and what runs and depends on them; a root that was just started has read its file."""
        up = [entry for entry in entries if self._up(entry)]
        finished = self.journal.data["finished"]
        names = {entry["name"].lower() for entry in up if entry["role"] == "root" and entry["name"] not in finished}
        for entry in entries:
            if names & {name.lower() for name in entry["depends_on"]}:
                names.add(entry["name"].lower())
        return [entry for entry in up if entry["name"].lower() in names]

    def _up(self, entry: Json) -> bool:
        runs = entry["before"] == "running" and self._asked(entry)
        return bool(runs or entry["name"] in self.journal.data["finished"])

    def _asked(self, entry: Json) -> bool:
        return any(item["name"].lower() == entry["name"].lower() for item in self.request["services"])

    def _needed(self, touched: list[Json], rising: Names) -> list[str]:
        names = [name for entry in touched for name in entry["depends_on"]]
        return [name for name in dict.fromkeys(names) if name.lower() not in rising and self._state(name) != "running"]

    def _refuse(self, stop: list[Json], start: list[Json], need: list[str]) -> None:
        helping = need if self.request["start_dependencies"] else []
        if not self.request["allow_disabled"]:
            for name in [entry["name"] for entry in stop + start] + helping:
                if self._disabled(name):
                    raise TargetFailure("service_disabled", "the service is Disabled", service=name)
        for entry in stop:
            self._refuse_graph(entry, {other["name"].lower() for other in stop})
        for entry in stop + start:
            for name in entry["depends_on"]:
                state = self._state(name)
                if name in need and (state == "missing" or not self.request["start_dependencies"]):
                    raise TargetFailure(
                        "dependency_down", f"{name} is {state}", service=entry["name"], dependency=name, state=state
                    )

    def _refuse_graph(self, entry: Json, stopping: Names) -> None:
        if entry["role"] != "root" and self.request["dependents"] == "fail":
            below = next(name for name in entry["depends_on"] if name.lower() in stopping)
            raise _graph_changed(below, entry["name"])
        service = self.manager.open(entry["name"])
        for other in self.manager.closure([service], self.manager.dependents):
            if other.state != "stopped" and other.name.lower() not in stopping:
                raise _graph_changed(entry["name"], other.name)

    def _refuse_dependents(self, entry: Json) -> None:
        """Just before the stop: a dependent that does not rest would be stopped with it, or keep it from stopping."""
        for other in self.manager.closure([self.manager.open(entry["name"])], self.manager.dependents):
            if other.state != "stopped":
                raise _graph_changed(entry["name"], other.name)

    def _dependency(self, name: str) -> Json:
        nothing: Json = {"depends_on": [], "file": None, "file_sha256": None, "loaded": None}
        entry = new_entry({"name": name, "role": "dependency", **nothing})
        entry["before"] = entry["after"] = self._state(name)
        self.journal.services.insert(0, entry)
        return entry

    # stopping
    async def _stop_all(self, entries: list[Json]) -> None:
        """Stop in reverse order, until one cannot be stopped."""
        for entry in reversed(entries):
            try:
                await self._stop(entry)
            except TargetFailure as failure:
                told = entry["stop_at"] is not None
                if told:
                    self.late.append(entry)
                    if self._state(entry["name"]) != "running":
                        self.failed.add(entry["name"])
                self.journal.fail(entry, "stopping" if told else "failed", failure)
                return

    async def _stop(self, entry: Json) -> None:
        service = self.manager.open(entry["name"])
        begun = self.scene.clock.elapsed()
        if begun - self.began >= self.request["deadline"]:
            raise _stop_timeout(service, 0)
        self._refuse_dependents(entry)
        limit = self._limit(self.request["stop_timeout"])
        earlier, entry["stop_at"] = entry["stop_at"], self.scene.clock.now()
        self.told[entry["name"]] = begun
        self.journal.step(entry, "stopping", limit_s=limit)
        await self.scene.point("stopping", service=service.name)
        try:
            await self._send_stop(service, begun + limit)
        except TargetFailure:
            entry["stop_at"] = earlier
            raise
        await self.scene.point("stop_sent", service=service.name)
        await self.manager.reach(service, "stopped", max(begun + limit - self.scene.clock.elapsed(), 0.0))
        entry["stop_ms"] = self._since(begun)
        if service.state != "stopped":
            raise _stop_timeout(service, entry["stop_ms"])
        self.journal.step(entry, "stopped")
        await self.scene.point("stopped", service=service.name)

    async def _send_stop(self, service: Service, deadline: float) -> None:
        while True:
            try:
                self.manager.stop(service.name)
                return
            except WindowsFailure as failure:
                if failure.native in (SERVICE_NOT_ACTIVE, *_UNSURE_CODES) or service.state == "stop_pending":
                    return
                if failure.native not in _BUSY_CODES or self.scene.clock.elapsed() >= deadline:
                    raise windows_failure("stop_refused", failure, service=service.name) from failure
            await self.scene.clock.sleep(RETRY_S)

    # starting
    def _returning(self, stop: list[Json], start: list[Json]) -> list[Json]:
        """What has to run again; after a failure everything that was stopped, and nothing that was not running."""
        whole = self.journal.data["error"] is None
        if whole and self.request["dependents"] == "leave_stopped":
            for entry in stop:
                if entry["role"] != "root":
                    self.journal.step(entry, "left")
        wanted = [entry for entry in stop if entry["step"] == "stopped"] + (start if whole else [])
        return [entry for entry in self.journal.services if entry in wanted and not self._disabled(entry["name"])]

    async def _start_all(self, entries: list[Json]) -> None:
        """Start in order; what depends on a failure is not tried."""
        for entry in entries:
            try:
                down = next((name for name in entry["depends_on"] if name in self.failed), None)
                if down is not None:
                    raise TargetFailure(
                        "dependency_failed", f"{down} did not start", service=entry["name"], dependency=down
                    )
                await self._start(entry)
            except TargetFailure as failure:
                self.failed.add(entry["name"])
                hung = failure.code == "start_timeout"
                if hung:
                    self.late.append(entry)
                self.journal.fail(entry, "hung" if hung else "failed", failure)

    async def _start(self, entry: Json) -> None:
        service = self.manager.open(entry["name"])
        limit = float(self.request["start_timeout"])
        # One that is looked at a second time has read its file long ago.
        first, before = self.begun.setdefault(entry["name"], (self.scene.clock.elapsed(), self._file(entry)))
        self.journal.step(entry, "starting", limit_s=limit)
        begun = self.scene.clock.elapsed()
        await self.scene.point("starting", service=service.name)
        await self._send_start(service, begun + limit)
        await self.scene.point("start_sent", service=service.name)
        await self._until_settled(service, begun + limit)
        entry["start_ms"] = self._since(first)
        if service.state == "stopped":
            failure = WindowsFailure(service.last_error or 0)
            raise windows_failure("start_failed", failure, service=service.name)
        if service.state != "running":
            raise TargetFailure(
                "start_timeout",
                f"{service.name} is still {service.state}",
                service=service.name,
                state=service.state,
                waited_ms=entry["start_ms"],
            )
        process = visible_process(self.scene, service)
        entry["process_after"] = process_json(process)
        entry["process_source"] = "unknowable" if process is None else "path"
        self._record(entry, service, before)
        self.journal.step(entry, "running")
        await self.scene.point("running", service=service.name)

    async def _send_start(self, service: Service, deadline: float) -> None:
        while True:
            try:
                self.manager.start(service.name)
                return
            except WindowsFailure as failure:
                if failure.native != SERVICE_ALREADY_RUNNING:
                    raise windows_failure("start_failed", failure, service=service.name) from failure
            # Somebody else starts it, or it has not finished stopping.
            await self._until_settled(service, deadline)
            if service.state != "stopped" or self.scene.clock.elapsed() >= deadline:
                return

    async def _until_settled(self, service: Service, deadline: float) -> None:
        remaining = max(deadline - self.scene.clock.elapsed(), 0.0)
        await self.manager.changed.until(self.scene.clock, lambda: service.state in ("running", "stopped"), remaining)

    # what is late
    def _may_stop(self, entry: Json) -> bool:
        """Whether a stop that a service has taken may still come: it runs, in the process that was told."""
        service = self.manager.find(entry["name"])
        at = entry["stop_at"]
        if service is None or service.state != "running" or owed_step(entry, ended=True) != "stopping" or at is None:
            return False
        if abs(self.scene.clock.now() - at) >= TOLD_S:
            return False
        process = process_json(visible_process(self.scene, service))
        return process is None or entry["process_before"] is None or process == entry["process_before"]

    async def _wait_for_late(self) -> None:
        """Until the deadline, see what comes of services that passed a limit on their way down or up."""
        for entry in self.journal.services:
            # One that an earlier run told to stop does so only now.
            late = entry["ran"] and owed_step(entry, ended=True) == "stopping" and entry not in self.late
            if late and self._state(entry["name"]) != "running":
                self.late.append(entry)
        while self.late:
            if self._taken_over():
                return
            for entry in list(self.late):
                await self._look_again(entry)
            left = self.request["deadline"] - (self.scene.clock.elapsed() - self.began)
            if not self.late or left <= 0:
                return
            first = self.late[0]
            if (self.journal.data["service"], self.journal.data["step"]) != (first["name"], first["step"]):
                now = self.scene.clock.now()
                values = {
                    "service": first["name"],
                    "step": first["step"],
                    "since": now,
                    "deadline": round(now + left, 3),
                }
                self.journal.write(**values)
            await self.manager.changed.until(self.scene.clock, self._any_at_rest, left)

    def _taken_over(self) -> bool:
        """Whether another run owns what is left; it has the lock then, which this one lost with its connection."""
        try:
            current = self.store.journal()
        except RegistryFailure:
            return False
        return current is not None and current["run"] != self.scene.run

    def _at_rest(self, entry: Json) -> bool:
        """Whether there is something to do for a late service; not for one that may still stop, and holds nobody up."""
        waits_alone = self._may_stop(entry) and entry["name"] not in self.failed
        return self._state(entry["name"]) in _CALM and not waits_alone

    def _any_at_rest(self) -> bool:
        return any(self._at_rest(entry) for entry in self.late)

    async def _look_again(self, entry: Json) -> None:
        if not self._at_rest(entry):
            return
        state, waits, start = self._state(entry["name"]), self._may_stop(entry), []
        if not waits:
            self.late.remove(entry)
        if state == "stopped":
            self.begun.pop(entry["name"], None)
            if entry["step"] == "stopping" and entry["name"] in self.told:
                entry["stop_ms"] = self._since(self.told[entry["name"]])
                self.journal.step(entry, "stopped")
            start = [] if self._disabled(entry["name"]) else [entry]
        elif state == "running" and entry["step"] == "hung":
            start = [entry]
        elif state == "running" and not waits:
            entry["step"] = "failed"
        self.failed.discard(entry["name"])
        self.journal.write(phase="starting")
        await self._start_all(start + self._released())
        finished = self.journal.data["finished"]
        for other in self.journal.services:
            if other["name"] in self.earlier - set(finished) and other["step"] == "running":
                finished.append(other["name"])

    def _released(self) -> list[Json]:
        """What was not started because of a service that is no obstacle any more."""
        found = []
        for entry in self.journal.services:
            waited = (entry["error"] or {}).get("code") == "dependency_failed"
            if waited and not self.failed & set(entry["depends_on"]):
                self.failed.discard(entry["name"])
                entry["error"] = None
                found.append(entry)
        return found

    # records
    def _file(self, entry: Json) -> bytes | None:
        if entry["file"] is None:
            return None
        node = self.scene.server.files.node(self.scene.server.expand(entry["file"]))
        return None if node is None else node.data

    def _readable(self, entry: Json) -> bool:
        files, path = self.scene.server.files, self.scene.server.expand(entry["file"])
        if files.node(path) is None:
            return True
        try:
            files.read(path)
        except WindowsFailure:
            return False
        return True

    def _record(self, entry: Json, service: Service, before: bytes | None) -> None:
        """Note which section the new process has loaded: the file's, if it was the same before and after the start."""
        if entry["file"] is None:
            return
        after = self._file(entry)
        digest = "" if after is None else sha256(after)
        same = after == before and self._readable(entry)
        values = {**self.store.record(service.name), "loaded": "", "file": digest if same else ""}
        values["process"] = format_process(visible_process(self.scene, service))
        if same and digest == (entry["file_sha256"] or ""):
            values["loaded"] = entry["loaded"] or ""
        elif same and after is None:
            values["loaded"] = sha256(b"")
        elif same and after is not None:
            self.store.save(after)
        self.store.write_record(service.name, values)

    # the end
    async def _settle(self) -> None:
        """Seconds after the last start, everything that was started must still run, in the same process."""
        running = [
            entry for entry in self.journal.services if entry["step"] == "running" and entry["start_ms"] is not None
        ]
        if not running:
            return
        self.journal.write(phase="settling")
        await self.scene.point("settling")
        await self.scene.clock.sleep(self.request["settle"])
        for entry in running:
            await self._until_calm(entry["name"], 5.0)
            if not self._same(entry):
                failure = TargetFailure(
                    "died", f"{entry['name']} did not stay up", service=entry["name"], state=self._state(entry["name"])
                )
                finished = self.journal.data["finished"]
                self.journal.data["finished"] = [name for name in finished if name != entry["name"]]
                self.journal.fail(entry, "failed", failure)

    def _same(self, entry: Json) -> bool:
        """Whether a service runs, and in no other process as far as both are known."""
        service = self.manager.find(entry["name"])
        if service is None or service.state != "running":
            return False
        process = process_json(visible_process(self.scene, service))
        return process is None or entry["process_after"] is None or process == entry["process_after"]

    def _complete(self) -> None:
        """Write the end; the journal stays unfinished while something is down through this run or those before it."""
        data = self.journal.data
        for entry in data["services"]:
            if entry["before"] is not None:
                entry["after"] = self._state(entry["name"])
            if entry["step"] == "running" and entry["after"] != "running":
                entry["step"] = "failed"
        if not any(self._owed(entry) for entry in data["services"]):
            data["phase"] = "done"
        times = [entry[key] for entry in data["services"] for key in ("stop_ms", "start_ms")]
        changed = data["finished"] or any(time is not None for time in times)
        good = "restarted" if changed else "nothing"
        self.journal.write(outcome="failed" if data["error"] is not None else good, service=None, step=None)

    def _owed(self, entry: Json) -> bool:
        if not ran(entry) or owed_step(entry, ended=True) is None or self._disabled(entry["name"]):
            return False
        return self._state(entry["name"]) not in ("running", "missing") or self._may_stop(entry)

    async def _until_calm(self, name: str, limit: float | None = None) -> None:
        """Wait while a service is on its way down or up."""
        limit = self._limit(self.request["stop_timeout"]) if limit is None else limit
        await self.manager.changed.until(self.scene.clock, lambda: self._state(name) in _CALM, limit)

    # small questions
    def _state(self, name: str) -> State | t.Literal["missing"]:
        service = self.manager.find(name)
        return "missing" if service is None else service.state

    def _disabled(self, name: str) -> bool:
        service = self.manager.find(name)
        return service is not None and service.start_type == "disabled"

    def _limit(self, own_s: float) -> float:
        """A step's own limit, cut by what is left of the whole run; what comes back has its own limit whole."""
        left = float(self.request["deadline"]) - (self.scene.clock.elapsed() - self.began)
        return max(min(own_s, left), 0.0)

    def _since(self, begun: float) -> int:
        return round((self.scene.clock.elapsed() - begun) * 1000)


def _graph_changed(service: str, dependent: str) -> TargetFailure:
    return TargetFailure(
        "graph_changed", f"{dependent} depends on {service} and runs", service=service, dependent=dependent
    )


def _stop_timeout(service: Service, waited_ms: int) -> TargetFailure:
    return TargetFailure(
        "stop_timeout",
        f"{service.name} is still {service.state}",
        service=service.name,
        state=service.state,
        waited_ms=waited_ms,
    )
