# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port probe against what it replaces, on the lab's listeners: three promised ratios, all in one run.

1. 2,000 targets, one attempt: at most 2 times the time of a bare asyncio loop that connects and reads a line from the
   same targets, and less than 200 MB.
2. Eight ports of one host: at least 10 times less wall time and controller CPU than eight tasks of
   ansible.builtin.wait_for.
3. 100 targets that never answer: one timeout, not one hundred.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import probe
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Target
from tests import conftest
from tests.support.playbook import environment

MOST_TIMES_BARE = 2.0
MOST_MEGABYTES = 200
LEAST_TIMES_LESS = 10.0
MOST_TIMEOUTS = 1.2

ROUNDS = 5
TARGETS = 2000
REPEATS = 4
Place = tuple[str, int, str]


@contextlib.contextmanager
def lab() -> Iterator[dict[str, t.Any]]:
    """The lab's listeners, in another process."""
    command = [sys.executable, "-m", "tests.bench.lab_ports"]
    with subprocess.Popen(
        command, cwd=conftest.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("pipes were asked for")
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()


# --- 2,000 targets ------------------------------------------------------------------------------------------------


def places(doors: Sequence[Place]) -> list[Place]:
    return [doors[number % len(doors)] for number in range(TARGETS)]


def probe_all(doors: Sequence[Place]) -> float:
    targets = [Target(address, port, protocol) for address, port, protocol in places(doors)]
    begun = time.perf_counter()
    results = probe(targets, Options(deadline=0, timeout=30))
    took = time.perf_counter() - begun
    if not all(result["status"] == "open" and result["attempts"] == 1 for result in results):
        raise RuntimeError(f"not every target was open: {next(each for each in results if each['status'] != 'open')}")
    return took


def read_all(doors: Sequence[Place]) -> float:
    async def one(room: asyncio.Semaphore, address: str, port: int) -> bytes:
        async with room:
            reader, writer = await asyncio.open_connection(address, port)
            line = await reader.readline()
            writer.close()
            return line

    async def every() -> list[bytes]:
        room = asyncio.Semaphore(Options().concurrency)
        return await asyncio.gather(*(one(room, address, port) for address, port, dummy in places(doors)))

    begun = time.perf_counter()
    lines = asyncio.run(every())
    took = time.perf_counter() - begun
    if not all(lines):
        raise RuntimeError("not every target greeted")
    return took


def peak_megabytes(doors: Sequence[Place]) -> float:
    """Peak memory of a fresh process that probes all targets once."""
    code = "import json, sys; from tests.bench import bench_probe; bench_probe.report_peak(json.load(sys.stdin))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=conftest.ROOT,
        input=json.dumps(doors),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(ran.stdout)


def report_peak(doors: Sequence[Place]) -> None:
    """Print the peak memory in MB; for ``peak_megabytes``."""
    probe_all(doors)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def bench_many(doors: Sequence[Place]) -> list[bool]:
    pairs = [(probe_all(doors), read_all(doors)) for dummy in range(ROUNDS)]
    probed, bare = (min(times) for times in zip(*pairs, strict=True))
    print(f"{TARGETS} targets: probe {probed:.2f} s with QUIT and verdict, bare asyncio {bare:.2f} s, best of {ROUNDS}")
    kept = [check("times the bare loop", probed / bare, most=MOST_TIMES_BARE)]
    return [*kept, check("MB at most", peak_megabytes(doors), most=MOST_MEGABYTES)]


# --- eight ports of one host --------------------------------------------------------------------------------------


def wait_for_tasks(doors: dict[str, tuple[str, int]]) -> str:
    """Eight tasks that do the same as far as they can: a greeting where there is one in clear."""
    patterns = {"pop3": "POP3", "imap4": "IMAP4", "nntp": "News", "smtp": "Internet Mail"}
    tasks = []
    for protocol, (address, port) in doors.items():
        regex = f", search_regex: {patterns[protocol]}" if protocol in patterns else ""
        wait_for = f"{{host: {address}, port: {port}, timeout: 30{regex}}}"
        tasks.append(f"    - {{name: wait_for, delegate_to: localhost, ansible.builtin.wait_for: {wait_for}}}\n")
    return "".join(tasks)


def probe_task(doors: dict[str, tuple[str, int]]) -> str:
    targets = ", ".join(
        f"{{host: {address}, port: {port}, protocol: {protocol}}}" for protocol, (address, port) in doors.items()
    )
    probe_it = f"{{timeout: 30, deadline: 0, targets: [{targets}]}}"
    return f"    - {{name: port_probe, delegate_to: localhost, msexchange.winsock_proxy.port_probe: {probe_it}}}\n"


END = "    - {name: end, ansible.builtin.debug: {msg: the workers of the tasks before are counted by now}}\n"


def stopwatch(work: Path, tasks: str) -> list[dict[str, t.Any]]:
    """Run a play; return when each of its tasks began and what CPU had been used by then."""
    book, inventory, record = work / "play.yml", work / "hosts", work / "stopwatch"
    inventory.write_text("server ansible_connection=winrm ansible_host=192.0.2.1\n", encoding="ascii")
    book.write_text(f"- hosts: server\n  gather_facts: false\n  tasks:\n{tasks}", encoding="ascii")
    variables = environment(
        work,
        ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).parent / "callbacks"),
        ANSIBLE_CALLBACKS_ENABLED="stopwatch",
        STOPWATCH_PATH=str(record),
    )
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(book)]
    ran = subprocess.run(command, env=variables, cwd=work, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stdout + ran.stderr)
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def cost(entries: Sequence[dict[str, t.Any]], name: str, measure: str) -> float:
    """Least cost of the groups of equal tasks: up to the beginning of the task after next, in seconds for one round.

    A task's processes are counted when they have ended, which is while the next one runs; so one of the two tasks
    between groups is part of each group, too.
    """
    starts = [index for index, entry in enumerate(entries) if entry["task"] == name]
    firsts = [index for index in starts if entries[index - 1]["task"] != name]
    groups = []
    for first in firsts:
        behind = next(index for index in range(first, len(entries)) if entries[index]["task"] != name)
        groups.append(entries[behind + 1][measure] - entries[first][measure])
    return min(groups) / REPEATS


def bench_host(doors: dict[str, tuple[str, int]]) -> list[bool]:
    """Compare both kinds of tasks inside one run of ansible-playbook, so that its start does not count."""
    rounds = f"{wait_for_tasks(doors) * REPEATS}{END * 2}{probe_task(doors) * REPEATS}{END * 2}"
    with tempfile.TemporaryDirectory() as name:
        entries = stopwatch(Path(name), END + rounds * 2)
    kept = []
    for measure, what in (("wall", "wall time"), ("cpu", "controller CPU")):
        eight, single = cost(entries, "wait_for", measure), cost(entries, "port_probe", measure)
        print(f"eight ports, {what}: 8 wait_for tasks {eight:.2f} s, 1 port_probe task {single:.3f} s")
        kept.append(check(f"times less {what}", eight / single, least=LEAST_TIMES_LESS))
    return kept


# --- ports that never answer --------------------------------------------------------------------------------------


def bench_mute(address: str, port: int) -> list[bool]:
    options = Options(deadline=0, timeout=3, connect_timeout=3)
    begun = time.perf_counter()
    results = probe([Target(address, port, "pop3")] * 100, options)
    took = time.perf_counter() - begun
    if {result["status"] for result in results} != {"timeout"}:
        raise RuntimeError("the backlog was not full")
    print(f"100 targets that never answer: {took:.2f} s at a timeout of {options.timeout:g} s")
    return [check("timeouts", took / options.timeout, most=MOST_TIMEOUTS)]


def check(what: str, value: float, *, most: float | None = None, least: float | None = None) -> bool:
    """Print a ratio beside its promise; return whether it is kept."""
    kept = (most is None or value <= most) and (least is None or value >= least)
    promise = f"promised at most {most:g}" if most is not None else f"promised at least {least:g}"
    print(f"  {'ok  ' if kept else 'MISSED'} {value:.2f} {what} ({promise})", flush=True)
    return kept


def main() -> int:
    """Run all three; 1 when a promise is missed."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with lab() as doors:
        kept = [*bench_many(doors["greeting"]), *bench_host(doors["host"]), *bench_mute(*doors["full"])]
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
