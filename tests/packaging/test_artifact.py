# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users download: the artifact's contents, its installation into an empty folder, its documentation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.tools.stage import ROOT, stage, tracked

NAME = "msexchange.winsock_proxy"
BIN = Path(sys.executable).parent
SHIPPED = ("plugins/", "roles/", "playbooks/", "meta/", "docs/", "extensions/eda/")
SHIPPED_FILES = {"README.md", "CHANGELOG.md", "LICENSE", "requirements.txt", "bindep.txt"}
GENERATED = {"MANIFEST.json", "FILES.json"}


def run(*command: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Standard output of a program of this environment; its whole output stands in the failure."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball, built from the tracked files."""
    folder = tmp_path_factory.mktemp("artifact")
    run("ansible-galaxy", "collection", "build", str(stage()), "--output-path", str(folder))
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def names(artifact: Path) -> set[str]:
    """Files in the tarball."""
    with tarfile.open(artifact) as archive:
        return {member.name for member in archive.getmembers() if member.isfile()}


@pytest.fixture(scope="session")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Environment in which the collection is installed in a folder that was empty, and no other is."""
    folder = tmp_path_factory.mktemp("installed")
    run("ansible-galaxy", "collection", "install", str(artifact), "--offline", "-p", str(folder))
    return {"ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "0"}


def test_artifact_holds_every_file_that_users_need(names: set[str]) -> None:
    wanted = {name for name in tracked() if name.startswith(SHIPPED) or name in SHIPPED_FILES}
    assert wanted <= names, sorted(wanted - names)


def test_artifact_holds_nothing_else(names: set[str]) -> None:
    allowed = {name for name in tracked() if name.startswith(SHIPPED)} | SHIPPED_FILES | GENERATED
    assert names <= allowed, sorted(names - allowed)


def test_manifest_tells_what_galaxy_wants(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        handle = archive.extractfile("MANIFEST.json")
        assert handle is not None
        manifest = json.load(handle)["collection_info"]
    assert (manifest["namespace"], manifest["name"]) == ("msexchange", "winsock_proxy")
    assert manifest["dependencies"] == {}
    assert all(manifest[key] for key in ("repository", "documentation", "homepage", "issues", "readme", "license"))


def plugins(kind: str) -> set[str]:
    """Public plugins of one kind, by full name; files that start with an underscore are private."""
    paths = [Path(name) for name in tracked() if name.startswith(f"plugins/{kind}/")]
    return {f"{NAME}.{path.stem}" for path in paths if path.suffix == ".py" and not path.name.startswith("_")}


@pytest.mark.parametrize(("kind", "folder"), [("module", "modules"), ("filter", "filter"), ("callback", "callback")])
def test_ansible_doc_shows_every_plugin(installed: Mapping[str, str], kind: str, folder: str) -> None:
    wanted = plugins(folder)
    if not wanted:
        return
    shown = json.loads(run("ansible-doc", "-t", kind, "--json", *sorted(wanted), environment=installed))
    assert set(shown) == wanted
    for name, page in shown.items():
        assert page["doc"]["short_description"], name
        assert kind != "module" or (page["examples"] and page["return"]), f"{name} lacks EXAMPLES or RETURN"


def test_every_action_has_a_documented_module() -> None:
    assert plugins("action") <= plugins("modules")


def test_ansible_doc_shows_every_role(installed: Mapping[str, str]) -> None:
    wanted = {name.split("/")[1] for name in tracked() if name.startswith("roles/")}
    if not wanted:
        return
    shown = json.loads(run("ansible-doc", "-t", "role", "--json", "--list", NAME, environment=installed))
    assert {f"{NAME}.{name}" for name in wanted} <= set(shown)


def test_playbooks_are_found_by_full_name(installed: Mapping[str, str], tmp_path: Path) -> None:
    for name in tracked():
        path = Path(name)
        if path.parent == Path("playbooks") and path.suffix == ".yml":
            playbook = f"{NAME}.{path.stem}"
            run("ansible-playbook", "-i", "localhost,", "--syntax-check", playbook, environment=installed, cwd=tmp_path)


def test_action_group_names_existing_modules() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    grouped = {f"{NAME}.{name}" for group in runtime["action_groups"].values() for name in group}
    assert grouped <= plugins("modules"), sorted(grouped - plugins("modules"))
