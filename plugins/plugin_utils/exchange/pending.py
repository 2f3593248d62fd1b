# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service still has to load what its section says now: the one function for every module.

Pending is decided per service and by content. A file's time proves nothing when the process is the one that was
recorded, and only that something was there before when it is another.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...module_utils.listeners import OWNERS
from .content import EMPTY_HASH, section_hash
from .inspection import FileState, Inspection, Record, ServiceState
from .installation import proxy_here

# Times of file and process come from different clocks' ticks; FAT stores two-second steps.
MARGIN_S = 5.0
# FAT stores local time: a change of daylight saving moves every time by an hour.
FAT_MARGIN_S = 3600.0 + MARGIN_S


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
        return section_hash(record.loaded_content, section)
    return None


def _by_content(loaded: str, now: str, section: str) -> Pending:
    if loaded == now:
        return Pending(False, "loaded", f"the process holds [{section}] as it is in the file", loaded)
    return Pending(True, "loaded", f"the process loaded another [{section}] than is in the file now", loaded)


def _by_time(service: ServiceState, record: Record | None, file: FileState, now: str, section: str) -> Pending:
    """Decide by times: the process is not the recorded one, so it loaded what was there when it started."""
    assured = record is None or record.wanted in (None, EMPTY_HASH)
    if now == EMPTY_HASH and assured:
        return Pending(False, "nothing", f"there is no [{section}] and none is known to have been", EMPTY_HASH)
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
    now = section_hash(file.content, section)
    loaded = None if record is None else _loaded_hash(record, section)
    if service.process is None:
        if loaded is not None:
            return _by_content(loaded, now, section)
        return Pending(False, "unknown", "neither a record nor the process's start is known; the ports decide")
    if record is not None and loaded is not None and service.process.same_as(record.process):
        return _by_content(loaded, now, section)
    return _by_time(service, record, file, now, section)


def verdicts(inspection: Inspection) -> dict[str, Pending]:
    """Decide for every process that reads a Wspcfg.ini, as the files are now, by lower-case service name."""
    if proxy_here(inspection) is not None:
        text = "Proxy Server runs on this server, so no Wspcfg.ini counts here (Q178532)"
        return {owner.service.lower(): Pending(False, "nothing", text) for owner in OWNERS}
    found = {}
    for owner in OWNERS:
        service, record = inspection.service(owner.service), inspection.record(owner.service)
        found[owner.service.lower()] = pending(service, record, inspection.file(owner.file_id), owner.section)
    return found
