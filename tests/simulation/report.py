# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the scenarios: ``report.json`` for programs, ``report.md`` for people."""

from __future__ import annotations

import json
import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.simulation import coverage, differential
from tests.simulation.rules import RULES, Played, Violation, judge

SHOWN: t.Final = 20


@dataclass
class Tally:
    """What was played so far, and what was wrong.

    Attributes:
        scenarios: how many, by operation.
        sites: cuts, by the effect after which they came.
        codes: answers, by the code of their error.
        violations: every rule that did not hold.
        compared: how many the lab's own worker has played as well.
        differences: where it ended differently.
    """

    scenarios: Counter[str] = field(default_factory=Counter)
    sites: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    compared: int = 0
    differences: dict[str, str] = field(default_factory=dict)

    def add(self, played: Played) -> None:
        """Judge a scenario and count it."""
        self.scenarios[played.family.op] += 1
        for cut in played.result["cuts"][:-1]:
            site = coverage.site_of(cut)
            if site is not None:
                self.sites[site] += 1
        for answer in filter(None, played.answers):
            self.codes[(answer.get("error") or {}).get("code", "no error")] += 1
        self.violations += judge(played)
        difference = differential.compared(played)
        self.compared += difference is not None
        if difference:
            self.differences[played.name] = difference

    @property
    def total(self) -> int:
        return sum(self.scenarios.values())

    @property
    def uncut(self) -> list[str]:
        """Effects of the script after which nobody was cut."""
        return sorted(coverage.sites() - set(self.sites))


def as_json(tally: Tally, seconds: float, about: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the report as data."""
    broken = Counter(violation.rule for violation in tally.violations)
    return {
        **about,
        "scenarios": tally.total,
        "by_operation": dict(tally.scenarios),
        "seconds": round(seconds, 1),
        "scenarios_per_second": round(tally.total / max(seconds, 0.001), 1),
        "rules": {rule: broken[rule] for rule in RULES},
        "violations": [asdict(violation) for violation in tally.violations],
        "cuts": dict(sorted(tally.sites.items())),
        "never_cut": tally.uncut,
        "compared_with_the_lab": tally.compared,
        "differences": tally.differences,
        "answers": dict(tally.codes.most_common()),
    }


def as_markdown(data: Mapping[str, t.Any]) -> str:
    """Return the report as a page."""
    lines = [
        "# The target script in a simulated Windows",
        "",
        f"{data['scenarios']} scenarios in {data['seconds']} s, {data['scenarios_per_second']} a second: "
        + ", ".join(f"{count} {name}" for name, count in data["by_operation"].items()),
        "",
        "| Rule | violations |",
        "| --- | --- |",
        *(f"| {rule} | {count} |" for rule, count in data["rules"].items()),
        "",
        *_rows(
            "Violations",
            [f"`{item['scenario']}`: {item['what']} ({item['rule']})" for item in data["violations"][:SHOWN]],
        ),
        *_rows("Mends taken out", [f"{name}: {word}" for name, word in data.get("mends", {}).items()]),
        *_rows(
            f"Differences from the lab's worker, of {data['compared_with_the_lab']} compared",
            [f"`{name}`: {text}" for name, text in [*data["differences"].items()][:SHOWN]],
        ),
        *_rows("Never cut", data["never_cut"]),
        "| Function and effect | cuts after it |",
        "| --- | --- |",
        *(f"| {site} | {count} |" for site, count in data["cuts"].items()),
        "",
        "| Answer | times |",
        "| --- | --- |",
        *(f"| {code} | {count} |" for code, count in data["answers"].items()),
    ]
    return "\n".join(lines) + "\n"


def _rows(title: str, items: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {item}" for item in items or ["none"]), ""]


def write(data: Mapping[str, t.Any], folder: Path) -> None:
    """Write ``report.json`` and ``report.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    (folder / "report.md").write_text(as_markdown(data), encoding="utf-8")
