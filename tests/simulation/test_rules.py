# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules notice what breaks them, and say nothing of what does not; scenarios have names that find them again."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.simulation import coverage, mends, report, scenarios, shrink
from tests.simulation.rules import RULES, Played, Violation, judge
from tests.simulation.scenarios import FILE, LOADED, SECTION, Family, digest

KNOWN: t.Final = {family.id: family for family in scenarios.every()}
RESTART: t.Final = KNOWN["restart | one | A: as it should | direct"]
APPLY: t.Final = KNOWN["apply | replace | NTFS | as it should"]
PATH: t.Final = "C:\\exchsrvr\\bin\\one.ini"
GOOD: t.Final[list[list[t.Any]]] = [
    [10, "00000001", "stop", "A"],
    [200, "service", "stopped", "A", 0],
    [300, "00000001", "start", "A"],
    [350, "service", "read", "A", digest(SECTION), 1001],
    [400, "service", "running", "A", 1001],
]
ROW: t.Final[dict[str, t.Any]] = {
    "name": "A",
    "ran": True,
    "stop_ms": 190,
    "start_ms": 100,
    "step": "running",
    "after": "running",
}
ANSWER: t.Final[dict[str, t.Any]] = {
    "done": True,
    "outcome": "restarted",
    "services": [ROW],
    "down": [],
    "finished": [],
}


def restarted(**changes: t.Any) -> Played:
    """A restart that went as it should, but for what a test changes."""
    family = scenarios.only_branch(RESTART, "only finishing")
    last = {"done": True, "outcome": "nothing", "services": [], "down": []}
    journal = json.dumps(changes.get("journal", {"phase": "done", "services": [], "previous": None}))
    state, answer = changes.get("state", "running"), changes.get("answer", ANSWER)

    def step(do: str, at: int, answer: t.Any, state: str) -> dict[str, t.Any]:
        said = {"answer": json.dumps(answer)} if do == "request" else {}
        return {"do": do, "at": at, "services": {"A": state}, "journal": journal, **said}

    later = [step(item["do"], 600, changes.get("last", last), state) for item in family.data["then"][0]]
    trail = [step("request", 500, answer, "running"), *later]
    return Played(
        family,
        {
            "cuts": ["-", 0],
            "trail": trail,
            "log": changes.get("log", GOOD),
            "records": changes.get(
                "records", {"A": {"loaded": LOADED, "file": digest(SECTION), "process": "1001@1.000"}}
            ),
            "processes": {"A": "1001@1.000"},
            "held": changes.get("held", 0),
            "files": {},
        },
    )


def applied(files: t.Mapping[str, str], *, error: str | None = None, left: t.Sequence[str] = ()) -> Played:
    """An apply that was not cut."""
    answer = {"left": list(left), "error": {"code": error, "detail": {"native": 5}} if error else None}
    trail = [{"do": "request", "at": 5, "services": {"A": "running"}, "journal": None, "answer": json.dumps(answer)}]
    family = scenarios.only_branch(APPLY, "nothing")
    result = {"cuts": ["-", 0], "trail": trail, "log": [], "records": {}, "processes": {}, "held": 0}
    return Played(family, {**result, "files": {f"EXCH1|{path}": text for path, text in files.items()}})


def broken(played: Played) -> set[str]:
    return {violation.rule for violation in judge(played)}


STORE: t.Final = {"C:\\WINNT\\msexchange.winsock_proxy\\backup\\x.ini": scenarios.OLD}


def test_what_goes_well_breaks_no_rule() -> None:
    assert broken(restarted()) == set()
    assert broken(applied({PATH: scenarios.NEW, **STORE})) == set()
    assert broken(applied({PATH: scenarios.OLD}, error="locked")) == set()


DOWN: t.Final = {"state": "stopped", "log": GOOD[:2]}
OWED: t.Final = {"phase": "stopping", "services": [{"name": "A"}], "previous": None}


@pytest.mark.parametrize(
    ("rule", "played"),
    [
        ("nothing stays down unowed", restarted(**DOWN)),
        ("nothing stays down unowed", restarted(**DOWN, journal=OWED)),  # owed, and the answer does not name it
        ("only what may is touched", restarted(log=[*GOOD, [450, "00000001", "stop", "A"], *GOOD[2:]])),
        ("only what may is touched", restarted(log=[*GOOD, [450, "00000003", "stop", "A"], *GOOD[2:]])),
        ("only what may is touched", restarted(log=[[5, "other", "stop", "A"], *GOOD[2:]])),
        ("only what may is touched", restarted(log=[[5, "other", "disable", "A"], *GOOD])),
        ("two further runs bring everything up", restarted(log=[*GOOD, [450, "00000005", "start", "A"]])),
        (
            "two further runs bring everything up",
            restarted(last={"done": True, "error": {"code": "died", "detail": {"native": 1}}, "outcome": "failed"}),
        ),
        (
            "loaded is what was read",
            restarted(log=[*GOOD[:3], [350, "service", "read", "A", digest(""), 1001], GOOD[4]]),
        ),
        ("time is bounded", restarted(log=[[0, "00000001", "begin", "2"], *GOOD, [900_000, "00000001", "end", "2"]])),
        ("an answer is true", restarted(answer={**ANSWER, "outcome": "nothing"})),
        ("an answer is true", restarted(answer={**ANSWER, "down": ["A"]})),
        ("an answer is true", restarted(log=[])),
        ("an answer is true", restarted(answer={"error": {"code": "crashed", "detail": {}}})),
        ("nothing is held", restarted(held=1)),
        ("every file is whole", applied({PATH: "[A", **STORE}, error="disk_full")),
        ("the original is kept", applied({PATH: scenarios.NEW})),
        ("nothing temporary stays", applied({PATH: scenarios.OLD, PATH + ".00000001.tmp": ""}, error="locked")),
        ("an answer is true", applied({PATH: scenarios.OLD})),
        ("an answer is true", applied({PATH: scenarios.NEW, **STORE}, error="locked")),
    ],
)
def test_what_breaks_a_rule_is_noticed(rule: str, played: Played) -> None:
    assert rule in broken(played)


def test_what_is_owed_and_named_may_be_down() -> None:
    told = {"done": True, "outcome": "failed", "services": [], "down": ["A"]}
    assert "nothing stays down unowed" not in broken(restarted(**DOWN, journal=OWED, last=told))


def test_each_rule_has_a_name_of_its_own() -> None:
    assert len(RULES) == len(set(RULES)) > 8


# ---- scenarios ----


def test_there_are_enough_and_each_has_its_name() -> None:
    assert len(KNOWN) == len(scenarios.every()) > 1000
    assert not any("\n" in name for name in KNOWN)
    assert scenarios.every(3) == scenarios.every(3) and scenarios.every(3) != scenarios.every(4)


def test_a_share_begins_where_the_seed_says() -> None:
    first, second = (scenarios.thinned([RESTART], restart_cuts=7, apply_cuts=3, seed=seed)[0] for seed in (1, 2))
    assert first.data["steps"][0]["cuts"] == {"of": 7, "from": 1} and second.data["steps"][0]["cuts"]["from"] == 2


def test_a_name_leads_back_to_family_and_cut() -> None:
    name = Played(RESTART, {"cuts": ["7 Save-Journal key.set", 0]}).name
    assert shrink.split(name, KNOWN) == (RESTART.id, "7 Save-Journal key.set")
    assert coverage.site_of("alone 7 Save-Journal key.set") == "Save-Journal key.set" and coverage.site_of("-") is None
    with pytest.raises(LookupError):
        shrink.split("restart | nobody", KNOWN)


def test_each_mend_names_families_that_there_are() -> None:
    for mend in mends.MENDS:
        assert mends.families_of(mend, KNOWN) and set(mend.rules) <= set(RULES)


# ---- shrinking ----


def test_the_simplest_family_that_breaks_the_same_rule_is_found() -> None:
    bad = KNOWN["restart | diamond | B: start fails once | direct"]
    violation = Violation("x", f"{bad.id} | 40 Save-Journal key.set | only finishing", "")

    def play(families: t.Sequence[Family]) -> list[Violation]:
        assert all(family.branches == ("only finishing",) for family in families)
        found = [family.id for family in families if "start fails once" in family.id]
        return [Violation("x", f"{name} | {cut} | only finishing", "") for name in found for cut in ("9 F x.y", "-")]

    assert (
        shrink.shrunk(violation, bad, KNOWN, play).scenario
        == "restart | one | A: start fails once | direct | - | only finishing"
    )
    assert shrink.shrunk(violation, bad, KNOWN, lambda families: []) == violation


def test_an_apply_is_tried_with_each_file_alone() -> None:
    family = KNOWN["apply | delete+replace | FAT | as it should"]
    names = [item.id for item in shrink.simpler(family, KNOWN)]
    assert names == ["apply | delete | FAT | as it should", "apply | replace | FAT | as it should", family.id]


# ---- report ----


def test_the_report_counts_rules_cuts_and_what_was_never_cut() -> None:
    tally = report.Tally()
    tally.add(restarted(held=1))
    data = report.as_json(tally, 2.0, {"mends": {"m": "found"}})
    assert (data["scenarios"], data["rules"]["nothing is held"], data["scenarios_per_second"]) == (1, 1, 0.5)
    assert "Save-Journal key.set" in data["never_cut"]
    page = report.as_markdown(data)
    assert "| nothing is held | 1 |" in page and "m: found" in page and FILE not in page
