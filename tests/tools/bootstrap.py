# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the virtual environments that the targets of the Makefile run in.

Runs under any Python 3.7 with nothing but its standard library, so that a machine without the right interpreter
gets a sentence that says what to install instead of a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = ROOT / "requirements"


class Lane(NamedTuple):
    """One supported pair of ansible-core and controller Python, or tools that get an environment of their own.

    Attributes:
        name: Also the name of the lock file, ``requirements/lock-<name>.txt``.
        pythons: Versions of Python to look for, the preferred one first.
        requirements: File of ``requirements/`` that says what is installed.
    """

    name: str
    pythons: Tuple[str, ...]
    requirements: str


LANES = {
    lane.name: lane
    for lane in (
        Lane("core2.16", ("3.10",), "test.txt"),
        Lane("core2.19", ("3.11", "3.12", "3.13"), "dev.txt"),
        Lane("core2.21", ("3.13", "3.12", "3.14"), "dev.txt"),
        Lane("galaxy", ("3.11", "3.12", "3.13"), "galaxy.txt"),
        Lane("bench", ("3.11", "3.12", "3.13"), "bench.txt"),
    )
}
MAIN = "core2.19"
NEWEST = "core2.21"
NO_PYTHON = 77  # exit status: the lane cannot be run on this machine


class SetupError(Exception):
    """Something that the user must install or correct; the text says what and how."""


class NoPythonError(SetupError):
    """This machine has no interpreter that the lane supports."""


def python_version(executable: str) -> Optional[str]:
    """Version of an interpreter as ``major.minor``, or None when it does not run."""
    command = [executable, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return None
    return done.stdout.decode().strip() if done.returncode == 0 else None


def candidates(version: str) -> Iterator[str]:
    """Where an interpreter of that version may lie: PATH first, then pyenv's own folder."""
    for name in ("python" + version, "python3"):
        found = shutil.which(name)
        if found:
            yield found
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(home.glob("versions/%s.*" % version), reverse=True):
        yield str(folder / "bin" / "python3")


def find_python(lane: Lane) -> Optional[str]:
    """An interpreter that the lane supports; ``PYTHON`` in the environment wins."""
    wanted = os.environ.get("PYTHON")
    if wanted and python_version(wanted) in lane.pythons:
        return wanted
    for version in lane.pythons:
        for executable in candidates(version):
            if python_version(executable) == version:
                return executable
    return None


def main_lane() -> Lane:
    """The lane of ``.venv``: the usual one, or the newest where this machine's Python is too new for it."""
    usual, newest = LANES[MAIN], LANES[NEWEST]
    return newest if find_python(usual) is None and find_python(newest) is not None else usual


def folder(lane: Lane) -> Path:
    """Where the environment of a lane lies that is not the main one."""
    return ROOT / "build" / "lanes" / lane.name


def check_venv_module(executable: str) -> None:
    """Raise SetupError when the interpreter cannot make environments, as Debian's cannot without python3-venv."""
    done = subprocess.run(
        [executable, "-c", "import ensurepip, venv"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        version = python_version(executable)
        raise SetupError(
            "%s (Python %s) has no venv and ensurepip. On Debian and Ubuntu: apt-get install python3-venv"
            " (or python%s-venv)" % (executable, version, version)
        )


def fingerprint(lane: Lane) -> str:
    """Changes whenever a requirement or a pin of the lane changes."""
    digest = hashlib.sha256()
    for name in ("test.txt", lane.requirements, "lock-%s.txt" % lane.name):
        path = REQUIREMENTS / name
        digest.update(path.read_bytes() if path.exists() else b"-")
    return digest.hexdigest()


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """One set-up at a time in one checkout."""
    (ROOT / "build").mkdir(exist_ok=True)
    with open(str(ROOT / "build" / ".bootstrap.lock"), "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make(lane: Lane, target: Path) -> Path:
    """Bring the lane's environment to the state of its requirement files; return its interpreter.

    Raises:
        SetupError: No interpreter that fits, or one that cannot make environments.
    """
    python = target / "bin" / "python"
    stamp = target / ".stamp"
    with exclusive():
        if python.exists() and stamp.exists() and stamp.read_text() == fingerprint(lane):
            return python
        if python_version(str(python)) not in lane.pythons:
            create(lane, target)
        install(lane, python)
        stamp.write_text(fingerprint(lane))
    return python


def create(lane: Lane, target: Path) -> None:
    """Make an empty environment with an interpreter that the lane supports."""
    executable = find_python(lane)
    if executable is None:
        raise NoPythonError(
            "No Python %s found on PATH or below ~/.pyenv/versions. Install one (Debian and Ubuntu: apt-get install"
            " python3 python3-venv), or name one: make PYTHON=/path/to/python3" % " or ".join(lane.pythons)
        )
    check_venv_module(executable)
    print("%s: making it with %s (Python %s)" % (target, executable, python_version(executable)), flush=True)
    subprocess.run([executable, "-m", "venv", "--clear", str(target)], check=True)


def install(lane: Lane, python: Path) -> None:
    """Install the lane's requirements, held by its lock file."""
    command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    command += ["--requirement", str(REQUIREMENTS / lane.requirements)]
    lock = REQUIREMENTS / ("lock-%s.txt" % lane.name)
    if lock.exists():
        command += ["--constraint", str(lock)]
    print("%s: installing requirements/%s" % (python.parent.parent, lane.requirements), flush=True)
    if subprocess.run(command, check=False).returncode:
        raise SetupError("pip could not install the requirements, its message stands above. Is an index reachable?")


def main(argv: List[str]) -> int:
    """Make the environment of one lane; exit status 77 says that no interpreter fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lane", choices=sorted(LANES), help="another one than that of .venv")
    parser.add_argument("--target", type=Path, help="folder of the environment")
    options = parser.parse_args(argv)
    lane = LANES[options.lane] if options.lane else main_lane()
    target = options.target or (folder(lane) if options.lane else ROOT / ".venv")
    try:
        make(lane, target)
    except NoPythonError as error:
        print("%s: %s" % (lane.name, error), file=sys.stderr)
        return NO_PYTHON
    except SetupError as error:
        print("set-up failed: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
