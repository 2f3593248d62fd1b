# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action has in common that decides for a whole play, or for one server without asking it.

Such a task must not fail for reasons of its own: with ``run_once`` that would end the whole play silently.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..fleet.inventory import FleetVariables
from ..fleet.look import Look, read_look
from ..fleet.outcome import Told
from ..fleet.plan import Answers, Vantage
from ..shapes import Json, JsonObject
from .arguments import validated

display = Display()

# Callbacks whose standard output is one document for programs.
_FOR_PROGRAMS = ("json", "jsonl")
_LINEAR = ("linear", "debug")
_COLOURS = {
    "refuse": "COLOR_ERROR",
    "failed": "COLOR_ERROR",
    "broken": "COLOR_ERROR",
    "not": "COLOR_UNREACHABLE",
    "write": "COLOR_CHANGED",
    "restart": "COLOR_CHANGED",
    "wait": "COLOR_WARN",
    "note": "COLOR_WARN",
    "proven": "COLOR_OK",
}


class FleetAction(ActionBase):  # type: ignore[misc]
    """Validates options and hands variables to ``decide``; a subclass gives both."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    OPTIONS: t.ClassVar[Mapping[str, t.Any]] = {}
    FOR_THE_PLAY = True

    def decide(self, options: Json, variables: Json) -> Json:
        """Return the task's result."""
        raise NotImplementedError

    def run(self, tmp: object = None, task_vars: dict[str, t.Any] | None = None) -> Json:
        super().run(None, task_vars)
        del tmp
        options = validated(self, self.OPTIONS)
        hindrance = self._other_strategy() if self.FOR_THE_PLAY else ""
        if hindrance:
            # Whoever stops the servers says it, once for each; here it would be said by every task.
            return {"changed": False, "skipped": True, "msg": hindrance}
        result = self.decide(options, task_vars or {})
        return {"changed": False, **result, "check_mode": bool(self._task.check_mode)}

    def _other_strategy(self) -> str:
        """Say why no plan can be made: under free and host_pinned servers would act on parts of one; else empty."""
        strategy = str(self._task.get_play().strategy)
        if strategy.rpartition(".")[2] in _LINEAR:
            return ""
        return (
            f"strategy {strategy} does not honour run_once, so no plan can be made for all servers; set strategy: "
            "linear in the play that uses this role"
        )

    def show(self, lines: Sequence[str]) -> None:
        """Print text once, in the colours of its verbs; where standard output is for programs, on standard error."""
        for_programs = str(constants.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2] in _FOR_PROGRAMS
        for line in lines:
            colour = next((_COLOURS[word] for word in line.split()[:2] if word in _COLOURS), None)
            display.display(line, color=getattr(constants, colour) if colour else None, stderr=for_programs)


# -- variables of the role --------------------------------------------------------------------------------------------

LOOK, PLAN, ASKED, INSIDE = "__publish_look", "__publish_plan", "__publish_ports", "__publish_inside"
SUMMARY, REPORTED = "__publish_summary", "__publish_reported"


def looks_of(variables: FleetVariables, hosts: Sequence[str]) -> list[Look]:
    """Return the look of every host, also of one whose task never ran.

    A host whose look was skipped is none of the role's: a ``when`` on the role leaves it out.
    """
    found = variables.registered(hosts, LOOK)
    return [read_look(host, found.get(host)) for host in hosts if not (found.get(host) or {}).get("skipped")]


def answers_of(asked: JsonObject | None) -> Answers:
    """Return what a loop of ``port_probe`` over its vantages registered; a vantage that broke has answered nothing."""
    rows = (asked or {}).get("results") or ()
    return Answers(
        {
            Vantage(str(row["item"]["probe_host"]), float(row["item"]["timeout"])): row
            for row in rows
            if isinstance(row, Mapping) and isinstance(row.get("item"), Mapping) and not row.get("skipped")
        }
    )


def told_of(task_vars: Mapping[str, t.Any]) -> Told:
    """Return what the plan told about the server of a task."""
    host = str(task_vars["inventory_hostname"])
    plan = task_vars.get(PLAN) or {}
    row = (plan.get("servers") or {}).get(host) or {}
    look = read_look(host, task_vars.get(LOOK))
    return Told(look, row.get("more") or (), row.get("elsewhere") or ())
