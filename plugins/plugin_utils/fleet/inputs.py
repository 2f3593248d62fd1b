# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs of the role that no module sees before the file is written: all of them are read at once, before anything."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..problems.window import REMEDY, WindowError, read_window

DAY_S = 86400.0
PREFIX = "publish_"


@dataclass(frozen=True)
class Seconds:
    """What a duration may be.

    Attributes:
        least: Smallest number of seconds.
        most: Largest, None without a limit.
    """

    least: float
    most: float | None = None

    @property
    def words(self) -> str:
        return f"at least {self.least:g}" if self.most is None else f"{self.least:g} to {self.most:g}"

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and self.least <= value <= (math.inf if self.most is None else self.most)


# As service_restart, wspcfg and port_probe take them; a test compares them with what those accept.
DURATIONS: Mapping[str, Seconds] = {
    "stop_timeout": Seconds(1),
    "start_timeout": Seconds(1),
    "restart_deadline": Seconds(1),
    "target_deadline": Seconds(0),
    "lock_wait": Seconds(0),
    "probe_timeout": Seconds(0.001, DAY_S),
    "probe_deadline": Seconds(0, DAY_S),
    "probe_delay": Seconds(0.01, DAY_S),
}
HOOKS = ("before_restart_tasks", "after_restart_tasks")


def input_problems(host: str, given: Mapping[str, t.Any], found: Mapping[str, str]) -> tuple[str, ...]:
    """Say which inputs could not be carried out, one sentence each.

    Args:
        host: Inventory name.
        given: Inputs by name without ``publish_``; those that are missing or null are not looked at.
        found: Files of tasks by the input that names them, as far as they exist on the controller.
    """
    sentences = (*_durations(given), *_throttle(given), *_window(given), *_hooks(given, found))
    return tuple(f"{host}: {PREFIX}{text}" for text in sentences)


def _durations(given: Mapping[str, t.Any]) -> Iterator[str]:
    for name, limits in DURATIONS.items():
        if given.get(name) is not None and not _is_number(given[name], limits):
            yield f"{name} is '{given[name]}'. Give a number of seconds, {limits.words}."


def _is_number(value: t.Any, limits: Seconds) -> bool:
    try:
        return limits.holds(float(value))
    except (TypeError, ValueError):
        return False


def _throttle(given: Mapping[str, t.Any]) -> Iterator[str]:
    if given.get("throttle") is not None and not _is_number(given["throttle"], Seconds(0)):
        yield f"throttle is '{given['throttle']}'. Give a number of servers, or 0 for as many as forks allow."


def _window(given: Mapping[str, t.Any]) -> Iterator[str]:
    text = given.get("restart_window")
    try:
        read_window(None if text is None else str(text))
    except WindowError:
        yield f"restart_window is '{text}'. {REMEDY}"


def _hooks(given: Mapping[str, t.Any], found: Mapping[str, str]) -> Iterator[str]:
    for name in HOOKS:
        if given.get(name) and not found.get(name):
            yield (
                f"{name} is '{given[name]}', which is no file on the controller. Give an absolute path, or one from "
                "the playbook's directory."
            )
