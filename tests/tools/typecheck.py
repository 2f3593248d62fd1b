# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ``mypy --strict`` on the typed rooms, under the collection's real package name.

Relative imports of the plugins resolve only inside ``ansible_collections``, so the rooms are named as packages of the
link that ``tests/conftest.py`` makes, and not by their path in the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.conftest import ROOT, link_collection

COLLECTION = "ansible_collections.msexchange.winsock_proxy.plugins"
# What runs on a controller must be valid on the oldest Python that the oldest supported ansible-core allows there.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "3.10": (f"{COLLECTION}.plugin_utils", f"{COLLECTION}.module_utils"),
    "3.11": ("tests.lab", "tests.simulation", "tests.tools", "tests.windows"),
}


def main() -> int:
    """Check every room under its own Python version; 1 when mypy finds anything."""
    environment = {**os.environ, "MYPYPATH": f"{link_collection(ROOT)}:{ROOT}"}
    failed = False
    for version, packages in ROOMS.items():
        command = [sys.executable, "-m", "mypy", "--strict", "--python-version", version]
        command += [f"--config-file={ROOT / 'pyproject.toml'}"]
        for package in packages:
            command += ["--package", package]
        failed |= subprocess.run(command, cwd=ROOT / "build", env=environment, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
