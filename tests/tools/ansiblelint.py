# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-lint with its production profile on the staged copy, where the collection has its real name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tools.stage import COLLECTIONS, stage


def main() -> int:
    """Stage the collection and lint it; ansible-lint's exit status."""
    folder = stage()
    own = {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "HOME": str(COLLECTIONS / "home"), "NO_COLOR": "1"}
    Path(own["HOME"]).mkdir(exist_ok=True)
    command = [str(Path(sys.executable).parent / "ansible-lint"), "--offline", "--project-dir", str(folder)]
    return subprocess.run(command, cwd=folder, env={**os.environ, **own}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
