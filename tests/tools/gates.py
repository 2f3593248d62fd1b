# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the project's gates, each to the end, and closes with one honest line of totals.

A gate is one command. Its output goes to ``build/logs/<gate>.log`` and is shown when it fails. Gates of pytest count
each test, every other gate counts as one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
BIN = Path(sys.executable).parent
TAIL_LINES = 80


@dataclass(frozen=True)
class Gate:
    """One command that must succeed.

    Attributes:
        name: What ``--only`` takes.
        group: What belongs together: ``lint``, ``test`` or ``bench``.
        command: Program and arguments, run in the repository's root.
        tests: Whether it is pytest and counts its tests.
        sandbox: Whether it runs in a network of its own.
    """

    name: str
    group: str
    command: tuple[str, ...]
    tests: bool = False
    sandbox: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one gate came to: counts of tests, reasons of skips, seconds of wall time."""

    gate: Gate
    passed: int
    failed: int
    skipped: tuple[str, ...]
    seconds: float


def tool(name: str, *arguments: str) -> tuple[str, ...]:
    """Command line of a program of the environment that runs this file."""
    return (str(BIN / name), *arguments)


def suite(name: str, *paths: str, sandbox: bool = False) -> Gate:
    """A gate that is a pytest run over these paths."""
    report = BUILD / "results" / f"{name}.xml"
    command = tool("python", "-m", "pytest", "-q", f"--junitxml={report}", *paths)
    return Gate(name, "test", command, tests=True, sandbox=sandbox)


GATES = (
    Gate("ruff", "lint", tool("ruff", "check", ".")),
    Gate("format", "lint", tool("ruff", "format", "--check", ".")),
    Gate("mypy", "lint", tool("python", "-m", "tests.tools.typecheck")),
    Gate("yamllint", "lint", tool("yamllint", "--strict", ".")),
    suite("unit", "tests/unit"),
)


def read_report(gate: Gate, status: int, seconds: float) -> Outcome:
    """Counts of a pytest gate from its report; a run that broke before it could report counts as one failure."""
    report = BUILD / "results" / f"{gate.name}.xml"
    if not report.exists():
        return Outcome(gate, 0, 1, (), seconds)
    total, bad, skipped = 0, 0, []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        total += 1
        bad += case.find("failure") is not None or case.find("error") is not None
        skip = case.find("skipped")
        if skip is not None:
            skipped.append(f"{case.get('name')}: {skip.get('message')}")
    failed = max(bad, 1) if status else bad
    return Outcome(gate, total - bad - len(skipped), failed, tuple(skipped), seconds)


def run(gate: Gate) -> Outcome:
    """Run one gate to its end and say how it went."""
    log = BUILD / "logs" / f"{gate.name}.log"
    command = gate.command
    if gate.sandbox:
        command = (sys.executable, str(ROOT / "tests" / "tools" / "sandbox.py"), *command)
    (BUILD / "results" / f"{gate.name}.xml").unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("wb") as handle:
        status = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, check=False
        ).returncode
    seconds = time.monotonic() - started
    if gate.tests:
        outcome = read_report(gate, status, seconds)
    else:
        outcome = Outcome(gate, int(status == 0), int(status != 0), (), seconds)
    tell(outcome, log)
    return outcome


def tell(outcome: Outcome, log: Path) -> None:
    """One line for the gate; its log's end when it failed; one line for every skip."""
    word = "FAILED" if outcome.failed else "ok"
    counts = f"{outcome.passed:>5} passed {outcome.failed:>3} failed"
    lines = [f"{word:<6} {outcome.gate.name:<14} {counts} {outcome.seconds:7.1f} s"]
    lines += [f"       SKIPPED {reason}" for reason in outcome.skipped]
    if outcome.failed:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        lines += [f"       | {line}" for line in tail]
        lines.append(f"       whole log: {log.relative_to(ROOT)}")
    print("\n".join(lines), flush=True)


def closing(outcomes: Sequence[Outcome]) -> str:
    """The line of totals."""
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    skipped = sum(len(outcome.skipped) for outcome in outcomes)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def main(argv: Sequence[str]) -> int:
    """Run the chosen gates, two at a time, and print the closing line; 0 only when every one passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", action="append", choices=sorted({gate.group for gate in GATES}))
    parser.add_argument("--only", action="append", choices=[gate.name for gate in GATES])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(argv)
    chosen = [
        gate
        for gate in GATES
        if (not options.group or gate.group in options.group) and (not options.only or gate.name in options.only)
    ]
    for folder in ("logs", "results"):
        (BUILD / folder).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        outcomes = list(pool.map(run, chosen))
    line = closing(outcomes)
    (BUILD / "results" / "closing").write_text(line + "\n", encoding="ascii")
    print(line, flush=True)
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
