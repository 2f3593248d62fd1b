# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operation ``inspect``: read-only, everything that a plan needs."""

from __future__ import annotations

import base64
import typing as t

from ..machines.errors import INVALID_NAME, WindowsFailure
from ..machines.files import split
from ..machines.machine import Event
from ..machines.services import Service
from .failures import Json, TargetFailure, file_failure
from .ini import profile_value
from .scene import Scene, sha256
from .state import Store, lock_holder, process_json, visible_process

GREETING_BYTES: t.Final = 512
CONNECTION_REFUSED: t.Final = 10061


class Inspection:
    """One inspection; ``answer`` grows as it goes, so that a failure carries what was already known."""

    def __init__(self, scene: Scene, request: Json, answer: Json) -> None:
        self.scene = scene
        self.server = scene.server
        self.request = request
        self.answer = answer
        self.values: dict[str, str | None] = {}

    async def run(self) -> Json:
        request, answer = self.request, self.answer
        await self.scene.point("begin")
        answer["machine"] = self._machine()
        answer["registry"] = [self._registry(item) for item in request["registry"]]
        await self.scene.point("registry")
        answer["services"] = self._services()
        await self.scene.point("services")
        answer["files"] = [await self._file(item) for item in request["files"]]
        await self.scene.point("files")
        answer.update(self._state())
        answer["backup"] = self._backup()
        answer["events"], answer["events_error"] = self._events()
        answer["ports"] = [await self._port(item) for item in request["ports"]]
        await self.scene.point("end")
        return answer

    def _machine(self) -> Json:
        runner = self.scene.runner
        return {
            "name": runner.name,
            "powershell": runner.powershell,
            "os": runner.os,
            "system_root": self.server.system_root,
        }

    def _registry(self, item: Json) -> Json:
        try:
            found = self.server.registry.get(item["key"], item["value"])
        except WindowsFailure as failure:
            raise TargetFailure(
                "access_denied", str(failure), key=item["key"], hresult=failure.hresult, native=failure.native
            ) from failure
        value = None if found is None or isinstance(found.data, bytes) else found.data
        self.values[item["id"]] = value if isinstance(value, str) else None
        return {"id": item["id"], "value": value}

    def _services(self) -> list[Json]:
        manager = self.server.services
        asked = [(name, manager.find(name)) for name in self.request["services"]]
        named = [service for dummy, service in asked if service is not None]
        related = manager.closure(named, manager.dependents)
        related += [other for other in manager.closure(named + related, manager.dependencies) if other not in related]
        related = [service for service in related if service not in named]
        answer = [self._service(service, named=True) if service else _missing(name) for name, service in asked]
        others = [self._service(service, named=False) for service in related]
        known = {row["name"].lower() for row in answer + others}
        wanted = [name for service in named + related if not service.driver for name in service.depends_on]
        absent = {name.lower(): name for name in reversed(wanted) if name.lower() not in known}
        others += [{**_missing(name), "named": False} for name in absent.values()]
        return answer + sorted(others, key=lambda row: str(row["name"]).lower())

    def _service(self, service: Service, *, named: bool) -> Json:
        entry = {**_missing(service.name), "exists": True, "named": named, "start_type": service.start_type}
        if service.driver:
            return {**entry, "state": "unknown"}
        process = visible_process(self.scene, service)
        image = service.image
        return {
            **entry,
            "state": service.state,
            "account": service.account,
            "image": None if image is None else self._image(image),
            "depends_on": list(service.depends_on),
            "depends_on_groups": list(service.depends_on_groups),
            "group": service.group,
            "process": process_json(process),
            "process_source": "unknowable" if process is None else "path",
        }

    def _image(self, image: str) -> str:
        """A whole path from the three spellings that the service manager takes besides one."""
        path = self.server.expand(image).removeprefix("\\??\\")
        root = self.server.system_root
        if path.lower().startswith("\\systemroot\\"):
            return root + path[len("\\SystemRoot") :]
        return f"{root}\\{path}" if path.lower().startswith("system32\\") else path

    def _locate(self, item: Json) -> tuple[str | None, str | None]:
        if item["path"] is not None:
            return self.server.expand(item["path"]), "path"
        for name in item["beside"]:
            service = self.server.services.find(name)
            directory = split(self._image(service.image or ""))[0] if service else ""
            if directory[1:2] == ":" and self.server.files.is_dir(directory):
                return f"{directory}\\{item['name']}", "service"
        root = self.values.get(item["root"]) if item["root"] else None
        if root:
            below = f"\\{item['below']}" if item["below"] else ""
            return f"{self.server.expand(root)}{below}\\{item['name']}", "registry"
        return self._pointed(item["pointer"]) if item["pointer"] else (None, None)

    def _pointed(self, pointer: Json) -> tuple[str | None, str | None]:
        path = None
        try:
            data = self.server.files.read(self.server.expand(pointer["file"]))
            path = profile_value(data, pointer["section"], pointer["key"])
        except WindowsFailure:
            pass  # the default counts when the pointing file cannot be read
        path = path or pointer["default"]
        return (self.server.expand(path), "pointer") if path else (None, None)

    async def _file(self, item: Json) -> Json:
        path, source = self._locate(item)
        answer: Json = {
            "id": item["id"],
            "path": path,
            "source": source,
            "directory_exists": False,
            "exists": False,
            "size": None,
            "sha256": None,
            "content": None,
            "modified": None,
            "read_only": None,
            "file_system": None,
            "lookalikes": [],
            "executables": [],
            "error": None,
        }
        if path is not None:
            self._surroundings(answer, item, path)
            try:
                await self._content(answer, item, path)
            except TargetFailure as failure:
                answer["error"] = failure.as_json()
        return answer

    def _surroundings(self, answer: Json, item: Json, path: str) -> None:
        files = self.server.files
        directory, name = split(path)
        answer["directory_exists"] = files.is_dir(directory)
        if not self.scene.remote:
            answer["file_system"] = files.kind(path)
        if answer["directory_exists"]:
            names = [other for other in files.names(directory) if files.exists(f"{directory}\\{other}")]
            answer["lookalikes"] = [other for other in names if _is_lookalike(other, name)]
            if item["executables"]:
                answer["executables"] = [other.lower() for other in names if other.lower().endswith(".exe")]

    async def _content(self, answer: Json, item: Json, path: str) -> None:
        files = self.server.files
        if path[1:3] != ":\\":
            raise file_failure(WindowsFailure(INVALID_NAME), files, path)
        if not answer["directory_exists"]:
            return
        node = files.node(path)
        if node is not None and node.data is not None:
            answer.update(
                exists=True,
                size=len(node.data),
                modified=files.modified(path),
                read_only=node.read_only,
            )
            if item["content"] and len(node.data) > item["max_bytes"]:
                raise TargetFailure(
                    "too_large", "too large", path=path, size=len(node.data), max_bytes=item["max_bytes"]
                )
        try:
            data = await self.scene.patiently(path, lambda: files.read(path))
        except TargetFailure as failure:
            if failure.code == "not_found":
                return
            raise
        answer["sha256"] = sha256(data)
        if item["content"]:
            answer["content"] = base64.b64encode(data).decode()

    def _state(self) -> Json:
        if not self.request["state"]:
            return {"records": [], "journal": None, "boot": None, "backups": [], "lock": None}
        store = Store(self.server)
        try:
            journal = store.journal()
        except TargetFailure:
            journal = {"corrupt": True}
        return {
            "records": store.records(),
            "journal": journal,
            "boot": store.boot(),
            "backups": store.backups(),
            "lock": lock_holder(self.server),
        }

    def _backup(self) -> Json | None:
        digest = self.request["backup"]
        data = Store(self.server).backup(digest) if digest else None
        return None if data is None else {"sha256": digest, "content": base64.b64encode(data).decode()}

    def _events(self) -> tuple[list[Json] | None, str | None]:
        asked = self.request["events"]
        if asked is None:
            return None, None
        logs = {log.lower(): log for log in asked["logs"]}
        errors = [self.server.event_errors[log] for log in logs.values() if log in self.server.event_errors]
        sources, ids = {source.lower() for source in asked["sources"]}, set(asked["ids"])
        found = [
            event
            for event in self.server.events
            if event.log.lower() in logs
            and event.log not in self.server.event_errors
            and event.at >= asked["since"]
            and (not sources or event.source.lower() in sources)
            and (not ids or event.id in ids)
        ]
        newest = sorted(found, key=lambda event: event.at, reverse=True)[: asked["limit"]]
        return [_event_json(event) for event in newest], "; ".join(errors) or None

    async def _port(self, item: Json) -> Json:
        port = self.server.ports.get(item["port"])
        answer: Json = dict.fromkeys(("port", "listening", "connected", "greeting", "error", "native"))
        answer.update(port=item["port"], connected=False)
        if not self.scene.remote:
            answer["listening"] = port is not None
        if port is None:
            return {**answer, "error": "connection refused", "native": CONNECTION_REFUSED}
        sent = None if item["send"] is None else base64.b64decode(item["send"])
        greeting = (await port.converse(sent))[:GREETING_BYTES]
        if not greeting:
            return {**answer, "connected": True, "error": "nothing came in time"}
        return {**answer, "connected": True, "greeting": base64.b64encode(greeting).decode()}


def _missing(name: str) -> Json:
    values = ("state", "start_type", "account", "image", "group", "process", "process_source")
    lists: Json = {"depends_on": [], "depends_on_groups": []}
    return {"name": name, "exists": False, "named": True, **lists, **dict.fromkeys(values)}


def _is_lookalike(name: str, wanted: str) -> bool:
    name, wanted = name.lower(), wanted.lower()
    stem = wanted.rpartition(".")[0] or wanted
    return name != wanted and (name.startswith(wanted + ".") or name in (stem, stem + ".txt"))


def _event_json(event: Event) -> Json:
    return {
        "log": event.log,
        "at": event.at,
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "message": event.message,
        "strings": list(event.strings),
    }
