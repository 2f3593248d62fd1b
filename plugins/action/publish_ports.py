# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.fleet.inventory import FleetVariables, inventory_of
from ..plugin_utils.fleet.plan import ports_to_ask
from ..plugin_utils.tasks.fleet_action import FleetAction, looks_of


class ActionModule(FleetAction):
    """Adapter of the module publish_ports."""

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        del options
        fleet = FleetVariables(variables["hostvars"])
        looks = looks_of(fleet, variables["ansible_play_batch"])
        asked = ports_to_ask(looks, inventory_of(fleet, looks, variables))
        # They are asked in a loop. ansible-core 2.21 reaches a host whose variables name no connection by that of the
        # item before, so that such hosts come first: else the controller would answer for them.
        return {"asked": sorted(asked, key=lambda row: "ansible_connection" in fleet.raw(row["probe_host"]))}
