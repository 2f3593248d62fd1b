# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handmade answers of the target script, and a transport that replays them.

A simulation, and a small one: it answers ``inspect`` from a description, carries out ``apply`` by the letter of
docs/target_protocol.md and replays ``restart`` from a list. The lab is the one that behaves like Windows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import session as target
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.script import begin_marker, end_marker

Json = dict[str, t.Any]

BIN = r"C:\exchsrvr\bin\Wspcfg.ini"
IMC = r"C:\exchsrvr\connect\msexcimc\bin\Wspcfg.ini"
CLIENT = r"C:\mspclnt\mspclnt.ini"
NOW = 1_000_000.0

# Q143380, Q160572: who depends on whom.
GRAPH: dict[str, tuple[str, ...]] = {
    "MSExchangeSA": ("EventLog",),
    "MSExchangeDS": ("MSExchangeSA",),
    "MSExchangeIS": ("MSExchangeDS",),
    "MSExchangeMTA": ("MSExchangeDS",),
    "MSExchangeIMC": ("MSExchangeIS", "MSExchangeMTA", "TCPIP"),
    "MSExchangeES": ("MSExchangeIS",),
    "MSExchangeKMS": ("MSExchangeDS",),
    "MSExchangeDX": ("MSExchangeMTA",),
    "MSExchangeFB": ("MSExchangeDS", "MSExchangeIS", "EventLog"),
    "MSExchangeMSMI": ("MSExchangeDS", "EventLog"),
    "MSExchangeATMTA": ("EventLog", "MSExchangeMSMI", "LanmanServer"),
    "EventLog": (),
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def service(name: str, **changes: t.Any) -> Json:
    """Return one service of an inspection: running, automatic, with a process on the server itself."""
    row: Json = {
        "name": name,
        "exists": True,
        "named": True,
        "state": "running",
        "start_type": "auto",
        "account": "LocalSystem",
        "image": f"C:\\exchsrvr\\bin\\{name.lower()}.exe",
        "depends_on": list(GRAPH.get(name, ())),
        "depends_on_groups": [],
        "group": None,
        "process": {"id": 100 + len(name), "started": NOW - 5000},
        "process_source": "path",
        "can_stop": True,
        "display_name": name,
    }
    row.update(changes)
    if row["state"] != "running":
        row.update(process=None, process_source="unknowable")
    return row


def missing(name: str) -> Json:
    empty = dict.fromkeys(("state", "start_type", "account", "image", "group", "process", "display_name"))
    lists: Json = {"depends_on": [], "depends_on_groups": []}
    return {**empty, **lists, "name": name, "exists": False, "named": True, "process_source": None, "can_stop": None}


def driver(name: str) -> Json:
    return service(name, state="unknown", depends_on=[])


@dataclass
class File:
    """A file of the described server; ``content`` None: it does not exist."""

    path: str | None
    content: bytes | None = None
    modified: float = NOW - 90_000
    directory_exists: bool = True
    read_only: bool = False
    file_system: str | None = "NTFS"
    executables: tuple[str, ...] = ()
    lookalikes: tuple[str, ...] = ()
    error: Json | None = None

    def row(self, file_id: str) -> Json:
        exists = self.content is not None
        return {
            "id": file_id,
            "path": self.path,
            "source": "service" if self.path else None,
            "directory_exists": self.directory_exists and self.path is not None,
            "exists": exists,
            "size": None if self.content is None else len(self.content),
            "sha256": None if self.content is None else sha256(self.content),
            "content": None if self.content is None else base64.b64encode(self.content).decode(),
            "created": self.modified if exists else None,
            "modified": self.modified if exists else None,
            "read_only": self.read_only,
            "hidden": False,
            "file_system": self.file_system,
            "lookalikes": list(self.lookalikes),
            "executables": list(self.executables),
            "error": self.error,
        }


def everything() -> dict[str, Json]:
    """Return the documented services, all of them running, by name; KMS, cluster and proxy are not installed."""
    rows = {name: service(name) for name in GRAPH if name != "MSExchangeKMS"}
    rows["TCPIP"] = driver("TCPIP")
    for name in ("MSExchangeKMS", "wspsrv", "ClusSvc"):
        rows[name] = missing(name)
    return rows


@dataclass
class Described:
    """A described server; tests change it at will."""

    services: dict[str, Json] = field(default_factory=everything)
    files: dict[str, File] = field(
        default_factory=lambda: {
            "bin": File(BIN, executables=("emsmta.exe", "mad.exe", "store.exe")),
            "imc": File(IMC),
            "client": File(None),
        }
    )
    registry: Json = field(
        default_factory=lambda: {"install_root": r"C:\exchsrvr", "newest_build": 2650, "build": 2650}
    )
    records: dict[str, Json] = field(default_factory=dict)
    backups: dict[str, bytes] = field(default_factory=dict)
    index: list[Json] = field(default_factory=list)
    journal: Json | None = None
    boot: str | None = "boot-1"
    lock: Json | None = None
    events: list[Json] | None = None
    now: float = NOW

    def remotely(self) -> Described:
        """Make processes unknowable, as through a management host."""
        for row in self.services.values():
            row.update(process=None, process_source="unknowable")
        for file in self.files.values():
            file.file_system = None
        return self

    def envelope(self, request: Json) -> Json:
        common = {key: request.get(key) for key in ("version", "op", "run", "computer")}
        return {**common, "clock": {"now": self.now, "utc_offset_minutes": 60}}

    def inspect(self, request: Json) -> Json:
        wanted = request.get("backup")
        backup = None
        if wanted in self.backups:
            backup = {"sha256": wanted, "content": base64.b64encode(self.backups[wanted]).decode()}
        registry = [
            {"id": row["id"], "value": self.registry.get(row["id"]), "kind": None} for row in request["registry"]
        ]
        return {
            **self.envelope(request),
            "registry": registry,
            "services": list(self.services.values()),
            "files": [self._file(row) for row in request["files"]],
            "records": list(self.records.values()),
            "journal": self.journal,
            "boot": self.boot,
            "backups": self.index,
            "lock": self.lock,
            "backup": backup,
            "events": self.events,
            "events_error": None,
            "ports": [],
            "machine": {"name": "MGMT1", "powershell": "5.1", "os": "Windows", "system_root": "C:\\WINNT"},
        }

    def _file(self, row: Json) -> Json:
        if row["path"] is not None:
            for file in self.files.values():
                if (file.path or "").lower() == row["path"].lower():
                    return file.row(row["id"])
            return File(row["path"], directory_exists=False).row(row["id"])
        return self.files[row["id"]].row(row["id"])

    def apply(self, request: Json) -> Json:
        by_path = {(file.path or "").lower(): file for file in self.files.values()}
        applied = []
        for row in request["files"]:
            file = by_path[row["path"].lower()]
            found = None if file.content is None else sha256(file.content)
            if found != row["expect_sha256"]:
                detail = {"path": row["path"], "expected": row["expect_sha256"], "found": found}
                return {
                    **self.envelope(request),
                    **_error("changed", detail),
                    "applied": [],
                    "restored": [],
                    "left": [],
                }
        for row in request["files"]:
            applied.append(self._write(by_path[row["path"].lower()], row))
        for record in request["records"]:
            self._record(record)
        return {**self.envelope(request), "applied": applied, "restored": [], "left": []}

    def _write(self, file: File, row: Json) -> Json:
        backup = None
        if file.content is not None:
            digest = sha256(file.content)
            self.backups[digest] = file.content
            self.index.append({"saved": self.now, "sha256": digest, "path": row["path"]})
            backup = f"C:\\WINNT\\msexchange.winsock_proxy\\backup\\{digest}.ini"
        content = base64.b64decode(row["content"]) if row["content"] is not None else None
        if row["from_backup"] is not None:
            content = self.backups[row["from_backup"]]
        file.content, file.modified = content, self.now
        size = None if content is None else len(content)
        return {
            "path": row["path"],
            "sha256": None if content is None else sha256(content),
            "size": size,
            "modified": self.now,
            "backup": backup,
        }

    def _record(self, record: Json) -> None:
        name = record["service"]
        old = self.records.get(name, {"loaded": None, "file": None, "process": None, "loaded_content": None})
        new = {**old, "service": name, "wanted": record["wanted"], "owned": record["owned"] or None}
        if record["loaded"] is not None:
            process = self.services[name]["process"] if name in self.services else None
            new.update(loaded=record["loaded"], process=process, file=None, loaded_content=None)
        self.records[name] = new

    def restarted(self, *names: str) -> None:
        """Give services new processes that loaded what is in the files now."""
        self.now += 100
        for name in names:
            row = self.services[name]
            row["state"] = "running"
            if row["process_source"] == "path" or row["process"]:
                row.update(process={"id": int(self.now) % 65536, "started": self.now}, process_source="path")


def _error(code: str, detail: Json | None = None, message: str = "") -> Json:
    return {"error": {"code": code, "message": message, "detail": detail or {}}}


def error(code: str, message: str = "", /, **detail: t.Any) -> Json:
    """Return an answer that is this error."""
    return _error(code, detail, message)


def sent_in(stdin: str) -> tuple[str, Json]:
    """Return what arrived on standard input: nonce, and the request as the session had it, without a password."""
    nonce, line, *dummy = stdin.split("\n")
    return nonce, json.loads(line)["request"]


def spoken(answer: Json, nonce: str) -> target.Execution:
    """Return an answer as it comes back, with the noise that Windows adds."""
    stdout = f"Welcome\r\n{begin_marker(nonce)}\r\n{json.dumps(answer)}\r\n{end_marker(nonce)}\r\n"
    return target.Execution(0, stdout, "#< CLIXML")


Step: t.TypeAlias = Json | Exception | Callable[[Json], Json]


@dataclass
class Replay:
    """A transport with a described server behind it and a list of accidents.

    Attributes:
        server: Answers ``inspect`` and ``apply``.
        steps: Answers of other operations by name, and ``accidents``: exceptions raised instead of the n-th execution.
        requests: What arrived.
    """

    server: Described = field(default_factory=Described)
    steps: dict[str, list[Step]] = field(default_factory=dict)
    accidents: dict[int, tuple[str, Exception]] = field(default_factory=dict)
    requests: list[Json] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    resets: int = 0
    released: int = 0

    def execute(self, command: str, stdin: str) -> target.Execution:
        self.commands.append(command)
        nonce, request = sent_in(stdin)
        self.requests.append(request)
        when, accident = self.accidents.get(len(self.requests), ("never", None))
        if when == "before" and accident is not None:
            raise accident
        answer = self._answer(request)
        if when == "after" and accident is not None:
            raise accident
        return spoken(answer, nonce)

    def _answer(self, request: Json) -> Json:
        steps = self.steps.get(request["op"])
        if steps:
            step = steps.pop(0)
            if isinstance(step, Exception):
                raise step
            return {**self.server.envelope(request), **(step(request) if callable(step) else step)}
        if request["op"] == "inspect":
            return self.server.inspect(request)
        if request["op"] == "apply":
            return self.server.apply(request)
        raise AssertionError(f"nothing to replay for {request['op']}")

    def reset(self) -> None:
        self.resets += 1

    def release(self) -> None:
        self.released += 1

    @property
    def ops(self) -> list[str]:
        return [request["op"] for request in self.requests]


@dataclass
class FakeClock:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def session(transport: Replay, **changes: t.Any) -> target.Session:
    """Return a session over a replay, with a clock that does not wait."""
    identity = target.Identity(
        "0a0a0a0a-0000-4000-8000-000000000001", "tester@controller", changes.pop("computer", None)
    )
    return target.Session(transport, identity, clock=changes.pop("clock", FakeClock()), **changes)
