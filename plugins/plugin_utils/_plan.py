# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: from what is wanted and what a server reported to edits, restarts owed and ports to prove.

Private to this collection: names and shapes may change in any release.
A plan is made without touching anything; check mode shows it, a real run executes it.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ..module_utils._listeners import EMSMTA, LISTENERS, OWNERS, Owner
from ._errors import Problem, problem_of
from ._exchange import LDAPS_FIXED_BEFORE_BUILD, MAX_BYTES, Exchange, proxy_here
from ._ini import Document, Finding, IniError, read_strict, unified_diff
from ._journal import as_finished, owed_by_journal
from ._pending import Pending, pending, section_hash
from ._restart import Loads, RestartPlan, Wish, is_active, plan_restart
from ._server import FileState, Server
from ._wspcfg import (
    DISABLE,
    PORTS,
    PUBLISHERS,
    Outcome,
    Wanted,
    bind_addresses,
    range_problems,
    readable,
    shape,
    single_ports,
    unnamed_ports,
    unreached,
    unreadable_encoding,
    version_problems,
)

Json = dict[str, t.Any]

FILES = ("bin", "imc")
IN_FORCE = "in force"
NOT = "not"


@dataclass(frozen=True)
class FilePlan:
    """What becomes of one file.

    Attributes:
        state: The file as inspected.
        after: Its content as it shall be, None when it shall not exist.
        owned: ``SECTION.Key`` names beyond our own keys that are ours afterwards.
        copied: Sections taken over from Mspclnt.ini.
        from_backup: sha256 of the backup that is put back, None when content is written.
    """

    state: FileState
    after: bytes | None
    owned: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    from_backup: str | None = None

    @property
    def path(self) -> str:
        return self.state.path or ""

    @property
    def before(self) -> bytes | None:
        return self.state.content if self.state.exists else None

    @property
    def action(self) -> str:
        """``none``, ``create``, ``replace`` or ``delete``."""
        if self.before == self.after:
            return "none"
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "replace"

    @property
    def sha256(self) -> str | None:
        return None if self.after is None else hashlib.sha256(self.after).hexdigest()

    def as_result(self) -> Json:
        """Return it as a result without backup, which only the target knows."""
        return {
            "path": self.path,
            "action": self.action,
            "sha256_before": self.state.sha256 if self.state.exists else None,
            "sha256": self.sha256,
            "backup": None,
        }

    def as_request(self) -> Json:
        """Return it as a file of ``apply`` (docs/target_protocol.md, section 3)."""
        by_content = self.after is not None and self.from_backup is None
        return {
            "path": self.path,
            "expect_sha256": self.state.sha256 if self.state.exists else None,
            "content": base64.b64encode(self.after or b"").decode("ascii") if by_content else None,
            "from_backup": self.from_backup,
            "backup": "store",
            "backup_path": None,
        }

    def diff(self) -> Mapping[str, t.Any]:
        return unified_diff(self.before or b"", self.after or b"", path=self.path)


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


@dataclass(frozen=True)
class Port:
    """One port on the proxy, before and after.

    Attributes:
        host: The proxy's address, None when nothing tells it.
        port: TCP port.
        protocol: Name of the listener, None for a port that is no listener's.
        now: Whether the running process surely offers it.
        will: Whether it will, once the plan is carried out and what is owed has restarted.
        leaves: Whether the plan takes it out of the file; it must be closed then, whatever the process offers now.
    """

    host: str | None
    port: int
    protocol: str | None
    now: bool
    will: bool
    leaves: bool = False

    def as_target(self) -> Json:
        return {"host": self.host, "port": self.port, "protocol": self.protocol}

    def as_result(self) -> Json:
        words = {True: IN_FORCE, False: NOT}
        return {**self.as_target(), "now": words[self.now], "will": words[self.will]}


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


# -- files --------------------------------------------------------------------------------------------------------


def _owned(server: Server, file_id: str) -> tuple[str, ...]:
    """Return what our records say about keys of one file that we wrote."""
    records = [server.record(owner.service) for owner in OWNERS if owner.file_id == file_id]
    return tuple(name for record in records if record is not None for name in record.owned)


def _shape(server: Server, file_id: str, wanted: Wanted) -> Outcome:
    file = server.file(file_id)
    client = server.file("client")
    return shape(
        file_id,
        file.content if file.exists else None,
        wanted,
        owned=_owned(server, file_id),
        client=client.content,
        executables=file.executables,
    )


def _file_plan(server: Server, file_id: str, wanted: Wanted) -> FilePlan | None:
    """Plan one file; None when it is nowhere and nothing is wanted there.

    Raises:
        IniError: The text cannot be edited safely.
    """
    state = server.file(file_id)
    if state.error is not None:
        return None
    if state.path is None:
        return None
    outcome = _shape(server, file_id, wanted)
    return FilePlan(state, outcome.after, outcome.owned, outcome.copied)


def _wants(wanted: Wanted, file_id: str) -> bool:
    named = any(item.listener.owner.file_id == file_id for item in wanted.published)
    return named or (file_id == EMSMTA.file_id and wanted.present and wanted.mta_direct == "true")


def _place_problems(server: Server, file_id: str, wanted: Wanted) -> Iterable[Problem]:
    """Say why a file that is needed cannot be planned."""
    state = server.file(file_id)
    if state.error is not None and (_wants(wanted, file_id) or state.exists):
        detail = {"path": state.path, "size": state.size, "max_bytes": MAX_BYTES, **(state.error.get("detail") or {})}
        yield problem_of(str(state.error["code"]), detail, text=str(state.error.get("message") or ""))
    elif not (wanted.present and _wants(wanted, file_id)):
        return
    elif state.path is None:
        option = f"{file_id}_dir"
        cause = "the installation was not found: neither the registry nor a service tells where Exchange is"
        remedy = f"Set {option} to the directory of the executable as the server has it, or install Exchange first."
        yield Problem("not_installed", cause, remedy, option)
    elif not state.directory_exists:
        remedy = f"Check the path; set {file_id}_dir when Exchange is installed elsewhere."
        yield replace(problem_of("parent_missing", {"path": state.path}), remedy=remedy)


def _content_problems(plan: FilePlan, wanted: Wanted) -> Iterable[Problem]:
    """Refuse what the file says and what would not become sure by the edits."""
    if wanted.present and plan.before is not None:
        yield from _prose_problems(plan)
    yield from range_problems(plan.before, plan.state.id, wanted)
    if plan.action != "none" and plan.state.exists and plan.state.read_only:
        yield problem_of("read_only", {"path": plan.path})
    for section in unreached(plan.after, plan.state.id, wanted):
        cause = f"parsers read [{section}] of this file differently, and a key of ours would not be sure"
        remedy = "Correct what the findings name (save as ANSI with CRLF, write section lines alone), then run again."
        yield Problem("ambiguous", cause, remedy, path=plan.path)


def _prose_problems(plan: FilePlan) -> Iterable[Problem]:
    sections = {owner.section.lower(): owner for owner in PUBLISHERS}
    for finding in read_strict(readable(plan.before or b"")).findings:
        if finding.code == "prose_value" and finding.section.lower() in sections:
            cause = f"line {finding.line}: {finding.message}"
            remedy = (
                "It is an article's explanation, not syntax. Write ports as numbers with commas, or delete the line; "
                "state: absent removes it."
            )
            yield Problem("prose_value", cause, remedy, finding.key, path=plan.path)


def _service_problems(server: Server, wanted: Wanted) -> Iterable[Problem]:
    if not wanted.present:
        return
    for owner in PUBLISHERS:
        items = wanted.of(owner)
        if items and not server.service(owner.service).exists:
            names = ", ".join(item.listener.name for item in items)
            cause = f"the service {owner.service}, which would listen, is not installed on this server"
            remedy = "Install it, or remove these listeners."
            yield Problem("not_installed", cause, remedy, "listeners", names, service=owner.service)


# -- services and ports -------------------------------------------------------------------------------------------


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


def _debts(server: Server, files: Iterable[FilePlan], wanted: Wanted | None) -> tuple[Debt, ...]:
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


def _restart(server: Server, files: Iterable[FilePlan], debts: Iterable[Debt]) -> RestartPlan:
    names = tuple(debt.owner.service for debt in debts if debt.owed)
    services = as_finished(server, [row["service"] for row in owed_by_journal(server)])
    return plan_restart(services, Wish(names, loads_of(files))) if names else RestartPlan()


def _listener_name(owner: Owner, port: int, ports: Mapping[str, int]) -> str | None:
    """Return the listener that a port of a section is: as the user moved them, else by the table."""
    rows = [row for row in LISTENERS.values() if row.owner == owner]
    for row in rows:
        if ports.get(row.name, row.port) == port:
            return row.name
    return next((row.name for row in rows if row.port == port), None)


@dataclass(frozen=True)
class _Place:
    """Where a file surely publishes a listener; an address of None is unknown."""

    host: str | None
    port: int
    protocol: str | None

    @property
    def order(self) -> tuple[int, str]:
        return self.port, self.host or ""


def _given_address(wanted: Wanted | None, name: str | None) -> str | None:
    """Return where the user says that an unpinned port is: the listener's address, or for any other port the common."""
    if wanted is None:
        return None
    return wanted.address if name is None else wanted.addresses.get(name)


def _places(data: bytes | None, owner: Owner, wanted: Wanted | None) -> dict[_Place, bool]:
    """Return the places that a file surely publishes for a process, and whether each is pinned."""
    if data is None:
        return {}
    reading = read_strict(Document.parse(data))
    pinned = bind_addresses(reading, owner.section)
    found: dict[_Place, bool] = {}
    for port in single_ports(reading.get(owner.section, PORTS) or ""):
        name = _listener_name(owner, port, {} if wanted is None else wanted.ports)
        found[_Place(pinned.get(port) or _given_address(wanted, name), port, name)] = port in pinned
    return found


@dataclass(frozen=True)
class _Shift:
    """The places of one process, before and after."""

    debt: Debt | None
    before: Mapping[_Place, bool]
    after: Mapping[_Place, bool]

    def leaves(self, place: _Place) -> bool:
        """Whether it is no longer offered there: the port is gone, or pinned to another address.

        A port that is no longer pinned may still be there: the proxy binds it where it likes (Q181420).
        """
        staying = [pinned for other, pinned in self.after.items() if other.port == place.port]
        return place not in self.after and all(staying)

    def ports(self, taken: Collection[tuple[str | None, int]]) -> Iterable[Port]:
        """Return the ports; a place among ``taken``, which is everybody's afterwards, is closed by nobody's leaving."""
        debt = self.debt
        now = debt is not None and debt.running and not debt.verdict.pending
        comes = debt is not None and (debt.running or debt.returns)
        for place in sorted({**self.before, **self.after}, key=lambda item: item.order):
            leaves = self.leaves(place) and (place.host, place.port) not in taken
            is_now, will = now and place in self.before, comes and place in self.after
            yield Port(place.host, place.port, place.protocol, is_now, will, leaves)


def _ports(files: Iterable[FilePlan], debts: Iterable[Debt], wanted: Wanted | None) -> tuple[Port, ...]:
    by_owner = {debt.owner: debt for debt in debts}
    shifts = [
        _Shift(by_owner.get(owner), *(_places(data, owner, wanted) for data in (file.before, file.after)))
        for file in files
        for owner in PUBLISHERS
        if owner.file_id == file.state.id
    ]
    taken = {(place.host, place.port) for shift in shifts for place in shift.after}
    return tuple(port for shift in shifts for port in shift.ports(taken))


def _targets(wanted: Wanted) -> tuple[Json, ...]:
    if not wanted.present:
        return ()
    return tuple(
        {"host": item.address, "port": item.port, "protocol": item.listener.name}
        for item in wanted.published
        if item.address is not None
    )


def _unproven(wanted: Wanted | None, ports: Iterable[Port]) -> tuple[Json, ...]:
    """Return what should be proven and cannot be, because nothing tells at which address of the proxy."""
    published = wanted.published if wanted is not None and wanted.present else ()
    rows = [_nowhere(item.port, item.listener.name, "open") for item in published if item.address is None]
    rows += [_nowhere(port.port, port.protocol, "closed") for port in ports if port.leaves and port.host is None]
    return tuple(rows)


def _nowhere(port: int, protocol: str | None, expect: str) -> Json:
    return {"port": port, "protocol": protocol, "expect": expect}


# -- findings and warnings ----------------------------------------------------------------------------------------


def _finding(path: str | None, code: str, message: str, line: int | None = None) -> Json:
    return {"code": code, "path": path, "line": line, "message": message}


def _ini_finding(path: str | None, finding: Finding) -> Json:
    return _finding(path, finding.code, finding.message, finding.line)


def findings_of(server: Server) -> tuple[Json, ...]:
    """Return everything odd about the files, as the strict reader and the articles see them."""
    rows: list[Json] = []
    for file in (server.file(file_id) for file_id in FILES):
        rows += [
            _finding(file.path, "lookalike", f"{name} lies beside it and is read by nobody; rename it (Q181420)")
            for name in file.lookalikes
        ]
        if file.content is None:
            continue
        reading = read_strict(Document.parse(file.content))
        rows += [_ini_finding(file.path, finding) for finding in reading.findings]
        if reading.section("Common Configuration") is not None:
            text = "[Common Configuration] may apply to every program of this directory, the MTA too; remove it"
            rows.append(_finding(file.path, "common_section", text))
        if proxy_here(server) is not None:
            rows.append(_finding(file.path, "file_on_proxy", _NO_USE))
    return tuple(rows)


_NO_USE = "Proxy Server runs on this server, so this file has no use (Q178532); remove it by hand"


def _useless_files(server: Server) -> Iterable[str]:
    for file in map(server.file, FILES):
        if file.exists:
            yield f"{file.path}: {_NO_USE}."


def _mta_warnings(server: Server, files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    plan = next((file for file in files if file.state.id == EMSMTA.file_id), None)
    if plan is None or plan.after is None or not wanted.present or not server.service(EMSMTA.service).exists:
        return
    direct = read_strict(Document.parse(plan.after)).get(EMSMTA.section, DISABLE) == "1"
    if wanted.mta_direct == "false" and not direct:
        yield (
            "mta_direct is false: the MTA may send through the proxy, and X.400, site and RAS connectors then fail "
            "with events 9301 and 9202 on the other side (Q254909)."
        )


def _conversions(files: Iterable[FilePlan]) -> Iterable[str]:
    for file in files:
        encoding = unreadable_encoding(file.before or b"")
        if encoding is not None and file.after is not None and unreadable_encoding(file.after) is None:
            yield f"{file.path} is saved as {encoding}, which Exchange cannot read (Q181420); it is converted to ANSI."


def _disabled(files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    for file in files if wanted.present else ():
        reading = read_strict(Document.parse(file.after or b""))
        published = [row for row in PUBLISHERS if row.file_id == file.state.id and wanted.of(row)]
        for owner in (row for row in published if reading.get(row.section, DISABLE) == "1"):
            yield (
                f"{file.path}: [{owner.section}] {DISABLE}=1 keeps {owner.executable} off the proxy (Q231878), so none "
                "of its ports will be open there; delete that line."
            )


def _left_open(files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    for file in files:
        for text in unnamed_ports(file.before, file.state.id, wanted):
            yield f"{file.path}: {text}"


def _lookalikes(server: Server) -> Iterable[str]:
    """Name what an editor made of Wspcfg.ini; a copy that somebody keeps beside it is a finding and no warning."""
    for file in map(server.file, FILES):
        for name in file.lookalikes:
            if name.lower().endswith(".txt") or "." not in name:
                yield f"{name} lies beside {file.path} and is read by nobody (Q181420); rename or remove it."


def _warnings(server: Server, exchange: Exchange, wanted: Wanted) -> Iterable[str]:
    yield from _lookalikes(server)
    proxy = server.service("wspsrv")
    if proxy.exists and proxy.disabled:
        yield "Proxy Server is installed on this server but its WinSock Proxy service is disabled; it was ignored."
    if wanted.present and exchange.version is None:
        yield "The Exchange version is unknown (no build in the registry); set exchange_version to have it checked."
    ldaps = next((item for item in wanted.published if item.listener.name == "ldaps"), None)
    port = LISTENERS["ldaps"].port
    if ldaps and wanted.present and ldaps.port != port and (exchange.build or 9999) < LDAPS_FIXED_BEFORE_BUILD:
        yield f"Before 5.5 SP3, LDAP over TLS always listens on {port} (Q179309, Q232606); ports.ldaps differs."


# -- the plan -----------------------------------------------------------------------------------------------------


def make_plan(wanted: Wanted, server: Server, exchange: Exchange) -> Plan:
    """Plan what brings a server to the wanted state.

    Args:
        wanted: The user's options, checked.
        server: One inspection.
        exchange: Which Exchange it is.

    Returns:
        The plan; nothing may be executed while it has problems.
    """
    if proxy_here(server) is not None:
        return _hands_off(wanted, server)
    problems = [*version_problems(wanted, exchange.version), *_service_problems(server, wanted)]
    files: list[FilePlan] = []
    for file_id in FILES:
        problems += _place_problems(server, file_id, wanted)
        try:
            file = _file_plan(server, file_id, wanted)
        except IniError as error:
            problems.append(Problem(error.code, error.message, error.remedy, path=server.file(file_id).path))
            continue
        if file is not None:
            files.append(file)
            problems += _content_problems(file, wanted)
    warnings = [*_warnings(server, exchange, wanted), *_conversions(files), *_left_open(files, wanted)]
    warnings += _disabled(files, wanted)
    return finish_plan(server, files, wanted, problems, warnings)


def finish_plan(
    server: Server,
    files: Iterable[FilePlan],
    wanted: Wanted | None,
    problems: Iterable[Problem] = (),
    warnings: Iterable[str] = (),
    *,
    where: Wanted | None = None,
) -> Plan:
    """Add to planned files what follows from them: restarts owed, ports, findings.

    Args:
        server: One inspection.
        files: What becomes of the files.
        wanted: The user's options, None when a backup is put back.
        problems: Why nothing is done.
        warnings: What was noticed so far.
        where: What the user says about ports and addresses when a backup is put back.
    """
    files = tuple(files)
    debts = _debts(server, files, wanted)
    restart = _restart(server, files, debts)
    ports = _ports(files, debts, wanted or where)
    more = [] if wanted is None else list(_mta_warnings(server, files, wanted))
    return Plan(
        files=files,
        debts=debts,
        restart=restart,
        ports=ports,
        targets=() if wanted is None else _targets(wanted),
        findings=findings_of(server),
        problems=tuple(problems),
        warnings=(*warnings, *more),
        unproven=_unproven(wanted, ports),
    )


def _hands_off(wanted: Wanted, server: Server) -> Plan:
    """Plan nothing: Proxy Server on the Exchange server itself needs no file (Q178532); its ports are verified."""
    targets = _targets(wanted)
    ports = tuple(Port(row["host"], row["port"], row["protocol"], now=True, will=True) for row in targets)
    return Plan(
        files=(),
        debts=(),
        restart=RestartPlan(),
        ports=ports,
        targets=targets,
        findings=findings_of(server),
        problems=(),
        warnings=tuple(_useless_files(server)),
        proxy_on_server=True,
        unproven=_unproven(wanted, ports),
    )


def unchanged_files(server: Server) -> tuple[FilePlan, ...]:
    """Return the files that are somewhere, planned as they are."""
    states = (server.file(file_id) for file_id in FILES)
    return tuple(FilePlan(state, state.content) for state in states if state.path is not None and state.error is None)
