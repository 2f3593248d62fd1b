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
# A stop that was taken so long ago does not come any more.
TOLD_S: t.Final = 24 * 3600
_ROW_KEYS: t.Final = ("name", "role", "depends_on", "file", "file_sha256", "loaded")
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
    seen = ("before", "after", "process_before", "process_after", "process_source", "stop_at", "stop_ms", "start_ms")
    asked = {key: item[key] for key in _ROW_KEYS}
    return {**asked, "ran": False, **dict.fromkeys((*seen, "step", "error"))}


def ran(entry: Json) -> bool:
    """Whether a service ran before the restart that stopped it: this one, or one that this one finishes."""
    return bool(entry.get("ran", entry.get("before") == "running"))


def owed_step(entry: Json, *, ended: bool) -> str | None:
    """The step from which a later run goes on with a service, None when it owes nothing.

    Args:
        ended: Whether the run came to an end of its own: then what runs was seen to stay up.
    """
    step = entry["step"]
    if step == "recorded" and entry.get("stop_at") is not None:
        return "stopping"
    if step == "running" and not ended:
        return "starting"
    return step if step in FINISHABLE else None


def new_journal(scene: Scene, boot: str, services: list[Json]) -> Json:
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
        "previous": None,
        "launched": None,
        "exposed": [],
    }


def check_journal(journal: Json) -> None:
    """Raise ``journal_corrupt`` for a journal that does not have the protocol's shape."""
    if not all(isinstance(journal.get(key), kind) for key, kind in _SHAPE.items()):
        raise TargetFailure("journal_corrupt", "the journal has not the shape of one", key=KEY + "\\journal")
    if not all(isinstance(row, dict) and set(_ROW_KEYS) <= set(row) for row in journal["services"]):
        raise TargetFailure(
            "journal_corrupt", "a service of the journal has not the shape of one", key=KEY + "\\journal"
        )


class Inheritance:
    """What an unfinished journal leaves to the run that replaces it.

    Either that run owes it now (its services are among the new journal's own), or it is only told in ``previous``.
    """

    def __init__(self, scene: Scene, old: Json, finish: str) -> None:
        self.manager = scene.server.services
        self.old = old
        self.any = finish == "any"

    def pass_on(self, journal: Json) -> None:
        """Add it to the journal of the next run."""
        if self.old["phase"] == "done":
            return
        up = [row for row in self.old["services"] if ran(row)]
        ended = self.old["outcome"] is not None
        owed = [{**row, "step": step} for row in up if (step := owed_step(row, ended=ended)) is not None]
        names = {row["name"] for row in owed}
        told = (self.old.get("previous") or {}).get("services") or []
        fresh = self._fresh(journal)
        if not self.any and (told or not fresh):
            journal["previous"] = self._told(
                self.old["previous"] if fresh else self.old, told + ([] if fresh else owed)
            )
        if fresh:
            others = [row for row in up if row["step"] == "recorded" and row["name"] not in names]
            journal["left_alone"] = [row["name"] for row in others if self._state(row) == "stopped"]
            journal["services"] = _merged((told if self.any else []) + owed, journal["services"])

    def _fresh(self, journal: Json) -> bool:
        same_boot = self.old.get("boot") == journal["boot"]
        return self.any or (same_boot and abs(journal["began"] - self.old["began"]) < STALE_S)

    def _told(self, of: Json, rows: list[Json]) -> Json:
        down = [row["name"] for row in rows if self._state(row) not in ("running", "missing")]
        return {**{key: of.get(key) for key in ("run", "who", "began", "boot")}, "down": down, "services": rows}

    def _state(self, row: Json) -> str:
        service = self.manager.find(row["name"])
        return "missing" if service is None else service.state


def _merged(owed: list[Json], asked: list[Json]) -> list[Json]:
    """Services of an earlier run and of this one, each once, dependencies first."""
    rows = {row["name"].lower(): row for row in asked}
    earlier: list[str] = []
    for row in owed:
        key = row["name"].lower()
        if key not in rows:
            earlier.append(key)
            rows[key] = new_entry(row)
        # What the request says of its file is newer than what the journal says.
        rows[key].update(ran=True, step=row["step"])
        rows[key].update({name: row.get(name) for name in ("stop_at", "process_before")})
    waiting = earlier + [row["name"].lower() for row in asked]
    order: list[Json] = []
    while waiting:
        ready = (key for key in waiting if not any(name.lower() in waiting for name in rows[key]["depends_on"]))
        key = next(ready, waiting[0])
        waiting.remove(key)
        order.append(rows[key])
    return order


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
    states = {
        entry["name"]: "missing" if (found := manager.find(entry["name"])) is None else found.state
        for entry in journal["services"]
    }
    if journal["outcome"] is None:
        # A worker that is gone has not looked.
        for entry in journal["services"]:
            entry["after"] = entry["after"] if entry["before"] is None else states[entry["name"]]
    down = [entry["name"] for entry in journal["services"] if ran(entry) and states[entry["name"]] != "running"]
    told = journal["previous"]
    previous = None if told is None else {key: told[key] for key in ("run", "who", "began", "down")}
    answer = {"done": True, "outcome": outcome, "previous": previous, "down": down, **_so_far(journal)}
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
    told = {key: journal[key] for key in ("services", "timeline", "left_alone", "finished")}
    return {**told, "launched": journal.get("launched"), "exposed": journal.get("exposed") or []}
