# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time a drift check of 300 servers is: the controller's, or the lab's that answers it.

Promised: 300 servers from one process in under 300 MB, and the lab takes at most a quarter of the processor time that
the controller takes. Every server must be found in order with one execution, or the measurement means nothing.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from tests.conftest import ROOT, link_collection
from tests.lab.control import ask

HOSTS: t.Final = 300
MEMORY_LIMIT_MB: t.Final = 300.0
SHARE_LIMIT: t.Final = 0.25
EXECUTIONS: t.Final = 1
REQUESTS_LIMIT: t.Final = 9
SENT_LIMIT: t.Final = 40_000
TICKS: t.Final = os.sysconf("SC_CLK_TCK")

PLAY: t.Final = """\
- hosts: exchange
  gather_facts: false
  tasks:
    - msexchange.winsock_proxy.wspcfg:
        listeners: "{{ publish_listeners }}"
        proxy_address: "{{ publish_proxy_address }}"
        pin: "{{ publish_pin }}"
        mta_direct: "false"
      check_mode: true
"""


def lab_cpu_s(pid: int) -> float:
    """Processor seconds of the lab's process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def lab_memory_mb(pid: int) -> float:
    """Most resident memory that the lab's process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def controller_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    kept.pop("REQUESTS_CA_BUNDLE", None)
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(link_collection(ROOT)), "ANSIBLE_HOME": str(home)}
    return {**kept, **paths, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"}


def drift_check(directory: Path) -> tuple[float, float, str]:
    """Run the play; wall seconds, the controller's processor seconds, and what it printed."""
    play = directory / "drift.yml"
    play.write_text(PLAY)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(directory / "inventory.yml"), str(play)]
    cpu, wall = controller_cpu_s(), time.monotonic()
    done = subprocess.run(
        [*command, "-f", "10"], env=environment(directory / "home"), capture_output=True, text=True, check=False
    )
    return time.monotonic() - wall, controller_cpu_s() - cpu, done.stdout + done.stderr


def start_lab(directory: Path) -> subprocess.Popen[bytes]:
    """A lab in a process of its own; it has been asked for its state when this returns."""
    command = [sys.executable, "-m", "tests.lab", "up", "--fleet", str(HOSTS), "--dir", str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"Inventory"):
            return process
    raise RuntimeError("the lab did not start")


def problems(counters: t.Mapping[str, t.Mapping[str, int]], output: str) -> list[str]:
    """What makes the measurement worthless: a host that was not in order, or that cost more than a drift check may."""
    found = [] if output.count("ok=1    changed=0    unreachable=0    failed=0") == HOSTS else [output[-2000:]]
    limits = {"executions": EXECUTIONS, "requests": REQUESTS_LIMIT, "bytes_in": SENT_LIMIT}
    for name, seen in counters.items():
        found += [f"{name}: {key} {seen[key]}, at most {limit}" for key, limit in limits.items() if seen[key] > limit]
    return found


def main() -> int:
    """Measure and print; 1 when a promise is broken."""
    with tempfile.TemporaryDirectory(prefix="bench-lab-") as name:
        directory = Path(name)
        process = start_lab(directory)
        try:
            before = lab_cpu_s(process.pid)
            wall, controller, output = drift_check(directory)
            lab = lab_cpu_s(process.pid) - before
            memory = lab_memory_mb(process.pid)
            counters = ask(directory, "counters")
        finally:
            process.terminate()
            process.wait()
    broken = problems(counters, output)
    most = {key: max(seen[key] for seen in counters.values()) for key in ("executions", "requests", "bytes_in")}
    print(f"{HOSTS} servers, one process: {memory:.0f} MB (promised: under {MEMORY_LIMIT_MB:.0f} MB)")
    print(f"drift check of all: {wall:.1f} s; processor: controller {controller:.1f} s, lab {lab:.1f} s")
    print(f"lab / controller = {lab / controller:.2f} (promised: at most {SHARE_LIMIT})")
    print(
        f"most per server: {most['executions']} execution, {most['requests']} requests, {most['bytes_in']} bytes sent"
    )
    for line in broken:
        print(f"MISSED: {line}")
    return int(bool(broken) or memory >= MEMORY_LIMIT_MB or lab / controller > SHARE_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
