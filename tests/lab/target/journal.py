# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a restart: what is written before each step, and what an answer shows of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .failures import Json, TargetFailure
from .scene import Scene
from .state import KEY, Store

STALE_S: t.Final = 24 * 3600
# Steps after which a service may be down through this run.
FINISHABLE: t.Final = ("stopping", "stopped", "starting", "hung", "failed")
_SHAPE: t.Final[t.Mapping[str, type | tuple[type, ...]]] = {
    "version": int,
    "run": str,
    "who": str,
    "began": (int, float),
    "updated": (int, float),
    "phase": str,
    "services": list,
    "timeline": list,
}


def new_entry(item: Json) -> Json:
    """A service's entry before anything is known of it."""
    seen = ("before", "after", "process_before", "process_after", "process_source", "stop_ms", "start_ms")
    asked = {key: item[key] for key in ("name", "role", "depends_on", "file", "file_sha256", "loaded")}
    return {**asked, **dict.fromkeys((*seen, "step", "error"))}


def new_journal(scene: Scene, boot: str, services: list[Json], previous: Json | None) -> Json:
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
        "deadline": now + 30,
        "outcome": None,
        "error": None,
        "services": [new_entry(item) for item in services],
        "timeline": [],
        "left_alone": [],
        "finished": [],
        "previous": previous,
    }


def check_journal(journal: Json) -> None:
    """Raise ``journal_corrupt`` for a journal that does not have the protocol's shape."""
    if not all(isinstance(journal.get(key), kind) for key, kind in _SHAPE.items()):
        raise TargetFailure("journal_corrupt", "the journal has not the shape of one", key=KEY + "\\journal")


def previous_of(journal: Json | None) -> Json | None:
    """What a later run has to know of an unfinished journal, with what that one had inherited itself."""
    if journal is None or journal["phase"] == "done":
        return None
    ours = [entry for entry in journal["services"] if entry["before"] == "running"]
    own = [entry for entry in ours if entry["step"] in FINISHABLE]
    names = {entry["name"] for entry in journal["services"]}
    inherited = (journal.get("previous") or {}).get("services") or []
    untouched = journal["phase"] in ("launching", "finishing")
    return {
        **{key: journal.get(key) for key in ("run", "who", "began", "boot")},
        "services": [entry for entry in inherited if untouched or entry["name"] not in names] + own,
        "recorded": [entry for entry in journal["services"] if entry["step"] == "recorded"],
        "down": [],
    }


@dataclass
class Journal:
    """The journal that a worker writes; every change is on the server before the step is done."""

    scene: Scene
    data: Json

    def __post_init__(self) -> None:
        self.store = Store(self.scene.server)

    @property
    def services(self) -> list[Json]:
        return t.cast("list[Json]", self.data["services"])

    def write(self, **values: t.Any) -> None:
        self.data.update(values, updated=self.scene.clock.now())
        self.store.write_journal(self.data)

    def step(self, entry: Json, step: str, *, limit_s: float = 0.0) -> None:
        """Note that a service enters a step, and how long it may take."""
        now = self.scene.clock.now()
        entry["step"] = step
        self.data["timeline"].append({"at": now, "service": entry["name"], "step": step})
        self.write(service=entry["name"], step=step, since=now, deadline=round(now + limit_s, 3))

    def fail(self, entry: Json | None, step: str, failure: TargetFailure) -> None:
        """Note an error; the first one is the run's."""
        error = failure.as_json()
        self.data["error"] = self.data["error"] or error
        if entry is not None:
            entry["error"] = error
            self.step(entry, step)


def done_answer(scene: Scene, journal: Json, *, outcome: str) -> Json:
    """The answer of a run that has ended."""
    manager = scene.server.services
    down = [
        entry["name"]
        for entry in journal["services"]
        if entry["before"] == "running" and ((found := manager.find(entry["name"])) is None or found.state != "running")
    ]
    answer = {"done": True, "outcome": outcome, "previous": journal["previous"], "down": down, **_so_far(journal)}
    if journal["error"] is not None:
        answer["error"] = journal["error"]
    return answer


def waiting_answer(journal: Json) -> Json:
    """The answer of a run that goes on."""
    return {
        "done": False,
        **_so_far(journal),
        **{key: journal[key] for key in ("service", "step", "since", "deadline")},
    }


def _so_far(journal: Json) -> Json:
    return {key: journal[key] for key in ("services", "timeline", "left_alone", "finished")}
