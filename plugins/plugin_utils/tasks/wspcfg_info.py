# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ``wspcfg_info`` task does: an inspection, told in full, and a look at the ports that it found."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ...module_utils.listeners import LISTENERS, OWNERS, Listener
from ...module_utils.probe.ber import BerError
from ...module_utils.probe.greetings import read_greeting
from ...module_utils.probe.ldap import read_bind_answer
from ..exchange.events import IDS, causes, decode
from ..exchange.file import FILES, unchanged_files
from ..exchange.inspection import FileState, Inspection, ServiceState
from ..exchange.installation import proxy_here
from ..exchange.journal import journal_result, journal_warnings
from ..exchange.pending import verdicts
from ..exchange.plan import finish_plan
from ..exchange.restart_plan import is_active
from ..exchange.wanted import read_ports
from ..problems.problem import Problem, Refused
from ..shapes import Json
from ..target.errors import TargetError
from ..target.session import Session
from .failure import failure
from .wspcfg import View, ask

EVENT_LOGS = ("System", "Application")
# Enough for one restart; the newest come first. Each entry that is looked at is a round trip, wanted or not.
EVENT_LIMITS = {"limit": 200, "scan": 5000}
# Greetings after 5 to 20 s were seen (Q286375), for Exchange looks its client's name up first (Q258745). Less than the
# 21 s after which Windows itself gives a connection up, with an error in its own language.
READ_MS = 20000
# A TLS port waits for a hello and says nothing; that it accepts is all there is to learn.
TLS_READ_MS = 3000
# LDAP has no greeting: an anonymous version 2 bind is answered by every version (Q176466).
LDAP_BIND = bytes.fromhex("300c020101600702010204008000")


def _event_query(options: Mapping[str, t.Any]) -> Json | None:
    since = options.get("events_since")
    if since is None:
        return None
    if since < 0:
        remedy = "Give seconds since 1970 UTC, such as clock.now of an earlier result."
        raise Refused([Problem("bad_option", "time cannot be negative", remedy, "events_since", str(since))])
    return {"since": float(since), "logs": list(EVENT_LOGS), "sources": [], "ids": list(IDS), **EVENT_LIMITS}


def _port_query(port: int, listener: Listener | None) -> Json:
    ldap = listener is not None and listener.protocol == "ldap" and not listener.tls
    tls = listener is not None and listener.tls
    send = base64.b64encode(LDAP_BIND).decode("ascii") if ldap else None
    return {"port": port, "send": send, "read_ms": TLS_READ_MS if tls else READ_MS}


def _inside(options: Mapping[str, t.Any], asked: Iterable[int]) -> list[Json]:
    """Return what to ask each port from inside; a TLS port is only connected to.

    Raises:
        Refused: A number that is no port.
    """
    problems: list[Problem] = []
    ports = read_ports(options, problems)
    moved = options.get("ports") or {}  # they come last: who was moved to a port has it, not whose it usually is
    in_order = sorted(LISTENERS.values(), key=lambda listener: listener.name in moved)
    listeners = {ports[listener.name]: listener for listener in in_order}
    queries = []
    for port in asked:
        if 1 <= port <= 65535:
            queries.append(_port_query(port, listeners.get(port)))
        else:
            remedy = "Give whole numbers from 1 to 65535."
            problems.append(Problem("bad_option", "this is no TCP port", remedy, "inside_ports", str(port)))
    if problems:
        raise Refused(problems)
    return queries


def run(session: Session, options: Mapping[str, t.Any], *, host: str) -> Json:
    """Tell everything that an inspection shows, and what the server's own ports say.

    Args:
        session: The target.
        options: The module's options, validated.
        host: Name for messages.
    """
    try:
        asked = options.get("inside_ports")
        view = ask(session, options, events=_event_query(options), ports=_inside(options, asked or ()))
        if asked is None:
            view = _with_own_ports(session, options, view)
    except (Refused, TargetError) as error:
        return {"changed": False, **failure(error, host)}
    return {**_tell(view, host), "changed": False, "executions": session.executions}


def _with_own_ports(session: Session, options: Mapping[str, t.Any], view: View) -> View:
    """Look at the ports that the files publish, which only the first look tells; a second execution, where any are."""
    plan = finish_plan(view.inspection, unchanged_files(view.inspection), None)
    queries = _inside(options, sorted({port.port for port in plan.ports}))
    if not queries:
        return view
    nothing: Json = {"registry": [], "services": [], "files": [], "state": False, "backup": None, "events": None}
    answer = session.inspect(**nothing, ports=queries)
    return replace(view, inspection=replace(view.inspection, ports=tuple(answer["ports"])))


def _tell(view: View, host: str) -> Json:
    inspection = view.inspection
    plan = finish_plan(inspection, unchanged_files(inspection), None)
    return {
        "exchange": view.exchange.as_result(inspection),
        "proxy_on_server": proxy_here(inspection) is not None,
        "files": [_file(inspection.file(file_id)) for file_id in FILES],
        "listeners": [{**port.as_target(), "in_force": port.now} for port in plan.ports],
        "pending": _pending(inspection),
        "findings": list(plan.findings),
        "services": [_service(row) for row in inspection.services if row.exists],
        "backups": [{"saved": row.saved, "sha256": row.sha256, "path": row.path} for row in inspection.backups],
        "unfinished": journal_result(inspection),
        "lock": inspection.lock,
        "inside": _greetings(inspection.ports),
        "events": None if inspection.events is None else decode(inspection.events),
        "events_error": inspection.events_error,
        "causes": causes(inspection.events or ()),
        "warnings": [f"{host}: {text}" for text in journal_warnings(inspection)],
        "machine": dict(inspection.machine),
        "clock": inspection.clock_result(),
    }


def _file(file: FileState) -> Json:
    keys = ("id", "path", "source", "exists", "size", "sha256", "modified", "read_only", "file_system")
    row = {key: getattr(file, key) for key in keys}
    text = None if file.content is None else file.content.data.decode("cp1252", "replace")
    return {**row, "lookalikes": list(file.lookalikes), "text": text, "error": file.error}


def _service(row: ServiceState) -> Json:
    keys = ("name", "display_name", "state", "start_type", "account", "image", "process_source")
    process = None if row.process is None else {"id": row.process.id, "started": row.process.started}
    return {**{key: getattr(row, key) for key in keys}, "process": process, "depends_on": list(row.depends_on)}


def _pending(inspection: Inspection) -> list[Json]:
    known = verdicts(inspection)
    rows = []
    for owner in OWNERS:
        service, verdict = inspection.service(owner.service), known[owner.service.lower()]
        if not service.exists:
            continue
        rows.append(
            {
                "service": service.name,
                "section": owner.section,
                "pending": verdict.pending,
                "reason": verdict.text,
                "known_by": verdict.reason,
                "running": is_active(service),
            }
        )
    return rows


def _greetings(ports: Sequence[Mapping[str, t.Any]]) -> list[Json]:
    """Return the inside view with greetings as printable text, and the protocol that they are of."""
    rows = []
    for row in ports:
        heard = base64.b64decode(row.get("greeting") or "")
        rows.append({**row, "greeting": _printable(heard), "speaks": _speaks(heard)})
    return rows


def _printable(heard: bytes) -> str | None:
    """Return the first line; LDAP answers in octets, which are shown as escapes."""
    line = heard.split(b"\r\n", 1)[0]
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in line) or None


def _speaks(heard: bytes) -> str | None:
    """Return the protocol by its first words; of LDAP, by its answer to our bind."""
    try:
        if heard[:1] == LDAP_BIND[:1] and read_bind_answer(heard, message_id=1) is not None:
            return "ldap"
    except BerError:
        return None
    return read_greeting(heard.split(b"\n", 1)[0]).speaks
