# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks side by side against one lab and tells what each costs.

The lab is a process of its own, so that what the controller uses can be told from what the simulated servers use. A
scene is a fleet, what is done to it before each run, and the contenders; every figure is the median of several rounds,
and within a round the contenders follow each other, so that a machine that is busy for a while is busy for all of them.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.conftest import ROOT, link_collection
from tests.lab.control import ask
from tests.support.playbook import COLLECTION, Json, environment

RUN_LIMIT_S: t.Final = 1800.0
TICKS: t.Final = os.sysconf("SC_CLK_TCK")
HONESTY: t.Final = (
    "The servers are the lab's: they answer Ansible's own modules with canned results at no cost, so only what the "
    "controller spends is compared. Times of one machine mean nothing on another; ratios do."
)
# Figures of a sample; wall, CPU and memory are the controller's, the next four a server's mean, lines the playbook's.
Figure = t.Literal[
    "wall_s", "cpu_s", "peak_mb", "requests", "bytes_in", "bytes_out", "executions", "lines", "lab_cpu_s"
]
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)\s+unreachable=(?P<lost>\d+)\s+failed=(?P<failed>\d+)"
)


class BenchError(RuntimeError):
    """A run did not do what is measured; its figures would mean nothing."""


@dataclass(frozen=True)
class Sample:
    """What one run cost.

    Attributes:
        wall_s: Seconds from the start of ``ansible-playbook`` to its end.
        cpu_s: Processor seconds of it and of every process that it started.
        peak_mb: Resident memory of the largest of them.
        requests, bytes_in, bytes_out, executions: What the servers counted, per server; ``in`` is towards the server.
        lines: Lines of output of the whole run.
        lab_cpu_s: Processor seconds that the lab spent meanwhile; no part of ``cpu_s``, but of ``wall_s`` where it has
            no core of its own.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    requests: float
    bytes_in: float
    bytes_out: float
    executions: float
    lines: int
    lab_cpu_s: float


@dataclass(frozen=True)
class Contender:
    """One playbook of a comparison.

    Attributes:
        name: What the figures are kept under.
        playbook: A file, or the name of one of the collection's playbooks.
        arguments: Further arguments of ``ansible-playbook``.
        prepare: What is done to the lab before each run, for scenes in which something is owed.
        changes: Whether servers may be changed; where not, a change is an error of the comparison.
    """

    name: str
    playbook: str | Path
    arguments: tuple[str, ...] = ()
    prepare: Callable[[LabProcess], None] | None = None
    changes: bool = False


@dataclass(frozen=True)
class LabProcess:
    """A lab in a process of its own."""

    directory: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.yml"

    def cpu_s(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def inject(self, fault: str, host: str, **arguments: str) -> None:
        """Do something to a server, as ``python -m tests.lab inject`` does."""
        ask(self.directory, "inject", fault=fault, host=host, arguments=arguments)

    def in_order(self) -> None:
        """Make every file older than the process that read it: a lab starts with both at the same moment."""
        for host in ask(self.directory, "counters"):
            self.inject("age_file", host)


@contextmanager
def lab(fleet: str, directory: Path) -> Iterator[LabProcess]:
    """Run a lab; ``fleet`` as its command line takes it: a number of servers, or a YAML file."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.lab", "up", "--fleet", fleet, "--dir", str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(b"Inventory:"):
                break
        else:
            raise BenchError("the lab did not start")
        yield LabProcess(directory, process)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@dataclass(frozen=True)
class Scene:
    """Contenders in front of one running lab, all with the same forks, settings and interpreter."""

    lab: LabProcess
    work: Path
    forks: int = 10

    def measure(self, contender: Contender) -> Sample:
        """Run a contender once.

        Raises:
            BenchError: It did not do what is measured, see :func:`check`.
        """
        if contender.prepare is not None:
            contender.prepare(self.lab)
        ask(self.lab.directory, "reset_counters")
        before, began = self.lab.cpu_s(), time.monotonic()
        log = self.work / f"{contender.name}.log"
        status, usage = self._run(contender, log)
        wall, lab_cpu = time.monotonic() - began, self.lab.cpu_s() - before
        output = log.read_text(encoding="utf-8")
        check(contender, status, output)
        counters = ask(self.lab.directory, "counters")
        silent = [name for name, one in counters.items() if not one["executions"]]
        if silent:
            raise BenchError(f"{contender.name}: {len(silent)} servers were not asked, {silent[0]} for one")
        mean = {
            name: statistics.fmean(one[name] for one in counters.values())
            for name in ("requests", "bytes_in", "bytes_out", "executions")
        }
        return Sample(
            wall_s=wall,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mb=usage.ru_maxrss / 1024,
            lines=len(output.splitlines()),
            lab_cpu_s=lab_cpu,
            **mean,
        )

    def interleave(
        self, contenders: Sequence[Contender], *, rounds: int, tell: Callable[[str], None] = print
    ) -> dict[str, list[Sample]]:
        """Run every contender once per round, one after the other; ``tell`` gets a line per run."""
        samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
        for number in range(1, rounds + 1):
            for contender in contenders:
                sample = self.measure(contender)
                samples[contender.name].append(sample)
                tell(f"round {number} {contender.name:<8} wall {sample.wall_s:6.2f} s, CPU {sample.cpu_s:6.2f} s")
        return samples

    def _run(self, contender: Contender, log: Path) -> tuple[int, t.Any]:
        """Exit status and resources of ``ansible-playbook`` with everything that it started and waited for."""
        link_collection(ROOT)
        book = contender.playbook
        name = str(book) if isinstance(book, Path) else f"{COLLECTION}.{book}"
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.lab.inventory), name]
        # Pipelining spares modules on the controller their temporary files: an expert would have switched it on.
        variables = environment(self.work, ANSIBLE_PIPELINING="true")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--forks", str(self.forks), *contender.arguments],
                cwd=self.work,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        guard = threading.Timer(RUN_LIMIT_S, process.kill)
        guard.start()
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
        finally:
            guard.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage


def check(contender: Contender, status: int, output: str) -> None:
    """Make sure that a run did what is measured.

    Raises:
        BenchError: It failed, lost a server, or changed one that it must not; the text ends with what was printed.
    """
    found = [match for line in output.splitlines() if (match := _RECAP.match(line))]
    wrong = [
        match["host"]
        for match in found
        if match["failed"] != "0" or match["lost"] != "0" or (match["changed"] != "0" and not contender.changes)
    ]
    if status or wrong or not found:
        tail = "\n".join(output.splitlines()[-40:])
        raise BenchError(f"{contender.name}: exit status {status}, not as wanted: {wrong[:5]}\n{tail}")


def medians(samples: Sequence[Sample]) -> dict[Figure, float]:
    """The median of every figure."""
    rows = [asdict(sample) for sample in samples]
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in t.get_args(Figure)}


def ratio(one: dict[Figure, float], other: dict[Figure, float]) -> dict[str, float]:
    """How many times the other's wall time and CPU the one takes."""
    return {
        "wall": round(one["wall_s"] / other["wall_s"], 3),
        "cpu": round(one["cpu_s"] / other["cpu_s"], 3),
    }


def surroundings() -> Json:
    """What the figures depend on beside the code: versions, cores, and how busy the machine was before."""
    from importlib import metadata
    from platform import python_version

    return {
        "ansible_core": metadata.version("ansible-core"),
        "ansible": metadata.version("ansible"),
        "python": python_version(),
        "cores": os.cpu_count(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }
