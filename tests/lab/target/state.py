# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs leave on the server: records, journal, backups, boot token, lock."""

from __future__ import annotations

import base64
import json
import re
import typing as t
from dataclasses import dataclass

from ..machines.errors import WindowsFailure
from ..machines.files import Hold
from ..machines.machine import Machine
from ..machines.services import Process, Service
from .failures import Json, TargetFailure, file_failure, windows_failure
from .scene import HOME, Scene, sha256

KEY: t.Final = f"SOFTWARE\\{HOME}"
RECORDS: t.Final = KEY + "\\records"
BOOT: t.Final = KEY + "\\boot"
KEPT_BACKUPS: t.Final = 10
LOCK_PAUSE_S: t.Final = 0.2
_INDEX_LINE: t.Final = re.compile(r"\d+(?:\.\d+)?\|[0-9a-f]{64}\|.+")
_PROCESS: t.Final = re.compile(r"(\d{1,9})@(\d+(?:\.\d+)?)")
_RECORD_VALUES: t.Final = ("loaded", "wanted", "owned", "process", "file")


def number(seconds: float) -> str:
    """A time as the records spell it: at most three decimals, none when it is whole."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def visible_process(scene: Scene, service: Service) -> Process | None:
    """The service's process where the protocol lets the script know it: on the server itself, one process per image."""
    process = service.process
    if scene.remote or process is None or service.state == "stopped":
        return None
    same = [
        other
        for other in scene.server.services
        if other.process is not None and other.process.image.lower() == process.image.lower()
    ]
    return process if len(same) == 1 else None


def process_json(process: Process | None) -> Json | None:
    return None if process is None else {"id": process.id, "started": process.started}


class Store:
    """Registry values and files below ``msexchange.winsock_proxy`` on one server."""

    def __init__(self, server: Machine) -> None:
        self.server = server
        self.registry = server.registry
        self.directory = f"{server.system_root}\\{HOME}\\backup"

    # records
    def record(self, service: str) -> dict[str, str]:
        """Values of one record, empty strings where there are none."""
        key = f"{RECORDS}\\{service}"
        found = {name: self.registry.get(key, name) for name in _RECORD_VALUES}
        return {name: str(value.data) if value else "" for name, value in found.items()}

    def has_record(self, service: str) -> bool:
        return any(name.lower() == service.lower() for name in self.registry.subkeys(RECORDS))

    def write_record(self, service: str, values: t.Mapping[str, str]) -> None:
        for name in _RECORD_VALUES:
            self.registry.set(f"{RECORDS}\\{service}", name, values[name])

    def drop_record(self, service: str) -> None:
        self.registry.delete(f"{RECORDS}\\{service}")

    def records(self) -> list[Json]:
        return [self._record_json(name) for name in self.registry.subkeys(RECORDS)]

    def _record_json(self, service: str) -> Json:
        values = self.record(service)
        content = None
        if not values["loaded"] and values["file"]:
            data = self.backup(values["file"])
            content = None if data is None else base64.b64encode(data).decode()
        shown = {name: values[name] or None for name in ("loaded", "wanted", "file", "owned")}
        return {"service": service, **shown, "process": parse_process(values["process"]), "loaded_content": content}

    # journal
    def journal(self, name: str = "journal") -> Json | None:
        """The journal as written, None without one; ``replaced`` is the one before it.

        Raises:
            TargetFailure: ``journal_corrupt``.
        """
        value = self.registry.get(KEY, name)
        if value is None or value.data == "":
            return None
        try:
            found = json.loads(str(value.data))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TargetFailure("journal_corrupt", "the journal cannot be read", key=KEY + "\\journal")
        return found

    def keep_replaced(self) -> None:
        """Keep the journal that is about to be replaced."""
        value = self.registry.get(KEY, "journal")
        if value is not None:
            self.registry.set(KEY, "replaced", value.data)

    def write_journal(self, journal: Json) -> None:
        self.registry.set(KEY, "journal", json.dumps(journal))

    def locked(self) -> bool:
        return lock_holder(self.server) is not None

    # boot token
    def boot(self) -> str | None:
        value = self.registry.get(BOOT, "token")
        return None if value is None else str(value.data)

    def ensure_boot(self) -> str:
        token = self.boot()
        if token is None:
            token = self.server.new_token()
            self.registry.set(BOOT, "token", token, volatile=True)
        return token

    # backups
    def backup_path(self, digest: str) -> str:
        return f"{self.directory}\\{digest}.ini"

    def backup(self, digest: str) -> bytes | None:
        """Content of a backup; None when it is missing or does not match its name."""
        node = self.server.files.node(self.backup_path(digest))
        if node is None or node.data is None or sha256(node.data) != digest:
            return None
        return node.data

    def save(self, data: bytes) -> str:
        """Put bytes into the content-addressed store and read them back; return the file's path."""
        path = self.backup_path(sha256(data))
        files = self.server.files
        try:
            files.mkdir(self.directory)
            if self.backup(sha256(data)) is None:
                files.remove(path)
                files.create(path, data)
            same = files.read(path) == data
        except WindowsFailure as failure:
            raise windows_failure("backup_failed", failure, path=path) from failure
        if not same:
            raise TargetFailure("backup_failed", "the backup does not read back equal", path=path)
        return path

    def copy_beside(self, data: bytes, path: str, *, of: str) -> str:
        """Write a copy to a path that must not exist, unless it is that copy; the file itself is none."""
        try:
            node = self.server.files.node(path)
            if node is not None and path.lower() != of.lower() and self.server.files.read(path) == data:
                return path
        except WindowsFailure:
            pass  # what cannot be read is for the attempt below to tell
        try:
            self.server.files.create(path, data)
        except WindowsFailure as failure:
            raise windows_failure("backup_failed", failure, path=path) from failure
        return path

    def index(self) -> list[list[str]]:
        """Lines of the backup index as [saved, sha256, path], oldest first."""
        value = self.registry.get(KEY, "backups")
        lines = value.data if value is not None and isinstance(value.data, list) else []
        return [line.split("|", 2) for line in lines if _INDEX_LINE.fullmatch(line)]

    def remember(self, digest: str, path: str, saved: float) -> None:
        """Add a line to the index, and let go what is too old."""
        lines = self.index()
        of_path = [line for line in lines if line[2].lower() == path.lower()]
        if of_path and of_path[-1][1] == digest:
            return
        lines.append([number(saved), digest, path])
        of_path = [line for line in lines if line[2].lower() == path.lower()]
        gone = of_path[1:-KEPT_BACKUPS] if len(of_path) > KEPT_BACKUPS + 1 else []
        kept = [line for line in lines if line not in gone]
        for line in gone:
            if all(other[1] != line[1] for other in kept):
                self.server.files.remove(self.backup_path(line[1]))
        self.registry.set(KEY, "backups", ["|".join(line) for line in kept])

    def backups(self) -> list[Json]:
        return [{"saved": float(saved), "sha256": digest, "path": path} for saved, digest, path in self.index()]


def format_process(process: Process | None) -> str:
    return "" if process is None else f"{process.id}@{process.started:.3f}"


def parse_process(text: str) -> Json | None:
    match = _PROCESS.fullmatch(text)
    return None if match is None else {"id": int(match[1]), "started": float(match[2])}


@dataclass
class Lock:
    """The lock file on the server; it goes away with its holder."""

    scene: Scene
    held: Hold | None = None

    @property
    def path(self) -> str:
        return f"{self.scene.server.system_root}\\{HOME}.lock"

    async def take(self, wait_s: float) -> None:
        """Take the lock within so many seconds.

        Raises:
            TargetFailure: ``busy`` with the holder.
        """
        deadline = self.scene.clock.elapsed() + wait_s
        while not self._try():
            if self.scene.clock.elapsed() >= deadline:
                holder = lock_holder(self.scene.server) or {}
                raise TargetFailure("busy", "another run holds the lock", **holder)
            await self.scene.clock.sleep(LOCK_PAUSE_S)

    def release(self) -> None:
        if self.held is None:
            return
        node = self.scene.server.files.node(self.path)
        if node is not None and self.held in node.holds:
            self.scene.server.files.remove(self.path)
        self.held = None

    def free(self) -> bool:
        """Whether nobody holds the lock."""
        node = self.scene.server.files.node(self.path)
        return node is None or not node.holds

    def _try(self) -> bool:
        files = self.scene.server.files
        if not self.free():
            return False
        content = {
            "who": self.scene.who,
            "run": self.scene.run,
            "machine": self.scene.runner.name,
            "since": self.scene.clock.now(),
        }
        try:
            files.remove(self.path)
            files.create(self.path, json.dumps(content).encode())
        except WindowsFailure as failure:
            raise file_failure(failure, files, self.path) from failure
        self.held = files.hold(self.path, "write")
        return True


def lock_holder(server: Machine) -> Json | None:
    """Who holds the lock now: {who, run, machine, since}, or None."""
    node = server.files.node(f"{server.system_root}\\{HOME}.lock")
    if node is None or not node.holds:
        return None
    try:
        found = json.loads(node.data or b"")
    except ValueError:
        found = {}
    return {key: found.get(key) for key in ("who", "run", "machine", "since")}
