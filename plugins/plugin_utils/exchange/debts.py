# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services still have to restart, and why: what a process holds against what its file will say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...module_utils.listeners import OWNERS, Owner
from ..ini.document import Document
from ..shapes import Json
from .file import FilePlan
from .journal import as_finished, owed_by_journal
from .pending import Pending, pending, section_hash
from .restart_plan import Loads, RestartPlan, Wish, is_active, plan_restart
from .server import Server
from .wanted import Wanted


@dataclass(frozen=True)
class Debt:
    """What one service's process holds and what it shall hold.

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
        return {
            "service": self.owner.service,
            "topic": f"Restart {self.owner.service}",
            "reason": self.reason,
            "running": self.running,
        }

    def as_record(self, owned: Iterable[str]) -> Json:
        """Return the record that ``apply`` writes; a known ``loaded`` binds it to the present process.

        A stopped service will load the new content whenever it starts.
        """
        mine = [name for name in owned if name.partition(".")[0].lower() == self.owner.section.lower()]
        loaded = (None if self.verdict.pending else self.loaded) if self.running else self.wanted
        return {"service": self.owner.service, "loaded": loaded, "wanted": self.wanted, "owned": ",".join(mine)}


def _debt(server: Server, plan: FilePlan, owner: Owner, wanted: Wanted | None) -> Debt:
    service = server.service(owner.service)
    verdict = pending(service, server.record(owner.service), plan.state, owner.section)
    before, after = (None if data is None else Document.parse(data) for data in (plan.before, plan.after))
    hash_after = section_hash(after, owner.section)
    loaded = verdict.loaded if verdict.pending else section_hash(before, owner.section)
    if owner.section.lower() in {name.lower() for name in plan.copied}:
        # It was in force through Mspclnt.ini and stays so: nothing changes for the process.
        loaded = hash_after
    needed = wanted is not None and wanted.present and bool(wanted.of(owner))
    returns = owner.service.lower() in {str(row["service"]).lower() for row in owed_by_journal(server)}
    return Debt(owner, is_active(service), verdict, loaded, hash_after, needed, returns)


def debts_of(server: Server, files: Iterable[FilePlan], wanted: Wanted | None) -> tuple[Debt, ...]:
    by_id = {file.state.id: file for file in files}
    return tuple(
        _debt(server, by_id[owner.file_id], owner, wanted)
        for owner in OWNERS
        if owner.file_id in by_id and server.service(owner.service).exists
    )


def loads_of(files: Iterable[FilePlan]) -> dict[str, Loads]:
    """Return what every process of Exchange reads at its start, by lower-case service name."""
    by_id = {file.state.id: file for file in files}
    loads = {}
    for owner in OWNERS:
        file = by_id.get(owner.file_id)
        if file is not None:
            document = None if file.after is None else Document.parse(file.after)
            loads[owner.service.lower()] = Loads(file.path, file.sha256, section_hash(document, owner.section))
    return loads


def restart_of(server: Server, files: Iterable[FilePlan], debts: Iterable[Debt]) -> RestartPlan:
    names = tuple(debt.owner.service for debt in debts if debt.owed)
    services = as_finished(server, [row["service"] for row in owed_by_journal(server)])
    return plan_restart(services, Wish(names, loads_of(files))) if names else RestartPlan()
