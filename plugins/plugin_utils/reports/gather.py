# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report out of what the tasks of a run registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..fleet.look import Look
from ..fleet.show import counted
from ..fleet.summary import wish_of
from ..shapes import JsonObject
from .model import Made, Report, server_of_check, server_of_plan


def report_of_run(
    plans: Mapping[str, JsonObject],
    looks: Sequence[Look],
    *,
    plan: JsonObject,
    outcomes: Mapping[str, JsonObject],
    summary: JsonObject,
    made: Made,
    check_mode: bool,
) -> Report:
    """Return the report of a run that made a plan, as far as it has come.

    Args:
        plans: Results of ``publish_plan`` by host: one for all, or one per batch of ``serial``.
        looks: Looks of the same hosts, in the order of the report; one whose plan does not know it is left out.
        plan: The newest plan.
        outcomes: Results of ``publish_verdict`` by host; those of other plans count for nothing.
        summary: Result of ``publish_summary`` of the newest plan; empty when nothing was done yet.
        made: When and by whom.
        check_mode: Whether nothing was to be changed.
    """
    audit = "audit" in plan
    acting = not check_mode and not audit and any(each["owing"] for each in plans.values())
    servers = tuple(
        server_of_plan(
            look,
            plans[look.host]["servers"][look.host],
            at=float(plans[look.host]["at"]),
            audit=audit,
            acting=acting,
            outcome=_own(outcomes.get(look.host), plans[look.host]),
        )
        for look in looks
        if look.host in plans[look.host]["servers"]
    )
    conflicts = dict.fromkeys(_conflict(row) for each in plans.values() for row in each["conflicts"])
    warnings = dict.fromkeys(text for each in plans.values() for text in each["remarks"])
    return Report(
        kind="audit" if audit else KINDS[wish_of(looks)],
        check_mode=check_mode,
        complete=bool(summary.get("last")) if acting else True,
        headline=str((summary if summary.get("last") else plan)["headline"]),
        made=made,
        seconds=max(made.at - min(float(each["at"]) for each in plans.values()), 0.0),
        servers=servers,
        conflicts=tuple(conflicts),
        warnings=tuple(warnings),
    )


KINDS: Mapping[str, str] = {"present": "publish", "absent": "unpublish", "restore": "restore"}


def _own(outcome: JsonObject | None, plan: JsonObject) -> JsonObject | None:
    """Return what came of a server under this plan, None where nothing did."""
    return outcome if outcome and outcome.get("plan") == plan["id"] else None


def _conflict(row: JsonObject) -> str:
    listeners = ", ".join(row["listeners"])
    return f"{row['address']}:{row['port']} ({listeners}) is claimed by {' and '.join(row['hosts'])}"


def report_of_check(
    looks: Sequence[Look],
    *,
    checked: Mapping[str, JsonObject],
    verdicts: Mapping[str, JsonObject],
    made: Made,
    check_mode: bool,
) -> Report:
    """Return the report of a check from outside.

    Args:
        looks: Looks of the hosts, in the order of the report.
        checked: Results of ``port_probe`` by host.
        verdicts: Results of ``publish_verdict`` by host, of those that are not as wanted.
        made: When and by whom.
        check_mode: Whether the ports were asked only once.
    """
    servers = tuple(
        server_of_check(look, checked.get(look.host) or {}, verdicts.get(look.host) or {}, at=made.at) for look in looks
    )
    ports = [port for row in checked.values() for port in row.get("results") or ()]
    right = sum(bool(port["ok"]) for port in ports)
    headline = f"{right} of {counted(len(ports), 'port')} of {counted(len(servers), 'server')} as wanted."
    return Report("verify", check_mode, complete=True, headline=headline, made=made, seconds=0.0, servers=servers)
