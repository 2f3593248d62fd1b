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

from tests.conftest import ROOT, link_collection

COLLECTION = "ansible_collections.msexchange.winsock_proxy.plugins"
ROOMS = ("plugin_utils", "module_utils")
OWN = ("tests.lab", "tests.tools")


def main() -> int:
    """Check the collection's rooms and the project's own packages; mypy's exit status."""
    packages = [f"{COLLECTION}.{room}" for room in ROOMS if any((ROOT / "plugins" / room).glob("*.py"))]
    packages += [name for name in OWN if any((ROOT / name.replace(".", "/")).glob("*.py"))]
    command = [sys.executable, "-m", "mypy", "--strict"]
    for package in packages:
        command += ["--package", package]
    environment = {**os.environ, "MYPYPATH": f"{link_collection(ROOT)}:{ROOT}"}
    return subprocess.run(command, cwd=ROOT / "build", env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
