# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds what a run left behind: processes, network namespaces, files outside the work tree."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools.sandbox import TEMPORARY

MARK = "WSP_GATES_RUN"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIET_LOOKS = 3  # how often nothing must be found in a row
GONE_WITHIN = 10.0  # seconds: what another program of the same user makes for a moment is nobody's leftover
PLACES = (TEMPORARY, Path.home(), Path.home() / ".cache", Path.home() / ".config")
# Only what the tools that run here are known to make; anything else in these folders belongs to somebody else.
NAMES = (
    *("ansible*", ".ansible*", "pytest-of-*", "tmp*", ".wine*", "wine*", "molecule*", "wsp*", "hypothesis*", "pip-*"),
    *("lab-*", "bench-*", "probe-*"),
)


def files() -> frozenset[Path]:
    """Files, folders and named network namespaces outside the work tree that look like ours."""
    namespaces = Path("/run/netns")
    found = set(namespaces.iterdir()) if namespaces.is_dir() else set()
    for place in PLACES:
        for pattern in NAMES:
            found.update(path for path in place.glob(pattern) if owned(path))
    return frozenset(found)


def owned(path: Path) -> bool:
    """Whether the file is this user's; a file that is gone meanwhile is nobody's."""
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False


def left(run: str, before: frozenset[Path], made: Path | None = None) -> list[str]:
    """What is there after a run and was not before: processes that descend from it, and files; one line each.

    Args:
        run: The run.
        before: Files of before; those in the temporary directory do not count where its own are told apart.
        made: Folder of the run's own temporary files; None where they cannot be told from others.
    """
    deadline = time.monotonic() + GONE_WITHIN
    while True:
        new = sorted(files() - before)
        if made is not None:
            own = [TEMPORARY / path.name for path in sorted(made.iterdir()) if not path.is_char_device()]
            new = own + [path for path in new if path.parent != TEMPORARY]
        found = processes(run) + [str(path) for path in new]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def processes(run: str) -> list[str]:
    """Processes whose environment says that they descend from the run, except this one, as ``pid command``."""
    found = []
    for pid in pids(run):
        with contextlib.suppress(OSError):  # ended meanwhile
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"{pid} {command[:200]}")
    return found


def pids(run: str) -> Iterator[int]:
    """Process identifiers of everything that descends from the run, except this process."""
    wanted = f"{MARK}={run}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def end(run: str) -> None:
    """Kill everything that descends from the run, also what has left its process group.

    A process that is just being started shows an empty environment for a moment, so one look is not enough.
    """
    quiet = 0
    while quiet < QUIET_LOOKS:
        quiet += 1
        for pid in pids(run):
            quiet = 0
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
