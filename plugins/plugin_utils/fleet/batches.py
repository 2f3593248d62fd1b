# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many servers act at a time, and how many may fail: what the playbook publish takes beside the role's options.

Ansible reads both as keywords of a play, where a wrong value ends the whole run; so they are read before anything.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..problems.problem import Problem
from ..shapes import Json
from .inputs import PREFIX
from .look import Look

OPTIONS: Mapping[str, Mapping[str, t.Any]] = {
    "serial": {"type": "raw", "default": 1},
    "max_fail_percentage": {"type": "raw", "default": 0},
}
REMEDIES: Mapping[str, str] = {
    "serial": "Give a number of servers, a percentage such as 25%, or a list of these; 0 is all at once.",
    "max_fail_percentage": "Give a percentage, 0 to 100.",
}


def batch_problems(given: Mapping[str, t.Any]) -> Iterator[Problem]:
    """Say which of these options cannot be used."""
    for name, read in _READERS.items():
        try:
            read(given.get(name, OPTIONS[name]["default"]))
        except ValueError:
            yield Problem("bad_option", f"{PREFIX}{name} is '{given[name]}'", REMEDIES[name])


def batches_of(given: Mapping[str, t.Any]) -> Json:
    """Return both options as a play takes them.

    Raises:
        ValueError: One of them cannot be used.
    """
    return {name: read(given.get(name, OPTIONS[name]["default"])) for name, read in _READERS.items()}


def agreed(looks: Sequence[Look]) -> Json:
    """Return what a play takes for these servers: what the first of them says whose options can be used."""
    return next(({name: look.wishes[name] for name in OPTIONS} for look in looks if look.wishes), batches_of({}))


def _serial(value: t.Any) -> t.Any:
    if isinstance(value, (list, tuple)):
        return [_size(one) for one in value]
    return _size(value)


def _size(value: t.Any) -> int | str:
    text = "" if isinstance(value, bool) else str(value).strip()
    number = int(text.removesuffix("%"))
    if number < 0 or (text.endswith("%") and not 0 < number <= 100):
        raise ValueError(value)
    return f"{number}%" if text.endswith("%") else number


def _percentage(value: t.Any) -> float:
    number = float("" if isinstance(value, bool) else str(value).strip().removesuffix("%"))
    if not 0 <= number <= 100:
        raise ValueError(value)
    return number


_READERS: Mapping[str, t.Callable[[t.Any], t.Any]] = {"serial": _serial, "max_fail_percentage": _percentage}
