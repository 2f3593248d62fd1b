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
    WindowsFailure,
)
from ..machines.services import Service, State
from .failures import Json, TargetFailure, denied, windows_failure
from .journal import FINISHABLE, STALE_S, Journal, new_entry
from .scene import Scene, sha256
from .state import Lock, Store, format_process, process_json, visible_process

LOCK_WAIT_S: t.Final = 30.0
RETRY_S: t.Final = 0.5
SHORTEST_LIMIT_S: t.Final = 1.0
_BUSY_CODES: t.Final = (SERVICE_CANNOT_ACCEPT_CTRL, INVALID_SERVICE_CONTROL)
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
        self.owed: list[Json] = []

    async def run(self) -> None:
        lock = Lock(self.scene)
        try:
            await self.scene.point("begin")
            await lock.take(LOCK_WAIT_S)
            current = self.store.journal()
            if current is None or current["run"] != self.scene.run or current["phase"] != "launching":
                return
            await self._guarded_work()
            self._complete()
        except Cut:
            pass  # nobody is left who could write anything
        except TargetFailure as failure:
            if failure.code not in ("busy", "computer_unreachable"):
                raise
        finally:
            lock.release()

    async def _guarded_work(self) -> None:
        try:
            await self._work()
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
        self.owed = back
        if back:
            self.journal.write(phase="starting")
            await self._start_all(back)
        await self._settle(need + back)

    # finishing what an earlier run left
    async def _finish_previous(self) -> None:
        previous = self.journal.data["previous"]
        if previous is None:
            return
        for entry in previous["services"]:
            await self._until_calm(entry["name"])
        down = [entry for entry in previous["services"] if self._state(entry["name"]) == "stopped"]
        hanging = [entry["name"] for entry in previous["services"] if self._state(entry["name"]) not in _CALM]
        self.journal.data["left_alone"] = [
            entry["name"] for entry in previous["recorded"] if self._state(entry["name"]) == "stopped"
        ]
        if self._continues(previous):
            self._give_up(hanging)
            self.owed = [entry for entry in down if not self._disabled(entry["name"])]
            await self._start_all(self.owed)
            self.journal.data["finished"] = [entry["name"] for entry in self.owed if entry["name"] not in self.failed]
        previous["down"] = [entry["name"] for entry in down if self._state(entry["name"]) != "running"]
        self.journal.write()

    def _give_up(self, hanging: list[str]) -> None:
        """What depends on a service that did not come to rest is not tried."""
        for name in hanging:
            self.failed.add(name)
            state = self._state(name)
            failure = TargetFailure("service_pending", f"the service stays {state}", service=name, state=state)
            self.journal.fail(None, "", failure)

    def _continues(self, previous: Json) -> bool:
        if self.request["finish"] == "any":
            return True
        age = abs(self.scene.clock.now() - previous["began"])
        return bool(previous["boot"] == self.journal.data["boot"] and age < STALE_S)

    # the plan
    async def _plan(self) -> tuple[list[Json], list[Json], list[Json]]:
        """What to stop and start again, what to start besides, and what has to be started before anything.

        Raises:
            TargetFailure: Why nothing may be stopped.
        """
        entries = self.journal.services
        for entry in entries:
            if self.manager.find(entry["name"]) is None:
                raise TargetFailure("service_missing", "there is no such service", service=entry["name"])
        for entry in entries:
            await self._look(entry)
        stop = self._affected(entries)
        asked = {name.lower() for name in self.request["start"]}
        start = [entry for entry in entries if entry["name"].lower() in asked and entry["before"] != "running"]
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
        entry["before"] = service.state
        if service.state not in ("running", "stopped"):
            raise TargetFailure(
                "service_pending", f"the service stays {service.state}", service=service.name, state=service.state
            )
        process = visible_process(self.scene, service)
        entry["process_before"] = process_json(process)
        entry["process_source"] = "unknowable" if process is None else "path"

    def _affected(self, entries: list[Json]) -> list[Json]:
        """Running roots, and what runs and depends on them; a root that was just started has read its file."""
        up = [entry for entry in entries if entry["before"] == "running"]
        finished = self.journal.data["finished"]
        names = {entry["name"].lower() for entry in up if entry["role"] == "root" and entry["name"] not in finished}
        for entry in entries:
            if names & {name.lower() for name in entry["depends_on"]}:
                names.add(entry["name"].lower())
        return [entry for entry in up if entry["name"].lower() in names]

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
        for entry in [] if self.request["start_dependencies"] else stop + start:
            for name in entry["depends_on"]:
                if name in need:
                    state = self._state(name)
                    raise TargetFailure(
                        "dependency_down", f"{name} is {state}", service=entry["name"], dependency=name, state=state
                    )

    def _refuse_graph(self, entry: Json, stopping: Names) -> None:
        if entry["role"] != "root" and self.request["dependents"] == "fail":
            raise _graph_changed(entry["depends_on"][0], entry["name"])
        service = self.manager.open(entry["name"])
        for other in self.manager.closure([service], self.manager.dependents):
            if other.state != "stopped" and other.name.lower() not in stopping:
                raise _graph_changed(entry["name"], other.name)

    def _dependency(self, name: str) -> Json:
        nothing: Json = {"depends_on": [], "file": None, "file_sha256": None, "loaded": None}
        entry = new_entry({"name": name, "role": "dependency", **nothing})
        entry["before"] = "stopped"
        self.journal.services.insert(0, entry)
        return entry

    # stopping
    async def _stop_all(self, entries: list[Json]) -> None:
        """Stop in reverse order, until one cannot be stopped."""
        for entry in reversed(entries):
            try:
                await self._stop(entry)
            except TargetFailure as failure:
                hung = failure.code == "stop_timeout" and failure.detail["state"] != "running"
                if hung:
                    self.failed.add(entry["name"])
                self.journal.fail(entry, "stopping" if hung else "failed", failure)
                return

    async def _stop(self, entry: Json) -> None:
        service = self.manager.open(entry["name"])
        begun = self.scene.clock.elapsed()
        if begun - self.began >= self.request["deadline"]:
            raise _stop_timeout(service, 0)
        limit = self._limit(self.request["stop_timeout"])
        self.journal.step(entry, "stopping", limit_s=limit)
        await self.scene.point("stopping", service=service.name)
        await self._send_stop(service, begun + limit)
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
                if failure.native == SERVICE_NOT_ACTIVE or service.state == "stop_pending":
                    return
                if failure.native not in _BUSY_CODES or self.scene.clock.elapsed() >= deadline:
                    raise windows_failure("stop_refused", failure, service=service.name) from failure
            await self.scene.clock.sleep(RETRY_S)

    # starting
    def _returning(self, stop: list[Json], start: list[Json]) -> list[Json]:
        """What has to run again; after a failure everything that was stopped, and nothing that was not running."""
        whole = self.journal.data["error"] is None
        back = [entry for entry in stop if entry["step"] == "stopped"]
        if whole and self.request["dependents"] == "leave_stopped":
            back = [entry for entry in back if entry["role"] == "root"]
        wanted = back + (start if whole else [])
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
                self.journal.fail(entry, "hung" if failure.code == "start_timeout" else "failed", failure)

    async def _start(self, entry: Json) -> None:
        service = self.manager.open(entry["name"])
        limit = self._limit(self.request["start_timeout"])
        before = self._file(entry)
        self.journal.step(entry, "starting", limit_s=limit)
        begun = self.scene.clock.elapsed()
        await self.scene.point("starting", service=service.name)
        await self._send_start(service, begun + limit)
        await self.scene.point("start_sent", service=service.name)
        await self._until_settled(service, begun + limit)
        entry["start_ms"] = self._since(begun)
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

    # records
    def _file(self, entry: Json) -> bytes | None:
        if entry["file"] is None:
            return None
        node = self.scene.server.files.node(self.scene.server.expand(entry["file"]))
        return None if node is None else node.data

    def _record(self, entry: Json, service: Service, before: bytes | None) -> None:
        """Note which section the new process has loaded: the file's, if it was the same before and after the start."""
        if entry["file"] is None:
            return
        after = self._file(entry)
        digest = "" if after is None else sha256(after)
        same = after == before
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
    async def _settle(self, entries: list[Json]) -> None:
        """Seconds after the last start, every service must still run in the same process."""
        running = [entry for entry in entries if entry["step"] == "running"]
        if not running:
            return
        self.journal.write(phase="settling")
        await self.scene.point("settling")
        await self.scene.clock.sleep(self.request["settle"])
        for entry in running:
            service = self.manager.open(entry["name"])
            process = process_json(visible_process(self.scene, service))
            if service.state != "running" or process != entry["process_after"]:
                failure = TargetFailure(
                    "died", f"{service.name} did not stay up", service=service.name, state=service.state
                )
                self.journal.fail(entry, "failed", failure)

    def _complete(self) -> None:
        """Write the end; the journal stays unfinished while something that this run stopped is not running."""
        data = self.journal.data
        seen = [entry for entry in data["services"] if entry["before"] is not None]
        for entry in seen:
            entry["after"] = self._state(entry["name"])
        changed = any(entry["stop_ms"] is not None or entry["start_ms"] is not None for entry in seen)
        hung = [entry for entry in data["services"] if entry["step"] in ("stopping", "hung")]
        down = [entry for entry in self.owed + hung if self._state(entry["name"]) != "running"]
        if not any(entry["step"] in FINISHABLE for entry in down):
            data["phase"] = "done"
        good = "restarted" if changed or data["finished"] else "nothing"
        self.journal.write(outcome="failed" if data["error"] is not None else good)

    async def _until_calm(self, name: str) -> None:
        """Wait while a service is on its way down or up."""
        limit = self._limit(self.request["stop_timeout"])
        await self.manager.changed.until(self.scene.clock, lambda: self._state(name) in _CALM, limit)

    # small questions
    def _state(self, name: str) -> State | t.Literal["missing"]:
        service = self.manager.find(name)
        return "missing" if service is None else service.state

    def _disabled(self, name: str) -> bool:
        service = self.manager.find(name)
        return service is not None and service.start_type == "disabled"

    def _limit(self, own_s: float) -> float:
        """A step's own limit, cut by what is left of the whole run."""
        left = float(self.request["deadline"]) - (self.scene.clock.elapsed() - self.began)
        return max(min(own_s, left), SHORTEST_LIMIT_S)

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
