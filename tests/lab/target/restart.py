# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations ``restart`` and ``restart_status``: checks, hand-over to the detached worker, polling."""

from __future__ import annotations

import functools
import typing as t
from datetime import datetime, timezone

from ..machines.services import Service
from .failures import Json, TargetFailure
from .journal import (
    FINISHABLE,
    done_answer,
    foreign,
    new_journal,
    previous_of,
    unfinished,
    waiting_answer,
)
from .scene import Scene
from .state import Lock, Store
from .worker import Worker

LAUNCHING_S: t.Final = 60.0
LAUNCH_LIMIT_S: t.Final = 30.0
INTERRUPTED_S: t.Final = 5.0
POLL_S: t.Final = 0.2


class Restart:
    """One ``restart``: everything is checked before anything is stopped."""

    def __init__(self, scene: Scene, request: Json) -> None:
        self.scene = scene
        self.request = request
        self.manager = scene.server.services
        self.store = Store(scene.server)

    async def run(self) -> Json:
        await self.scene.point("begin")
        lock = Lock(self.scene)
        await lock.take(self.request["lock_wait"])
        try:
            old = self._old_journal()
            self._window()
            self._missing()
            await self._settled()
            pending = self._to_finish(old)
            self._disabled(pending)
            self._graph()
            self._dependencies(pending)
            await self.scene.point("checked")
            worker = self._launch(old)
        finally:
            lock.release()
        await self.scene.point("launched")
        self.scene.runner.detach(self.scene.run, worker.run())
        return await wait_for_end(self.scene, self.scene.run, self.request["wait"])

    def _old_journal(self) -> Json | None:
        old = self.store.journal()
        if old is not None and unfinished(old) and old["phase"] == "launching":
            if self.scene.clock.now() - old["updated"] < LAUNCHING_S:
                holder = {key: old.get(key) for key in ("who", "run", "machine")}
                raise TargetFailure("busy", "another run is starting its worker", since=old["began"], **holder)
            return None
        return old

    def _window(self) -> None:
        window = self.request["window"]
        if window is None:
            return
        clock = self.scene.runner.clock
        local = datetime.fromtimestamp(clock.now() + clock.utc_offset_minutes * 60, timezone.utc).strftime("%H:%M")
        begin, end = window["from"], window["to"]
        inside = begin <= local < end if begin <= end else local >= begin or local < end
        if not inside:
            raise TargetFailure(
                "outside_window",
                f"{local} is outside {begin}-{end}",
                now=clock.now(),
                utc_offset_minutes=clock.utc_offset_minutes,
                window=window,
            )

    def _missing(self) -> None:
        for item in self.request["services"]:
            if self.manager.find(item["name"]) is None:
                raise TargetFailure("service_missing", "there is no such service", service=item["name"], native=1060)

    async def _settled(self) -> None:
        for service in self._asked():
            calm = await self.manager.changed.until(
                self.scene.clock, functools.partial(_calm, service), self.request["stop_timeout"]
            )
            if not calm:
                raise TargetFailure(
                    "service_pending", f"the service stays {service.state}", service=service.name, state=service.state
                )

    def _disabled(self, pending: list[str]) -> None:
        if self.request["allow_disabled"]:
            return
        for service in self._asked():
            starts = service.state == "running" or service.name.lower() in self._start_names()
            if starts and service.start_type == "disabled" and service.name.lower() not in pending:
                raise TargetFailure("service_disabled", "the service is Disabled", service=service.name)

    def _graph(self) -> None:
        roles = {item["name"].lower(): item["role"] for item in self.request["services"]}
        for service in self._asked():
            if service.state != "running":
                continue
            for other in self.manager.closure([service], self.manager.dependents):
                role = roles.get(other.name.lower())
                unwanted = role is None or (self.request["dependents"] == "fail" and role != "root")
                if other.state != "stopped" and unwanted:
                    raise TargetFailure(
                        "graph_changed",
                        f"{other.name} depends on {service.name} and runs",
                        service=service.name,
                        dependent=other.name,
                    )

    def _dependencies(self, pending: list[str]) -> None:
        if self.request["start_dependencies"]:
            return
        rising = {*pending, *self._start_names()}
        for item in self.request["services"]:
            service = self.manager.open(item["name"])
            if service.state != "running" and service.name.lower() not in self._start_names():
                continue
            for name in item["depends_on"]:
                other = self.manager.find(name)
                if other is None or other.driver or other.state == "running" or name.lower() in rising:
                    continue
                raise TargetFailure(
                    "dependency_down",
                    f"{other.name} is {other.state}",
                    service=service.name,
                    dependency=other.name,
                    state=other.state,
                )

    def _to_finish(self, old: Json | None) -> list[str]:
        """Lower-case names of services that an unfinished journal will start again."""
        if old is None or not unfinished(old) or not self._continues(old):
            return []
        return [entry["name"].lower() for entry in old["services"] if entry["step"] in FINISHABLE]

    def _continues(self, old: Json) -> bool:
        return self.request["finish"] == "any" or not foreign(self.scene, old, self.store.boot())

    def _asked(self) -> list[Service]:
        return [self.manager.open(item["name"]) for item in self.request["services"]]

    def _start_names(self) -> set[str]:
        return {name.lower() for name in self.request["start"]}

    def _launch(self, old: Json | None) -> Worker:
        continues = old is not None and unfinished(old) and self._continues(old)
        previous = previous_of(self.scene, old) if old is not None and unfinished(old) and not continues else None
        journal = new_journal(self.scene, self.store.ensure_boot(), previous)
        self.store.write_journal(journal)
        return Worker(self.scene, self.request, journal, old if continues else None)


def _calm(service: Service) -> bool:
    return service.state in ("running", "stopped")


async def restart_status(scene: Scene, request: Json) -> Json:
    """The operation ``restart_status``."""
    await scene.point("begin")
    answer = await wait_for_end(scene, request["of"], request["wait"])
    await scene.point("end")
    return answer


async def wait_for_end(scene: Scene, run: str | None, wait_s: float) -> Json:
    """Poll the journal until its run has ended, at most so many seconds."""
    store, lock = Store(scene.server), Lock(scene)
    deadline = scene.clock.elapsed() + wait_s
    free_since: float | None = None
    while True:
        journal = store.journal()
        if journal is None or (run is not None and journal["run"] != run):
            return {"done": True, "outcome": "unknown"}
        if journal["outcome"] is not None:
            return done_answer(scene, journal)
        now = scene.clock.elapsed()
        free_since = None if not lock.free() else now if free_since is None else free_since
        limit = LAUNCH_LIMIT_S if journal["phase"] == "launching" else INTERRUPTED_S
        if free_since is not None and now - free_since >= limit:
            return _ended_early(scene, journal)
        if now >= deadline:
            return waiting_answer(journal)
        await scene.clock.sleep(min(POLL_S, deadline - now))


def _ended_early(scene: Scene, journal: Json) -> Json:
    if journal["phase"] != "launching":
        return done_answer(scene, journal, outcome="interrupted")
    failure = TargetFailure("worker_failed", "the worker did not take over in time")
    return {**done_answer(scene, journal, outcome="failed"), "error": failure.as_json()}
