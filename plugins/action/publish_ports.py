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
        return {"asked": ports_to_ask(looks, inventory_of(fleet, looks, variables))}
