# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the lock files anew: the newest releases that fit each lane today."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tools.bootstrap import LANES, REQUIREMENTS, Lane, create

HEAD = """\
# Pins for {name} on Python {pythons}, given to pip as constraints. Written by `make lock`.
"""
SEEDS = {"pip", "setuptools", "wheel"}  # what an empty environment brings along


def resolve(lane: Lane, folder: Path) -> list[str]:
    """Install the lane's requirements into an empty environment and list what pip chose."""
    create(lane, folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    core = [f"ansible-core=={lane.name.removeprefix('core')}.*"] if lane.name.startswith("core") else []
    subprocess.run([*pip, "install", "--quiet", "-r", str(REQUIREMENTS / lane.requirements), *core], check=True)
    frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    return [line for line in frozen.splitlines() if line.split("==")[0] not in SEEDS]


def main(names: list[str]) -> int:
    """Lock the named lanes, or all."""
    for lane in (LANES[name] for name in names or sorted(LANES)):
        with tempfile.TemporaryDirectory() as folder:
            pins = resolve(lane, Path(folder) / "venv")
        head = HEAD.format(name=lane.name, pythons=", ".join(sorted(lane.pythons)))
        path = REQUIREMENTS / f"lock-{lane.name}.txt"
        path.write_text(head + "".join(f"{pin}\n" for pin in pins), encoding="ascii")
        print(f"{path.name}: {len(pins)} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
