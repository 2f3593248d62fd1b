# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import time
import typing as t

from ..plugin_utils.fleet.outcome import Run, outcome_of
from ..plugin_utils.tasks.fleet_action import PLAN, FleetAction, told_of


class ActionModule(FleetAction):
    """Adapter of the module publish_verdict."""

    FOR_THE_PLAY = False
    OPTIONS = {field.name: {"type": "dict"} for field in dataclasses.fields(Run)}

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        run = Run(**{name: value or {} for name, value in options.items()})
        plan = (variables.get(PLAN) or {}).get("id")
        return {**outcome_of(told_of(variables), run), "plan": plan, "at": time.time()}
