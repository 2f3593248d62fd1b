# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import what, how long an adapter may be, and that facts of the domain stand in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.tools.stage import ROOT, tracked

# Modules of plugin_utils that stand between Ansible and the engines; everything else there knows nothing of Ansible.
ADAPTERS = {"_action.py", "_inventory.py", "_session.py"}
# Ansible's text helpers, which engines may use.
HELPERS = "ansible.module_utils.common.text"
ACTION_LINES = 80
LISTENER_TABLE = "plugins/module_utils/_listeners.py"


def sources(folder: str) -> list[str]:
    return [name for name in tracked() if re.fullmatch(rf"plugins/{folder}/\w+\.py", name)]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def imports(name: str) -> Iterator[str]:
    """Modules that a file imports, relative ones from ``plugins`` on."""
    package = name.split("/")[1]
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = {0: "", 1: f"plugins.{package}.", 2: "plugins."}[node.level]
            yield start + (node.module or "")


def is_ansible(module: str) -> bool:
    return module.partition(".")[0] in ("ansible", "jinja2") and not module.startswith(HELPERS)


@pytest.mark.parametrize("name", [name for name in sources("plugin_utils") if name.split("/")[-1] not in ADAPTERS])
def test_an_engine_knows_nothing_of_ansible_and_of_what_uses_it(name: str) -> None:
    used = list(imports(name))
    assert not [module for module in used if is_ansible(module)]
    own = {module for module in used if module.startswith("plugins.")}
    assert not [module for module in own if not module.startswith(("plugins.plugin_utils", "plugins.module_utils"))]
    assert not own & {f"plugins.plugin_utils.{adapter.removesuffix('.py')}" for adapter in ADAPTERS}


def test_the_named_adapters_are_some() -> None:
    names = [name for name in sources("plugin_utils") if any(is_ansible(module) for module in imports(name))]
    assert {name.split("/")[-1] for name in names} == ADAPTERS


@pytest.mark.parametrize("name", sources("module_utils"))
def test_what_also_runs_on_a_probe_host_stays_among_itself(name: str) -> None:
    own = [module for module in imports(name) if module.startswith("plugins.")]
    assert not [module for module in own if not module.startswith("plugins.module_utils")]
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
