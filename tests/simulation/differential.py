# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same scenarios through the lab's own worker: where the two end differently, one of them is wrong.

The lab knows fewer behaviours and names its cuts by step. What it cannot play is not compared.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from tests.lab.conformance import LabExecutor
from tests.simulation.rules import Played

Json: t.TypeAlias = Mapping[str, t.Any]

#: Behaviours of ``scenarios``, as the lab's services have them.
_BEHAVIOURS: t.Final[Mapping[str, Json]] = {
    "as it should": {},
    "stops slowly": {"stop_ms": 2000},
    "stop taken, takes effect late": {"stop": "late", "late_ms": 1500},
    "stop taken, takes effect after its limit": {"stop": "late", "late_ms": 5000},
    "stop taken, takes effect after the deadline": {"stop": "late", "late_ms": 20000},
    "hangs stopping for a while": {"stop_ms": 5000},
    "hangs stopping beyond the deadline": {"stop_ms": 20000},
    "hangs stopping for ever": {"stop": "hang"},
    "refuses to stop": {"stop": "refuse", "code": 5},
    "stop 1053, took effect": {"stop": "lost", "code": 1053},
    "stop 1722, took effect": {"stop": "lost", "code": 1722},
    "starts slowly": {"start_ms": 2000},
    "starts after its limit": {"start_ms": 5000},
    "starts after the deadline": {"start_ms": 25000},
    "hangs starting for ever": {"start": "hang"},
    "start fails for ever": {"start": "fail"},
    "start refused for ever": {"start": "refuse", "code": 1069},
    "dies in its settle time each time": {"start": "die", "die_ms": 500},
}
_BRANCHES: t.Final = ("nothing for an hour", "the same again", "only finishing")
#: After which effect of the script the lab's worker can be cut, by the step that its journal has.
_POINTS: t.Final[Mapping[str, Mapping[str, str]]] = {
    "Save-Journal key.set": {step: step for step in ("stopping", "stopped", "starting", "running")},
    "Send-Control service.stop": {"stopping": "stop_sent"},
    "Send-Control service.start": {"starting": "start_sent"},
}


@dataclass(frozen=True)
class End:
    """How a scenario ends: states of the services, and whether the journal is done.

    Attributes:
        services: name to state.
        done: whether nothing is owed.
        outcomes: of each request, with the code of its error; empty where a worker was cut.
    """

    services: Mapping[str, str]
    done: bool
    outcomes: tuple[str, ...]


def compared(played: Played) -> str | None:
    """Return how the lab ends differently, empty where it does not, None where it cannot play that.

    Args:
        played: a scenario of ``restart``.
    """
    case = _case(played)
    if case is None:
        return None
    cut = played.result["cuts"][0] != "-"
    ours, labs = _of_simulation(played, cut=cut), _of_lab(case, cut=cut)
    return "" if ours == labs else f"here {_words(ours)}; lab {_words(labs)}"


def _words(end: End) -> str:
    states = " ".join(f"{name}={state}" for name, state in end.services.items())
    return f"{states} {'done' if end.done else 'unfinished'} {' '.join(end.outcomes)}".strip()


def _case(played: Played) -> Json | None:
    op, dummy, odd, mode, *rest = played.family.id.split(" | ")
    behaviours = dict(item.split(": ", 1) for item in odd.split(" + ")) if op == "restart" else {"": ""}
    if mode != "direct" or rest or played.branch not in _BRANCHES:
        return None
    if not set(behaviours.values()) <= set(_BEHAVIOURS):
        return None
    fault = _fault(played)
    if fault is None:
        return None
    world = played.family.data["world"]
    services = [
        {
            "name": item["name"],
            "depends_on": item["depends_on"],
            "state": item["state"],
            "start_type": "manual" if item["start_type"] == 3 else "auto",
            "behaviour": {"stop_ms": 100, "start_ms": 100, **_BEHAVIOURS[behaviours.get(item["name"], "as it should")]},
        }
        for item in world["services"]
    ]
    return {"given": {"services": services, "files": world["files"]}, "steps": _steps(played, fault)}


def _fault(played: Played) -> Json | None:
    """The lab's cut at the same step; empty for none, None where it has no such point."""
    cut = played.result["cuts"][0]
    if cut == "-":
        return {}
    journal = json.loads(played.trail[0]["journal"] or "{}")
    site = cut.partition(" ")[2]
    point = _POINTS.get(site, {}).get(journal.get("step"))
    # The journal is written for more than steps: only the write that added this one is the lab's point.
    timeline = journal.get("timeline") or [{}]
    fresh = timeline[-1].get("at") == journal.get("updated") or not site.startswith("Save-Journal")
    if point is None or not fresh or cut.startswith("alone"):
        return None
    return {"name": "cut_worker", "at": f"worker.{point}", "service": journal["service"]}


def _steps(played: Played, fault: Json) -> list[Json]:
    steps: list[dict[str, t.Any]] = []
    pause = 0.0
    for step in played.steps:
        if step["do"] == "wait":
            pause += step["s"]
        elif step["do"] == "request":
            steps.append({"before": {"seconds": pause}, "request": step["request"]})
            pause = 0.0
    if fault:
        steps[0]["fault"] = fault
    return [*steps, {"before": {"seconds": pause}}]


def _of_lab(case: Json, *, cut: bool) -> End:
    run = LabExecutor().run(case, "direct")
    journal = run.observed["journal"]
    outcomes = () if cut else tuple(_outcome(answer) for answer in run.answers if answer)
    return End(dict(sorted(run.observed["services"].items())), journal is None or journal["phase"] == "done", outcomes)


def _of_simulation(played: Played, *, cut: bool) -> End:
    journal = played.journal
    outcomes = () if cut else tuple(_outcome(answer) for answer in played.answers if answer)
    states = dict(sorted(played.trail[-1]["services"].items()))
    return End(states, journal is None or journal["phase"] == "done", outcomes)


def _outcome(answer: Json) -> str:
    error = answer.get("error") or {}
    return "/".join(
        filter(None, (answer.get("outcome"), error.get("code"), "+".join(sorted(answer.get("down") or ()))))
    )
