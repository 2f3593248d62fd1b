# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has scenarios played by a real PowerShell: JSON lines in, JSON lines out, one long-lived process per share."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.simulation import BUILD, seams
from tests.support.calls import spoken
from tests.windows import lane, powershell
from tests.windows.alone import alone
from tests.windows.machine import Machine, Native, Prefix, Unavailable, find_wine, make_prefix, point

Json: t.TypeAlias = Mapping[str, t.Any]
SOURCES: t.Final = Path(__file__).parent
# PowerShell makes much that lives shortly; Wine stops threads slowly.
TUNING: t.Final = {"DOTNET_GCgen0size": "8000000", "DOTNET_TieredPGO": "0"}


class Broken(Exception):
    """A PowerShell ended before it had played everything."""


@dataclass(frozen=True)
class Act:
    """Families that are played with the same text of the script.

    Attributes:
        scripts: what ``seams.scripts`` makes.
        families: what ``scenarios`` makes, as data.
    """

    scripts: Mapping[str, str]
    families: Sequence[Json]


@dataclass(frozen=True)
class Engine:
    """A machine, and how PowerShell is started there.

    Attributes:
        machine: the Windows; nothing of it is used but PowerShell itself.
        words: what starts PowerShell.
    """

    machine: Machine
    words: tuple[str, ...]

    def play(self, acts: Sequence[Act], *, name: str, seconds: float) -> Iterator[Json]:
        """Play families of scenarios in one process.

        Args:
            acts: one after the other; a result's ``act`` is the number of its own.
            name: of the files that go there and come back.
            seconds: how long it may take.

        Returns:
            One result per end that a family comes to, in order.

        Raises:
            Broken: PowerShell ended early; what it said is in the text.
        """
        BUILD.mkdir(parents=True, exist_ok=True)
        given, made = BUILD / f"{name}.in.jsonl", BUILD / f"{name}.out.jsonl"
        made.unlink(missing_ok=True)
        with given.open("w", encoding="ascii") as file:
            for number, act in enumerate(acts):
                file.write(json.dumps({"seams": seams.rules(), "scripts": act.scripts}) + "\n")
                for family in act.families:
                    file.write(json.dumps({**family, "act": number}) + "\n")
        paths = [self.machine.path_of(path) for path in (SOURCES / "driver.ps1", SOURCES / "world.cs", given, made)]
        words = [*self.words, "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", *paths]
        if isinstance(self.machine, Prefix):
            done = self.machine.run(words, b"", seconds=seconds, **TUNING)
        else:
            done = self.machine.run(words, b"", seconds=seconds)
        ended = False
        with contextlib.suppress(FileNotFoundError), made.open(encoding="utf-8") as file:
            for line in file:
                result = json.loads(line)
                ended = "end" in result
                if not ended:
                    yield result
        if not ended:
            raise Broken(f"exit status {done.status}: {spoken(done.out)[-3000:]} {spoken(done.err)[-3000:]}")


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """A PowerShell to play on, under Wine or on Windows itself.

    Raises:
        Unavailable: there is none.
    """
    if os.name == "nt":
        found = powershell.installed().get("pwsh")
        if found is None:
            raise Unavailable("no pwsh.exe: the models need PowerShell 7")
        yield Engine(Native(), (found,))
        return
    wine = find_wine()
    home = powershell.prepared()
    folder = BUILD / "prefix"
    with alone(BUILD / "lock"):
        stamp = folder / "format"
        version = f"{lane.FORMAT} {Path(wine.loader).stat().st_mtime_ns}"
        if not stamp.exists() or stamp.read_text() != version:
            make_prefix(wine, folder)
            stamp.write_text(version)
        point(folder / "drive_c" / "pwsh", home)
        with Prefix(wine, folder) as prefix:
            yield Engine(prefix, lane.WINE_PWSH)


def share_out(
    on: Engine,
    families: Sequence[Json],
    scripts: Mapping[str, str],
    *,
    processes: int,
    seconds: float,
    each: Callable[[Json], None],
    per_process: int = 400,
) -> None:
    """Play families in several processes side by side.

    Args:
        on: where.
        families: what ``scenarios`` makes.
        scripts: what ``seams.scripts`` makes.
        processes: how many at a time.
        seconds: how long one may take.
        each: is told each result as it comes.
        per_process: how many families one process plays.
    """
    count = max(processes, -(-len(families) // per_process))
    shares = [families[number::count] for number in range(count)]
    lock = threading.Lock()

    def play(numbered: tuple[int, Sequence[Json]]) -> None:
        for result in on.play([Act(scripts, numbered[1])], name=f"share-{numbered[0]}", seconds=seconds):
            with lock:
                each(result)

    with ThreadPoolExecutor(max_workers=processes) as pool:
        _drain(pool.map(play, enumerate(share for share in shares if share)))


def _drain(results: Iterable[None]) -> None:
    for dummy in results:
        pass
