# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies the tracked files to ``build/ansible_collections/msexchange/winsock_proxy``.

ansible-test, ansible-lint and molecule want a collection inside a path of that shape; a symbolic link is not enough for
ansible-test, which resolves it.
"""

from __future__ import annotations

import fcntl
import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COLLECTIONS = ROOT / "build"
STAGE = COLLECTIONS / "ansible_collections" / "msexchange" / "winsock_proxy"
KEPT = ("tests/output", ".git")


def tracked(root: Path = ROOT) -> list[str]:
    """Paths of the files that git tracks and that the work tree still has, relative to the root.

    Raises:
        SystemExit: The tree is no git checkout, or git is missing.
    """
    # A checkout that belongs to another user (a container's mount) is no reason to refuse to list it.
    command = ["git", "-c", f"safe.directory={root}", "ls-files", "-z"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{root} must be a git checkout, and git must be installed: {error}") from error
    names = done.stdout.decode("utf-8").split("\0")
    return sorted(name for name in names if name and (root / name).is_file())


def stage() -> Path:
    """Make the staged copy equal to the tracked files, one caller at a time; return its folder."""
    STAGE.mkdir(parents=True, exist_ok=True)
    with (COLLECTIONS / ".stage.lock").open("w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        copy(tracked())
        track()
    return STAGE


def copy(wanted: list[str]) -> None:
    """Copy the files that differ and remove those that are tracked no more."""
    for name in wanted:
        source, target = ROOT / name, STAGE / name
        if target.is_symlink() or source.is_symlink():
            target.unlink(missing_ok=True)
        elif target.exists() and filecmp.cmp(source, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    keep = set(wanted)
    for path in sorted(STAGE.rglob("*"), reverse=True):
        name = path.relative_to(STAGE).as_posix()
        if name.startswith(KEPT):
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in keep:
            path.unlink()


def track() -> None:
    """Give the copy an index of its own: inside a checkout that ignores ``build``, ansible-test would see no file."""
    for arguments in (["init", "--quiet"], ["add", "--all", "--force", ":!tests/output"]):
        subprocess.run(["git", "-c", f"safe.directory={STAGE}", *arguments], cwd=STAGE, check=True)


if __name__ == "__main__":
    print(stage())
    sys.exit(0)
