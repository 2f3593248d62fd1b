# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One answer of two: of a restart whose worker died, and of the run that completed it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ..shapes import Json


def told_names(cut: Mapping[str, t.Any], end: Mapping[str, t.Any]) -> list[str]:
    """Name every service that an interrupted run and the one that completed it tell of."""
    rows = [row["name"] for answer in (cut, end) for row in answer.get("services") or ()]
    return list(dict.fromkeys([*rows, *_down_names(cut), *_down_names(end)]))


def _down_names(answer: Mapping[str, t.Any]) -> list[str]:
    return [*(answer.get("down") or ()), *((answer.get("previous") or {}).get("down") or ())]


def united(cut: Mapping[str, t.Any], end: Mapping[str, t.Any], now: Mapping[str, Mapping[str, t.Any]]) -> Json:
    """Return one answer of an interrupted run and of the run that completed it.

    Args:
        cut: Answer of the first.
        end: Answer of the second, empty or an error's when it failed.
        now: Services as they were seen afterwards, by lower-case name.
    """
    later = {row["name"]: row for row in end.get("services") or ()}
    rows = [_one_row(row, later.pop(row["name"], {})) for row in cut.get("services") or ()]
    rows = [_as_seen(row, now.get(row["name"].lower())) for row in [*rows, *later.values()]]
    ran = [row["name"] for row in rows if row.get("before") == "running"]
    up = {name for name, row in now.items() if row["state"] == "running"}
    names = dict.fromkeys([*ran, *_down_names(cut), *_down_names(end)]) if now else dict.fromkeys(_left(cut, end))
    lists = {
        key: list(dict.fromkeys([*(cut.get(key) or ()), *(end.get(key) or ())])) for key in ("finished", "left_alone")
    }
    return {
        **{key: value for key, value in {**cut, **end}.items() if key != "error"},
        **lists,
        "done": True,
        "outcome": "interrupted",
        "services": rows,
        "timeline": [*(cut.get("timeline") or ()), *(end.get("timeline") or ())],
        "down": [name for name in names if name.lower() not in up],
    }


def _left(cut: Mapping[str, t.Any], end: Mapping[str, t.Any]) -> list[str]:
    """Name what is down when nobody could look: what was, without what came up again."""
    started = end.get("finished") or ()
    return [*(name for name in _down_names(cut) if name not in started), *_down_names(end)]


def _one_row(cut: Mapping[str, t.Any], end: Mapping[str, t.Any]) -> Json:
    """What the completing run did to a service goes over what the first did; how it was before does not."""
    new = {key: value for key, value in end.items() if value is not None}
    kept = ("role", "before", "process_before", "process_source", "stop_ms")
    return {**cut, **new, **{key: cut[key] for key in kept if cut.get(key) is not None}}


def _as_seen(row: Mapping[str, t.Any], seen: Mapping[str, t.Any] | None) -> Json:
    if seen is None:
        return {**row, "after": None, "process_after": None}
    source = "path" if seen["process"] else row.get("process_source")
    return {**row, "after": seen["state"], "process_after": seen["process"], "process_source": source}
