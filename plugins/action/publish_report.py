# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import getpass
import platform
import time
import typing as t
from pathlib import Path

from ..plugin_utils.fleet.inventory import FleetVariables
from ..plugin_utils.reports.data import as_json
from ..plugin_utils.reports.file import write
from ..plugin_utils.reports.gather import report_of_check, report_of_run
from ..plugin_utils.reports.junit import as_junit
from ..plugin_utils.reports.model import Made, Report
from ..plugin_utils.reports.page import as_page
from ..plugin_utils.tasks.fleet_action import PLAN, SUMMARY, FleetAction, looks_of

_FORMS = {".html": as_page, ".json": as_json, ".xml": as_junit}


class ActionModule(FleetAction):
    """Adapter of the module publish_report."""

    OPTIONS = {"path": {"type": "str", "default": ""}, "verify": {"type": "bool", "default": False}}

    def decide(self, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        plan = variables.get(PLAN) or {}
        if not options["path"]:
            return {"skipped": True, "msg": "publish_report is not set"}
        if not options["verify"] and "servers" not in plan:
            return {"skipped": True, "msg": "there is no plan, and so nothing to report"}
        form = _FORMS.get(Path(options["path"]).suffix.lower())
        if form is None:
            return {"skipped": True, "msg": "the file's name does not say which form is wanted; every look refuses it"}
        report = self._checked(variables) if options["verify"] else self._planned(plan, variables)
        name = str(variables["inventory_hostname"])
        written = write(form(report), options["path"], complete=report.complete, told_by=name)
        if "unwritten" in written:
            self._display.warning(written["unwritten"])
        return written

    def _planned(self, plan: dict[str, t.Any], variables: dict[str, t.Any]) -> Report:
        fleet = FleetVariables(variables["hostvars"])
        # A play that only acts knows some of the plan's servers; one batch's plan knows some of the play's.
        planned, meant = list(plan["servers"]), variables["ansible_play_hosts_all"]
        found = fleet.registered(planned if set(meant) <= set(planned) else meant, PLAN)
        plans = {host: row for host, row in found.items() if row.get("play") == plan["play"]}
        summary = variables.get(SUMMARY) or {}
        return report_of_run(
            plans,
            looks_of(fleet, list(plans)),
            plan=plan,
            outcomes=fleet.registered(list(plans), "__publish_verdict"),
            summary=summary if summary.get("plan") == plan["id"] else {},
            made=_made(variables),
            check_mode=bool(plan["check_mode"]),
        )

    def _checked(self, variables: dict[str, t.Any]) -> Report:
        fleet, hosts = FleetVariables(variables["hostvars"]), variables["ansible_play_hosts_all"]
        checked = fleet.registered(hosts, "__publish_after")
        verdicts = fleet.registered(hosts, "__publish_verdict")
        return report_of_check(
            looks_of(fleet, hosts),
            checked=checked,
            verdicts={host: row for host, row in verdicts.items() if not checked.get(host, {}).get("ok")},
            made=_made(variables),
            check_mode=bool(self._task.check_mode),
        )


def _made(variables: dict[str, t.Any]) -> Made:
    names = (variables.get(f"{product}_user_name") for product in ("awx", "tower"))
    return Made(time.time(), next(filter(None, names), "") or getpass.getuser(), platform.node())
