# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs of the role that are used only after the file was written: all are read before, by the same rules."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.filter.wspcfg_inputs import FilterModule
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.options import OptionError, read_options
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.inputs import DURATIONS, input_problems
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Refused
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.service_restart import _check
from tests.support.options import options_of

Json = dict[str, t.Any]


def probe_takes(name: str, value: float) -> bool:
    try:
        read_options(options_of("port_probe", targets=[], **{name: value}), check_mode=False)
    except OptionError:
        return False
    return True


def restart_takes(name: str, value: float | str) -> bool:
    try:
        _check(options_of("service_restart", names=["Spooler"], **{name: value}))
    except Refused:
        return False
    return True


@pytest.mark.parametrize("name", ["probe_timeout", "probe_deadline", "probe_delay"])
@pytest.mark.parametrize("value", [-1, 0, 0.001, 0.01, 75, 86400, 86401])
def test_the_role_takes_what_the_probe_takes(name: str, value: float) -> None:
    assert (input_problems("ex1", {name: value}, {}) == ()) is probe_takes(name.removeprefix("probe_"), value)


@pytest.mark.parametrize("name", ["stop_timeout", "start_timeout", "restart_deadline"])
@pytest.mark.parametrize("value", [-1, 0, 1, 900, 10**6])
def test_the_role_takes_what_a_restart_takes(name: str, value: int) -> None:
    assert (input_problems("ex1", {name: value}, {}) == ()) is restart_takes(name.removeprefix("restart_"), value)


@pytest.mark.parametrize(
    "window", ["", "22:00-05:00", " 22:00-05:00", "22:00-22:00", "22:00", "25:00-05:00", "tonight"]
)
def test_the_role_takes_the_windows_that_a_restart_takes(window: str) -> None:
    assert (input_problems("ex1", {"restart_window": window}, {}) == ()) is restart_takes(
        "window", t.cast(t.Any, window)
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"stop_timeout": "0"}, "ex1: publish_stop_timeout is '0'. Give a number of seconds, at least 1."),
        ({"probe_delay": 0}, "ex1: publish_probe_delay is '0'. Give a number of seconds, 0.01 to 86400."),
        ({"probe_deadline": "nan"}, "ex1: publish_probe_deadline is 'nan'. Give a number of seconds, 0 to 86400."),
        ({"throttle": -1}, "ex1: publish_throttle is '-1'. Give a number of servers, or 0 for as many as forks allow."),
        (
            {"restart_window": "22:00-22:00"},
            "ex1: publish_restart_window is '22:00-22:00'. Give two different times of day, such as 22:00-05:00.",
        ),
        (
            {"before_restart_tasks": "hook.yml"},
            (
                "ex1: publish_before_restart_tasks is 'hook.yml', which is no file on the controller. "
                "Give an absolute path, or one from the playbook's directory."
            ),
        ),
    ],
)
def test_the_sentence_names_host_input_value_and_remedy(given: Json, says: str) -> None:
    assert FilterModule().filters()["wspcfg_inputs"](given, "ex1") == [says]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    given = {**dict.fromkeys(DURATIONS, -1), "throttle": -1, "restart_window": "now", "after_restart_tasks": "gone.yml"}
    assert len(input_problems("ex1", given, {})) == len(given)


def test_what_is_null_is_not_given() -> None:
    given = dict.fromkeys((*DURATIONS, "throttle", "restart_window", "before_restart_tasks", "after_restart_tasks"))
    assert input_problems("ex1", given, {}) == ()


def test_hooks_that_are_there_or_not_given_are_fine() -> None:
    given = {"before_restart_tasks": "a.yml", "after_restart_tasks": ""}
    assert input_problems("ex1", given, {"before_restart_tasks": "/plays/a.yml", "after_restart_tasks": ""}) == ()
