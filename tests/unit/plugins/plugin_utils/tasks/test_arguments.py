# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An option that does not exist is named with the nearest one."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.arguments import unknown_options

SPEC: dict[str, dict[str, t.Any]] = {
    "listeners": {"type": "list"},
    "state": {},
    "targets": {"type": "list", "elements": "dict", "options": {"protocol": {}, "port": {}}},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"state": "present", "targets": [{"port": 1}]}, []),
        ({"listners": ["pop3"]}, ["there is no option listners; did you mean listeners?"]),
        ({"zzz": 1}, ["there is no option zzz; there are listeners, state, targets"]),
        (
            {"targets": [{"port": 1}, {"portocol": "pop3"}]},
            ["there is no option targets.portocol; did you mean targets.protocol?"],
        ),
        ({"targets": "text"}, []),
        ("free form", []),
    ],
)
def test_what_is_said_of_an_option_that_does_not_exist(given: t.Any, said: list[str]) -> None:
    assert list(unknown_options(given, SPEC)) == said
