# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab plays what it can of a scenario, and a difference is told in words."""

from __future__ import annotations

import json
import typing as t

from tests.simulation import differential, scenarios
from tests.simulation.rules import Played

KNOWN: t.Final = {family.id: family for family in scenarios.every()}
PLAIN: t.Final = "restart | one | A: as it should | direct"


def played(name: str, cut: str, state: str, phase: str, step: str | None = None) -> Played:
    """How the simulation is said to have ended."""
    family = scenarios.only_branch(KNOWN[name], "only finishing")
    journal = {"phase": phase, "step": step, "service": "A", "updated": 1, "timeline": [{"at": 1}]}
    answers = [{"outcome": outcome} for outcome in ("restarted", *["nothing"] * 4)]
    asked = [step["do"] == "request" for step in (*family.data["steps"], *family.data["then"][0])]
    left = iter(answers)
    trail = [
        {
            "services": {"A": state},
            "journal": json.dumps(journal),
            **({"answer": json.dumps(next(left))} if ask else {}),
        }
        for ask in asked
    ]
    return Played(family, {"cuts": [cut, 0], "trail": trail})


def test_the_same_end_is_no_difference() -> None:
    assert differential.compared(played(PLAIN, "-", "running", "done")) == ""
    assert differential.compared(played(PLAIN, "30 Save-Journal key.set", "running", "done", "stopped")) == ""
    assert differential.compared(played(PLAIN, "30 Send-Control service.stop", "running", "done", "stopping")) == ""


def test_another_end_is_told() -> None:
    told = differential.compared(played(PLAIN, "-", "stopped", "done"))
    assert told is not None and told.startswith("here A=stopped done") and "lab A=running done" in told


def test_what_the_lab_cannot_play_is_not_compared() -> None:
    assert differential.compared(played(PLAIN, "3 Enter-Lock file.write", "running", "done")) is None
    assert (
        differential.compared(played("restart | one | A: start 1053, did not | direct", "-", "running", "done")) is None
    )
