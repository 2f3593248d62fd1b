# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the collection as Galaxy does: the markup of all documentation, then the import of the built artifact."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tools.bootstrap import LANES, folder
from tests.tools.stage import COLLECTIONS, stage


def main() -> int:
    """Check documentation and artifact of the staged copy; 1 when either is refused."""
    programs = folder(LANES["galaxy"]) / "bin"
    home = COLLECTIONS / "home"
    home.mkdir(exist_ok=True)
    own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "NO_COLOR": "1"}
    environment = {**os.environ, **own, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
    docs = [str(programs / "antsibull-docs"), "lint-collection-docs", "--plugin-docs", "--skip-rstcheck"]
    docs += ["--validate-collection-refs", "self", "--check-extra-docs-refs", str(stage())]
    refused = subprocess.run(docs, env=environment, check=False).returncode != 0
    with tempfile.TemporaryDirectory() as out:
        build = [str(programs / "ansible-galaxy"), "collection", "build", "--output-path", out, str(stage())]
        subprocess.run(build, env=environment, check=True)
        artifact = next(Path(out).glob("*.tar.gz"))
        command = [str(programs / "python"), "-m", "galaxy_importer.main", str(artifact)]
        refused |= subprocess.run(command, env=environment, cwd=out, check=False).returncode != 0
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
