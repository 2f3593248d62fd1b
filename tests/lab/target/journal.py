# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a restart: what is written before each step, and what an answer shows of it."""

from __future__ import annotations

import copy
import typing as t
from dataclasses import dataclass

from ..machines.services import Service
from .failures import Json, TargetFailure
from .scene import Scene
from .state import Store, process_json, visible_process

STALE_S: t.Final = 24 * 3600
FINISHABLE: t.Final = ("stopping", "stopped", "starting")


def service_entry(scene: Scene, service: Service, role: str) -> Json:
    """A service's entry before anything was done."""
    process = visible_process(scene, service)
    return {
        "name": service.name,
        "role": role,
        "before": service.state,
        "after": service.state,
        "process_before": process_json(process),
        "process_after": process_json(process),
        "process_source": "unknowable" if process is None else "path",
        "stop_ms": None,
        "start_ms": None,
        "step": None,
        "error": None,
    }


def new_journal(scene: Scene, boot: str, previous: Json | None) -> Json:
    now = scene.clock.now()
    return {
        "version": 1,
        "run": scene.run,
        "who": scene.who,
        "machine": scene.runner.name,
        "boot": boot,
        "began": now,
        "updated": now,
        "phase": "launching",
        "service": None,
        "step": None,
        "since": now,
        "deadline": None,
        "outcome": None,
        "error": None,
        "services": [],
        "timeline": [],
        "left_alone": [],
        "finished": [],
        "previous": previous,
    }


@dataclass
class Journal:
    """The journal that a worker writes; every change is on the server before the step is done."""

    scene: Scene
    data: Json

    def __post_init__(self) -> None:
        self.store = Store(self.scene.server)

    def entry(self, name: str) -> Json:
        return next(entry for entry in self.data["services"] if entry["name"].lower() == name.lower())

    def write(self, **values: t.Any) -> None:
        self.data.update(values, updated=self.scene.clock.now())
        self.store.write_journal(copy.deepcopy(self.data))

    def step(self, name: str, step: str, *, limit_s: float | None = None, **values: t.Any) -> None:
        """Note that a service enters a step, and how long it may take."""
        now = self.scene.clock.now()
        self.entry(name).update(values, step=step)
        self.data["timeline"].append({"at": now, "service": name, "step": step})
        self.write(service=name, step=step, since=now, deadline=None if limit_s is None else round(now + limit_s, 3))

    def fail(self, name: str, step: str, failure: TargetFailure) -> None:
        """Note a service's error; the first one is the run's."""
        error = failure.as_json()
        self.data["error"] = self.data["error"] or error
        self.step(name, step, error=error)

    def finish(self, outcome: str, *, unfinished: bool = False) -> None:
        """Note the end; an unfinished journal keeps its phase, and the next run finishes it."""
        self.write(
            outcome=outcome, phase=self.data["phase"] if unfinished else "done", service=None, step=None, deadline=None
        )


def unfinished(journal: Json | None) -> bool:
    return journal is not None and journal["phase"] != "done"


def foreign(scene: Scene, journal: Json, boot: str | None) -> bool:
    """Whether a journal is of another boot, or too old to be continued."""
    return journal.get("boot") != boot or scene.clock.now() - float(journal.get("began") or 0) > STALE_S


def down(scene: Scene, entries: t.Iterable[Json]) -> list[str]:
    """Services that ran before and do not now."""
    manager = scene.server.services
    return [
        entry["name"]
        for entry in entries
        if entry["before"] == "running" and ((found := manager.find(entry["name"])) is None or found.state != "running")
    ]


def done_answer(scene: Scene, journal: Json, *, outcome: str | None = None) -> Json:
    """The answer of a run that has ended."""
    answer = {
        "done": True,
        "outcome": outcome or journal["outcome"],
        **{key: journal.get(key) for key in ("services", "timeline", "left_alone", "finished", "previous")},
        "down": down(scene, journal.get("services") or []),
    }
    if journal.get("error"):
        answer["error"] = journal["error"]
    return answer


def waiting_answer(journal: Json) -> Json:
    """The answer of a run that goes on."""
    return {"done": False, **{key: journal.get(key) for key in ("service", "step", "since", "deadline", "services")}}


def previous_of(scene: Scene, journal: Json) -> Json:
    """What is told about a journal that is not continued."""
    return {
        **{key: journal.get(key) for key in ("run", "who", "began")},
        "down": down(scene, journal.get("services") or []),
    }
