# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The detached worker of a restart: it outlives shell, connection and controller, and obeys only its deadlines."""

from __future__ import annotations

import typing as t

from ..machines.errors import (
    DEPENDENT_SERVICES_RUNNING,
    INVALID_SERVICE_CONTROL,
    SERVICE_ALREADY_RUNNING,
    SERVICE_CANNOT_ACCEPT_CTRL,
    SERVICE_NOT_ACTIVE,
    WindowsFailure,
)
from ..machines.services import Process, Service
from .failures import Json, TargetFailure, windows_failure
from .journal import FINISHABLE, Journal, service_entry
from .scene import Scene, sha256
from .state import Lock, Store, format_process, process_json, visible_process

LOCK_WAIT_S: t.Final = 30.0
RETRY_S: t.Final = 0.5
_BUSY_CODES: t.Final = (SERVICE_CANNOT_ACCEPT_CTRL, INVALID_SERVICE_CONTROL, DEPENDENT_SERVICES_RUNNING)


class Cut(Exception):
    """The worker is gone between two steps: killed, or its machine lost power."""


class Worker:
    """One restart, from the moment at which the worker takes the lock."""

    def __init__(self, scene: Scene, request: Json, journal: Json, old: Json | None) -> None:
        self.scene = Scene(scene.runner, scene.server, "worker", scene.run, scene.who)
        self.request = request
        self.journal = Journal(self.scene, journal)
        self.old = old
        self.manager = scene.server.services
        self.store = Store(scene.server)
        self.items = {item["name"].lower(): item for item in request["services"]}
        self.began = scene.clock.elapsed()
        self.started: list[str] = []

    async def run(self) -> None:
        lock = Lock(self.scene)
        try:
            await self.scene.point("begin")
            await lock.take(LOCK_WAIT_S)
            if not self._still_ours():
                return
            await self._work()
        except Cut:
            pass  # nobody is left who could write anything
        except TargetFailure as failure:
            self._give_up(failure)
        finally:
            lock.release()

    def _give_up(self, failure: TargetFailure) -> None:
        if self.scene.server.up and failure.code not in ("busy", "computer_unreachable"):
            self.journal.data["error"] = failure.as_json()
            self.journal.finish("failed", unfinished=True)

    def _still_ours(self) -> bool:
        current = self.store.journal()
        return current is not None and current["run"] == self.scene.run

    async def _work(self) -> None:
        for item in self.request["services"]:
            service = self.manager.open(item["name"])
            self.journal.data["services"].append(service_entry(self.scene, service, item["role"]))
        if self.old is not None:
            await self._finish_old(self.old)
        affected = self._affected()
        for name in affected:
            self.journal.step(name, "recorded")
        await self.scene.point("recorded")
        if await self._stop_all(affected):
            await self._start_all(self._to_start(affected))
            await self._settle()
            self._end(affected)

    # finishing what an earlier run left
    async def _finish_old(self, old: Json) -> None:
        self.journal.write(phase="finishing")
        for entry in old["services"]:
            service = self.manager.find(entry["name"])
            if service is None or service.state != "stopped" or service.start_type == "disabled":
                continue
            if entry["step"] in FINISHABLE:
                await self._finish_one(service)
            elif entry["step"] == "recorded":
                self.journal.data["left_alone"].append(service.name)
        self.journal.write()

    async def _finish_one(self, service: Service) -> None:
        known = service.name.lower() in self.items
        if not known:
            self.items[service.name.lower()] = {
                "name": service.name,
                "role": "dependent",
                "file": None,
                "file_sha256": None,
                "loaded": None,
            }
            self.journal.data["services"].append(service_entry(self.scene, service, "dependent"))
        self.journal.data["finished"].append(service.name)
        await self._start(service)

    # the plan
    def _affected(self) -> list[str]:
        """Services to stop, in start order: running roots and what runs and depends on them."""
        finished = {name.lower() for name in self.journal.data["finished"]}
        running = [item for item in self.request["services"] if self.manager.open(item["name"]).state == "running"]
        roots = [
            self.manager.open(item["name"])
            for item in running
            if item["role"] == "root" and item["name"].lower() not in finished
        ]
        reached = {service.name.lower() for service in roots + self.manager.closure(roots, self.manager.dependents)}
        return [self.manager.open(item["name"]).name for item in running if item["name"].lower() in reached]

    def _to_start(self, affected: list[str]) -> list[str]:
        asked = {name.lower() for name in self.request["start"]}
        back = {name.lower() for name in affected}
        if self.request["dependents"] == "leave_stopped":
            back = {name for name in back if self.items[name]["role"] == "root"}
        return [item["name"] for item in self.request["services"] if item["name"].lower() in asked | back]

    # stopping
    async def _stop_all(self, affected: list[str]) -> bool:
        """Stop in reverse order; False: one could not be stopped, and the run has ended with what that means."""
        self.journal.write(phase="stopping")
        done: list[str] = []
        for name in reversed(affected):
            service = self.manager.open(name)
            try:
                await self._stop(service)
            except TargetFailure as failure:
                await self._stopping_failed(service, failure, done)
                return False
            done.insert(0, name)
        return True

    async def _stop(self, service: Service) -> None:
        limit = self._limit(self.request["stop_timeout"])
        begun = self.scene.clock.elapsed()
        self.journal.step(service.name, "stopping", limit_s=limit)
        await self.scene.point("stopping", service=service.name)
        await self._send_stop(service, begun + limit)
        await self.scene.point("stop_sent", service=service.name)
        if not await self.manager.reach(service, "stopped", begun + limit - self.scene.clock.elapsed()):
            raise TargetFailure(
                "stop_timeout",
                f"{service.name} is still {service.state}",
                service=service.name,
                state=service.state,
                waited_ms=self._since(begun),
            )
        self.journal.step(service.name, "stopped", stop_ms=self._since(begun), after="stopped", process_after=None)
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

    async def _stopping_failed(self, service: Service, failure: TargetFailure, done: list[str]) -> None:
        """What could not be stopped stays; what was stopped already and can run is started again."""
        hung = service.state == "stop_pending"
        self.journal.fail(service.name, "stopping" if hung else "failed", failure)
        self.journal.entry(service.name)["after"] = service.state
        root = self.items[service.name.lower()]["role"] == "root"
        blocked = {other.name for other in self.manager.closure([service], self.manager.dependents)} if hung else set()
        await self._start_all([name for name in done if name not in blocked])
        await self._settle()
        self.journal.finish("failed", unfinished=root and hung)

    # starting
    async def _start_all(self, names: list[str]) -> None:
        self.journal.write(phase="starting")
        for name in names:
            service = self.manager.open(name)
            failed = self._failed_dependency(service)
            if failed is not None:
                failure = TargetFailure(
                    "dependency_failed", f"{failed} did not start", service=service.name, dependency=failed
                )
                self.journal.fail(service.name, "failed", failure)
                continue
            await self._start(service)

    def _failed_dependency(self, service: Service) -> str | None:
        failed = {entry["name"] for entry in self.journal.data["services"] if entry["error"] is not None}
        return next((other.name for other in self.manager.dependencies(service) if other.name in failed), None)

    async def _start(self, service: Service) -> None:
        limit = self._limit(self.request["start_timeout"])
        begun = self.scene.clock.elapsed()
        before = self._file_hash(service)
        self.journal.step(service.name, "starting", limit_s=limit)
        await self.scene.point("starting", service=service.name)
        try:
            self._send_start(service)
            await self.scene.point("start_sent", service=service.name)
            await self._until_running(service, begun, limit)
        except TargetFailure as failure:
            self.journal.fail(service.name, "hung" if failure.code == "start_timeout" else "failed", failure)
            self.journal.entry(service.name)["after"] = service.state
            return
        self._record(service, before)
        process = visible_process(self.scene, service)
        self.started.append(service.name)
        self.journal.step(
            service.name,
            "running",
            start_ms=self._since(begun),
            after="running",
            process_after=process_json(process),
            process_source="unknowable" if process is None else "path",
        )
        await self.scene.point("running", service=service.name)

    def _send_start(self, service: Service) -> None:
        try:
            self.manager.start(service.name)
        except WindowsFailure as failure:
            # Somebody else started it first: what counts is that the process is new.
            if failure.native != SERVICE_ALREADY_RUNNING:
                raise windows_failure("start_failed", failure, service=service.name) from failure

    async def _until_running(self, service: Service, begun: float, limit: float) -> None:
        remaining = begun + limit - self.scene.clock.elapsed()
        await self.manager.changed.until(
            self.scene.clock, lambda: service.state in ("running", "stopped"), max(remaining, 0.0)
        )
        if service.state == "running":
            return
        if service.state == "stopped":
            raise windows_failure("start_failed", WindowsFailure(service.last_error or 0), service=service.name)
        raise TargetFailure(
            "start_timeout",
            f"{service.name} is still {service.state}",
            service=service.name,
            state=service.state,
            waited_ms=self._since(begun),
        )

    # records
    def _file_hash(self, service: Service) -> str | None:
        path = self._file(service)
        node = self.scene.server.files.node(path) if path else None
        return None if node is None or node.data is None else sha256(node.data)

    def _file(self, service: Service) -> str | None:
        path = self.items[service.name.lower()]["file"]
        return None if path is None else self.scene.server.expand(path)

    def _record(self, service: Service, before: str | None) -> None:
        item = self.items[service.name.lower()]
        if item["file"] is None:
            return
        after = self._file_hash(service)
        values = {**self.store.record(service.name), "loaded": "", "file": ""}
        values["process"] = format_process(visible_process(self.scene, service))
        if before == after:
            values["file"] = after or ""
            if after == item["file_sha256"]:
                values["loaded"] = item["loaded"] or ""
            else:
                self._keep_loaded(service)
        self.store.write_record(service.name, values)

    def _keep_loaded(self, service: Service) -> None:
        node = self.scene.server.files.node(self._file(service) or "")
        if node is not None and node.data is not None:
            self.store.save(node.data)

    # the end
    async def _settle(self) -> None:
        """Seconds after the last start, every service must still run in the same process."""
        if not self.started:
            return
        self.journal.write(phase="settling", service=None, step=None)
        processes = {name: self._process(name) for name in self.started}
        await self.scene.point("settling")
        await self.scene.clock.sleep(self.request["settle"])
        for name, process in processes.items():
            service = self.manager.open(name)
            if service.state != "running" or self._process(name) != process:
                self.journal.fail(name, "failed", TargetFailure("died", f"{name} did not stay up", service=name))
            self.journal.entry(name)["after"] = service.state

    def _process(self, name: str) -> Process | None:
        return visible_process(self.scene, self.manager.open(name))

    def _end(self, affected: list[str]) -> None:
        for entry in self.journal.data["services"]:
            entry["after"] = self.manager.open(entry["name"]).state
        if self.journal.data["error"] is not None:
            self.journal.finish("failed")
        else:
            self.journal.finish("restarted" if affected or self.started else "nothing")

    def _limit(self, own_s: float) -> float:
        """A step's own limit, cut by what is left of the whole run."""
        left = float(self.request["deadline"]) - (self.scene.clock.elapsed() - self.began)
        return max(min(own_s, left), 0.0)

    def _since(self, begun: float) -> int:
        return round((self.scene.clock.elapsed() - begun) * 1000)
