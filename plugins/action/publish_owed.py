# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.fleet.outcome import owed_result
from ..plugin_utils.tasks.fleet_action import PLAN, FleetAction, told_of


class ActionModule(FleetAction):
    """Adapter of the module publish_owed."""

    FOR_THE_PLAY = False
    OPTIONS = {
        "found": {"type": "dict"},
        "ports": {"type": "dict"},
        "restarted": {"type": "dict"},
        "again": {"type": "bool", "default": False},
    }

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        told = told_of(variables)
        owed = owed_result(
            told,
            found=options["found"],
            probed=options["ports"],
            restarted=options["restarted"],
            again=options["again"],
        )
        refused = owed["refused"]
        plan = (variables.get(PLAN) or {}).get("id")
        # What became of a rollback is the verdict's to say.
        failed = bool(refused) and not options["again"]
        return {**owed, "plan": plan, "failed": failed, "msg": "\n".join(refused)}
