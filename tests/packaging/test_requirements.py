# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requirement files: each direct requirement has a reason, a lower bound and a pin in every lock that uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tools.bootstrap import LANES, MAIN, REQUIREMENTS, ROOT, Lane
from tests.tools.packages import packages

LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=[0-9][0-9A-Za-z.]*(?:,<[0-9.]+)?(?: *;[^#]*)?  # \S.*")

# How a test says which package it would run with: require("slapd", "slapd"), reason="... is missing: package curl".
NAMES_PACKAGES = re.compile(
    r"""require\("[^"]+", "(?P<required>[^"]+)"\)|is missing: package (?P<skipped>[a-z0-9.+-]+)\""""
)
BROUGHT_ALONG = {"util-linux"}  # Debian cannot run without it


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(path: Path) -> list[str]:
    """Lines of a requirement file that are no comment."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def direct(path: Path) -> set[str]:
    """Names that a requirement file asks for, those of included files too."""
    found: set[str] = set()
    for line in lines(path):
        if line.startswith("-r "):
            found |= direct(path.parent / line[3:])
            continue
        match = LINE.fullmatch(line)
        assert match, f"{path.name}: {line!r} has no lower bound or no reason"
        found.add(normal(match["name"]))
    return found


@pytest.mark.parametrize("lane", LANES.values(), ids=lambda lane: lane.name)
def test_lock_pins_every_direct_requirement(lane: Lane) -> None:
    pinned = {normal(line.split("==")[0]) for line in lines(REQUIREMENTS / f"lock-{lane.name}.txt")}
    wanted = direct(REQUIREMENTS / lane.requirements)
    assert wanted <= pinned, sorted(wanted - pinned)


@pytest.mark.parametrize("name", [name for name in LANES if name.startswith("core")])
def test_lock_holds_the_core_that_its_lane_is_named_after(name: str) -> None:
    wanted = f"ansible-core=={name.removeprefix('core')}."
    assert [line for line in lines(REQUIREMENTS / f"lock-{name}.txt") if line.startswith(wanted)]


def test_the_peer_of_the_benchmarks_runs_on_the_core_of_the_main_lane() -> None:
    cores = {
        line
        for name in ("bench", MAIN)
        for line in lines(REQUIREMENTS / f"lock-{name}.txt")
        if "ansible-core==" in line
    }
    assert len(cores) == 1, cores


def test_what_users_install_has_reasons_and_no_ansible() -> None:
    names = direct(ROOT / "requirements.txt")
    assert "pywinrm" in names
    assert not names & {"ansible", "ansible-core"}


def test_what_a_test_would_skip_for_is_listed_for_the_system() -> None:
    listed = {*packages((ROOT / "bindep.txt").read_text(encoding="utf-8"), frozenset({"test"})), *BROUGHT_ALONG}
    missed = {}
    for path in (ROOT / "tests").rglob("*.py"):
        for found in NAMES_PACKAGES.finditer(path.read_text(encoding="utf-8")):
            wanted = set((found["required"] or found["skipped"]).split())
            if not wanted <= listed:
                missed[str(path.relative_to(ROOT))] = wanted - listed
    assert missed == {}
