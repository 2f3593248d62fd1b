# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs that may never end, or leave others running.

Nobody here waits for the end of a pipe that such a program has: whatever it leaves running keeps the pipe open. It gets
files, a session of its own and a deadline; what hangs is ended by its process identifiers.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK: t.Final = "WSP_CALL"


class Hung(Exception):
    """A program did not end in its time; the text says what it had printed."""


@dataclass(frozen=True)
class Done:
    """What came of a program: exit status and what it printed."""

    status: int
    out: bytes
    err: bytes


def spoken(data: bytes) -> str:
    """What a program printed, as text; Windows prints in the console's OEM code page."""
    return data.decode("utf-8", "replace")


def call(
    words: Sequence[str], stdin: bytes, *, seconds: float, environment: Mapping[str, str], cwd: Path | None = None
) -> Done:
    """Run a program with files for its input and output.

    Args:
        words: program and arguments.
        stdin: what it reads.
        seconds: how long it may take.
        environment: its environment.
        cwd: its working directory.

    Raises:
        Hung: it did not end in time. It and everything that it started is ended.
    """
    token = secrets.token_hex(8)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            words,
            stdin=given,
            stdout=out,
            stderr=err,
            env={**environment, MARK: token},
            cwd=cwd,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            end_tree(process, token)
            raise Hung(
                f"no end within {seconds:g} s; printed at last: {_last(out) or _last(err) or 'nothing'}"
            ) from None
        except BaseException:
            end_tree(process, token)
            raise
        return Done(status, _all(out), _all(err))


def end_tree(process: subprocess.Popen[bytes], token: str) -> None:
    """End a process and everything that it started, by process identifiers."""
    if os.name == "nt":
        words = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    else:
        # Windows' children are not children of the process that started them: Wine lets init have them.
        for pid in marked(token):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


def marked(token: str) -> Iterator[int]:
    """Process identifiers of everything whose environment has this token."""
    wanted = f"{MARK}={token}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def _all(file: t.IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _last(file: t.IO[bytes]) -> str:
    return spoken(_all(file)).strip()[-600:]
