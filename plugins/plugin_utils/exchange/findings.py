# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is odd about a server or its files: findings, and warnings for the user."""

from __future__ import annotations

from collections.abc import Iterable

from ...module_utils.listeners import EMSMTA, LISTENERS
from ..ini.document import Document
from ..ini.readers import Finding, read_strict
from ..shapes import Json
from .edits import unnamed_ports, unreadable_encoding
from .file import FILES, FilePlan
from .installation import LDAPS_FIXED_BEFORE_BUILD, Exchange, proxy_here
from .section import DISABLE, PUBLISHERS
from .server import Server
from .wanted import Wanted


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


def useless_files(server: Server) -> Iterable[str]:
    for file in map(server.file, FILES):
        if file.exists:
            yield f"{file.path}: {_NO_USE}."


def mta_warnings(server: Server, files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    plan = next((file for file in files if file.state.id == EMSMTA.file_id), None)
    if plan is None or plan.after is None or not wanted.present or not server.service(EMSMTA.service).exists:
        return
    direct = read_strict(Document.parse(plan.after)).get(EMSMTA.section, DISABLE) == "1"
    if wanted.mta_direct == "false" and not direct:
        yield (
            "mta_direct is false: the MTA may send through the proxy, and X.400, site and RAS connectors then fail "
            "with events 9301 and 9202 on the other side (Q254909)."
        )


def conversion_warnings(files: Iterable[FilePlan]) -> Iterable[str]:
    for file in files:
        encoding = unreadable_encoding(file.before or b"")
        if encoding is not None and file.after is not None and unreadable_encoding(file.after) is None:
            yield f"{file.path} is saved as {encoding}, which Exchange cannot read (Q181420); it is converted to ANSI."


def disabled_warnings(files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    for file in files if wanted.present else ():
        reading = read_strict(Document.parse(file.after or b""))
        published = [row for row in PUBLISHERS if row.file_id == file.state.id and wanted.of(row)]
        for owner in (row for row in published if reading.get(row.section, DISABLE) == "1"):
            yield (
                f"{file.path}: [{owner.section}] {DISABLE}=1 keeps {owner.executable} off the proxy (Q231878), so none "
                "of its ports will be open there; delete that line."
            )


def staying_warnings(files: Iterable[FilePlan], wanted: Wanted) -> Iterable[str]:
    for file in files:
        for text in unnamed_ports(file.before, file.state.id, wanted):
            yield f"{file.path}: {text}"


def _lookalikes(server: Server) -> Iterable[str]:
    """Name what an editor made of Wspcfg.ini; a copy that somebody keeps beside it is a finding and no warning."""
    for file in map(server.file, FILES):
        for name in file.lookalikes:
            if name.lower().endswith(".txt") or "." not in name:
                yield f"{name} lies beside {file.path} and is read by nobody (Q181420); rename or remove it."


def server_warnings(server: Server, exchange: Exchange, wanted: Wanted) -> Iterable[str]:
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
