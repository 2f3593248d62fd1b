# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure

from ..plugin_utils.fleet.refuse import refusal_of
from ..plugin_utils.tasks.fleet_action import PLAN, REPORTED, FleetAction


class ActionModule(FleetAction):
    """Adapter of the module publish_refuse."""

    FOR_THE_PLAY = False

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        del options
        refusal = refusal_of(str(variables["inventory_hostname"]), variables.get(PLAN), variables.get(REPORTED))
        if refusal.unreachable:
            raise AnsibleConnectionFailure(refusal.message)
        return {"failed": bool(refusal.message), "msg": refusal.message or "nothing stands in the way"}
