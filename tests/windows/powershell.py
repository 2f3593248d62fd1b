# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds PowerShell, and makes one that was published for Windows fit to run under Wine.

``WSP_PWSH`` names a folder, a zip or a tar of PowerShell for Windows x64, such as the project publishes it. On Windows
the installed ones do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import typing as t
import zipfile
from pathlib import Path

from tests.windows import BUILD, programs
from tests.windows.alone import alone
from tests.windows.machine import Unavailable

VARIABLE: t.Final = "WSP_PWSH"
# Whatever was made with other cures is made anew.
FORMAT: t.Final = "1"
# Wine 8 keeps a stale frame of an exception that native code raised in a call by reflection, and the next one hangs.
REFLECTION: t.Final = "Switch.System.Reflection.ForceEmitInvoke"
# Its native library is missing under Wine. Without the module the script sees an unknown command, as it should.
UNUSABLE: t.Final = "CimCmdlets"


def installed() -> dict[str, str]:
    """Return the PowerShells of a Windows machine, name to program."""
    found = {name: shutil.which(name) for name in ("powershell.exe", "pwsh.exe")}
    return {name.removesuffix(".exe"): path for name, path in found.items() if path}


def prepared() -> Path:
    """Return a folder with a PowerShell that runs under Wine, made once from what ``WSP_PWSH`` names.

    Raises:
        Unavailable: the variable is not set, or what it names is no PowerShell for Windows.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise Unavailable(f"no PowerShell: {VARIABLE} names a folder, zip or tar of PowerShell for Windows x64")
    source = Path(named)
    if not source.exists():
        raise Unavailable(f"no PowerShell: {VARIABLE} names {named}, which is not there")
    about = source.stat()
    with alone(BUILD / "powershell.lock"):
        launcher = programs.build("launcher")
        key = f"{FORMAT} {source.resolve()} {about.st_size} {about.st_mtime_ns} {launcher.stat().st_mtime_ns}"
        folder = BUILD / f"powershell-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        if not folder.exists():
            for old in BUILD.glob("powershell-*"):
                shutil.rmtree(old)
            fresh = folder.with_suffix(".new")
            fresh.mkdir(parents=True)
            _unpack(source, fresh)
            _cure(_home(fresh, source), launcher)
            fresh.rename(folder)
    return _home(folder, source)


def _unpack(source: Path, folder: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, folder, dirs_exist_ok=True)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(folder, filter="data")
            else:
                archive.extractall(folder)
    else:
        raise Unavailable(f"no PowerShell: {source} is no folder, zip or tar")


def _home(folder: Path, source: Path) -> Path:
    """The folder of pwsh.exe: what is unpacked, or the one folder in it."""
    homes = [path.parent for path in (folder / "pwsh.exe", *sorted(folder.glob("*/pwsh.exe"))) if path.exists()]
    if not homes or not (homes[0] / "pwsh.runtimeconfig.json").exists():
        raise Unavailable(f"no PowerShell: there is no pwsh.exe for Windows in {source}")
    return homes[0]


def _cure(home: Path, launcher: Path) -> None:
    settings = home / "pwsh.runtimeconfig.json"
    data = json.loads(settings.read_text(encoding="utf-8-sig"))
    data["runtimeOptions"].setdefault("configProperties", {})[REFLECTION] = True
    settings.write_text(json.dumps(data, indent=2), encoding="utf-8")
    shutil.rmtree(home / "Modules" / UNUSABLE, ignore_errors=True)
    shutil.copy(launcher, home / "powershell.exe")
