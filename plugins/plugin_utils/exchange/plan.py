# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one server: from what is wanted and what was inspected to edits, restarts owed and ports to prove."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..ini.text import IniError
from ..problems.problem import Problem
from ..shapes import Json
from .debts import Debt, debts_of, restart_of
from .file import FILES, FilePlan, content_problems, place_problems, plan_file
from .findings import (
    conversion_warnings,
    cut_warnings,
    disabled_warnings,
    findings_of,
    mta_warnings,
    server_warnings,
    staying_warnings,
    useless_files,
)
from .inspection import Inspection
from .installation import Exchange, proxy_here
from .journal import as_finished, owed_by_journal
from .ports import Port, ports_of, targets_of, unproven_of
from .restart_plan import RestartPlan
from .section import PUBLISHERS
from .wanted import Wanted, version_problems


@dataclass(frozen=True)
class Plan:
    """Everything that a run would do, and why it would not."""

    files: tuple[FilePlan, ...]
    debts: tuple[Debt, ...]
    restart: RestartPlan
    ports: tuple[Port, ...]
    targets: tuple[Json, ...]
    findings: tuple[Json, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    proxy_on_server: bool = False
    unproven: tuple[Json, ...] = ()

    @property
    def writes(self) -> tuple[FilePlan, ...]:
        return tuple(file for file in self.files if file.action != "none")

    @property
    def owed(self) -> tuple[Debt, ...]:
        return tuple(debt for debt in self.debts if debt.owed)

    def records(self) -> list[Json]:
        """Return the records that go with the files that are written."""
        return [row for file in self.writes for row in self._records_of(file)]

    def _records_of(self, file: FilePlan) -> list[Json]:
        """Return the records of the processes that read a file.

        Keys of programs without a record of their own stand in the last one: the MTA's, or where there is no MTA, that
        of another process that reads the same file.
        """
        debts = [debt for debt in self.debts if debt.owner.file_id == file.state.id]
        rows = [debt.as_record(file.owned) for debt in debts]
        recorded = {debt.owner.section.lower() for debt in debts}
        others = [name for name in file.owned if name.partition(".")[0].lower() not in recorded]
        if rows and others:
            rows[-1]["owned"] = ",".join(filter(None, [rows[-1]["owned"], *others]))
        return rows


def _service_problems(inspection: Inspection, wanted: Wanted) -> Iterable[Problem]:
    if not wanted.present:
        return
    for owner in PUBLISHERS:
        items = wanted.of(owner)
        if items and not inspection.service(owner.service).exists:
            names = ", ".join(item.listener.name for item in items)
            cause = f"the service {owner.service}, which would listen, is not installed on this server"
            remedy = "Install it, or remove these listeners."
            yield Problem("not_installed", cause, remedy, "listeners", names, service=owner.service)


def make_plan(wanted: Wanted, inspection: Inspection, exchange: Exchange) -> Plan:
    """Plan what brings a server to the wanted state.

    Args:
        wanted: The user's options, checked.
        inspection: What was seen of the server.
        exchange: Which Exchange it is.

    Returns:
        The plan; nothing may be executed while it has problems.
    """
    if proxy_here(inspection) is not None:
        return _hands_off(wanted, inspection)
    problems = [*version_problems(wanted, exchange.version), *_service_problems(inspection, wanted)]
    files: list[FilePlan] = []
    for file_id in FILES:
        problems += place_problems(inspection, file_id, wanted)
        try:
            file = plan_file(inspection, file_id, wanted)
        except IniError as error:
            problems.append(Problem(error.code, error.message, error.remedy, path=inspection.file(file_id).path))
            continue
        if file is not None:
            files.append(file)
            problems += content_problems(file, wanted)
    warnings = [
        *cut_warnings(inspection),
        *server_warnings(inspection, exchange, wanted),
        *conversion_warnings(files),
        *staying_warnings(files, wanted),
    ]
    warnings += disabled_warnings(files, wanted)
    return finish_plan(inspection, files, wanted, problems, warnings)


def finish_plan(
    inspection: Inspection,
    files: Iterable[FilePlan],
    wanted: Wanted | None,
    problems: Iterable[Problem] = (),
    warnings: Iterable[str] = (),
    *,
    where: Wanted | None = None,
) -> Plan:
    """Add to planned files what follows from them: restarts owed, ports, findings.

    Args:
        inspection: What was seen of the server.
        files: What becomes of the files.
        wanted: The user's options, None when a backup is put back.
        problems: Why nothing is done.
        warnings: What was noticed so far.
        where: What the user says about ports and addresses when a backup is put back.
    """
    files = tuple(files)
    completed = [row["service"] for row in owed_by_journal(inspection)]
    debts = debts_of(inspection, files, wanted, completed)
    restart = restart_of(as_finished(inspection, completed), files, debts)
    ports = ports_of(files, debts, wanted or where)
    return Plan(
        files=files,
        debts=debts,
        restart=restart,
        ports=ports,
        targets=() if wanted is None else targets_of(wanted),
        findings=findings_of(inspection),
        problems=tuple(problems),
        warnings=(*warnings, *(() if wanted is None else mta_warnings(inspection, files, wanted))),
        unproven=unproven_of(wanted, ports),
    )


def _hands_off(wanted: Wanted, inspection: Inspection) -> Plan:
    """Plan nothing: Proxy Server on the Exchange server itself needs no file (Q178532); its ports are verified."""
    targets = targets_of(wanted)
    ports = tuple(Port(row["host"], row["port"], row["protocol"], now=True, will=True) for row in targets)
    return Plan(
        files=(),
        debts=(),
        restart=RestartPlan(),
        ports=ports,
        targets=targets,
        findings=findings_of(inspection),
        problems=(),
        warnings=tuple(useless_files(inspection)),
        proxy_on_server=True,
        unproven=unproven_of(wanted, ports),
    )
