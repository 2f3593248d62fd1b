# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a simulated machine as data: the ``given`` of conformance cases, in which every server is written down.

Its keys stand in ``tests/conformance/README.md``; an unknown one is an error. ``management``, the machine that runs the
script, is ``{name, powershell, os, clock, can_detach}``; ``powershell`` and ``os`` beside it are the server's own.
"""

from __future__ import annotations

import base64
import json
import math
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .machines.clock import Clock
from .machines.files import normal
from .machines.machine import Event, Machine, Port
from .machines.services import Behaviour, Service
from .target.scene import HOME
from .target.state import BOOT, KEY, RECORDS, Store, number

SERVER: t.Final = "EXCH1"
MANAGEMENT: t.Final = "MGMT1"
EPOCH: t.Final = 946_728_000.0  # 2000-01-01 12:00 UTC


class GivenError(ValueError):
    """A state that the lab cannot bring about; the text says which key."""


@dataclass
class SpokenPort:
    """A port of ``given``."""

    greeting: bytes
    answers: bytes

    async def converse(self, sent: bytes | None) -> bytes:
        return self.greeting + (self.answers if sent else b"")


def build_machine(given: Mapping[str, t.Any]) -> Machine:
    """The server of a case."""
    clock = _clock(given.get("clock") or {})
    machine = Machine(SERVER, clock, powershell=given.get("powershell", "5.1.19041.1"))
    machine.os = given.get("os", machine.os)
    machine.system_root = given.get("system_root", machine.system_root)
    machine.files.mkdir(machine.system_root + "\\System32")
    apply_given(machine, given)
    return machine


def _clock(given: Mapping[str, t.Any], *, like: Clock | None = None) -> Clock:
    epoch = float(given.get("now", EPOCH))
    return Clock(
        epoch=epoch if like is None or "now" in given else like.now(),
        speed=math.inf,
        skew_s=float(given.get("skew_s", 0)),
        utc_offset_minutes=int(given.get("utc_offset_minutes", 0)),
    )


def build_management(given: Mapping[str, t.Any], server: Clock) -> Machine:
    """The machine that runs the script in computer mode."""
    clock = _clock(given.get("clock") or {}, like=server)
    machine = Machine(given.get("name", MANAGEMENT), clock, system_root="C:\\Windows")
    machine.powershell = given.get("powershell", machine.powershell)
    machine.os = given.get("os", "Microsoft Windows NT 10.0.17763.0")
    machine.can_detach = given.get("can_detach", True)
    return machine


def apply_given(machine: Machine, given: Mapping[str, t.Any]) -> None:
    """Bring a machine to a state; what is not named stays."""
    for key, value in given.items():
        if key in ("clock", "management", "powershell", "os", "system_root"):
            continue
        setter = _SETTERS.get(key)
        if setter is None:
            raise GivenError(f"given.{key}: unknown; known are {sorted(_SETTERS)}")
        setter(machine, value)


def content_of(item: Mapping[str, t.Any]) -> bytes:
    """Bytes of ``{text, encoding}`` or ``{base64}``."""
    if "base64" in item:
        return base64.b64decode(item["base64"])
    return str(item.get("text", "")).encode(item.get("encoding", "cp1252"))


def _set_files(machine: Machine, files: Mapping[str, t.Any]) -> None:
    for path, item in files.items():
        if item is None:
            machine.files.remove(path)
        elif item.get("directory"):
            machine.files.mkdir(path)
        else:
            _set_file(machine, path, item)
        if item is not None and item.get("denied"):
            machine.files.denied.add(normal(path).lower())


def _set_file(machine: Machine, path: str, item: Mapping[str, t.Any]) -> None:
    node = machine.files.put(path, content_of(item))
    if "modified" in item:
        machine.files.set_modified(path, float(item["modified"]))
    node.read_only = bool(item.get("read_only", False))
    if item.get("held_open"):
        machine.files.hold(path, item["held_open"])


def _set_registry(machine: Machine, keys: Mapping[str, Mapping[str, t.Any]]) -> None:
    for key, values in keys.items():
        for name, value in values.items():
            kind = None
            data = value
            if isinstance(value, Mapping):
                kind, data = value["kind"], value["data"]
            if kind == "binary":
                data = base64.b64decode(data)
            machine.registry.set(key, name, data, kind)


def _set_services(machine: Machine, services: list[Mapping[str, t.Any]]) -> None:
    for item in services:
        values = dict(item)
        behaviour = Behaviour(**values.pop("behaviour", {}))
        image = values.pop("image", f"{machine.system_root}\\System32\\{values['name'].lower()}.exe")
        for key in ("depends_on", "depends_on_groups"):
            values[key] = tuple(values.get(key) or ())
        values.setdefault("display_name", values["name"])
        values.setdefault("state", "running")
        machine.services.add(Service(image_path=image, behaviour=behaviour, **values))


def _set_lock(machine: Machine, lock: Mapping[str, t.Any]) -> None:
    path = f"{machine.system_root}\\{HOME}.lock"
    content = {key: lock.get(key) for key in ("who", "run", "machine", "since")}
    machine.files.put(path, json.dumps(content).encode())
    if lock.get("held", True):
        machine.files.hold(path, "write")
    if "seconds" in lock:
        machine.clock.call_later(float(lock["seconds"]), lambda: machine.files.remove(path))


def _set_journal(machine: Machine, journal: t.Any) -> None:
    text = journal if isinstance(journal, str) else json.dumps(journal)
    boot = machine.registry.get(BOOT, "token")
    token = json.dumps(boot.data if boot else machine.new_token())
    if '"BOOT"' in text:
        machine.registry.set(BOOT, "token", json.loads(token), volatile=True)
    machine.registry.set(KEY, "journal", text.replace('"BOOT"', token))


def _set_records(machine: Machine, records: Mapping[str, Mapping[str, str]]) -> None:
    for service, values in records.items():
        for name in ("loaded", "wanted", "owned", "process", "file"):
            machine.registry.set(f"{RECORDS}\\{service}", name, values.get(name, ""))


def _set_backups(machine: Machine, backups: list[Mapping[str, t.Any]]) -> None:
    store = Store(machine)
    lines = ["|".join(line) for line in store.index()]
    for item in backups:
        path = store.save(content_of(item))
        digest = path.rpartition("\\")[2].partition(".")[0]
        lines.append(f"{number(float(item['saved']))}|{digest}|{item['path']}")
    machine.registry.set(KEY, "backups", lines)


def _set_events(machine: Machine, events: list[Mapping[str, t.Any]]) -> None:
    for item in events:
        values = {**item, "strings": tuple(item.get("strings", ()))}
        machine.events.append(Event(**values))


def _set_ports(machine: Machine, ports: Mapping[t.Any, Mapping[str, str] | None]) -> None:
    for port, item in ports.items():
        spoken = item or {}
        listener: Port = SpokenPort(spoken.get("greeting", "").encode(), spoken.get("answers", "").encode())
        machine.ports[int(port)] = listener


def _set_network(machine: Machine, network: Mapping[str, t.Any]) -> None:
    machine.up = not network.get("down", False)
    machine.delegation_required = bool(network.get("denied", False))
    machine.accepts = dict(network.get("accounts") or {})


def _set_drives(machine: Machine, drives: Mapping[str, str]) -> None:
    for letter, kind in drives.items():
        machine.files.convert(letter, kind)


def _set_free(machine: Machine, free: int) -> None:
    machine.files.free = free


def _set_boot(machine: Machine, token: str) -> None:
    machine.registry.set(BOOT, "token", token, volatile=True)


def _set_event_errors(machine: Machine, errors: Mapping[str, str]) -> None:
    machine.event_errors.update(errors)


_SETTERS: t.Final[t.Mapping[str, t.Callable[[Machine, t.Any], None]]] = {
    "files": _set_files,
    "registry": _set_registry,
    "services": _set_services,
    "drives": _set_drives,
    "disk_free": _set_free,
    "boot": _set_boot,
    "lock": _set_lock,
    "journal": _set_journal,
    "records": _set_records,
    "backups": _set_backups,
    "events": _set_events,
    "event_errors": _set_event_errors,
    "ports": _set_ports,
    "network": _set_network,
}
