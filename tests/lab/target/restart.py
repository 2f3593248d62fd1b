# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations ``restart`` and ``restart_status``: lock, window, hand-over to the detached worker, polling."""

from __future__ import annotations

import json
import typing as t
from datetime import datetime, timezone

from ..machines.errors import RegistryFailure
from ..machines.machine import Machine
from .failures import Json, TargetFailure
from .journal import Inheritance, check_journal, done_answer, new_journal, waiting_answer
from .scene import HOME, Scene
from .state import KEY, Lock, Store
from .worker import Worker

LAUNCHING_S: t.Final = 60.0
LAUNCH_LIMIT_S: t.Final = 30.0
INTERRUPTED_S: t.Final = 5.0
ABANDONED_S: t.Final = 45.0
POLL_S: t.Final = 0.2


class RequestFile:
    """A request on its way to the worker, on the machine that runs the script. It may hold a password."""

    def __init__(self, runner: Machine, run: str) -> None:
        self.runner = runner
        self.directory = f"{runner.system_root}\\{HOME}\\run"
        self.path = f"{self.directory}\\{run}.json"

    def leave(self, request: Json) -> None:
        """Write it, and take away those whose launcher and worker both died."""
        files = self.runner.files
        files.mkdir(self.directory)
        for path in [f"{self.directory}\\{name}" for name in files.names(self.directory)]:
            if path.lower().endswith(".json") and abs(self.runner.clock.now() - files.modified(path)) > ABANDONED_S:
                files.remove(path)
        self.remove()
        files.create(self.path, json.dumps(request).encode())

    def remove(self) -> None:
        self.runner.files.remove(self.path)


class Restart:
    """One ``restart``, up to the moment at which its worker has taken over."""

    def __init__(self, scene: Scene, request: Json) -> None:
        self.scene = scene
        self.request = request
        self.store = Store(scene.server)

    async def run(self) -> Json:
        await self.scene.point("begin")
        lock = Lock(self.scene)
        await lock.take(self.request["lock_wait"])
        try:
            old = self._old_journal()
            self._window()
            await self.scene.point("checked")
            journal = new_journal(self.scene, self.store.ensure_boot(), self.request["services"])
            if old is not None:
                Inheritance(self.scene, old, self.request["finish"]).pass_on(journal)
            self.store.keep_replaced()
            self.store.write_journal(journal)
            await self.scene.point("recorded")
        finally:
            lock.release()
        await self._launch(Worker(self.scene, self.request, journal), old)
        await self.scene.point("launched")
        return await wait_for_end(self.scene, self.scene.run, self.request["wait"], journal)

    def _old_journal(self) -> Json | None:
        old = self.store.journal()
        if old is None:
            return None
        check_journal(old)
        if old["phase"] == "launching" and abs(self.scene.clock.now() - old["updated"]) < LAUNCHING_S:
            holder = {key: old.get(key) for key in ("who", "run", "machine")}
            raise TargetFailure("busy", "another run is starting its worker", since=old["began"], **holder)
        return old

    def _window(self) -> None:
        window = self.request["window"]
        if window is None:
            return
        clock = self.scene.runner.clock
        local = datetime.fromtimestamp(clock.now() + clock.utc_offset_minutes * 60, timezone.utc).strftime("%H:%M")
        begin, end = window["from"], window["to"]
        inside = begin <= local < end if begin < end else local >= begin or local < end
        if not inside:
            raise TargetFailure(
                "outside_window",
                f"{local} is outside {begin}-{end}",
                now=clock.now(),
                utc_offset_minutes=clock.utc_offset_minutes,
                window=window,
            )

    async def _launch(self, worker: Worker, old: Json | None) -> None:
        """Start the worker; one that does not take over in time loses the journal again."""
        file = RequestFile(self.scene.runner, self.scene.run)
        file.leave(self.request)
        if self.scene.runner.can_detach:
            worker.journal.data["launched"] = "wmi" if self.scene.runner.has_wmi else "process"
            self.store.write_journal(worker.journal.data)
            self.scene.runner.detach(self.scene.run, _work(worker, file))
        deadline = self.scene.clock.elapsed() + LAUNCH_LIMIT_S
        while self.scene.clock.elapsed() < deadline:
            await self.scene.clock.sleep(POLL_S)
            journal = self.store.journal()
            if journal is None or journal["run"] != self.scene.run or journal["phase"] != "launching":
                file.remove()
                return
        file.remove()
        lock = Lock(self.scene)
        await lock.take(INTERRUPTED_S)
        if old is None:
            self.store.registry.delete_value(KEY, "journal")
        else:
            self.store.write_journal(old)
        lock.release()
        raise TargetFailure("worker_failed", "the worker did not take over in time")


async def _work(worker: Worker, file: RequestFile) -> None:
    file.remove()
    await worker.run()


async def restart_status(scene: Scene, request: Json) -> Json:
    """The operation ``restart_status``."""
    await scene.point("begin")
    answer = await wait_for_end(scene, request["of"], request["wait"])
    await scene.point("end")
    return answer


def _of_replaced(scene: Scene, run: str | None) -> Json:
    """The answer about a run whose journal is not there any more, or never was."""
    journal = Store(scene.server).journal("replaced")
    if journal is None or journal["run"] != run:
        return {"done": True, "outcome": "unknown"}
    return done_answer(scene, journal, outcome=journal["outcome"] or "interrupted")


async def wait_for_end(scene: Scene, run: str | None, wait_s: float, known: Json | None = None) -> Json:
    """Poll the journal until its run has ended, at most so many seconds.

    A read that fails says nothing about the worker: then what was known last is told.
    """
    store, lock = Store(scene.server), Lock(scene)
    deadline = scene.clock.elapsed() + wait_s
    held = scene.clock.elapsed()
    while True:
        try:
            journal = store.journal()
        except RegistryFailure:
            held = scene.clock.elapsed()
            if held >= deadline:
                if known is None:
                    raise
                return waiting_answer(known)
            await scene.clock.sleep(min(POLL_S, deadline - held))
            continue
        if journal is None or (run is not None and journal.get("run", run) != run):
            return _of_replaced(scene, run)
        check_journal(journal)
        known = journal
        if journal["outcome"] is not None:
            return done_answer(scene, journal, outcome=journal["outcome"])
        now = scene.clock.elapsed()
        held = held if lock.free() else now
        if now - held >= (LAUNCH_LIMIT_S if journal["phase"] == "launching" else INTERRUPTED_S):
            return done_answer(scene, journal, outcome="interrupted")
        if now >= deadline:
            return waiting_answer(journal)
        await scene.clock.sleep(min(POLL_S, deadline - now))
