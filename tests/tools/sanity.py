# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ``ansible-test sanity`` on the staged copy, without an ignore file.

ansible-test fetches the bootstrap script of pip from a server of its own; a script that calls ensurepip is put where it
looks for a downloaded one, so that a package index is all that the run needs.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tests.tools.stage import stage

GET_PIP = """\
# Written by the project's set-up: installs the pip that comes with Python.
import runpy
import sys

sys.argv = ["ensurepip", "--default-pip"]
runpy.run_module("ensurepip", run_name="__main__")
"""


def bootstrap_names() -> list[str]:
    """File names under which this ansible-test caches pip's bootstrap script, found in its source."""
    spec = find_spec("ansible_test")
    if spec is None or spec.origin is None:
        raise SystemExit("ansible-test is not installed in this environment; run make venv")
    source = Path(spec.origin).parent / "_internal" / "python_requirements.py"
    versions = set(re.findall(r"pip='([0-9.]+)'", source.read_text(encoding="utf-8")))
    if not versions:
        raise SystemExit(f"{source} names no pip version any more; the set-up of sanity must learn the new place")
    return [f"get_pip_{version.replace('.', '_')}.py" for version in sorted(versions)]


def pip_settings() -> str:
    """The user's pip settings, from files and environment, as the text of one pip.conf.

    ansible-test passes neither PIP_* variables nor the user's own configuration folder on.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = ["[global]", "quiet = 1"]
    for line in listing.splitlines():
        found = re.fullmatch(r"(?::env:|global|user|site)\.([a-z-]+)=(.*)", line)
        if found:
            value = str(ast.literal_eval(found[2]))
            lines.append(f"{found[1]} = {' '.join(value.split())}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def search_path() -> str:
    """PATH with this environment first and pyenv's interpreters instead of its shims.

    ansible-test takes any ``python3.N`` that it finds; a shim is found even when the version behind it is not enabled.
    """
    folders = [str(Path(sys.executable).parent)]
    folders += [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if Path(entry).name != "shims"]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders += [str(folder) for folder in sorted(pyenv.glob("versions/3.*/bin"))]
    return os.pathsep.join(folders)


def prepare(home: Path) -> Mapping[str, str]:
    """Lay out a home for ansible-test below ``build``; return the environment to run it in."""
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for name in bootstrap_names():
        (cache / name).write_text(GET_PIP, encoding="ascii")
    settings = pip_settings()
    config = home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(settings, encoding="utf-8")
    return {**os.environ, "HOME": str(home), "PATH": search_path(), "XDG_CONFIG_HOME": str(home / ".config")}


def main(arguments: list[str]) -> int:
    """Stage the collection and run the sanity tests on it; ansible-test's exit status."""
    folder = stage()
    environment = prepare(folder.parents[2] / "sanity-home")
    command = [
        str(Path(sys.executable).parent / "ansible-test"),
        "sanity",
        "--requirements",
        "--color",
        "no",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
