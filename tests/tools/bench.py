# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every benchmark; fails when one misses a ratio that it promises."""

from __future__ import annotations

import subprocess
import sys

from tests.tools.isolate import ROOT


def main(names: list[str]) -> int:
    """Run ``tests/bench/bench_*.py``, or only the named ones, one after the other."""
    found = sorted(path.stem for path in (ROOT / "tests" / "bench").glob("bench_*.py"))
    chosen = [name for name in found if not names or name in names]
    if not chosen:
        print(f"no such benchmark; there are: {' '.join(found)}", file=sys.stderr)
        return 2
    failed = []
    for name in chosen:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], cwd=ROOT, check=False).returncode:
            failed.append(name)
    print(f"benchmarks: {len(chosen) - len(failed)} kept, {len(failed)} missed {' '.join(failed)}".rstrip())
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
