# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs molecule's scenarios in the staged copy, where the collection has its real name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tools.stage import COLLECTIONS, stage


def main(arguments: list[str]) -> int:
    """Test every scenario, or pass other arguments on to molecule; its exit status."""
    own = {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "NO_COLOR": "1", "PY_COLORS": "0", "ANSIBLE_FORCE_COLOR": "0"}
    command = [str(Path(sys.executable).parent / "molecule"), *(arguments or ["test", "--all"])]
    return subprocess.run(command, cwd=stage(), env={**os.environ, **own}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
