# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the controller's time goes: ``raw`` and ``wspcfg`` against the same lab, and what the one has more.

``python -m tests.bench.profile_task [HOSTS]``, in any environment of the tests. Samples of processor time are counted,
workers included; each is shared out to every function on its stack ("with all below") and to the line that ran.
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from tests.bench.bench_role import contenders
from tests.bench.harness import LabProcess, lab
from tests.conftest import ROOT, link_collection
from tests.support.playbook import environment

SHOWN: t.Final = 45
SAMPLER: t.Final = Path(__file__).parent / "sampler"
Counts: t.TypeAlias = collections.Counter[str]


class Profile(t.NamedTuple):
    """How often each place was on the processor.

    below: samples by function, with everything that it called. lines: by the line that ran. samples: all of them.
    cpu_ms: processor time of the whole run, also of what is too short to be sampled.
    """

    below: Counts
    lines: Counts
    samples: int
    cpu_ms: float


def profile(running: LabProcess, playbook: Path, work: Path) -> Profile:
    """Run a playbook under the sampler."""
    samples = work / f"{playbook.stem}.samples"
    play = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(running.inventory), str(playbook)]
    variables = environment(work, ANSIBLE_PIPELINING="true", PYTHONPATH=str(SAMPLER), SAMPLER_PATH=str(samples))
    process = subprocess.Popen(
        [*play, "-f", "10"], cwd=work, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"{playbook.name} ended with {process.returncode}")
    stacks = samples.read_text(encoding="utf-8").strip().split("\n\n")
    below, lines = Counts(), Counts()
    for stack in stacks:
        frames = [frame.split("\t") for frame in stack.splitlines()]
        below.update({f"{name} {_short(file)}:{first}" for name, file, _line, first in frames})
        name, file, line, _first = frames[0]
        lines[f"{name} {_short(file)}:{line}"] += 1
    return Profile(below, lines, len(stacks), (usage.ru_utime + usage.ru_stime) * 1000)


def _short(file: str) -> str:
    return "/".join(file.split("/")[-3:])


def more(one: Counts, other: Counts, scale: float) -> list[tuple[float, str]]:
    """What takes longer in the first, most first."""
    return sorted((((count - other[place]) * scale, place) for place, count in one.items()), reverse=True)


def main(arguments: list[str]) -> int:
    """Sample both and print the difference."""
    hosts = int(arguments[0]) if arguments else 100
    link_collection(ROOT)
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as name:
        work = Path(name)
        with lab(str(hosts), work / "lab") as running:
            running.in_order()
            books = [one.playbook for one in contenders(work, offset=0)[:2]]
            raw, wspcfg = (profile(running, t.cast("Path", book), work) for book in books)
    # What a sample stands for: the system's clock may be coarser than what the sampler asks for.
    scale = (wspcfg.cpu_ms - raw.cpu_ms) / (wspcfg.samples - raw.samples) / hosts
    total = [one.cpu_ms / hosts for one in (raw, wspcfg)]
    print(f"CPU per server, start of Ansible shared out: raw {total[0]:.1f} ms, wspcfg {total[1]:.1f} ms")
    for title, one, other in (("with all below", wspcfg.below, raw.below), ("line", wspcfg.lines, raw.lines)):
        print(f"\nwspcfg more than raw, {title}, ms per server")
        for much, place in more(one, other, scale)[:SHOWN]:
            print(f"{much:8.2f}  {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
