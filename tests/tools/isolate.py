# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one command as the tests run: home and temporary files inside ``build``, a network of its own.

What it leaves behind is an error. The demo, the benchmarks and molecule are started through it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import typing as t
from collections.abc import Mapping
from pathlib import Path

from tests.tools import leftovers, sandbox

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
SANDBOX = (sys.executable, str(ROOT / "tests" / "tools" / "sandbox.py"))
# pywinrm obeys proxies and certificate bundles of the environment, which know nothing of the lab.
_HIDDEN = frozenset({"http_proxy", "https_proxy", "all_proxy", "requests_ca_bundle", "curl_ca_bundle"})


def plain_environment(run: str) -> dict[str, str]:
    """What set-up and linters see: the caller's own environment and the mark of this run."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, leftovers.MARK: run}


def isolated_environment(run: str) -> Mapping[str, str]:
    """What tests see: a home and a temporary folder inside ``build``, no proxy, the collection by its real name."""
    home, temporary = BUILD / "home", BUILD / "tmp"
    for folder in (home, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in plain_environment(run).items() if name.lower() not in _HIDDEN}
    # Ansible's modules on localhost expand ~ by the user's name, whatever HOME says.
    own = {"HOME": str(home), "TMPDIR": str(temporary), "ANSIBLE_REMOTE_TMP": str(temporary / "remote")}
    return {**kept, **own, "PYTHONDONTWRITEBYTECODE": "1"}


def interrupt(run: str, number: int, dummy_frame: object) -> t.NoReturn:
    """Take everything that runs along when the user or the system ends this program."""
    leftovers.end(run)
    os._exit(128 + number)


def main(command: list[str]) -> int:
    """Run the command; its exit status, or 1 when it succeeded and left something behind."""
    run, before = secrets.token_hex(8), leftovers.files()
    for number in leftovers.SIGNALS:
        signal.signal(number, functools.partial(interrupt, run))
    folder = BUILD / "caught" / run
    environment = dict(isolated_environment(run))
    if not folder.is_relative_to(sandbox.TEMPORARY):  # a folder cannot be laid over one that holds it
        environment[sandbox.CATCH] = str(folder)
    done = subprocess.run([*SANDBOX, *command], cwd=ROOT, env=environment, check=False)
    made = sandbox.caught(folder)
    # Without a folder of their own nobody can tell the run's temporary files from others.
    left = leftovers.left(run, before, made) if made.is_dir() else leftovers.processes(run)
    remove(folder)
    for line in left:
        print(f"left behind: {line}", file=sys.stderr)
    return done.returncode or int(bool(left))


def remove(folder: Path) -> None:
    """Remove what an overlay has left, of which one folder may be entered by nobody."""
    with contextlib.suppress(FileNotFoundError):
        (folder / "work" / "work").chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
