# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples of the README and the guides: what a reader copies is taken by Ansible, and names what there is."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.lab.fleet import from_data
from tests.support.options import taken
from tests.support.playbook import ANSIBLE_PYTHON, COLLECTION, environment
from tests.tools.stage import ROOT, tracked

PAGES = [name for name in tracked() if re.fullmatch(r"README\.md|docs/\w+\.md|roles/publish/README\.md", name)]
BLOCK = re.compile(r"^```(?P<kind>yaml|console)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
# Blocks that Ansible never reads by themselves, by their first key, and who checks them.
PARTS: Mapping[tuple[str, str], str] = {
    ("docs/lab.md", "speed"): "a fleet of the lab, below",
    ("docs/guide.md", "module_defaults"): "a part of a play, checked in one",
}
LINK = ROOT / "build" / "link"
# Modules of collections that the tests do without; their names are taken as they stand.
FOREIGN = ("ansible.windows.win_command",)
# What needs a place that no test may reach.
ELSEWHERE = ("ansible-galaxy collection install", "pip install -r ~/.ansible/")


@dataclass(frozen=True)
class Example:
    """One block of a page.

    Attributes:
        page: The page.
        number: Which of its blocks it is.
        kind: ``yaml`` or ``console``.
        text: What stands in it.
    """

    page: str
    number: int
    kind: str
    text: str

    @property
    def data(self) -> t.Any:
        return yaml.safe_load(self.text)

    @property
    def name(self) -> str:
        return f"{self.page.replace('/', '-')}-{self.number}"


def examples() -> Iterator[Example]:
    for page in PAGES:
        for number, found in enumerate(BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")), 1):
            yield Example(page, number, found["kind"], found["text"])


YAML = [example for example in examples() if example.kind == "yaml"]
PLAYS = [example for example in YAML if isinstance(example.data, list)]
MAPPINGS = [example for example in YAML if isinstance(example.data, dict)]
INVENTORIES = [example for example in MAPPINGS if (example.page, next(iter(example.data))) not in PARTS]
COMMANDS = [
    (example.page, line.removeprefix("$ ").partition("  #")[0].strip())
    for example in examples()
    if example.kind == "console"
    for line in example.text.splitlines()
    if line.startswith("$ ")
]


def ansible(tool: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs in a folder that has nothing else."""
    return subprocess.run(
        [ANSIBLE_PYTHON, "-m", "ansible", tool, *arguments],
        cwd=folder,
        env=environment(folder, ANSIBLE_COLLECTIONS_PATH=f"{LINK}:{folder / 'others'}"),
        capture_output=True,
        text=True,
        check=False,
    )


def tasks(rows: t.Any) -> Iterator[dict[str, t.Any]]:
    """Every task of a list of tasks or plays."""
    for row in rows:
        yield row
        for part in ("tasks", "block", "rescue"):
            yield from tasks(row.get(part, []))


def test_there_are_examples_of_every_kind() -> None:
    assert len(PLAYS) >= 5 and len(INVENTORIES) >= 3 and len(COMMANDS) >= 15
    assert {(example.page, next(iter(example.data))) for example in MAPPINGS} >= set(PARTS)


def test_plays_and_tasks_pass_the_syntax_check(tmp_path: Path) -> None:
    for example in PLAYS:
        rows = example.data
        plays = rows if "hosts" in rows[0] else [{"hosts": "all", "gather_facts": False, "tasks": rows}]
        (tmp_path / f"{example.name}.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
    for example in (example for example in MAPPINGS if "module_defaults" in example.data):
        task = {"name": "Look", f"{COLLECTION}.wspcfg_info": {}}
        play = {"hosts": "all", "gather_facts": False, **example.data, "tasks": [task]}
        (tmp_path / f"{example.name}.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        for options in example.data["module_defaults"].values():
            assert set(options) <= set(taken("wspcfg_info"))
    for name in FOREIGN:
        namespace, collection, module = name.split(".")
        modules = tmp_path / "others" / "ansible_collections" / namespace / collection / "plugins" / "modules"
        modules.mkdir(parents=True)
        (modules / f"{module}.py").touch()
    books = sorted(path.name for path in tmp_path.glob("*.yml"))
    done = ansible("playbook", tmp_path, "--syntax-check", "-i", "app1,", *books)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", PLAYS, ids=lambda example: example.name)
def test_a_task_gives_options_that_its_module_has(example: Example) -> None:
    for row in tasks(example.data):
        for name, options in row.items():
            if name.startswith(f"{COLLECTION}."):
                assert set(options) <= set(taken(name.rpartition(".")[2])), row["name"]


@pytest.mark.parametrize("example", INVENTORIES, ids=lambda example: example.name)
def test_an_inventory_is_read_without_a_warning(example: Example, tmp_path: Path) -> None:
    (tmp_path / "inventory.yml").write_text(example.text, encoding="utf-8")
    done = ansible("inventory", tmp_path, "-i", "inventory.yml", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    hosts = json.loads(done.stdout)["_meta"]["hostvars"]
    assert set(hosts) == {host for group in example.data.values() for host in group["hosts"]}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_names_what_there_is(page: str, command: str) -> None:
    if command.startswith(ELSEWHERE):
        return
    words = command.split()
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif words[0] == "ansible-playbook":
        (book,) = (word for word in words if word.startswith(f"{COLLECTION}."))
        assert f"playbooks/{book.rpartition('.')[2]}.yml" in tracked()
    elif words[:2] == ["python", "-m"]:
        done = subprocess.run(
            [ANSIBLE_PYTHON, "-m", words[2], words[3], "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not [word for word in words[4:] if word.startswith("--") and word not in done.stdout]
    else:
        assert words[0] == "export", (page, command)


def test_the_fleet_of_the_labs_page_is_one() -> None:
    (example,) = (example for example in MAPPINGS if example.page == "docs/lab.md")
    assert [host.name for host in from_data(example.data).hosts] == ["EX1", "EX2"]
