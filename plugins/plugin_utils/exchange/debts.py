# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services still have to restart, and why: what a process holds against what its file will say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ...module_utils.listeners import OWNERS, Owner
from ..shapes import Json
from .content import section_hash
from .file import FilePlan
from .inspection import Inspection, ServiceState
from .pending import Pending, pending
from .restart_plan import Loads, RestartPlan, Wish, is_active, plan_restart
from .wanted import Wanted


def handler_topic(service: str) -> str:
    """Return the topic under which the role's handlers listen for a service's restart."""
    return f"Restart {service}"


def debt_row(service: str, reason: str, *, running: bool, topic: str | None = None) -> Json:
    """Return a pending restart as results carry it.

    Args:
        service: Which service has to restart, or to start.
        reason: Why.
        running: Whether it runs now.
        topic: The handler's topic, where it is another service's.
    """
    return {"service": service, "topic": topic or handler_topic(service), "reason": reason, "running": running}


@dataclass(frozen=True)
class Debt:
    """What one service's process holds, and what it has to hold: the restart that is pending for it, if any.

    Attributes:
        owner: Process, section, service.
        running: Whether the service is active.
        verdict: Pending before any edit.
        loaded: Hash of the section that the process holds, None when unknown.
        wanted: Hash of the section after the plan.
        needed: Whether the plan publishes listeners of this process.
        returns: Whether the completion of an interrupted restart starts it, with what is in the file then.
    """

    owner: Owner
    running: bool
    verdict: Pending
    loaded: str | None
    wanted: str
    needed: bool
    returns: bool = False

    @property
    def owed(self) -> bool:
        """Whether it must restart, or start because listeners of it are published and nobody else starts it."""
        if self.running:
            return self.loaded != self.wanted
        return self.needed and not self.returns

    @property
    def reason(self) -> str:
        if not self.running:
            return "the service is not running, so its listeners are closed"
        if self.verdict.pending:
            return self.verdict.text
        return f"its process has not loaded the new [{self.owner.section}]"

    def as_result(self) -> Json:
        return debt_row(self.owner.service, self.reason, running=self.running)

    def as_record(self, owned: Iterable[str]) -> Json:
        """Return the record that ``apply`` writes; a known ``loaded`` binds it to the present process.

        A stopped service will load the new content whenever it starts.
        """
        mine = [name for name in owned if name.partition(".")[0].lower() == self.owner.section.lower()]
        loaded = (None if self.verdict.pending else self.loaded) if self.running else self.wanted
        return {"service": self.owner.service, "loaded": loaded, "wanted": self.wanted, "owned": ",".join(mine)}


def debts_of(
    inspection: Inspection, files: Iterable[FilePlan], wanted: Wanted | None, completed: Collection[str] = ()
) -> tuple[Debt, ...]:
    """Return what every process of Exchange holds and has to hold.

    Args:
        inspection: What was seen of the server.
        files: What becomes of the files.
        wanted: The user's options, None when a backup is put back.
        completed: Services that the completion of an interrupted restart starts.
    """
    by_id = {file.state.id: file for file in files}
    returning = {name.lower() for name in completed}
    return tuple(
        _debt(inspection, by_id[owner.file_id], owner, wanted, returns=owner.service.lower() in returning)
        for owner in OWNERS
        if owner.file_id in by_id and inspection.service(owner.service).exists
    )


def _debt(inspection: Inspection, plan: FilePlan, owner: Owner, wanted: Wanted | None, *, returns: bool) -> Debt:
    service = inspection.service(owner.service)
    verdict = pending(service, inspection.record(owner.service), plan.state, owner.section)
    hash_after = section_hash(plan.after, owner.section)
    loaded = verdict.loaded if verdict.pending else section_hash(plan.before, owner.section)
    if owner.section.lower() in {name.lower() for name in plan.copied}:
        # It was in force through Mspclnt.ini and stays so: nothing changes for the process.
        loaded = hash_after
    needed = wanted is not None and wanted.present and bool(wanted.of(owner))
    return Debt(owner, is_active(service), verdict, loaded, hash_after, needed, returns)


def loads_of(files: Iterable[FilePlan]) -> dict[str, Loads]:
    """Return what every process of Exchange reads at its start, by lower-case service name."""
    by_id = {file.state.id: file for file in files}
    loads = {}
    for owner in OWNERS:
        file = by_id.get(owner.file_id)
        if file is not None:
            loads[owner.service.lower()] = Loads(file.path, file.sha256, section_hash(file.after, owner.section))
    return loads


def restart_of(services: Sequence[ServiceState], files: Iterable[FilePlan], debts: Iterable[Debt]) -> RestartPlan:
    """Plan the restart of what is owed, from the services as they are once an interrupted restart is completed."""
    names = tuple(debt.owner.service for debt in debts if debt.owed)
    return plan_restart(services, Wish(names, loads_of(files))) if names else RestartPlan()
