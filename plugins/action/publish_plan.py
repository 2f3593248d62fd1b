# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
import uuid

from ansible.utils.display import Display

from ..plugin_utils.fleet.batches import agreed
from ..plugin_utils.fleet.inventory import FleetVariables, inventory_of
from ..plugin_utils.fleet.plan import OWES, FleetPlan, plan_fleet
from ..plugin_utils.fleet.show import audit_rows, audit_text, counts_of, fleet_warnings, plan_text
from ..plugin_utils.tasks.fleet_action import ASKED, INSIDE, FleetAction, answers_of, looks_of

display = Display()


class ActionModule(FleetAction):
    """Adapter of the module publish_plan."""

    OPTIONS = {
        "audit": {"type": "bool", "default": False},
        "looked_into": {"type": "bool", "default": False},
    }

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        fleet = FleetVariables(variables["hostvars"])
        hosts = variables["ansible_play_batch"]
        looks = looks_of(fleet, hosts)
        plan = plan_fleet(
            looks,
            answers_of(variables.get(ASKED)),
            inventory_of(fleet, looks, variables),
            insides=fleet.registered(hosts, INSIDE) if options["looked_into"] else {},
            audit=options["audit"],
        )
        result = plan.as_result()
        lines = self._text(plan, options, meant=len(variables["ansible_play_hosts_all"]))
        # Servers whose ports are broken although nothing is owed are looked into first; then there is one more plan.
        if options["audit"] or options["looked_into"] or not result["broken"]:
            self.show(lines)
        more = {"audit": audit_rows(plan)} if options["audit"] else {}
        told = {"lines": lines, "headline": counts_of(lines), "remarks": fleet_warnings(plan, audit=options["audit"])}
        this = {"id": str(uuid.uuid4()), "play": str(self._task.get_play()._uuid), "at": time.time()}
        return {**result, **agreed(looks), **more, **told, **this}

    def _text(self, plan: FleetPlan, options: dict[str, t.Any], *, meant: int) -> list[str]:
        if options["audit"]:
            return audit_text(plan, everything=display.verbosity > 0)
        return plan_text(
            plan,
            acting=not self._task.check_mode and bool(plan.named(OWES)),
            meant=meant,
            evidence=display.verbosity > 0,
        )
