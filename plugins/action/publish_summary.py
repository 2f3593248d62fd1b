# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

from ansible.utils.display import Display

from ..plugin_utils.fleet.inventory import FleetVariables
from ..plugin_utils.fleet.summary import Play, progress_of, summary_result, summary_text
from ..plugin_utils.tasks.fleet_action import PLAN, SUMMARY, FleetAction, looks_of

display = Display()


class ActionModule(FleetAction):
    """Adapter of the module publish_summary."""

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        del options
        fleet = FleetVariables(variables["hostvars"])
        plan = variables[PLAN]
        hosts = [host for host in variables["ansible_play_hosts_all"] if host in plan["owing"]]
        progress = progress_of(
            plan,
            hosts,
            outcomes=fleet.registered(hosts, "__publish_verdict"),
            started=fleet.registered(hosts, "__publish_owed"),
            summed=fleet.registered(hosts, SUMMARY),
            seconds=time.time() - float(plan["at"]),
            looks=looks_of(fleet, hosts),
            play=self._play(plan, variables),
        )
        if progress.is_last:
            self.show(summary_text(progress, evidence=display.verbosity > 0))
        return {**summary_result(progress), "plan": plan["id"]}

    def _play(self, plan: dict[str, t.Any], variables: dict[str, t.Any]) -> Play | None:
        """Return the play where it has made this plan, with the hosts of it that have none yet."""
        play = self._task.get_play()
        if plan["play"] != str(play._uuid):
            return None
        planned = FleetVariables(variables["hostvars"]).registered(variables["ansible_play_hosts"], PLAN)
        seen = {host for host, row in planned.items() if row.get("play") == plan["play"]}
        later = [host for host in variables["ansible_play_hosts"] if host not in seen]
        limit = 0 if play.any_errors_fatal else play.max_fail_percentage
        return Play(later, len(variables["ansible_play_hosts_all"]), 100.0 if limit is None else float(limit))
