# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of single functions take for granted about the script; ``python -m tests.windows`` runs them."""

from __future__ import annotations

import re

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script
from tests.conformance import expand
from tests.windows.regions import CHECKS, Check


def test_each_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_replaces_what_the_script_calls(check: Check) -> None:
    """A function that was renamed since would not be replaced any more, and the check would show nothing."""
    defined = set(re.findall(r"^\s*function ([\w-]+)", check.instead, re.MULTILINE))
    called = script.script_for(expand.request(check.request))
    helpers = {name for name in defined if len(re.findall(rf"(?<![\w-]){name}(?![\w-])", check.instead)) > 1}
    hidden = {name for name in defined if re.search(rf"(?<![\w-]){name}(?![\w-])", called)}
    assert hidden, "it hides nothing"
    assert defined - hidden <= helpers, f"nothing calls {defined - hidden - helpers}"
