# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Windows lane: ``python -m tests.windows [run|demo|up|prepare|observe]``, see README.md."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import sys
import time
import typing as t
from pathlib import Path

importlib.import_module("tests.conftest")  # puts the collection on the path
from tests.conformance.run import CANNOT, SECONDS  # noqa: E402
from tests.conformance.schema import load_all  # noqa: E402
from tests.windows import BUILD, lane, measure, orders, regions, report, stage  # noqa: E402
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
    parser.add_argument("--no-role", dest="role", action="store_false", help="do not play the role")
    parser.add_argument("--no-costs", dest="costs", action="store_false", help="do not measure what operations cost")
    parser.add_argument("--junit", type=Path, help="where the gates want their counts")
    parser.add_argument("what", nargs="?", default="run", choices=("run", "demo", "up", "prepare", "observe"))
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
    checks = [check for check in regions.CHECKS if not options.quick and re.search(options.only, check.name)]
    checks = checks if options.mode in ("", regions.MODE) else []
    wants_role = options.role and not options.quick and not options.only and os.name != "nt"
    count = max(1, min(options.machines, len(pairs) + len(checks))) + wants_role
    results: list[report.Result] = []
    costs: list[measure.Cost] = []
    try:
        with lane.servers(count, seconds=options.seconds) as servers:
            ready = time.monotonic() - began
            some = list({case.id: case for case, dummy in pairs if "requires" not in case.data}.values())

            def cases() -> None:
                among = servers[1:] if wants_role else servers
                if options.selftest:
                    results.extend(lane.check_all(some, among, lane.tell_on_stdout))
                if options.cases:
                    results.extend(regions.play(checks, among, lane.tell_on_stdout))
                    results.extend(lane.play_all(pairs, among, lane.tell_on_stdout))

            def whole_role() -> None:
                from tests.windows import role  # the lab's WinRM is nothing for Windows

                results.extend(role.play(servers[0], lane.tell_on_stdout))

            if options.costs and not options.quick and not options.only:
                costs.extend(measure.measure(servers[0]))  # before the others, which would make it slow
                print("\n".join(measure.lines(costs)), flush=True)
                wrong = tuple(measure.problems(costs))
                results.append(report.Result("costs", "measured", "failed" if wrong else "proven", wrong, 0.0))
            lane.side_by_side([cases, whole_role] if wants_role else [cases])
            results.sort(key=lambda result: (result.case, result.mode))
            machine = {"Windows": "Wine" if servers[0].stage.about.wine else "Windows", "machines": len(servers)}
    except Unavailable as reason:
        print(f"SKIPPED: the target script was NOT run on a PowerShell: {reason}")
        if options.junit:
            missing = report.Result("every case", "windows", "unproven", (str(reason),), 0.0)
            report.write_junit([missing], options.junit)
        return 0
    machine |= {"ready after": f"{ready:.0f} s", "all": f"{time.monotonic() - began:.0f} s"}
    report.write(results, BUILD, machine, measure.as_data(costs))
    if options.junit:
        report.write_junit(results, options.junit)
    for result in results:
        if result.verdict != "proven":
            lane.tell_on_stdout(result)
    print(f"{report.closing(results)}; {machine['all']}, {machine['machines']} machines")
    return int(any(result.verdict == "failed" for result in results))


def demo(options: argparse.Namespace) -> int:
    """Show the role on a server that is real, in two minutes; 1 when something was not as it should be."""
    from tests.windows import role

    print("One server. PowerShell is real, and so are the services, which bind the ports that Wspcfg.ini names.")
    try:
        with lane.servers(1, seconds=options.seconds) as servers:
            results = role.play(servers[0], lane.tell_on_stdout, (role.SHOWN,))
    except Unavailable as reason:
        print(f"SKIPPED: nothing was run on a PowerShell: {reason}")
        return 0
    print(report.closing(results))
    return int(any(result.verdict == "failed" for result in results))


def up(options: argparse.Namespace) -> int:
    """Have one real server, for playbooks by hand, until somebody ends this."""
    from tests.windows import role

    try:
        with lane.servers(1, seconds=options.seconds) as servers, role.scene(servers[0]) as scene:
            print(f"One server, {scene.server.stage.about.computer}, published on {scene.server.proxy} by")
            print(f"ansible-playbook -i {scene.server.inventory} msexchange.winsock_proxy.publish", flush=True)
            signal.pause()
    except Unavailable as reason:
        print(f"SKIPPED: {reason}")
    return 1


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
    return {"run": run, "demo": demo, "up": up, "prepare": prepare, "observe": observe}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
