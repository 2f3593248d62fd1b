# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is odd about a server or its files: findings, and warnings for the user."""

from __future__ import annotations

from collections.abc import Iterable

from ...module_utils.listeners import EMSMTA, LISTENERS
from ..ini.readers import Finding
from ..shapes import Json
from .edits import unnamed_ports
from .file import FILES, FilePlan
from .inspection import Inspection
from .installation import LDAPS_FIXED_BEFORE_BUILD, Exchange, proxy_here
from .section import DISABLE, PUBLISHERS
from .wanted import Wanted


def _finding(path: str | None, code: str, message: str, line: int | None = None) -> Json:
    return {"code": code, "path": path, "line": line, "message": message}


def _ini_finding(path: str | None, finding: Finding) -> Json:
    return _finding(path, finding.code, finding.message, finding.line)


def findings_of(inspection: Inspection) -> tuple[Json, ...]:
    """Return everything odd about the files, as the strict reader and the articles see them."""
    rows: list[Json] = []
    for file in (inspection.file(file_id) for file_id in FILES):
        rows += [
            _finding(file.path, "lookalike", f"{name} lies beside it and is read by nobody; rename it (Q181420)")
            for name in file.lookalikes
        ]
        rows += [
            _finding(file.path, "leftover", f"{name} was left by a run that died; the next one that writes removes it")
            for name in file.leftovers
        ]
        if file.healing:
            rows.append(_finding(file.path, "cut_write", _CUT))
        if file.content is None:
            continue
        reading = file.content.strict
        rows += [_ini_finding(file.path, finding) for finding in reading.findings]
        if reading.section("Common Configuration") is not None:
            text = "[Common Configuration] may apply to every program of this directory, the MTA too; remove it"
            rows.append(_finding(file.path, "common_section", text))
        if proxy_here(inspection) is not None:
            rows.append(_finding(file.path, "file_on_proxy", _NO_USE))
    return tuple(rows)


_NO_USE = "Proxy Server runs on this server, so this file has no use (Q178532); remove it by hand"


_CUT = "a run died while it wrote this file; its text from before comes back first, and is what is told here"


def cut_warnings(inspection: Inspection) -> Iterable[str]:
    for file in map(inspection.file, FILES):
        if file.healing:
            yield f"{file.path}: {_CUT}."


def useless_files(inspection: Inspection) -> Iterable[str]:
    for file in map(inspection.file, FILES):
        if file.exists:
            yield f"{file.path}: {_NO_USE}."


def mta_warnings(inspection: Inspection, files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    plan = next((file for file in files if file.state.id == EMSMTA.file_id), None)
    if plan is None or plan.after is None or not wanted.present or not inspection.service(EMSMTA.service).exists:
        return
    direct = plan.after.strict.get(EMSMTA.section, DISABLE) == "1"
    if wanted.mta_direct == "false" and not direct:
        yield (
            "mta_direct is false: the MTA may send through the proxy, and X.400, site and RAS connectors then fail "
            "with events 9301 and 9202 on the other side (Q254909)."
        )


def conversion_warnings(files: Iterable[FilePlan]) -> Iterable[str]:
    for file in files:
        encoding = None if file.before is None else file.before.unreadable_encoding
        if encoding is not None and file.after is not None and file.after.unreadable_encoding is None:
            yield f"{file.path} is saved as {encoding}, which Exchange cannot read (Q181420); it is converted to ANSI."


def disabled_warnings(files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    for file in files if wanted.present else ():
        if file.after is None:
            continue
        for owner in PUBLISHERS:
            published = owner.file_id == file.state.id and wanted.of(owner)
            if not published or file.after.strict.get(owner.section, DISABLE) != "1":
                continue
            yield (
                f"{file.path}: [{owner.section}] {DISABLE}=1 keeps {owner.executable} off the proxy (Q231878), so none "
                "of its ports will be open there; delete that line."
            )


def staying_warnings(files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    for file in files:
        for text in unnamed_ports(file.before, file.state.id, wanted):
            yield f"{file.path}: {text}"


def _lookalikes(inspection: Inspection) -> Iterable[str]:
    """Name what an editor made of Wspcfg.ini; a copy that somebody keeps beside it is a finding and no warning."""
    for file in map(inspection.file, FILES):
        for name in file.lookalikes:
            if name.lower().endswith(".txt") or "." not in name:
                yield f"{name} lies beside {file.path} and is read by nobody (Q181420); rename or remove it."


def server_warnings(inspection: Inspection, exchange: Exchange, wanted: Wanted) -> Iterable[str]:
    yield from _lookalikes(inspection)
    proxy = inspection.service("wspsrv")
    if proxy.exists and proxy.disabled:
        yield "Proxy Server is installed on this server but its WinSock Proxy service is disabled; it was ignored."
    if wanted.present and exchange.version is None:
        yield "The Exchange version is unknown (no build in the registry); set exchange_version to have it checked."
    ldaps = next((item for item in wanted.published if item.listener.name == "ldaps"), None)
    port = LISTENERS["ldaps"].port
    if ldaps and wanted.present and ldaps.port != port and (exchange.build or 9999) < LDAPS_FIXED_BEFORE_BUILD:
        yield f"Before 5.5 SP3, LDAP over TLS always listens on {port} (Q179309, Q232606); ports.ldaps differs."
