# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what prepares the cases does: every state is brought about, and looked at with .NET's eyes.

What is expected is read from the case itself, not from the orders that were given, and nothing of it goes through
``observe``. One PowerShell per machine looks for all cases.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
import typing as t
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.compare import content
from tests.conformance.schema import Case, at_time
from tests.support.calls import Hung
from tests.windows import BUILD, orders
from tests.windows.orders import BEHAVIOUR, OWN, RECORD, Cannot
from tests.windows.programs import SOURCES
from tests.windows.report import Result

if t.TYPE_CHECKING:
    from tests.windows.lane import StageServer

MODE: t.Final = "prepared"
LOOK_SECONDS: t.Final = 60
LIFE_SECONDS: t.Final = 3600
_SHARING, _DENIED = 32, 5
_KINDS: t.Final = {"sz": "String", "expand_sz": "ExpandString", "binary": "Binary", "dword": "DWord", "qword": "QWord"}
_STATES: t.Final = {
    "stopped": "Stopped",
    "running": "Running",
    "paused": "Paused",
    "start_pending": "StartPending",
    "stop_pending": "StopPending",
}
# What an open like that comes to while another program has the file open like this: read, read_alone, write.
_HELD: t.Final = {
    "read": (0, 0, _SHARING),
    "write": (0, _SHARING, _SHARING),
    "none": (_SHARING, _SHARING, _SHARING),
}


@dataclass
class Eyes:
    """A PowerShell that looks at its machine; a context manager."""

    server: StageServer
    folder: Path = field(default_factory=lambda: BUILD / "eyes" / uuid.uuid4().hex[:8])
    _number: int = 0

    def __enter__(self) -> Eyes:
        self.folder.mkdir(parents=True)
        path = self.server.stage.machine.path_of
        command = (
            f"& ([scriptblock]::Create([IO.File]::ReadAllText('{path(SOURCES / 'eyes.ps1')}'))) '{path(self.folder)}'"
        )
        encoded = base64.b64encode(command.encode("utf-16-le")).decode()
        words = [*self.server.pwsh, "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]
        self._thread = threading.Thread(target=self._watch, args=(words,), daemon=True)
        self._thread.start()
        return self

    def _watch(self, words: list[str]) -> None:
        done = self.server.stage.machine.run(words, b"", seconds=LIFE_SECONDS)
        (self.folder / "ended").write_bytes(done.out[-500:] + done.err[-500:])

    def __exit__(self, *dummy: object) -> None:
        (self.folder / "stop").touch()
        self._thread.join(LOOK_SECONDS)

    def look(self, ask: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return what is to be seen.

        Raises:
            Hung: nothing came.
        """
        self._number += 1
        fresh = self.folder / "asking"
        fresh.write_text(json.dumps(ask), encoding="utf-8")
        fresh.rename(self.folder / f"ask-{self._number}.json")
        told = self.folder / f"told-{self._number}.json"
        end = time.monotonic() + LOOK_SECONDS
        while not told.exists():
            ended = self.folder / "ended"
            if ended.exists() or time.monotonic() > end:
                raise Hung(f"nobody looks: {ended.read_text(errors='replace') if ended.exists() else 'no answer'}")
            time.sleep(0.02)
        seen = json.loads(told.read_text(encoding="utf-8-sig"))
        if "error" in seen:
            raise RuntimeError(f"eyes.ps1: {seen['error']}")
        return t.cast("dict[str, t.Any]", seen)


def check(case: Case, server: StageServer, eyes: Eyes) -> Result:
    """Prepare a case, and say what is not as it says."""
    began = time.monotonic()
    given = at_time(case, int(time.time())).data.get("given") or {}
    try:
        server.stage.prepare(given, change=False)
    except Cannot as reason:
        return Result(case.id, MODE, "unproven", (str(reason),), round(time.monotonic() - began, 1))
    wanted = Wanted(given, server.stage.about.root)
    found = tuple(wanted.differences(eyes.look(wanted.ask())))
    return Result(case.id, MODE, "failed" if found else "proven", found, round(time.monotonic() - began, 1))


@dataclass(frozen=True)
class Wanted:
    """What a state must look like.

    Attributes:
        given: the state, as a case names it.
        root: the directory of Windows.
    """

    given: Mapping[str, t.Any]
    root: str

    def ask(self) -> dict[str, t.Any]:
        """Return the question to the eyes."""
        ports = (self.given.get("ports") or {}).items()
        return {
            "files": [path for path, dummy in self._files()],
            "values": [{"key": key, "name": name} for key, name, *dummy in self._values()],
            "volatile": [f"{OWN}\\boot"] if "boot" in self.given else [],
            "services": [service["name"] for service in self.given.get("services") or ()],
            "ports": [
                {
                    "port": int(port),
                    "greets": bool((item or {}).get("greeting")),
                    "answers": bool((item or {}).get("answers")),
                }
                for port, item in ports
            ],
            "drives": sorted(self.given.get("drives") or {}),
        }

    def differences(self, seen: Mapping[str, t.Any]) -> Iterator[str]:
        """Yield one line for everything that is not as it should be."""
        files = {look["path"]: look for look in seen["files"]}
        for path, item in self._files():
            yield from _file_differences(path, item, files[path])
        values = {(look["key"], look["name"]): look for look in seen["values"]}
        for key, name, kind, data in self._values():
            look = values[key, name]
            if look["data"] != data or (kind and look["kind"] != kind):
                yield f"{key}, {name}: {look['kind']} {look['data']!r}, not {kind} {data!r}"
        for look in seen["volatile"]:
            if not look["volatile"]:
                yield f"{look['key']} stays when the machine boots"
        yield from self._service_differences(seen)
        for look in seen["ports"]:
            yield from self._port_differences(look)
        for look in seen["drives"]:
            if look["format"] != self.given["drives"][look["letter"]]:
                yield f"drive {look['letter']}: is {look['format']}"

    def _files(self) -> Iterator[tuple[str, t.Any]]:
        yield from (self.given.get("files") or {}).items()
        for item in self.given.get("backups") or ():
            data = content(item)
            name = hashlib.sha256(data).hexdigest()
            yield f"{self.root}\\{orders.HOME}\\backup\\{name}.ini", {"base64": base64.b64encode(data).decode()}
        lock = self.given.get("lock")
        if lock and "seconds" not in lock:
            text = json.dumps({key: lock.get(key) for key in ("who", "run", "machine", "since")})
            yield f"{self.root}\\{orders.HOME}.lock", {"text": text, "held_open": lock.get("held", True) and "write"}

    def _values(self) -> Iterator[tuple[str, str, str, t.Any]]:
        for key, values in (self.given.get("registry") or {}).items():
            for name, data in values.items():
                if isinstance(data, Mapping):
                    yield key, name, _KINDS[data["kind"]], data["data"]
                else:
                    yield key, name, _kind_of(data), data
        for service, values in (self.given.get("records") or {}).items():
            for name in RECORD:
                yield f"{OWN}\\records\\{service}", name, "String", values.get(name, "")
        if "boot" in self.given:
            yield f"{OWN}\\boot", "token", "String", self.given["boot"]
        journal = self.given.get("journal")
        if journal is not None and "BOOT" not in json.dumps(journal):
            text = journal if isinstance(journal, str) else json.dumps(journal)
            yield OWN, "journal", "String", text
        if self.given.get("backups"):
            lines = [
                f"{float(item['saved']):.3f}|{hashlib.sha256(content(item)).hexdigest()}|{item['path']}"
                for item in self.given["backups"]
            ]
            yield OWN, "backups", "MultiString", lines
        for service in self.given.get("services") or ():
            yield from _service_values(service)

    def _service_differences(self, seen: Mapping[str, t.Any]) -> Iterator[str]:
        states = {look["name"]: look["state"] for look in seen["services"]}
        running = [path.lower() for path in seen["images"]]
        for service in self.given.get("services") or ():
            state = service.get("state", "running")
            if states[service["name"]] != _STATES[state]:
                yield f"{service['name']}: {states[service['name']]}, not {_STATES[state]}"
            image = re.match(r'"?([a-z]:\\[^"]*?\.exe)', service.get("image") or "", re.IGNORECASE)
            gone = (service.get("behaviour") or {}).get("start") == "refuse"
            if state != "stopped" and image and not gone and image[1].lower() not in running:
                yield f"{service['name']}: no process has the path {image[1]}"

    def _port_differences(self, look: Mapping[str, t.Any]) -> Iterator[str]:
        ports = {int(port): item or {} for port, item in self.given["ports"].items()}
        item = ports[look["port"]]
        for key, told in (("greeting", look["greeting"]), ("answers", look["answer"])):
            spoken = base64.b64encode(item.get(key, "").encode()).decode() or None
            if not look["connected"] or told != spoken:
                yield f"port {look['port']}: connected {look['connected']}, {key} {told!r}, not {spoken!r}"


def _kind_of(data: t.Any) -> str:
    return "MultiString" if isinstance(data, list) else "DWord" if isinstance(data, int) else "String"


def _service_values(service: Mapping[str, t.Any]) -> Iterator[tuple[str, str, str, t.Any]]:
    key = f"{orders.SERVICES}\\{service['name']}"
    starts = {"boot": 0, "system": 1, "auto": 2, "manual": 3, "disabled": 4}
    yield key, "Start", "DWord", starts[service.get("start_type", "auto")]
    for name, value in (
        ("ImagePath", service.get("image")),
        ("ObjectName", service.get("account")),
        ("Group", service.get("group")),
        ("DependOnService", service.get("depends_on")),
        ("DependOnGroup", service.get("depends_on_groups")),
    ):
        if value:
            yield key, name, "", value
    for name, value in (service.get("behaviour") or {}).items():
        yield f"{BEHAVIOUR}\\{service['name']}", name, _kind_of(value), value


def _file_differences(path: str, item: Mapping[str, t.Any] | None, look: Mapping[str, t.Any]) -> Iterator[str]:
    if item is None or item.get("directory"):
        if look["directory"] != bool(item) or look["there"]:
            yield f"{path}: directory {look['directory']}, file {look['there']}"
        return
    opened = (look["read"], look["read_alone"], look["write"])
    wanted = _HELD[item["held_open"]] if item.get("held_open") else (0, 0, 0)
    if item.get("denied"):
        wanted = (_DENIED, _DENIED, _DENIED)
    elif item.get("read_only"):
        wanted = (0, 0, _DENIED)
    if opened != wanted:
        yield f"{path}: opens come to {opened}, not {wanted}"
    if wanted[0] == 0 and look["read"] == 0:
        if base64.b64decode(look["content"]) != content(item):
            yield f"{path}: {base64.b64decode(look['content'])!r}"
        if look["read_only"] != bool(item.get("read_only")):
            yield f"{path}: read-only {look['read_only']}"
        if "modified" in item and abs(look["modified"] - item["modified"]) > 0.001:
            yield f"{path}: modified {look['modified']}, not {item['modified']}"


@contextlib.contextmanager
def looking(server: StageServer) -> Iterator[Eyes]:
    """Eyes on a server, and afterwards a machine without anything of a case."""
    try:
        with Eyes(server) as eyes:
            yield eyes
    finally:
        server.stage.clear()
