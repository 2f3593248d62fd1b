# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service still has to load what its section says now: the one function for every module.

Pending is decided per service and by content. A file's time proves nothing when the process is the one that was
recorded, and only that something was there before when it is another.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ...module_utils.listeners import OWNERS
from ..ini.document import Document
from ..ini.readers import read_strict
from .installation import proxy_here
from .server import FileState, Record, Server, ServiceState

# Times of file and process come from different clocks' ticks; FAT stores two-second steps.
MARGIN_S = 5.0
# FAT stores local time: a change of daylight saving moves every time by an hour.
FAT_MARGIN_S = 3600.0 + MARGIN_S

_LISTS = frozenset({"serverbindtcpports", "proxybindip"})
_LEADING_NUMBER = re.compile(r"\d+")


def _canonical(key: str, value: str) -> str:
    if key not in _LISTS:
        return value
    items = ["".join(item.split()) for item in value.split(",") if item.strip()]
    return ",".join(sorted(items, key=_list_order))


def _list_order(item: str) -> tuple[int, str]:
    match = _LEADING_NUMBER.match(item)
    return (int(match.group()) if match else -1, item)


def section_hash(document: Document | None, section: str) -> str:
    """Return the hash of what is surely in force of a section (docs/target_protocol.md, section 7).

    Args:
        document: The file, None when it does not exist.
        section: Name of the section, any case.

    Returns:
        Lower-case hexadecimal sha256; of the empty text when nothing is in force.
    """
    reading = None if document is None else read_strict(document).section(section)
    pairs = [] if reading is None else [(key.name.lower(), key.value) for key in reading.keys]
    lines = sorted(f"{key}={_canonical(key, value)}" for key, value in pairs)
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


NOTHING = section_hash(None, "")


@dataclass(frozen=True)
class Pending:
    """The verdict on one service.

    Attributes:
        pending: Whether it must restart to hold what its section says now.
        reason: ``stopped``, ``loaded`` (record and content), ``process_newer``, ``process_older``, ``unknown`` or
            ``nothing`` (no section counts).
        text: The same for people.
        loaded: Hash of the section that the running process holds, None when unknown.
    """

    pending: bool
    reason: str
    text: str
    loaded: str | None = None


def _loaded_hash(record: Record, section: str) -> str | None:
    """Return what the recorded process loaded; bytes that the controller did not know are hashed here."""
    if record.loaded is not None:
        return record.loaded
    if record.loaded_content is not None:
        return section_hash(Document.parse(record.loaded_content), section)
    return None


def _by_content(loaded: str, now: str, section: str) -> Pending:
    if loaded == now:
        return Pending(False, "loaded", f"the process holds [{section}] as it is in the file", loaded)
    return Pending(True, "loaded", f"the process loaded another [{section}] than is in the file now", loaded)


def _by_time(service: ServiceState, record: Record | None, file: FileState, now: str, section: str) -> Pending:
    """Decide by times: the process is not the recorded one, so it loaded what was there when it started."""
    assured = record is None or record.wanted in (None, NOTHING)
    if now == NOTHING and assured:
        return Pending(False, "nothing", f"there is no [{section}] and none is known to have been", NOTHING)
    if not file.exists or file.modified is None or service.process is None:
        return Pending(True, "process_older", f"[{section}] is gone; the process may still hold the old one")
    margin = FAT_MARGIN_S if (file.file_system or "").upper().startswith("FAT") else MARGIN_S
    if file.modified + margin <= service.process.started:
        return Pending(False, "process_newer", "the process started after the file was written", now)
    return Pending(True, "process_older", "the file was written after the process started, or at the same time")


def pending(service: ServiceState, record: Record | None, file: FileState, section: str) -> Pending:
    """Decide whether a service must restart to hold what its section says now.

    Args:
        service: As observed.
        record: Our record of it.
        file: The Wspcfg.ini that its process reads.
        section: Its section.

    Returns:
        The verdict. A stopped service is never pending: it will load the file when it starts.
    """
    if not service.exists or service.state == "stopped":
        return Pending(False, "stopped", "the service is not running; it loads the file when it starts")
    document = None if file.content is None else Document.parse(file.content)
    now = section_hash(document, section)
    loaded = None if record is None else _loaded_hash(record, section)
    if service.process is None:
        if loaded is not None:
            return _by_content(loaded, now, section)
        return Pending(False, "unknown", "neither a record nor the process's start is known; the ports decide")
    if record is not None and loaded is not None and service.process.same_as(record.process):
        return _by_content(loaded, now, section)
    return _by_time(service, record, file, now, section)


def verdicts(server: Server) -> dict[str, Pending]:
    """Decide for every process that reads a Wspcfg.ini, as the files are now, by lower-case service name."""
    if proxy_here(server) is not None:
        text = "Proxy Server runs on this server, so no Wspcfg.ini counts here (Q178532)"
        return {owner.service.lower(): Pending(False, "nothing", text) for owner in OWNERS}
    return {
        owner.service.lower(): pending(
            server.service(owner.service), server.record(owner.service), server.file(owner.file_id), owner.section
        )
        for owner in OWNERS
    }
