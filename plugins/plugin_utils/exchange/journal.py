# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journal of an earlier restart means for the next run.

The target script finishes an unfinished journal by itself; here it is only read (docs/target_protocol.md, section 5).
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping
from dataclasses import replace

from ...module_utils.listeners import OWNERS
from ..shapes import Json
from .debts import debt_row, handler_topic
from .inspection import Inspection, ServiceState

# A journal older than this is reported and not finished.
FRESH_S = 24 * 3600
# Steps between "it ran" and "it runs again": what is down there was stopped by us.
OURS = frozenset({"stopping", "stopped", "starting", "hung", "failed"})
# A service on its way down is waited for, and then started again.
DOWN = frozenset({"stopped", "stop_pending"})


def _corrupt(journal: Mapping[str, t.Any]) -> bool:
    return bool(journal.get("corrupt"))


def _unfinished(inspection: Inspection) -> Mapping[str, t.Any] | None:
    journal = inspection.journal
    if journal is None or _corrupt(journal) or journal.get("phase") == "done":
        return None
    return journal


def _same_boot(inspection: Inspection, journal: Mapping[str, t.Any]) -> bool:
    fresh = inspection.clock - float(journal.get("began") or 0) <= FRESH_S
    return fresh and inspection.boot is not None and journal.get("boot") == inspection.boot


def _ran(row: Mapping[str, t.Any]) -> bool:
    """Tell whether a service ran before the restart that stopped it: this journal's, or one that it finishes."""
    return bool(row.get("ran", row.get("before") == "running"))


def _ours(journal: Mapping[str, t.Any], row: Mapping[str, t.Any]) -> bool:
    """Tell whether a service that is down now was left so by this run.

    A run without an outcome died before it saw that what it had started stays up. What it never came to may still be
    on its way down for a run before it (``stop_at``).
    """
    step = row.get("step")
    if step == "running":
        return journal.get("outcome") is None
    return step in OURS or (step == "recorded" and row.get("stop_at") is not None)


def _left_down(inspection: Inspection, journal: Mapping[str, t.Any]) -> list[str]:
    """Name what this run has left stopped, and what it was to start for a run before it."""
    inherited = (journal.get("previous") or {}).get("services") or []
    own = [row for row in journal.get("services") or () if _ran(row) and _ours(journal, row)]
    rows = (*inherited, *own)
    return [name for name in dict.fromkeys(row["name"] for row in rows) if inspection.service(name).state in DOWN]


def journal_result(inspection: Inspection) -> Json | None:
    """Return what an interrupted restart left behind, None when there is nothing to tell."""
    if inspection.journal is not None and _corrupt(inspection.journal):
        return {"corrupt": True, "run": None, "who": None, "began": None, "same_boot": None, "down": [], "owed": []}
    journal = _unfinished(inspection)
    if journal is None:
        return None
    keys = {key: journal.get(key) for key in ("run", "who", "began")}
    down = _left_down(inspection, journal)
    owed = [] if inspection.lock is not None else [_owed_start(journal, name) for name in down]
    return {"corrupt": False, **keys, "same_boot": _same_boot(inspection, journal), "down": down, "owed": owed}


def _topic(journal: Mapping[str, t.Any], service: str) -> str:
    """Return the handler topic: dependents without one of their own ride on a root's."""
    known = {owner.service.lower(): owner.service for owner in OWNERS}
    roots = [row["name"] for row in journal.get("services") or () if row.get("role") == "root"]
    names = [name for name in (service, *roots) if name.lower() in known]
    return handler_topic(known[names[0].lower()] if names else OWNERS[0].service)


def _owed_start(journal: Mapping[str, t.Any], name: str) -> Json:
    reason = f"an interrupted restart (run {journal.get('run')}) left it stopped; the next restart starts it again"
    return {**debt_row(name, reason, running=False, topic=_topic(journal, name)), "unfinished": True}


def owed_by_journal(inspection: Inspection) -> list[Json]:
    """Return a debt for every service that an interrupted restart of this boot left stopped.

    ``unfinished`` marks them: starting them again completes what was begun and needs nobody's wish.
    """
    found = journal_result(inspection)
    return list(found["owed"]) if found is not None and found["same_boot"] else []


def as_finished(inspection: Inspection, names: Collection[str]) -> tuple[ServiceState, ...]:
    """Return the services as they are once an interrupted restart is completed: what a new one is planned from.

    Args:
        inspection: What was seen of the server.
        names: Services that are started again to complete it.
    """
    coming = {name.lower() for name in names}
    return tuple(replace(row, state="running") if row.name.lower() in coming else row for row in inspection.services)


def journal_warnings(inspection: Inspection) -> list[str]:
    """Say what the administrator has to look at himself."""
    found = journal_result(inspection)
    if found is None:
        return []
    if found["corrupt"]:
        return ["the journal of an earlier restart is unreadable; no restart is made until it is removed"]
    if found["down"] and not found["same_boot"]:
        down = ", ".join(found["down"])
        return [f"a restart before the last boot, or older than a day, left {down} stopped; finish: any starts it"]
    return []
