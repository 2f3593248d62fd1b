# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at one server: what is wanted of it, and what was found there, or why nothing was.

A look never fails: what stands in the way is data, so that one plan can be made for all servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..problems.problem import Problem
from ..shapes import Json, JsonObject

NO_LOOK = "the server was not looked at; the messages above say why"


@dataclass(frozen=True)
class Look:
    """What one server's ``publish_look`` returned.

    Attributes:
        host: Inventory name.
        reached: Whether the server, or its management host, could be reached; true also where nothing was sent.
        messages: Why nothing can be planned, one sentence each, the host first; empty when a plan can be made.
        wishes: Options of the role with their types; empty when they could not be read.
        found: Result of ``wspcfg`` in check mode; empty when there is none.
    """

    host: str
    reached: bool
    messages: tuple[str, ...]
    wishes: JsonObject
    found: JsonObject


def look_result(
    host: str,
    *,
    reached: bool = True,
    problems: Sequence[Problem] = (),
    wishes: JsonObject | None = None,
    found: JsonObject | None = None,
    targets: Sequence[JsonObject] | None = None,
) -> Json:
    """Return a look as a task's result carries it."""
    return {
        "changed": False,
        "host": host,
        "reached": reached,
        "messages": [problem.message(host) for problem in problems],
        "problems": [problem.as_result() for problem in problems],
        "wishes": dict(wishes or {}),
        "found": dict(found or {}),
        **({} if targets is None else {"targets": list(targets)}),
    }


def read_look(host: str, result: JsonObject | None) -> Look:
    """Return the look of one server, also where its task broke before it could look.

    Args:
        host: Inventory name.
        result: The registered result; None when the task never ran.
    """
    row = result or {}
    if "reached" not in row:
        text = str(row.get("msg") or "").strip().removeprefix("Task failed: ") or NO_LOOK
        return Look(host, not row.get("unreachable"), (f"{host}: {text}",), {}, {})
    found = row["found"] if "files" in row["found"] else {}
    is_looked_at = bool(found) or "targets" in row  # those of a look that asked the server nothing
    messages = tuple(row["messages"]) or (() if is_looked_at else (f"{host}: {NO_LOOK}",))
    return Look(host, bool(row["reached"]), messages, row["wishes"], found)
