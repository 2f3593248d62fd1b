# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's playbooks cost a controller, beside the expert's playbook and beside the least that Ansible can do.

100 servers with two published ports each, all in order, ten forks. Promised: ``publish`` with nothing to do and
``audit`` take at most a quarter of the expert's playbook and at most 2.5 times a bare ``raw`` task, in wall time and in
CPU; one ``wspcfg`` task takes at most 1.3 times that ``raw`` task in wall time. Medians of three rounds; the figures go
to ``build/bench/role.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from collections.abc import Mapping
from pathlib import Path

from tests.bench.harness import HONESTY, BenchError, Contender, Figure, Scene, lab, medians, ratio, surroundings
from tests.conftest import ROOT
from tests.support.playbook import Json

HOSTS: t.Final = 100
FORKS: t.Final = 10
ROUNDS: t.Final = 3
EXPERT: t.Final = ROOT / "tests" / "bench" / "expert" / "playbook.yml"
RESULTS: t.Final = ROOT / "build" / "bench"
# What is promised: at most so many times the other's wall time and CPU.
LIMITS: t.Final[Mapping[tuple[str, str], Mapping[str, float]]] = {
    ("publish", "expert"): {"wall": 0.25, "cpu": 0.25},
    ("audit", "expert"): {"wall": 0.25, "cpu": 0.25},
    ("publish", "raw"): {"wall": 2.5, "cpu": 2.5},
    ("audit", "raw"): {"wall": 2.5, "cpu": 2.5},
    ("wspcfg", "raw"): {"wall": 1.3},
}

RAW: t.Final = """\
- hosts: exchange
  gather_facts: false
  tasks:
    - ansible.builtin.raw: cmd /c rem
      changed_when: false
"""
WSPCFG: t.Final = """\
- hosts: exchange
  gather_facts: false
  tasks:
    - msexchange.winsock_proxy.wspcfg:
        listeners: "{{ publish_listeners }}"
        ports: PORTS
        proxy_address: "{{ publish_proxy_address }}"
        pin: "{{ publish_pin }}"
"""


def wspcfg(offset: int) -> str:
    """The play of one task; ``offset`` is what is added to port numbers where low ones are not allowed."""
    ports = {"pop3": 110 + offset, "imap4": 143 + offset} if offset else {}
    return WSPCFG.replace("PORTS", json.dumps(ports))


def contenders(work: Path, *, offset: int) -> list[Contender]:
    """The five playbooks, in the order in which each round runs them."""
    (work / "raw.yml").write_text(RAW, encoding="ascii")
    (work / "wspcfg.yml").write_text(wspcfg(offset), encoding="ascii")
    ports = json.dumps({"wspcfg_store_ports": [110 + offset, 143 + offset]})
    return [
        Contender("raw", work / "raw.yml"),
        Contender("wspcfg", work / "wspcfg.yml"),
        Contender("publish", "publish"),
        Contender("audit", "audit"),
        Contender("expert", EXPERT, ("--extra-vars", ports)),
    ]


def missed(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One line per promise that is broken."""
    return [
        f"{one}_vs_{other} {measure} {found[f'{one}_vs_{other}'][measure]:.2f}, at most {limit}"
        for (one, other), limits in LIMITS.items()
        for measure, limit in limits.items()
        if found[f"{one}_vs_{other}"][measure] > limit
    ]


def judge(figures: Mapping[str, dict[Figure, float]]) -> Json:
    """The ratios and what they miss."""
    ratios = {f"{one}_vs_{other}": ratio(figures[one], figures[other]) for one, other in LIMITS}
    return {**ratios, "missed": missed(ratios)}


def measure(work: Path) -> Json:
    """Run everything; the content of ``role.json``."""
    around = surroundings()
    with lab(str(HOSTS), work / "lab") as running:
        offset = json.loads((running.directory / "lab.json").read_text(encoding="ascii"))["port_offset"]
        running.in_order()
        scene = Scene(running, work, FORKS)
        samples = scene.interleave(contenders(work, offset=offset), rounds=ROUNDS)
    figures = {name: medians(taken) for name, taken in samples.items()}
    return {
        "note": HONESTY,
        "hosts": HOSTS,
        "ports_per_host": 2,
        "forks": FORKS,
        "rounds": ROUNDS,
        "machine": {**around, "load_after": [round(value, 2) for value in os.getloadavg()]},
        **judge(figures),
        "medians": figures,
        "runs": {name: [vars(one) for one in taken] for name, taken in samples.items()},
    }


def ruler() -> bool:
    """Whether the expert's playbook does what it should against the lab; a peer that does not is no peer."""
    tests = [sys.executable, "-m", "pytest", "-q", "tests/bench/test_expert.py"]
    return subprocess.run(tests, cwd=ROOT, check=False).returncode == 0


def table(result: Json) -> str:
    """The figures for a person."""
    machine = result["machine"]
    head = ("wall s", "CPU s", "lab CPU", "peak MB", "requests", "bytes up", "down", "lines")
    lines = [
        f"{HOSTS} servers, 2 ports each, all in order, forks {FORKS}, medians of {ROUNDS}",
        f"load average before: {machine['load_before'][0]}, cores: {machine['cores']}",
        f"{'':<9}" + "".join(f"{name:>9}" for name in head),
    ]
    for name, row in result["medians"].items():
        lines.append(
            f"{name:<9}{row['wall_s']:>9.2f}{row['cpu_s']:>9.2f}{row['lab_cpu_s']:>9.2f}{row['peak_mb']:>9.0f}"
            f"{row['requests']:>9.1f}{row['bytes_in']:>9.0f}{row['bytes_out']:>9.0f}{row['lines']:>9.0f}"
        )
    for (one, other), limits in LIMITS.items():
        found = result[f"{one}_vs_{other}"]
        promised = ", ".join(f"{measure} at most {limit}" for measure, limit in limits.items())
        lines.append(f"{one} / {other}: wall {found['wall']:.2f}, CPU {found['cpu']:.2f} (promised: {promised})")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write the file; 1 when a promise is broken."""
    print(HONESTY, flush=True)
    if not ruler():
        print("NOT MEASURED: the expert's playbook does not work against the lab", file=sys.stderr)
        return 1
    work = RESULTS / "role"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        result = measure(work)
    except BenchError as error:
        print(f"NOT MEASURED: {error}", file=sys.stderr)
        return 1
    path = RESULTS / "role.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(result))
    print(f"written: {path.relative_to(ROOT)}")
    for line in result["missed"]:
        print(f"MISSED: {line}")
    return int(bool(result["missed"]))


if __name__ == "__main__":
    sys.exit(main())
