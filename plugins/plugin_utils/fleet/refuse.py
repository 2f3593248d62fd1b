# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops one server: why it is refused, broken or was not reached; a server that no plan knows stops, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..shapes import JsonObject
from .plan import BROKEN, REFUSED, UNREACHED

NO_PLAN = "no plan was made for this server, so nothing is done: {why}"
NOT_RUN = (
    "the task that plans for all servers did not run; it runs once per play, so in a play of mixed hosts give the "
    "Exchange servers a play of their own with hosts:, not the role a when:"
)


@dataclass(frozen=True)
class Refusal:
    """Why a server stops.

    Attributes:
        message: Empty when nothing stands in the way.
        unreachable: Whether it is a host that could not be reached.
    """

    message: str = ""
    unreachable: bool = False


def refusal_of(host: str, plan: JsonObject | None, reported: JsonObject | None = None) -> Refusal:
    """Return why a server stops.

    Args:
        host: Inventory name.
        plan: Result of ``publish_plan``; None, skipped or failed when there is no plan.
        reported: Result of ``publish_report``; a report that could not be written stops one server, as the last one.
    """
    refusal = _refusal(host, plan)
    unwritten = str(reported["unwritten"]) if reported and reported.get("told_by") == host else ""
    return replace(refusal, message="\n".join(filter(None, (refusal.message, unwritten))))


def _refusal(host: str, plan: JsonObject | None) -> Refusal:
    row = ((plan or {}).get("servers") or {}).get(host)
    if row is None:
        why = str((plan or {}).get("msg") or NOT_RUN).strip().removeprefix("Task failed: ")
        return Refusal(f"{host}: {NO_PLAN.format(why=why)}")
    message = "\n".join(row["because"])
    if row["state"] == UNREACHED:
        return Refusal(message, unreachable=True)
    if row["state"] in (REFUSED, BROKEN):
        return Refusal(message or f"{host}: {row['state']}")
    return Refusal(f"{host}: {'; '.join(row['drift'])}" if row["drift"] else "")
