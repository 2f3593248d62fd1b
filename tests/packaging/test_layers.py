# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import what, how long an adapter may be, and that facts of the domain stand in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter

import pytest

from tests.tools.stage import ROOT, tracked

# Modules of plugin_utils that stand between Ansible and the engines; everything else there knows nothing of Ansible.
ADAPTERS = {
    "fleet/inventory.py",
    "reports/page.py",
    "target/connection.py",
    "tasks/action.py",
    "tasks/arguments.py",
    "tasks/fleet_action.py",
}
# Ansible's text helpers, which engines may use.
HELPERS = "ansible.module_utils.common.text"
ACTION_LINES = 80
LISTENER_TABLE = "plugins/module_utils/listeners.py"

# Which rooms a room may ask, besides module_utils and what lies beside the rooms. Imports go down only, so every room
# names rooms that stand above it here.
ROOMS: Mapping[str, frozenset[str]] = {
    "problems": frozenset(),
    "ini": frozenset({"problems"}),
    "target": frozenset({"problems"}),
    "exchange": frozenset({"problems", "ini"}),
    "fleet": frozenset({"problems", "ini", "exchange"}),
    "reports": frozenset({"exchange", "fleet"}),
    "tasks": frozenset({"problems", "ini", "target", "exchange", "fleet"}),
}
ROOT_MODULES = {"shapes"}


def sources(folder: str) -> list[str]:
    return [name for name in tracked() if re.fullmatch(rf"plugins/{folder}/[\w/]+\.py", name)]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def imports(name: str) -> Iterator[str]:
    """Modules that a file imports, relative ones from ``plugins`` on; a name that may be a module counts as one."""
    folders = name.removesuffix(".py").split("/")
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folders[: len(folders) - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if (ROOT / module.replace(".", "/")).is_dir())


def is_ansible(module: str) -> bool:
    return module.partition(".")[0] in ("ansible", "jinja2") and not module.startswith(HELPERS)


def own(name: str) -> set[str]:
    return {module for module in imports(name) if module.startswith("plugins.")}


def short(name: str) -> str:
    return name.removeprefix("plugins/plugin_utils/")


@pytest.mark.parametrize("name", sources("plugin_utils"))
def test_an_engine_knows_nothing_of_ansible_and_of_what_uses_it(name: str) -> None:
    assert not [
        module for module in own(name) if not module.startswith(("plugins.plugin_utils", "plugins.module_utils"))
    ]
    if short(name) not in ADAPTERS:
        assert not [module for module in imports(name) if is_ansible(module)]
        adapters = {f"plugins.plugin_utils.{adapter.removesuffix('.py').replace('/', '.')}" for adapter in ADAPTERS}
        assert not own(name) & adapters


def test_the_named_adapters_are_some() -> None:
    names = [name for name in sources("plugin_utils") if any(is_ansible(module) for module in imports(name))]
    assert {short(name) for name in names} == ADAPTERS


def test_the_rooms_are_these_and_only_look_down() -> None:
    rooms = [name for name in ROOMS if (ROOT / "plugins" / "plugin_utils" / name).is_dir()]
    beside = {short(name).removesuffix(".py") for name in sources("plugin_utils") if "/" not in short(name)}
    assert (rooms, beside) == (list(ROOMS), ROOT_MODULES)
    assert {short(name).partition("/")[0] for name in sources("plugin_utils") if "/" in short(name)} == set(ROOMS)
    for number, (room, below) in enumerate(ROOMS.items()):
        assert below <= set(list(ROOMS)[:number]), room


@pytest.mark.parametrize("name", [name for name in sources("plugin_utils") if "/" in short(name)])
def test_imports_go_down_only(name: str) -> None:
    room = short(name).partition("/")[0]
    asked = {module.split(".")[2] for module in own(name) if module.count(".") >= 2 and ".plugin_utils." in module}
    assert asked <= {room, *ROOMS[room], *ROOT_MODULES}, asked


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = sources("plugin_utils") + sources("module_utils")
    graph = {name.removesuffix(".py").replace("/", "."): own(name) for name in names}
    order = TopologicalSorter({name: {module for module in asked if module in graph} for name, asked in graph.items()})
    order.prepare()  # raises CycleError, which names the modules


def test_every_room_says_in_one_sentence_what_it_is() -> None:
    for room in ROOMS:
        text = ast.get_docstring(tree(f"plugins/plugin_utils/{room}/__init__.py")) or ""
        assert text.count(".") >= 2, room
        assert "Private to this collection" in text, room


@pytest.mark.parametrize("name", sources("module_utils"))
def test_what_also_runs_on_a_probe_host_stays_among_itself(name: str) -> None:
    assert not [module for module in own(name) if not module.startswith("plugins.module_utils")]
    assert not [module for module in imports(name) if is_ansible(module)]


@pytest.mark.parametrize("name", sources("action"))
def test_an_adapter_is_short(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= ACTION_LINES


def is_number(value: object) -> bool:
    """Whether a constant is a whole number; true and false are none, though Python counts them in."""
    return isinstance(value, int) and not isinstance(value, bool)


def table() -> set[int]:
    """The ports of the listener table."""
    rows = [node for node in ast.walk(tree(LISTENER_TABLE)) if isinstance(node, ast.Call)]
    values = (argument.value for row in rows for argument in row.args if isinstance(argument, ast.Constant))
    return {value for value in values if isinstance(value, int) and is_number(value)}


@pytest.mark.parametrize("folder", ["plugin_utils", "module_utils", "action", "filter"])
def test_no_port_is_repeated_beside_the_table(folder: str) -> None:
    ports = table()
    assert len(ports) == 9
    for name in sources(folder):
        found = [node.value for node in ast.walk(tree(name)) if isinstance(node, ast.Constant)]
        repeated = [value for value in found if is_number(value) and value in ports]
        assert name == LISTENER_TABLE or not repeated, (name, repeated)
