# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the project's gates, each to the end, and closes with one honest line of totals.

A gate is one command. Its output goes to ``build/logs/<gate>.log`` and is shown when it fails. Gates of pytest count
each test, every other gate counts as one.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from tests.tools import bootstrap, leftovers
from tests.tools.isolate import BUILD, ROOT, SANDBOX, isolated_environment, plain_environment

BIN = Path(sys.executable).parent
TAIL_LINES = 80
WHOLE_FAILURES, FAILURE_LINES = 3, 60  # of a pytest gate: so many are shown, each with so many lines
NAMED_FAILURES = 30
_STARTING = threading.Lock()
HANGS_AFTER = 3600  # seconds; no gate takes two thirds of it on two cores that have nothing else to do
# Engines and lab without a playbook: with every core the same.
WITHOUT_ANSIBLE = "--ignore=tests/integration/restarts/test_every_cut.py"


@dataclass(frozen=True)
class Gate:
    """One command that must succeed.

    Attributes:
        name: What ``--only`` takes.
        group: What belongs together: ``lint`` or ``test``.
        command: Program and arguments, run in the repository's root.
        tests: Whether it is pytest and counts its tests.
        sandbox: Whether it runs in a network of its own.
        telling: Regular expression of the log's lines that are worth showing; empty: all of them.
        setup: What must run before, with the network at hand; exit status 77 means that this machine cannot.
    """

    name: str
    group: str
    command: tuple[str, ...]
    tests: bool = False
    sandbox: bool = False
    telling: str = ""
    setup: tuple[str, ...] = ()


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


def suite(name: str, *paths: str, sandbox: bool = False, group: str = "test") -> Gate:
    """A gate that is a pytest run over these paths."""
    report = BUILD / "results" / f"{name}.xml"
    command = tool("python", "-m", "pytest", "-q", f"--junitxml={report}", *paths)
    return Gate(name, group, command, tests=True, sandbox=sandbox)


def set_up(lane: str) -> tuple[str, ...]:
    """Command that makes the environment of a lane."""
    return (sys.executable, str(ROOT / "tests" / "tools" / "bootstrap.py"), "--lane", lane)


def in_lane(name: str, what: str, *paths: str, sandbox: bool = False) -> Gate:
    """A gate that is a pytest run with another ansible-core and Python."""
    lane = bootstrap.LANES[name]
    report = BUILD / "results" / f"{name}-{what}.xml"
    command = (str(bootstrap.folder(lane) / "bin" / "python"), "-m", "pytest", "-q", f"--junitxml={report}", *paths)
    return Gate(f"{name}-{what}", "test", command, tests=True, sandbox=sandbox, setup=set_up(name))


def with_core(name: str, what: str, *paths: str) -> Gate:
    """A gate whose tests run here, and whose playbooks run with another ansible-core and its Python."""
    lane = bootstrap.LANES[name]
    report = BUILD / "results" / f"{name}-{what}.xml"
    other = f"WSP_ANSIBLE_PYTHON={bootstrap.folder(lane) / 'bin' / 'python'}"
    command = ("env", other, *tool("python", "-m", "pytest", "-q", f"--junitxml={report}", *paths))
    return Gate(f"{name}-{what}", "test", command, tests=True, sandbox=True, setup=set_up(name))


def windows(name: str, *options: str) -> Gate:
    """A gate that runs the target script on a PowerShell, and counts what cannot be proven here as skipped."""
    report = BUILD / "results" / f"{name}.xml"
    command = tool("python", "-m", "tests.windows", "--junit", str(report), *options)
    return Gate(name, "test", command, tests=True, sandbox=True, telling="^(FAIL|    |SKIPPED|Traceback|[A-Za-z]+: )")


def simulation() -> Gate:
    """A gate that plays a seeded share of the scenarios with the target script in a simulated Windows."""
    report = BUILD / "results" / "simulation.xml"
    command = tool("python", "-m", "tests.simulation", "--share", "--junit", str(report))
    return Gate(
        "simulation", "test", command, tests=True, sandbox=True, telling="^(FAIL|    |SKIPPED|Traceback|[A-Za-z]+: )"
    )


# What is quick to tell first, then the slow ones before the others, so that two workers end together.
GATES = (
    Gate("ruff", "lint", tool("ruff", "check", ".")),
    Gate("format", "lint", tool("ruff", "format", "--check", ".")),
    Gate("mypy", "lint", tool("python", "-m", "tests.tools.typecheck")),
    Gate("yamllint", "lint", tool("yamllint", "--strict", ".")),
    windows("windows-quick", "--quick"),
    simulation(),
    suite("integration", "tests/integration", sandbox=True),
    windows("windows"),
    in_lane("core2.21", "integration", "tests/integration", WITHOUT_ANSIBLE, sandbox=True),
    Gate("sanity", "lint", tool("python", "-m", "tests.tools.sanity"), telling="^(ERROR|FATAL)"),
    suite("unit", "tests/unit/plugins", "tests/unit/tools"),
    in_lane("core2.16", "unit", "tests/unit/plugins"),
    in_lane("core2.21", "unit", "tests/unit/plugins"),
    with_core("core2.16", "fleet", *(f"tests/integration/test_{name}.py" for name in ("fleet", "audit", "rolling"))),
    suite("conformance", "tests/conformance", "tests/windows", "tests/simulation"),
    suite("oracle", "tests/oracle"),
    suite("lab", "tests/unit/lab", sandbox=True),
    Gate("molecule", "test", tool("python", "-m", "tests.tools.molecule"), sandbox=True),
    suite("probe", "tests/probe"),
    suite("browser", "tests/browser"),
    Gate("galaxy", "lint", tool("python", "-m", "tests.tools.galaxy"), setup=set_up("galaxy")),
    Gate("ansible-lint", "lint", tool("python", "-m", "tests.tools.ansiblelint")),
    suite("packaging", "tests/packaging", group="lint"),
)


def read_report(gate: Gate, status: int, seconds: float) -> Outcome:
    """Counts of a pytest gate from its report; a run that broke before it could report counts as one failure."""
    report = BUILD / "results" / f"{gate.name}.xml"
    if not report.exists():
        return Outcome(gate, 0, 1, (), seconds)
    total, bad, skipped = 0, 0, []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        total += 1
        bad += bool(failures(case))
        skip = case.find("skipped")
        if skip is not None:
            skipped.append(f"{case.get('name')}: {skip.get('message')}")
    failed = max(bad, 1) if status else bad
    return Outcome(gate, total - bad - len(skipped), failed, tuple(skipped), seconds)


def run(gate: Gate, run_id: str) -> Outcome:
    """Run one gate to its end and say how it went."""
    log = BUILD / "logs" / f"{gate.name}.log"
    (BUILD / "results" / f"{gate.name}.xml").unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("wb") as handle:
        outcome = judge(gate, *execute(gate, run_id, handle), started, log)
    tell(outcome, log)
    return outcome


def execute(gate: Gate, run_id: str, log: t.BinaryIO) -> tuple[bool, int]:
    """Run set-up and command; whether the command was reached, and the last exit status."""
    if gate.setup:
        status = call(gate.setup, plain_environment(run_id), log)
        if status:
            return False, status
    command = (*SANDBOX, *gate.command) if gate.sandbox else gate.command
    isolated = gate.tests or gate.sandbox
    return True, call(command, isolated_environment(run_id) if isolated else plain_environment(run_id), log)


def call(command: Sequence[str], environment: Mapping[str, str], log: t.BinaryIO) -> int:
    """Run one command in a process group of its own; a command that hangs is ended with everything that it started."""
    with _STARTING:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return process.wait(HANGS_AFTER)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        log.write(f"\nended: it ran for more than {HANGS_AFTER} s\n".encode())
        return 1


def interrupt(run_id: str, number: int, dummy_frame: object) -> t.NoReturn:
    """Take everything that runs along when the user or the system ends this program."""
    with _STARTING:  # never released: nothing is started any more
        leftovers.end(run_id)
        os._exit(128 + number)


def judge(gate: Gate, reached: bool, status: int, started: float, log: Path) -> Outcome:
    """Turn an exit status, and the report of a pytest gate, into counts."""
    seconds = time.monotonic() - started
    if not reached and status == bootstrap.NO_PYTHON:
        reason = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        return Outcome(gate, 0, 0, (reason,), seconds)
    if gate.tests and reached:
        return read_report(gate, status, seconds)
    return Outcome(gate, int(status == 0), int(status != 0), (), seconds)


def tell(outcome: Outcome, log: Path) -> None:
    """One line for the gate; its log's end when it failed; one line for every skip."""
    word = "FAILED" if outcome.failed else "ok"
    counts = f"{outcome.passed:>5} passed {outcome.failed:>3} failed"
    lines = [f"{word:<6} {outcome.gate.name:<14} {counts} {outcome.seconds:7.1f} s"]
    lines += [f"       SKIPPED {reason}" for reason in outcome.skipped]
    if outcome.failed:
        lines += [f"       | {line}" for line in (what_failed(outcome.gate) or log_lines(outcome.gate, log))]
        lines.append(f"       whole log: {log.relative_to(ROOT)}")
    print("\n".join(lines), flush=True)


def log_lines(gate: Gate, log: Path) -> list[str]:
    """The end of a gate's log, without the lines that tell nothing."""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line for line in text if re.search(gate.telling, line)] or text
    return telling[-TAIL_LINES:]


def what_failed(gate: Gate) -> list[str]:
    """The first failures of a pytest gate with the end of what they said, and the names of more.

    What comes first is often the cause of the rest.
    """
    report = BUILD / "results" / f"{gate.name}.xml"
    if not gate.tests or not report.exists():
        return []
    cases = ElementTree.parse(report).getroot().iter("testcase")
    bad = [(case, found) for case in cases for found in failures(case)]
    lines: list[str] = []
    for number, (case, found) in enumerate(bad[:NAMED_FAILURES]):
        lines.append(f"{found.tag}: {case.get('classname')} {case.get('name')}")
        if number < WHOLE_FAILURES:
            told = found.text or found.get("message") or ""
            lines += [f"    {line}" for line in told.splitlines()[-FAILURE_LINES:]]
    return [*lines, *([f"... and {len(bad) - NAMED_FAILURES} more"] if len(bad) > NAMED_FAILURES else [])]


def failures(case: ElementTree.Element) -> list[ElementTree.Element]:
    """Failure and error of a test: what its own steps and its fixtures said."""
    return [found for kind in ("failure", "error") for found in case.findall(kind)]


def closing(outcomes: Sequence[Outcome]) -> str:
    """The line of totals."""
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    skipped = sum(len(outcome.skipped) for outcome in outcomes)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def check_leftovers(run_id: str, before: frozenset[Path]) -> Outcome:
    """A gate of its own: the run has left no process and no file outside the work tree."""
    gate = Gate("leftovers", "test", ())
    left = leftovers.left(run_id, before)
    log = BUILD / "logs" / "leftovers.log"
    log.write_text("".join(f"left behind: {line}\n" for line in left), encoding="utf-8")
    outcome = Outcome(gate, int(not left), int(bool(left)), (), 0.0)
    tell(outcome, log)
    return outcome


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
    run_id, before = secrets.token_hex(8), leftovers.files()
    for number in leftovers.SIGNALS:
        signal.signal(number, functools.partial(interrupt, run_id))
    core, python = metadata.version("ansible-core"), ".".join(platform.python_version_tuple()[:2])
    print(
        f"ansible-core {core} on Python {python}; gates that are named after another core bring their own", flush=True
    )
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        futures = [pool.submit(run, gate, run_id) for gate in chosen]
        while wait(futures, timeout=1).not_done:  # a signal that comes just before a wait without end is never seen
            pass
        outcomes = [future.result() for future in futures]
    if not options.only:
        outcomes.append(check_leftovers(run_id, before))
    line = closing(outcomes)
    (BUILD / "results" / "closing").write_text(line + "\n", encoding="ascii")
    print(line, flush=True)
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
