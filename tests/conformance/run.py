# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the conformance cases of the target script: in the lab, or the real script in a real PowerShell.

``python tests/conformance/run.py --executor lab`` or, on a machine that has a PowerShell,
``python tests/conformance/run.py --executor pwsh --pwsh powershell.exe --prepare CMD --observe CMD`` (see README.md).
"""

from __future__ import annotations

import argparse
import base64
import importlib
import json
import os
import re
import secrets
import shlex
import sys
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

importlib.import_module("tests.conftest")  # puts the collection on the path
from tests.conformance.compare import differences, state_differences  # noqa: E402
from tests.conformance.schema import LAB_NOW, MODES, Case, as_list, at_time, expected_answers, load_all  # noqa: E402
from tests.support.calls import Done, call, spoken  # noqa: E402

# Exit status with which prepare says that this machine cannot be brought into the state.
CANNOT = 77
SECONDS = 120.0


class NotRun(Exception):
    """A case that this executor cannot run; the text says why. Never counted as proven."""


class Outcome(t.Protocol):
    """What came of a case: ``answers``, one per step ({} for a step without a request), and ``observed``."""

    @property
    def answers(self) -> Sequence[Mapping[str, t.Any]]: ...

    @property
    def observed(self) -> Mapping[str, t.Any]: ...


class Executor(t.Protocol):
    """Something that answers cases."""

    def run(self, case: Mapping[str, t.Any], mode: str) -> Outcome:
        """Bring ``given`` about, send every step's request, and observe; raises NotRun."""


@dataclass(frozen=True)
class Seen:
    """An outcome as plain data."""

    answers: Sequence[Mapping[str, t.Any]]
    observed: Mapping[str, t.Any]


class Server(t.Protocol):
    """A Windows machine that can be brought into states."""

    def prepare(self, state: Mapping[str, t.Any]) -> None:
        """Bring ``given`` about, see README.md; raises NotRun where it cannot."""

    def observe(self, asked: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
        """Return what ``then`` asks for, see README.md."""

    def powershell(self, arguments: Sequence[str], stdin: str) -> str:
        """Run PowerShell, and return what it printed."""


@dataclass(frozen=True)
class PwshExecutor:
    """The real target script in a real PowerShell.

    Attributes:
        server: the machine.
        computer: name by which it reaches itself; None: computer mode is not run.
        regions: the script's regions by name, where they are not the script's own.
    """

    server: Server
    computer: str | None
    regions: Mapping[str, str] | None = None

    def run(self, case: Mapping[str, t.Any], mode: str) -> Outcome:
        if case.get("requires") or (mode == "computer" and self.computer is None):
            raise NotRun("needs a real network of Windows machines (--computer names the server)")
        given = case.get("given") or {}
        self.server.prepare({"case": case["name"], "mode": mode, "change": False, "given": given})
        answers = [self._step(case, mode, step) for step in case["steps"]]
        asked = {"case": case["name"], "mode": mode, "given": given, "then": case.get("then") or {}}
        return Seen(answers, self.server.observe(asked))

    def _step(self, case: Mapping[str, t.Any], mode: str, step: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
        for change in as_list(step.get("before")):
            rest = {key: value for key, value in change.items() if key != "seconds"}
            if rest:
                self.server.prepare({"case": case["name"], "mode": mode, "change": True, "given": rest})
            time.sleep(float(change.get("seconds", 0)))
        if "request" not in step:
            return {}
        request = dict(step["request"])
        if mode == "computer" and request.get("computer", "") is None:
            request["computer"] = self.computer
        return self.ask(request, case.get("replaced") or {})

    def ask(self, request: Mapping[str, t.Any], replaced: Mapping[str, str]) -> Mapping[str, t.Any]:
        """Run the real script as WinRM does: the loader encoded on the command line, the rest on standard input.

        Args:
            request: the whole request.
            replaced: functions of the script, by name, that are others instead; their bodies.
        """
        from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script

        # An operation that does not exist has no script of its own; any will refuse it.
        known = request if request.get("op") in ("inspect", "apply", "restart", "restart_status") else None
        regions = self.regions or script.regions()
        text = "".join(regions[name] for name in script.regions_for(known or {**request, "op": "inspect"}))
        known_functions = set(re.findall(r"^function ([\w-]+)", text, re.MULTILINE))
        if not known_functions >= set(replaced):
            raise ValueError(f"replaced: the script has no {', '.join(set(replaced) - known_functions)}")
        main = regions["main"]
        others = "".join(f"function {name} {body}\n" for name, body in replaced.items())
        text = text.removesuffix(main) + others + main
        encoded = base64.b64encode(script.loader().encode("utf-16-le")).decode()
        words = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-EncodedCommand", encoded]
        nonce = secrets.token_hex(8)
        printed = self.server.powershell(words, script.lines(text, request, nonce))
        try:
            return t.cast("Mapping[str, t.Any]", script.parse_answer(printed, nonce))
        except script.NoAnswer as error:
            raise RuntimeError(f"{error}; printed at last: {printed.strip()[-6000:] or 'nothing'}") from error


@dataclass(frozen=True)
class Commands:
    """A server whose states are brought about by programs of somebody else.

    Attributes:
        pwsh: words of the command that starts PowerShell.
        prepare_words: words of the command that brings a state about; JSON on its standard input.
        observe_words: words of the command that prints the state as JSON; JSON on its standard input.
        work: working directory of all three.
        seconds: how long each of them may take.
    """

    pwsh: Sequence[str]
    prepare_words: Sequence[str]
    observe_words: Sequence[str]
    work: Path
    seconds: float = SECONDS

    def prepare(self, state: Mapping[str, t.Any]) -> None:
        done = self._call(self.prepare_words, json.dumps(state))
        if done.status == CANNOT:
            raise NotRun(spoken(done.err).strip() or "prepare cannot bring this state about")
        if done.status:
            words = shlex.join(self.prepare_words)
            raise RuntimeError(f"{words}: exit status {done.status}: {spoken(done.err).strip()}")

    def observe(self, asked: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
        return t.cast("Mapping[str, t.Any]", json.loads(spoken(self._call(self.observe_words, json.dumps(asked)).out)))

    def powershell(self, arguments: Sequence[str], stdin: str) -> str:
        return spoken(self._call([*self.pwsh, *arguments], stdin).out)

    def _call(self, words: Sequence[str], stdin: str) -> Done:
        return call(words, stdin.encode("utf-8"), seconds=self.seconds, environment=os.environ, cwd=self.work)


def problems(case: Case, mode: str, executor: Executor, *, now: float = LAB_NOW) -> list[str]:
    """Return one line per difference between a case and what an executor made of it.

    Args:
        case: the case.
        mode: ``direct`` or ``computer``.
        executor: who answers.
        now: seconds since 1970 on the server's clock, for times that a case gives relative to it.

    Raises:
        NotRun: the executor cannot run it.
    """
    case = at_time(case, now)
    outcome = executor.run(case.data, mode)
    found: list[str] = []
    for number, (step, answer) in enumerate(zip(case.steps, outcome.answers, strict=True), 1):
        wanted, where = expected_answers(step, mode), f"steps[{number}].answer"
        for expected in wanted:
            found += differences(expected, answer, where)
        if answer.get("error") and not any("error" in expected for expected in wanted):
            found.append(f"{where}.error: nobody expected {json.dumps(answer['error'])[:300]}")
    return found + list(state_differences(case.data.get("then") or {}, outcome.observed))


def pairs(cases: Sequence[Case], executor: str, *, only: str = "") -> Iterator[tuple[Case, str]]:
    """Yield every (case, mode) that an executor of that name has to run."""
    for case in cases:
        for mode in MODES:
            if executor in case.executors and mode in case.modes and re.search(only, case.id):
                yield case, mode


def _executor(options: argparse.Namespace) -> Executor:
    if options.executor == "lab":
        from tests.lab.conformance import LabExecutor

        return t.cast(Executor, LabExecutor())
    missing = [name for name in ("pwsh", "prepare", "observe") if not getattr(options, name)]
    if missing:
        raise SystemExit(f"--executor pwsh needs {', '.join('--' + name for name in missing)}")
    words = [shlex.split(getattr(options, name)) for name in ("pwsh", "prepare", "observe")]
    return PwshExecutor(Commands(*words, options.work, options.seconds), options.computer)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--executor", choices=("lab", "pwsh"), default="lab")
    parser.add_argument("--pwsh", help="command that starts PowerShell, such as powershell.exe or pwsh")
    parser.add_argument("--prepare", help="command that brings the given state about")
    parser.add_argument("--observe", help="command that prints the state")
    parser.add_argument("--computer", help="name of the prepared server, for computer mode")
    parser.add_argument("--work", type=Path, default=Path.cwd(), help="working directory of these commands")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long one request may take (%(default)s)")
    parser.add_argument("--only", default="", help="regular expression that a case's name must contain")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and print one line for each; return 1 when one failed."""
    options = _options(arguments)
    executor = _executor(options)
    counts = {"passed": 0, "failed": 0, "not run": 0}
    for case, mode in pairs(load_all(), options.executor, only=options.only):
        try:
            found = problems(case, mode, executor, now=LAB_NOW if options.executor == "lab" else int(time.time()))
        except NotRun as reason:
            counts["not run"] += 1
            print(f"not run  {case.id} [{mode}]: {reason}")
            continue
        except Exception as error:  # noqa: BLE001  one broken case must not hide the others
            found = [f"{type(error).__name__}: {error}"]
        counts["failed" if found else "passed"] += 1
        print("\n    ".join([f"{'FAIL' if found else 'ok':8} {case.id} [{mode}]", *found]))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['not run']} not run (which proves nothing)")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
