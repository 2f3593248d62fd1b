# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles the lane's programs for Windows."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import typing as t
from pathlib import Path

from tests.windows import BUILD
from tests.windows.machine import Unavailable

SOURCES: t.Final = Path(__file__).parent
COMPILERS: t.Final = ("x86_64-w64-mingw32-gcc", "gcc")
LIBRARIES: t.Final = {"orders": ("-lws2_32",), "service": ("-lws2_32",)}
_COMPILING: t.Final = threading.Lock()


def build(name: str) -> Path:
    """Return a program of this folder, compiled anew when its source has changed.

    Args:
        name: the source's name without its ending.

    Raises:
        Unavailable: there is no compiler for Windows.
    """
    with _COMPILING:
        return _build(name)


def _build(name: str) -> Path:
    source, program = SOURCES / f"{name}.c", BUILD / "programs" / f"{name}.exe"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = shutil.which(COMPILERS[os.name == "nt"])
    if compiler is None:
        raise Unavailable("no compiler for Windows: install gcc-mingw-w64-x86-64")
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}.exe")
    options = ("-O2", "-s", "-Wall", "-Wextra", "-Werror", "-municode")
    words = [compiler, *options, str(source), "-o", str(fresh), *LIBRARIES.get(name, ())]
    subprocess.run(words, check=True)
    fresh.replace(program)
    return program
