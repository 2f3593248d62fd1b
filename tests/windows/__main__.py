# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Windows lane: ``python -m tests.windows [run|prepare|observe]``, see README.md."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import signal
import sys
import time
import typing as t
from pathlib import Path

importlib.import_module("tests.conftest")  # puts the collection on the path
from tests.conformance.run import CANNOT, SECONDS  # noqa: E402
from tests.conformance.schema import load_all  # noqa: E402
from tests.windows import BUILD, lane, orders, report, stage  # noqa: E402
from tests.windows.machine import Machine, Native, Prefix, Unavailable, find_wine  # noqa: E402

# Each operation, and each error that costs no more than a request or two.
QUICK: t.Final = (
    *("request-answer-head", "request-key-missing", "request-op-unknown", "request-version-unknown"),
    *("inspect-file", "inspect-file-locked", "inspect-file-access-denied", "inspect-file-too-large"),
    *("inspect-file-is-directory", "inspect-file-bad-name", "inspect-services-graph", "inspect-service-process"),
    *("inspect-state-records", "inspect-state-lock", "inspect-registry-values", "inspect-port-greeting"),
    *("apply-create", "apply-replace", "apply-changed", "apply-not-found", "apply-parent-missing", "apply-read-only"),
    *("apply-locked-none", "apply-access-denied", "apply-busy", "apply-backup-missing", "apply-in-place-longer"),
    *("restart-one", "restart-service-missing", "restart-disabled", "restart-busy", "restart-journal-corrupt"),
    *("status-unknown", "status-interrupted"),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.windows", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prefix", type=Path, help="prepare, observe: the Wine prefix, whose server must be running")
    parser.add_argument("--machines", type=int, default=5, help="how many Wine prefixes side by side (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long one request may take (%(default)s)")
    parser.add_argument("--only", default="", help="regular expression that a case's name must contain")
    parser.add_argument("--mode", default="", help="only this mode")
    parser.add_argument("--quick", action="store_true", help="a small selection, in direct mode")
    parser.add_argument("--no-selftest", dest="selftest", action="store_false", help="do not look at what is prepared")
    parser.add_argument("--no-cases", dest="cases", action="store_false", help="only look at what is prepared")
    parser.add_argument("--junit", type=Path, help="where the gates want their counts")
    parser.add_argument("what", nargs="?", default="run", choices=("run", "prepare", "observe"))
    return parser


def run(options: argparse.Namespace) -> int:
    """Play the cases; 1 when one failed."""
    began = time.monotonic()
    pairs = [
        (case, mode)
        for case in lane.cases()
        for mode in case.modes
        if re.search(options.only, case.id)
        and options.mode in ("", mode)
        and (not options.quick or (case.id in QUICK and mode == "direct"))
    ]
    try:
        with lane.servers(max(1, min(options.machines, len(pairs))), seconds=options.seconds) as servers:
            ready = time.monotonic() - began
            some = list({case.id: case for case, _ in pairs if "requires" not in case.data}.values())
            results = lane.check_all(some, servers, lane.tell_on_stdout) if options.selftest else []
            results += lane.play_all(pairs, servers, lane.tell_on_stdout) if options.cases else []
            results.sort(key=lambda result: (result.case, result.mode))
            machine = {"Windows": "Wine" if servers[0].stage.about.wine else "Windows", "machines": len(servers)}
    except Unavailable as reason:
        print(f"SKIPPED: the target script was NOT run on a PowerShell: {reason}")
        if options.junit:
            missing = report.Result("every case", "windows", "unproven", (str(reason),), 0.0)
            report.write_junit([missing], options.junit)
        return 0
    machine |= {"ready after": f"{ready:.0f} s", "all": f"{time.monotonic() - began:.0f} s"}
    report.write(results, BUILD, machine)
    if options.junit:
        report.write_junit(results, options.junit)
    for result in results:
        if result.verdict != "proven":
            lane.tell_on_stdout(result)
    print(f"{report.closing(results)}; {machine['all']}, {machine['machines']} machines")
    return int(any(result.verdict == "failed" for result in results))


def _stage(options: argparse.Namespace) -> stage.Stage:
    machine: Machine = Native() if options.prefix is None else Prefix(find_wine(), options.prefix.resolve())
    return stage.make(machine, orders.named(load_all()))


def prepare(options: argparse.Namespace) -> int:
    """Bring about what standard input says, as the conformance runner's README wants it."""
    state = json.load(sys.stdin)
    try:
        _stage(options).prepare(state["given"], change=state["change"])
    except orders.Cannot as reason:
        print(reason, file=sys.stderr)
        return CANNOT
    return 0


def observe(options: argparse.Namespace) -> int:
    """Print what standard input asks for, as the conformance runner's README wants it."""
    asked = json.load(sys.stdin)
    print(json.dumps(_stage(options).observe(asked["given"], asked["then"])))
    return 0


def _leave(number: int, dummy_frame: object) -> t.NoReturn:
    raise SystemExit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    options = _parser().parse_args(arguments)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # so that everything that was started is ended
            signal.signal(getattr(signal, name), _leave)
    return {"run": run, "prepare": prepare, "observe": observe}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
