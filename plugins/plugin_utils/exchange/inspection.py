# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inspection reported, typed: files, services, records, journal.

The shapes are those of docs/target_protocol.md, section 2; nothing is decided here.
"""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..shapes import Json
from .content import Content


@dataclass(frozen=True)
class Process:
    """One process of a service.

    Attributes:
        id: Windows process id.
        started: Seconds since 1970 UTC, on the server's clock.
    """

    id: int
    started: float

    def same_as(self, other: Process | None) -> bool:
        """Tell whether both are one process; ids are reused, hence the start time (three decimals are kept)."""
        return other is not None and self.id == other.id and abs(self.started - other.started) < 1.0


@dataclass(frozen=True)
class ServiceState:
    """One Windows service as observed.

    Attributes:
        name: As the registry spells it.
        exists: False: every other field is empty.
        state: ``running``, ``stopped``, one of the pending states, ``paused`` or ``unknown`` (drivers).
        start_type: ``boot system auto manual disabled``.
        depends_on: Names from DependOnService, as written.
        depends_on_groups: Names from DependOnGroup.
        group: Load order group that it belongs to.
        process: None where it cannot be known (another machine, shared process, stopped).
    """

    name: str
    exists: bool
    state: str | None = None
    start_type: str | None = None
    account: str | None = None
    image: str | None = None
    depends_on: tuple[str, ...] = ()
    depends_on_groups: tuple[str, ...] = ()
    group: str | None = None
    process: Process | None = None
    process_source: str | None = None
    display_name: str | None = None

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def disabled(self) -> bool:
        return self.start_type == "disabled"

    @property
    def is_driver(self) -> bool:
        """Whether it is a driver, whose state the target script never asks for."""
        return self.state == "unknown"


@dataclass(frozen=True)
class FileState:
    """One candidate file as observed; ``content`` is None when it does not exist or could not be read.

    Attributes:
        leftovers: Names beside it that a run of this collection left when it died.
        healing: A run that died left it half written or without its name; everything else tells how it will be once
            ``apply`` has put the old text back, with which it begins.
    """

    id: str
    path: str | None
    source: str | None = None
    directory_exists: bool = False
    exists: bool = False
    size: int | None = None
    sha256: str | None = None
    content: Content | None = None
    modified: float | None = None
    read_only: bool = False
    file_system: str | None = None
    lookalikes: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()
    error: Mapping[str, t.Any] | None = None
    leftovers: tuple[str, ...] = ()
    healing: bool = False


@dataclass(frozen=True)
class Record:
    """What our registry key says about one service; hashes are those of its effective section."""

    service: str
    loaded: str | None = None
    wanted: str | None = None
    file: str | None = None
    owned: tuple[str, ...] = ()
    process: Process | None = None
    loaded_content: Content | None = None


@dataclass(frozen=True)
class Backup:
    """One line of the backup index; ``saved`` is in seconds since 1970 UTC."""

    saved: float
    sha256: str
    path: str


@dataclass(frozen=True)
class Inspection:
    """Everything that one inspection reported about one server."""

    clock: float
    utc_offset_minutes: int
    files: Mapping[str, FileState]
    services: tuple[ServiceState, ...]
    records: Mapping[str, Record]
    registry: Mapping[str, t.Any]
    backups: tuple[Backup, ...]
    journal: Mapping[str, t.Any] | None
    boot: str | None
    lock: Mapping[str, t.Any] | None
    events: Sequence[Json] | None
    events_error: str | None
    ports: Sequence[Json]
    machine: Mapping[str, t.Any]

    def service(self, name: str) -> ServiceState:
        """Return the service of that name, case-insensitively; one that was not reported does not exist."""
        wanted = name.lower()
        for service in self.services:
            if service.name.lower() == wanted:
                return service
        return ServiceState(name=name, exists=False)

    def record(self, service: str) -> Record | None:
        """Return our record of a service, or None."""
        return self.records.get(service.lower())

    def clock_result(self) -> Json:
        """Return the time of the inspection as results carry it, with the name of the machine that tells it."""
        name = self.machine.get("name")
        return {"now": self.clock, "utc_offset_minutes": self.utc_offset_minutes, "machine": name}

    def file(self, file_id: str) -> FileState:
        """Return the file asked for under that id; one that was not asked for has no path."""
        return self.files.get(file_id, FileState(id=file_id, path=None))


class _Contents:
    """Decodes bytes; the same bytes are the same object, so that nobody reads them twice."""

    def __init__(self) -> None:
        self._known: dict[bytes, Content] = {}

    def decode(self, value: str | None) -> Content | None:
        if value is None:
            return None
        data = base64.b64decode(value)
        return self._known.setdefault(data, Content(data))


def _process(value: Mapping[str, t.Any] | None) -> Process | None:
    return None if not value else Process(id=int(value["id"]), started=float(value["started"]))


def _service(row: Mapping[str, t.Any]) -> ServiceState:
    return ServiceState(
        name=row["name"],
        exists=bool(row["exists"]),
        state=row.get("state"),
        start_type=row.get("start_type"),
        account=row.get("account"),
        image=row.get("image"),
        depends_on=tuple(row.get("depends_on") or ()),
        depends_on_groups=tuple(row.get("depends_on_groups") or ()),
        group=row.get("group"),
        process=_process(row.get("process")),
        process_source=row.get("process_source"),
        display_name=row.get("display_name"),
    )


def _file(row: Mapping[str, t.Any], contents: _Contents) -> FileState:
    return FileState(
        id=row["id"],
        path=row.get("path"),
        source=row.get("source"),
        directory_exists=bool(row.get("directory_exists")),
        exists=bool(row.get("exists")),
        size=row.get("size"),
        sha256=row.get("sha256"),
        content=contents.decode(row.get("content")),
        modified=row.get("modified"),
        read_only=bool(row.get("read_only")),
        file_system=row.get("file_system"),
        lookalikes=tuple(row.get("lookalikes") or ()),
        executables=tuple(row.get("executables") or ()),
        error=row.get("error"),
        leftovers=tuple(row.get("leftovers") or ()),
        healing=bool(row.get("healing")),
    )


def _record(row: Mapping[str, t.Any], contents: _Contents) -> Record:
    return Record(
        service=row["service"],
        loaded=row.get("loaded") or None,
        wanted=row.get("wanted") or None,
        file=row.get("file") or None,
        owned=tuple(name for name in (row.get("owned") or "").split(",") if name),
        process=_process(row.get("process")),
        loaded_content=contents.decode(row.get("loaded_content")),
    )


def read_inspection(answer: Mapping[str, t.Any]) -> Inspection:
    """Type the answer of ``inspect``.

    Args:
        answer: As the target script sent it (docs/target_protocol.md, section 2).

    Raises:
        KeyError, TypeError, ValueError: The answer does not have the protocol's shape.
    """
    clock, contents = answer["clock"], _Contents()
    return Inspection(
        clock=float(clock["now"]),
        utc_offset_minutes=int(clock["utc_offset_minutes"]),
        files={row["id"]: _file(row, contents) for row in answer["files"]},
        services=tuple(_service(row) for row in answer["services"]),
        records={row["service"].lower(): _record(row, contents) for row in answer["records"]},
        registry={row["id"]: row["value"] for row in answer["registry"]},
        backups=tuple(Backup(float(row["saved"]), row["sha256"], row["path"]) for row in answer["backups"]),
        journal=answer.get("journal"),
        boot=answer.get("boot"),
        lock=answer.get("lock"),
        events=answer.get("events"),
        events_error=answer.get("events_error"),
        ports=tuple(answer.get("ports") or ()),
        machine=answer.get("machine") or {},
    )
