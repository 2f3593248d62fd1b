# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays the conformance cases on real PowerShells, several machines side by side."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import random
import shutil
import socket
import threading
import time
import traceback
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.run import NotRun, PwshExecutor, problems
from tests.conformance.schema import Case, load_all
from tests.support.calls import Hung, spoken
from tests.windows import BUILD, orders, powershell, selftest, stage
from tests.windows.alone import alone
from tests.windows.machine import Machine, Native, Prefix, Unavailable, copy_prefix, find_wine, make_prefix, point
from tests.windows.orders import Cannot
from tests.windows.report import Result
from tests.windows.stage import Failed, Stage

# A prefix that was made by another version of this is made anew.
FORMAT: t.Final = "2"
# By their own numbers these do not bear neighbours: they run when all others are done, one at a time.
TIGHT: t.Final = ("restart-deadline", "restart-poll")
# Proven by a pass, elsewhere, of something else only.
HOLLOW: t.Final[Mapping[str, str]] = {
    "restart-stopped-dependent-uncounted": "Wine's service manager knows no dependents, so there is none to count",
    "restart-graph-changed": "Wine's service manager knows no dependents",
    "restart-graph-indirect": "Wine's service manager knows no dependents",
}
LOW_PORTS: t.Final = (20_000, 30_000)  # below what systems give away by themselves


class Silent(Failed):
    """PowerShell ended without having printed anything."""


@dataclass(frozen=True)
class StageServer:
    """A stage, as the runner of cases knows a server.

    Attributes:
        stage: the machine.
        pwsh: words that start PowerShell there.
        seconds: how long one request may take.
    """

    stage: Stage
    pwsh: tuple[str, ...]
    seconds: float

    def prepare(self, state: Mapping[str, t.Any]) -> None:
        try:
            self.stage.prepare(state["given"], change=state["change"])
        except Cannot as reason:
            raise NotRun(str(reason)) from reason

    def observe(self, asked: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
        return self.stage.observe(asked["given"], asked["then"])

    def powershell(self, arguments: Sequence[str], stdin: str) -> str:
        done = self.stage.machine.run([*self.pwsh, *arguments], stdin.encode("ascii"), seconds=self.seconds)
        if not done.out.strip():
            raise Silent(f"PowerShell ended with {done.status} and without a word; {spoken(done.err).strip()[-600:]}")
        return spoken(done.out)


# --- machines ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def prefixes(count: int) -> Iterator[list[Prefix]]:
    """Wine prefixes with PowerShell in C:\\pwsh, each with its server running.

    Args:
        count: how many; they are made once and used again.

    Raises:
        Unavailable: Wine or PowerShell is missing.
    """
    wine = find_wine()
    home = powershell.prepared()
    template = BUILD / "template"
    stamp = template / "format"
    version = f"{FORMAT} {Path(wine.loader).stat().st_mtime_ns}"
    if not stamp.exists() or stamp.read_text() != version:
        for old in BUILD.glob("prefix-*"):
            shutil.rmtree(old)
        make_prefix(wine, template)
        stamp.write_text(version)
    with contextlib.ExitStack() as running:
        made = []
        for number in range(1, count + 1):
            folder = BUILD / f"prefix-{number}"
            if not (folder / "format").exists():
                copy_prefix(template, folder)
            point(folder / "drive_c" / "pwsh", home)
            # The whole path, for Wine looks at the volume's file system by it.
            point(folder / "dosdevices" / "d::", folder / "drive_d" / "volume.img")
            made.append(running.enter_context(Prefix(wine, folder)))
        yield made


WINE_PWSH: t.Final = ("C:\\pwsh\\powershell.exe",)


@contextlib.contextmanager
def machines(count: int) -> Iterator[tuple[list[Machine], tuple[str, ...]]]:
    """The machines to play on, and the words that start PowerShell on them."""
    if os.name == "nt":
        found = powershell.installed()
        name = os.environ.get("WSP_SHELL", next(iter(found), ""))
        if name not in found:
            raise Unavailable(f"no PowerShell: neither powershell.exe nor pwsh.exe, or not the one called {name}")
        yield [Native()], (found[name],)
        return
    with alone(BUILD / "lock"), prefixes(count) as made:
        yield [*made], WINE_PWSH


# --- ports ------------------------------------------------------------------------------------------------------------


def ports_of(case: Case) -> set[int]:
    """Ports that a case names."""
    found: set[int] = set()

    def collect(port: t.Any) -> t.Any:
        found.add(int(port))
        return port

    _with_ports(case.data, collect)
    return found


def with_free_ports(case: Case) -> Case:
    """Return a case whose ports nobody else uses, each replaced by another one everywhere."""
    free = dict(zip(sorted(ports_of(case)), _free_ports(), strict=False))
    if not free:
        return case
    return Case(case.id, _with_ports(case.data, lambda port: free[int(port)]))


def _with_ports(value: t.Any, of: Callable[[t.Any], t.Any]) -> t.Any:
    if isinstance(value, list):
        return [_with_ports(item, of) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _renamed(item, of) if key == "ports" else _with_ports(item, of) for key, item in value.items()}


def _renamed(ports: t.Any, of: Callable[[t.Any], t.Any]) -> t.Any:
    if isinstance(ports, Mapping):
        return {of(port): item for port, item in ports.items()}
    if not isinstance(ports, list):
        return ports
    is_port = [isinstance(item, Mapping) and isinstance(item.get("port"), int) for item in ports]
    return [{**item, "port": of(item["port"])} if known else item for item, known in zip(ports, is_port, strict=True)]


def _free_ports() -> Iterator[int]:
    while True:
        port = random.randrange(*LOW_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            yield port


# --- play -------------------------------------------------------------------------------------------------------------


def play(case: Case, mode: str, server: StageServer, regions: Mapping[str, str] | None = None) -> Result:
    """Play one case in one mode, and say what came of it.

    Args:
        case: the case.
        mode: ``direct`` or ``computer``.
        server: where.
        regions: the script's regions, where they are not its own.
    """
    if case.data.get("requires"):
        return Result(case.id, mode, "unproven", (f"requires {case.data['requires']}: {case.data['why']}",), 0.0)
    if server.stage.about.wine and case.id in HOLLOW:
        return Result(case.id, mode, "unproven", (HOLLOW[case.id],), 0.0)
    executor = PwshExecutor(server, server.stage.about.computer, regions)

    def found() -> list[str]:
        return problems(with_free_ports(case), mode, executor, now=int(time.time()))

    return _judged(found, case.id, mode, server)


def _judged(find: Callable[[], list[str]], name: str, mode: str, server: StageServer) -> Result:
    """What differences come to, when there are any."""
    began = time.monotonic()

    def judged() -> Result:
        note: tuple[str, ...] = ()
        try:
            found = find()
        except Silent as silent:
            # Under Wine a process does not always come up. Once more from the beginning, and the report says so.
            note = (f"second try: {silent}",)
            found = find()
        seconds = round(time.monotonic() - began, 1)
        return Result(name, mode, "failed" if found else "proven", (*found, *note), seconds)

    return _result(judged, name, mode, server)


def _result(do: Callable[[], Result], case: str, mode: str, server: StageServer) -> Result:
    """What something came to; whatever it raises is a result too, and the machine is sound afterwards."""
    began = time.monotonic()
    verdict: t.Literal["failed", "unproven"] = "failed"
    try:
        return do()
    except NotRun as reason:
        verdict, why = "unproven", str(reason)
    except Hung as hung:
        server.stage.machine.heal()
        why = f"hung: {hung}"
    except Exception as error:  # noqa: BLE001  one broken case must not hide the others
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return Result(case, mode, verdict, (why,), round(time.monotonic() - began, 1))


Tell: t.TypeAlias = Callable[[Result], None]
Item = t.TypeVar("Item")


def play_all(pairs: Sequence[tuple[Case, str]], among: Sequence[StageServer], tell: Tell) -> list[Result]:
    """Play cases, each server one at a time.

    Args:
        pairs: cases and modes, in the order in which they are begun.
        among: where.
        tell: is told each result as it comes.
    """
    many = [pair for pair in pairs if pair[0].id not in TIGHT]
    few = [pair for pair in pairs if pair[0].id in TIGHT]

    def player(server: StageServer) -> contextlib.AbstractContextManager[Callable[[tuple[Case, str]], Result]]:
        def do(pair: tuple[Case, str]) -> Result:
            return play(*pair, server)

        return contextlib.nullcontext(do)

    return _share(many, among, player, tell) + _share(few, among[:1], player, tell)


class HasName(t.Protocol):
    """Something that is judged, and what the report calls it."""

    @property
    def name(self) -> str: ...


Judged = t.TypeVar("Judged", bound=HasName)


def judge_all(
    items: Sequence[Judged],
    among: Sequence[StageServer],
    mode: str,
    find: Callable[[Judged, StageServer], list[str]],
    tell: Tell,
) -> list[Result]:
    """Judge what is no case, each server one at a time.

    Args:
        items: in the order in which they are begun.
        among: where.
        mode: how the report calls it.
        find: the differences of one.
        tell: is told each result as it comes.
    """

    def judge(server: StageServer) -> contextlib.AbstractContextManager[Callable[[Judged], Result]]:
        def do(item: Judged) -> Result:
            return _judged(lambda: find(item, server), item.name, mode, server)

        return contextlib.nullcontext(do)

    return _share(items, among, judge, tell)


def check_all(some: Sequence[Case], among: Sequence[StageServer], tell: Tell) -> list[Result]:
    """Prepare cases, and look whether what they are given is there."""

    @contextlib.contextmanager
    def checker(server: StageServer) -> Iterator[Callable[[Case], Result]]:
        with contextlib.ExitStack() as looking:
            eyes = looking.enter_context(selftest.looking(server))
            yield lambda case: _result(lambda: selftest.check(case, server, eyes), case.id, selftest.MODE, server)

    return _share([with_free_ports(case) for case in some], among, checker, tell)


def _share(
    items: Sequence[Item],
    among: Sequence[StageServer],
    worker: Callable[[StageServer], contextlib.AbstractContextManager[Callable[[Item], Result]]],
    tell: Tell,
) -> list[Result]:
    """Have servers work side by side until nothing is left."""
    results: list[Result] = []
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    lock, stopped = threading.Lock(), threading.Event()

    def work(server: StageServer) -> None:
        with worker(server) as do, contextlib.suppress(queue.Empty):
            while not stopped.is_set():
                result = do(waiting.get_nowait())
                with lock:
                    if not stopped.is_set():
                        results.append(result)
                        tell(result)

    try:
        side_by_side([functools.partial(work, server) for server in among])
    except BaseException:
        stopped.set()
        raise
    if len(results) < len(items):
        raise Failed(f"{len(items) - len(results)} cases were left over: a machine broke")
    return results


def side_by_side(works: Sequence[Callable[[], None]]) -> None:
    """Do things in a thread each, and wait for all of them; what the first one raised is raised then."""
    raised: list[BaseException] = []

    def kept(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  it is raised again
            raised.append(error)

    threads = [threading.Thread(target=kept, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # a wait without an end would not see ctrl-C
            thread.join(0.5)
    if raised:
        raise raised[0]


def cases() -> list[Case]:
    """Every case that a PowerShell has to answer, the long ones first, so that all servers end together."""
    found = [case for case in load_all() if "pwsh" in case.executors]
    return sorted(found, key=lambda case: (not case.id.startswith("restart"), case.id))


@contextlib.contextmanager
def servers(count: int, *, seconds: float) -> Iterator[list[StageServer]]:
    """Servers to play on.

    Args:
        count: how many machines, where they can be made.
        seconds: how long one request may take.

    Raises:
        Unavailable: there is no Windows here.
    """
    everything = orders.named(load_all())
    with contextlib.ExitStack() as running:
        found, pwsh = running.enter_context(machines(count))
        stages: list[StageServer] = []

        def make(machine: Machine) -> None:
            stages.append(StageServer(stage.make(machine, everything), pwsh, seconds))

        side_by_side([functools.partial(make, machine) for machine in found])
        yield stages


def tell_on_stdout(result: Result) -> None:
    """One line per result, and one more for each difference."""
    line = f"{result.word:9} {result.seconds:6.1f} s  {result.case} [{result.mode}]"
    if result.verdict != "failed":
        print(": ".join([line, *result.why]), flush=True)
    else:
        print("\n    ".join([line, *result.why]), flush=True)
