# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents tell what is there: fresh lists, every plugin, links that lead somewhere, names that exist."""

from __future__ import annotations

import posixpath
import re
import typing as t
from collections.abc import Iterator

import pytest
import yaml

from tests.tools import reference
from tests.tools.stage import ROOT, tracked

PAGES = [name for name in tracked() if re.fullmatch(r"(docs/|roles/\w+/)?\w+\.md", name)]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
REFERENCE = reference.REFERENCE.relative_to(ROOT).as_posix()
STEPS = "publish_"  # modules of this prefix are the role's own steps: the index names them, ansible-doc explains them
ONE_SCREEN = 80  # lines of the README
WIDEST, LONGEST = 220, 160  # characters of a line of a table, and of any other outside of examples
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def prose(name: str) -> str:
    """A page without its examples."""
    return FENCE.sub("", TEXTS[name])


def stems(folder: str) -> set[str]:
    """Names of the files right below a folder, without their endings."""
    names = (name[len(folder) :].split("/")[0] for name in tracked() if name.startswith(folder))
    return {name.partition(".")[0] for name in names if not name.startswith("_")}


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "roles/publish/README.md", REFERENCE} <= set(PAGES)


# -- docs/reference.md ------------------------------------------------------------------------------------------------


def test_lists_are_what_the_documentation_says() -> None:
    assert reference.regenerate(TEXTS[REFERENCE]) == TEXTS[REFERENCE], f"{REFERENCE} is out of date: run make docs"


def test_a_stale_page_is_noticed() -> None:
    stale = re.sub(r"^(- \*\*`path`\*\*.*)$", r"\1 And more.", TEXTS[REFERENCE], count=1, flags=re.MULTILINE)
    assert stale != TEXTS[REFERENCE]
    assert reference.regenerate(stale) == TEXTS[REFERENCE]


@pytest.mark.parametrize(
    ("kind", "folder"), [("module", "plugins/modules/"), ("filter", "plugins/filter/"), ("role", "roles/")]
)
def test_everything_has_its_list_of_options(kind: str, folder: str) -> None:
    told = {found["name"] for found in reference.BLOCK.finditer(TEXTS[REFERENCE]) if found["kind"] == kind}
    wanted = {name for name in stems(folder) if kind != "module" or not name.startswith(STEPS)}
    steps = {name for name in stems(folder) if kind == "module" and name.startswith(STEPS)}
    assert wanted <= told <= wanted | steps


def test_every_playbook_is_listed() -> None:
    chapter = TEXTS[REFERENCE].partition("## Playbooks")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)) == stems("playbooks/")


# -- every page -------------------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(name: str) -> set[str]:
    return {anchor(found) for found in re.findall(r"^#+ (.*)$", prose(name), re.MULTILINE)}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if "://" in link:
            continue
        path, dummy, place = link.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
        assert target in tracked() or any(other.startswith(f"{target}/") for other in tracked()), link
        if place:
            assert target in PAGES and place in headings(target), link


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_that_it_names_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|\$ )make ([a-z][a-z-]*)", TEXTS[name]))
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("name", PAGES)
def test_files_that_it_names_exist(name: str) -> None:
    """Paths in code font that begin in the root of the repository; stars stand for anything."""
    for path in re.findall(r"`((?:plugins|roles|tests|playbooks|docs|meta)/[\w./*-]+)`", prose(name)):
        wanted = re.compile(re.escape(path.rstrip("/")).replace(r"\*", "[^/]*") + "(/.*)?")
        assert any(wanted.fullmatch(other) for other in tracked()), path


@pytest.mark.parametrize("name", PAGES)
def test_lines_can_be_read(name: str) -> None:
    long = [line for line in prose(name).splitlines() if len(line) > (WIDEST if line.startswith("|") else LONGEST)]
    assert not long


def test_the_readme_is_one_screen() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= ONE_SCREEN


# -- names ------------------------------------------------------------------------------------------------------------


def variables() -> set[str]:
    """Variables that a user may set: the role's options, and what the playbooks and the role read besides."""
    files = [name for name in tracked() if re.match(r"(playbooks|roles/publish/tasks)/", name)]
    read = {word for name in files for word in re.findall(r"\bpublish_\w+", (ROOT / name).read_text(encoding="utf-8"))}
    return set(reference.options_of("role", "publish")) | read


def plugins() -> set[str]:
    return stems("plugins/modules/") | stems("plugins/filter/")


@pytest.mark.parametrize("name", [name for name in PAGES if name != "CHANGELOG.md"])
def test_variables_and_plugins_that_it_names_exist(name: str) -> None:
    words = re.findall(r"`(?:__)?((?:publish|wspcfg|win_ini|service_restart|port_probe)(?:_\w+)?)\b", prose(name))
    assert set(words) <= variables() | plugins() | {"publish"}


@pytest.mark.parametrize("name", [name for name in PAGES if name != "CHANGELOG.md"])
def test_full_names_exist(name: str) -> None:
    known = plugins() | stems("playbooks/") | stems("roles/") | {"target"}
    assert set(re.findall(r"(?<!\\)\bmsexchange\.winsock_proxy\.(\w+)", TEXTS[name])) <= known


def examples() -> list[t.Any]:
    """Every YAML example of the pages, parsed."""
    return [yaml.safe_load(text) for page in TEXTS.values() for kind, text in FENCE.findall(page) if kind == "yaml"]


def mappings(value: t.Any) -> Iterator[dict[str, t.Any]]:
    """Every mapping in a parsed example, at any depth."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(part)


def test_options_in_examples_exist() -> None:
    used = [
        (key.removeprefix(f"{reference.COLLECTION}."), set(options))
        for example in examples()
        for mapping in mappings(example)
        for key, options in mapping.items()
        if str(key).startswith(f"{reference.COLLECTION}.")
    ]
    assert used
    for module, options in used:
        assert options <= set(reference.options_of("module", module)), module


def test_role_variables_in_examples_exist() -> None:
    used = {key for example in examples() for mapping in mappings(example) for key in mapping if "publish_" in str(key)}
    assert used
    assert used <= variables(), sorted(used - variables())
