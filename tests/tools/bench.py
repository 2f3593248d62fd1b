# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every benchmark; fails when one misses a ratio that it promises."""

from __future__ import annotations

import subprocess
import sys
import typing as t

from tests.tools import bootstrap
from tests.tools.isolate import ROOT

# Benchmarks that need more than the main environment has: the lane that they run in.
LANES: t.Final = {"role": "bench"}


def python(name: str) -> str:
    """The interpreter that a benchmark runs in."""
    lane = LANES.get(name)
    return str(bootstrap.folder(bootstrap.LANES[lane]) / "bin" / "python") if lane else sys.executable


def set_up(names: list[str]) -> int:
    """Make the environments that these benchmarks need; the network is at hand only here."""
    lanes = sorted({LANES[name] for name in names if name in LANES})
    return max((bootstrap.main(["--lane", lane]) for lane in lanes), default=0)


def run(names: list[str]) -> int:
    """Run these benchmarks one after the other and say which of them missed something."""
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        if subprocess.run([python(name), "-m", f"tests.bench.bench_{name}"], cwd=ROOT, check=False).returncode:
            failed.append(name)
    print(f"benchmarks: {len(names) - len(failed)} kept, {len(failed)} missed {' '.join(failed)}".rstrip())
    return int(bool(failed))


def main(arguments: list[str]) -> int:
    """Run ``tests/bench/bench_*.py``, or only the named ones; with ``--set-up`` first make what they need instead."""
    wanted = [name for name in arguments if name != "--set-up"]
    found = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "tests" / "bench").glob("bench_*.py"))
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        print(f"no such benchmark: {' '.join(unknown)}; there are: {' '.join(found)}", file=sys.stderr)
        return 2
    return set_up(wanted or found) if "--set-up" in arguments else run(wanted or found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
