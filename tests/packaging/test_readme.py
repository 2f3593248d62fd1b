# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md tells what is there: fresh tables, every plugin, links that lead somewhere, targets that exist."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator

import pytest
import yaml

from tests.tools import readme
from tests.tools.stage import ROOT, tracked

TEXT = readme.README.read_text(encoding="utf-8")


def test_tables_are_what_the_documentation_says() -> None:
    assert readme.regenerate(TEXT) == TEXT, "README.md is out of date: run make docs"


@pytest.mark.parametrize(("kind", "folder"), [("module", "plugins/modules/"), ("role", "roles/")])
def test_every_module_and_role_has_a_table(kind: str, folder: str) -> None:
    names = {name[len(folder) :].split("/")[0].removesuffix(".py") for name in tracked() if name.startswith(folder)}
    tables = {found["name"] for found in readme.BLOCK.finditer(TEXT) if found["kind"] == kind}
    assert {name for name in names if not name.startswith("_")} == tables


def test_links_into_the_repository_lead_to_tracked_files() -> None:
    targets = {target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", TEXT)}
    local = {target for target in targets if target and "://" not in target}
    assert local <= set(tracked()), sorted(local - set(tracked()))


def test_make_targets_that_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)\b(?=`|$)", TEXT, re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert named <= known, sorted(named - known)


def blocks() -> list[t.Any]:
    """Every YAML example of the README, parsed."""
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def mappings(value: t.Any) -> Iterator[dict[str, t.Any]]:
    """Every mapping in a parsed example, at any depth."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(part)


def test_options_in_examples_exist() -> None:
    used = [
        (key.removeprefix(f"{readme.COLLECTION}."), set(options))
        for block in blocks()
        for mapping in mappings(block)
        for key, options in mapping.items()
        if key.startswith(f"{readme.COLLECTION}.")
    ]
    assert used
    for module, options in used:
        assert options <= set(readme.options_of("module", module)), module


def test_role_variables_in_examples_exist() -> None:
    known = set(readme.options_of("role", "publish"))
    used = {
        key for block in blocks() for mapping in mappings(block) for key in mapping if str(key).startswith("publish_")
    }
    assert used
    assert used <= known, sorted(used - known)
