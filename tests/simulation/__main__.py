# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target script in a simulated Windows: ``python -m tests.simulation``, see README.md."""

from __future__ import annotations

import argparse
import re
import sys
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tests.simulation import BUILD, engine, mends, report, scenarios, seams, shrink
from tests.simulation.rules import RULES, Played, Violation, judge
from tests.simulation.scenarios import Family
from tests.windows.machine import Unavailable
from tests.windows.report import Result, write_junit

SECONDS: t.Final = 7200.0
MODE: t.Final = "simulation"
# What CI plays: every n-th family, and of each every n-th cut; where it begins comes from the seed.
SHARE: t.Final[Mapping[str, tuple[int, int]]] = {"restart": (25, 40), "apply": (40, 12)}
SHRUNK: t.Final = 5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", action="store_true", help="what CI plays: a seeded share, and the harness' own test")
    parser.add_argument("--seed", type=int, default=1, help="which share, and which pairs (%(default)s)")
    parser.add_argument("--only", default="", help="regular expression that a family's name must contain")
    parser.add_argument("--families", type=int, default=1, metavar="N", help="every N-th family only")
    parser.add_argument("--restart-cuts", type=int, default=1, metavar="N", help="of a restart every N-th cut only")
    parser.add_argument("--apply-cuts", type=int, default=1, metavar="N", help="of an apply every N-th cut only")
    parser.add_argument("--pairs", type=int, default=60, help="how many pairs of odd services (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="how many PowerShells side by side (%(default)s)")
    parser.add_argument(
        "--replay", metavar="SCENARIO", help="one line of a report: plays it alone and tells everything"
    )
    parser.add_argument("--no-mends", dest="mends", action="store_false", help="leave the harness' own test out")
    parser.add_argument("--junit", type=Path, help="where the gates want their counts")
    return parser


def chosen(options: argparse.Namespace) -> list[Family]:
    """Return what the command line asks for."""
    found = [family for family in scenarios.every(options.seed, options.pairs) if re.search(options.only, family.id)]
    found = found[options.seed % options.families :: options.families]
    if not options.share:
        return scenarios.thinned(
            found, restart_cuts=options.restart_cuts, apply_cuts=options.apply_cuts, seed=options.seed
        )
    made: list[Family] = []
    for op, (families, cuts) in SHARE.items():
        of = [family for family in found if family.op == op][options.seed % families :: families]
        made += scenarios.thinned(of, restart_cuts=cuts, apply_cuts=cuts, seed=options.seed)
    return made


def play(on: engine.Engine, families: Sequence[Family], each: Callable[[Played], None], *, processes: int = 1) -> None:
    """Play families, and hand every scenario on."""
    known = {family.id: family for family in families}
    engine.share_out(
        on,
        [family.data for family in families],
        seams.scripts(),
        processes=processes,
        seconds=SECONDS,
        each=lambda result: each(Played(known[result["id"]], result)),
    )


def judged(on: engine.Engine, families: Sequence[Family]) -> list[Violation]:
    """Play families, and return every rule that does not hold."""
    found: list[Violation] = []
    play(on, families, lambda played: found.extend(judge(played)))
    return found


def without_mends(on: engine.Engine, known: Mapping[str, Family]) -> dict[str, bool]:
    """Take each mend out, and return whether the fault was found."""
    families = [mends.families_of(mend, known) for mend in mends.MENDS]
    acts = [
        engine.Act(seams.scripts(mend.instead), [family.data for family in of])
        for mend, of in zip(mends.MENDS, families, strict=True)
    ]
    found = dict.fromkeys((mend.name for mend in mends.MENDS), False)
    for result in on.play(acts, name="mends", seconds=SECONDS):
        mend, of = mends.MENDS[result["act"]], families[result["act"]]
        played = Played(next(family for family in of if family.id == result["id"]), result)
        found[mend.name] |= any(item.rule in mend.rules for item in judge(played))
    return found


def shrunk(on: engine.Engine, violations: Iterable[Violation], known: Mapping[str, Family]) -> list[Violation]:
    """Return the simplest scenario of each rule that is broken."""
    first = {violation.rule: violation for violation in reversed(list(violations))}
    return [
        shrink.shrunk(
            violation, known[shrink.split(violation.scenario, known)[0]], known, lambda some: judged(on, some)
        )
        for violation in list(first.values())[:SHRUNK]
    ]


def replay(on: engine.Engine, line: str, known: Mapping[str, Family]) -> int:
    """Play one scenario alone, and tell its timeline; 1 when a rule does not hold."""
    name, cut = shrink.split(line, known)
    branch = line.rsplit(" | ", 1)[1]
    number = re.search(r"\d+", cut)
    only = {"only": int(number[0]) if number else -1}
    family = scenarios.talkative(scenarios.only_branch(scenarios.with_cuts(known[name], only), branch))
    found: list[Violation] = []

    def tell(played: Played) -> None:
        if played.name != line:
            return
        for at, who, what, *more in played.log:
            print(f"{at / 1000:10.3f} s  {who:10} {what:16} {' '.join(map(str, more))}")
        for step, answer in zip(played.trail, played.answers, strict=True):
            print(f"{step['at'] / 1000:10.3f} s  {step['do']}: {step['services']} {step.get('cut', '')}\n    {answer}")
        found.extend(judge(played))

    play(on, [family], tell)
    for violation in found:
        print(f"VIOLATION {violation.rule}: {violation.what}")
    return int(bool(found))


def run(options: argparse.Namespace) -> int:
    """Play what is asked for; 1 when a rule does not hold, an effect was never cut, or a fault was not found."""
    known = {family.id: family for family in scenarios.every(options.seed, options.pairs)}
    tally, began = report.Tally(), time.monotonic()
    with engine.engine() as on:
        if options.replay:
            return replay(on, options.replay, known)
        play(on, chosen(options), tally.add, processes=options.processes)
        seconds = time.monotonic() - began
        found = without_mends(on, known) if options.mends else {}
        simple = shrunk(on, tally.violations, known)
    words = {name: "found" if there else "NOT FOUND" for name, there in found.items()}
    data = report.as_json(
        tally, seconds, {"seed": options.seed, "shrunk": [item.scenario for item in simple], "mends": words}
    )
    report.write(data, BUILD)
    results = _results(tally, simple, found, seconds, whole=not options.only and not options.share)
    _tell(results, tally, seconds)
    if options.junit:
        write_junit(results, options.junit)
    return int(any(result.verdict == "failed" for result in results))


def _results(
    tally: report.Tally, simple: Sequence[Violation], found: Mapping[str, bool], seconds: float, *, whole: bool
) -> list[Result]:
    def result(name: str, *why: str) -> Result:
        return Result(name, MODE, "failed" if why else "proven", why, round(seconds, 1))

    made = []
    for rule in RULES:
        broken = [item for item in tally.violations if item.rule == rule]
        shown = [item for item in simple if item.rule == rule] + broken
        lines = [f"{item.what}: --replay '{item.scenario}'" for item in shown[:SHRUNK]]
        made.append(result(rule, *lines, *([f"{len(broken)} in all"] if broken else [])))
    made += [
        result(f"found: {name}", *([] if there else ["taken out, and no rule noticed"]))
        for name, there in found.items()
    ]
    if whole:
        made.append(result("every effect is cut", *(f"never cut: {site}" for site in tally.uncut)))
    return made


def _tell(results: Sequence[Result], tally: report.Tally, seconds: float) -> None:
    for result in results:
        print("\n    ".join([f"{result.word:9} {result.case}", *result.why]), flush=True)
    print(f"{tally.total} scenarios in {seconds:.0f} s, {len(tally.violations)} violations; {BUILD / 'report.md'}")


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    options = _parser().parse_args(arguments)
    try:
        return run(options)
    except Unavailable as reason:
        text = f"the target script was NOT run in the simulated Windows: {reason}"
        print(f"SKIPPED: {text}")
        if options.junit:
            write_junit([Result("the simulated Windows", MODE, "unproven", (text,), 0.0)], options.junit)
        return 0


if __name__ == "__main__":
    sys.exit(main())
