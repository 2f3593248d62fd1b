# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's inputs: every one has a default, is checked by every entry point, and the two say the same."""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml

from tests.tools.stage import ROOT, tracked

ROLE = "roles/publish"


def parsed(name: str) -> t.Any:
    return yaml.safe_load((ROOT / ROLE / name).read_text(encoding="utf-8"))


SPECS: dict[str, t.Any] = parsed("meta/argument_specs.yml")["argument_specs"]
DEFAULTS: dict[str, t.Any] = parsed("defaults/main.yml")


@pytest.mark.parametrize("entry", SPECS)
def test_defaults_are_what_the_documentation_says(entry: str) -> None:
    documented = {name: option.get("default") for name, option in SPECS[entry]["options"].items()}
    assert documented == DEFAULTS


def test_every_entry_point_that_a_playbook_uses_is_checked() -> None:
    playbooks = [name for name in tracked() if re.fullmatch(r"playbooks/[^/]+\.yml", name)]
    used = {
        entry
        for name in playbooks
        for entry in re.findall(r"tasks_from: (\w+)", (ROOT / name).read_text(encoding="utf-8"))
    }
    assert used and used <= set(SPECS)


# What the playbooks take besides, and the role only hands through.
OF_THE_PLAYBOOKS = {"publish_serial", "publish_max_fail_percentage"}


def test_every_input_that_tasks_read_is_documented() -> None:
    files = [name for name in tracked() if re.match(rf"{ROLE}/(tasks|vars|handlers)/", name)]
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    read = set(re.findall(r"(?<![_.])\bpublish_[a-z_]+", text))
    assert read - OF_THE_PLAYBOOKS == set(DEFAULTS)
