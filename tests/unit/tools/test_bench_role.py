# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role's benchmark judges, and what it refuses to measure; no playbook runs here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench.bench_role import judge
from tests.bench.harness import BenchError, Contender, Figure, Sample, check, medians
from tests.tools import bench

RECAP = "PLAY RECAP ****\nex0001 : ok=3    changed={changed}    unreachable={lost}    failed={failed}    skipped=0"


def sample(wall: float, cpu: float) -> Sample:
    return Sample(wall, cpu, 80.0, 9.0, 30_000.0, 9_000.0, 1.0, 120, 0.5)


def figures(**costs: tuple[float, float]) -> dict[str, dict[Figure, float]]:
    kept = {
        "raw": (4.0, 4.0),
        "wspcfg": (5.0, 9.0),
        "publish": (10.0, 9.9),
        "audit": (9.0, 9.0),
        "expert": (40.0, 40.0),
    }
    return {name: medians([sample(*cost)]) for name, cost in {**kept, **costs}.items()}


def test_the_median_of_each_figure_is_taken_by_itself() -> None:
    found = medians([sample(1.0, 9.0), sample(2.0, 8.0), sample(30.0, 1.0)])
    assert (found["wall_s"], found["cpu_s"], found["lines"]) == (2.0, 8.0, 120)


def test_nothing_is_missed_at_the_limit_itself() -> None:
    result = judge(figures())
    assert result["missed"] == []
    assert result["publish_vs_expert"] == {"wall": 0.25, "cpu": 0.247}


@pytest.mark.parametrize(
    "costs, named",
    [
        ({"publish": (10.0, 10.1)}, ["publish_vs_expert cpu", "publish_vs_raw cpu"]),
        ({"audit": (10.1, 9.0)}, ["audit_vs_expert wall", "audit_vs_raw wall"]),
        ({"expert": (30.0, 90.0)}, ["publish_vs_expert wall", "audit_vs_expert wall"]),
        ({"wspcfg": (5.3, 4.0)}, ["wspcfg_vs_raw wall"]),
    ],
)
def test_what_is_missed_is_named(costs: dict[str, tuple[float, float]], named: list[str]) -> None:
    assert [line.rsplit(" ", 4)[0] for line in judge(figures(**costs))["missed"]] == named


@pytest.mark.parametrize(
    "status, seen",
    [(2, {}), (0, {"changed": 1}), (0, {"lost": 1}), (0, {"failed": 1})],
)
def test_a_run_that_did_something_else_is_not_measured(status: int, seen: dict[str, int]) -> None:
    good = {"changed": 0, "lost": 0, "failed": 0}
    check(Contender("publish", "publish"), 0, RECAP.format(**good))
    with pytest.raises(BenchError, match="publish: exit status"):
        check(Contender("publish", "publish"), status, RECAP.format(**{**good, **seen}))


def test_a_scene_that_changes_servers_says_so() -> None:
    correction = dataclasses.replace(Contender("first", Path("first.yml")), changes=True)
    check(correction, 0, RECAP.format(changed=2, lost=0, failed=0))


def test_a_run_without_a_recap_is_not_measured() -> None:
    with pytest.raises(BenchError):
        check(Contender("raw", "raw"), 0, "nothing was done")


def test_a_benchmark_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["roles"]) == 2
    assert capsys.readouterr().err == "no such benchmark: roles; there are: ini lab probe role\n"
