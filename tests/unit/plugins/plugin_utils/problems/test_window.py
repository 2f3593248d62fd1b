# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a restart: read once for the module and for the role, on the machine's own clock."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.window import (
    Window,
    WindowError,
    read_window,
    wall_time,
)
from tests.support.clocks import at

Json = dict[str, t.Any]


def window(text: str) -> Window:
    found = read_window(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "clock_time", "expected"),
    [
        ("22:00-05:00", "22:00", True),
        ("22:00-05:00", "23:59", True),
        ("22:00-05:00", "00:00", True),
        (" 22:00-05:00 ", "04:59", True),
        ("22:00-05:00", "05:00", False),
        ("22:00-05:00", "21:59", False),
        ("08:00-09:30", "08:00", True),
        ("08:00-09:30", "09:30", False),
        ("08:00-09:30", "07:59", False),
    ],
)
@pytest.mark.parametrize("offset", [0, 60, -300, 330, 765])
def test_a_window_is_read_on_the_machine_s_own_clock(text: str, clock_time: str, expected: bool, offset: int) -> None:
    assert window(text).contains(at(clock_time, offset=offset)) is expected


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_and_its_reverse_divide_the_day(begin: int, end: int, now: int) -> None:
    def text(minutes: int) -> str:
        return f"{minutes // 60:02}:{minutes % 60:02}"

    if begin == end:
        return
    one = window(f"{text(begin)}-{text(end)}").contains(at(text(now)))
    other = window(f"{text(end)}-{text(begin)}").contains(at(text(now)))
    assert one is not other


@pytest.mark.parametrize("text", ["", None])
def test_without_a_window_it_is_always(text: str | None) -> None:
    assert read_window(text) is None


@pytest.mark.parametrize(
    "text",
    ["22-5", "22:00", "24:00-05:00", "22:60-05:00", "nights", "22:00-05:00-06:00", "22:00-22:00", "22:00-05:00\n1"],
)
def test_what_is_no_window_is_named(text: str) -> None:
    with pytest.raises(WindowError) as caught:
        read_window(text)
    assert text in str(caught.value)


def test_the_target_script_gets_both_times() -> None:
    assert window("22:00-05:00").as_request() == {"from": "22:00", "to": "05:00"}


@pytest.mark.parametrize(
    ("clock_time", "offset", "text"),
    [
        ("23:05", 60, "23:05 (UTC+01:00)"),
        ("00:00", 0, "00:00 (UTC+00:00)"),
        ("06:30", -210, "06:30 (UTC-03:30)"),
        ("12:45", 765, "12:45 (UTC+12:45)"),
    ],
)
def test_the_wall_shows_time_and_offset(clock_time: str, offset: int, text: str) -> None:
    assert wall_time(at(clock_time, offset=offset)) == text
