# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a conformance case says about a server, as orders to ``programs/orders.c``, and what it answers.

Nothing here touches a machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.conformance.compare import content
from tests.conformance.schema import Case, as_list

OWN: t.Final = "SOFTWARE\\msexchange.winsock_proxy"
HOME: t.Final = "msexchange.winsock_proxy"
STAGE: t.Final = "SOFTWARE\\conformance-stage"
BEHAVIOUR: t.Final = STAGE + "\\behaviour"
# Where the programs of services were put: they are none of a case's files.
IMAGES: t.Final = STAGE + "\\images"
SERVICES: t.Final = "SYSTEM\\CurrentControlSet\\Services"
RECORD: t.Final = ("loaded", "wanted", "owned", "process", "file")

STATES: t.Final = {
    "stopped": 1,
    "start_pending": 2,
    "stop_pending": 3,
    "running": 4,
    "continue_pending": 5,
    "pause_pending": 6,
    "paused": 7,
}
START_TYPES: t.Final = {"boot": 0, "system": 1, "auto": 2, "manual": 3, "disabled": 4}
EVENT_TYPES: t.Final = {"error": 1, "warning": 2, "information": 4}
KINDS: t.Final = {"sz": 1, "expand_sz": 2, "binary": 3, "dword": 4, "multi_sz": 7, "qword": 11}
OWN_PROCESS: t.Final = 16
EPOCH_1601: t.Final = 11_644_473_600
# What no program can make of a machine.
LAB_ONLY: t.Final = {
    "disk_free": "a disk is not filled for a test",
    "network": "needs a network of Windows machines",
    "management": "needs another machine",
    "system_root": "Windows lies where it lies",
    "powershell": "PowerShell is the one that is there",
    "clock": "nobody sets this machine's clock",
}


class Cannot(Exception):
    """This machine cannot be brought into that state; the text says why."""


@dataclass(frozen=True)
class About:
    """The machine that takes the orders.

    Attributes:
        wine: whether Windows' API is Wine's.
        root: the directory of Windows.
        computer: its name.
        service: path of the service program there.
        drives: letter to file system, of those that there are.
    """

    wine: bool
    root: str
    computer: str
    service: str
    drives: Mapping[str, str]

    @property
    def lock(self) -> str:
        return f"{self.root}\\{HOME}.lock"

    @property
    def home(self) -> str:
        return f"{self.root}\\{HOME}"


Order: t.TypeAlias = tuple[str, ...]


def encode(orders: Iterable[Order]) -> bytes:
    """Return orders as the program reads them."""
    return "".join("\t".join(order) + "\n" for order in orders).encode("utf-8")


def decode(answers: bytes) -> list[list[str]]:
    """Return answers, split into words."""
    return [line.split("\t") for line in answers.decode("utf-8", "replace").splitlines()]


# --- reset ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """Everything that any case names, and that is therefore none of anybody else's.

    Attributes:
        directories: directories that hold all files of cases; removed whole.
        keys: registry keys.
    """

    directories: tuple[str, ...]
    keys: tuple[str, ...]


_SHARED: t.Final = ("program files", "program files (x86)", "users", "programdata")


def _given(case: Case) -> Iterator[Mapping[str, t.Any]]:
    yield case.data.get("given") or {}
    for step in case.steps:
        yield from as_list(step.get("before"))


def _paths(case: Case) -> Iterator[str]:
    for given in _given(case):
        yield from given.get("files") or {}
        for service in given.get("services") or ():
            yield program_of(service.get("image") or "", "C:\\Windows") or ""
        for backup in given.get("backups") or ():
            yield backup["path"]
    then = case.data.get("then") or {}
    for key in ("files", "directories"):
        for path in then.get(key) or {}:
            yield path + "\\" * (key == "directories")
    for step in case.steps:
        for item in (step.get("request") or {}).get("files") or ():
            if isinstance(item, Mapping):
                yield from (item[key] for key in ("path", "backup_path") if isinstance(item.get(key), str))


def _own_directory(path: str) -> str | None:
    """The directory that only cases use: the uppermost one, but not one that Windows has itself."""
    parts = path.split("\\")
    if not re.fullmatch("[A-Za-z]:", parts[0]) or "%" in path or len(parts) < 3:
        return None
    if parts[1].lower() == "windows":  # a service's program may be one of its own; nothing below is ever taken away
        return None
    depth = 3 if parts[1].lower() in _SHARED else 2
    return "\\".join(parts[:depth]) if len(parts) > depth else None


def named(cases: Iterable[Case]) -> Named:
    """Return what these cases name."""
    directories: set[str] = set()
    keys = {OWN, STAGE}
    for case in cases:
        for given in _given(case):
            keys.update(given.get("registry") or {})
        keys.update((case.data.get("then") or {}).get("registry") or {})
        directories.update(found for path in _paths(case) if (found := _own_directory(path)))
    kept = {key for key in keys if key.count("\\") and not key.upper().startswith("SYSTEM\\")}
    return Named(tuple(sorted(directories, key=str.lower)), tuple(sorted(kept)))


def reset(everything: Named, about: About, *, patience_ms: int) -> list[Order]:
    """Return orders that take away what earlier cases left; a worker that still has the lock is waited for."""
    return [
        ("let-go",),
        ("wait-unlocked", about.lock, str(patience_ms)),
        ("services-remove",),
        *(("remove", path) for path in everything.directories),
        ("remove", about.lock),
        ("remove", about.home),
        *(("remove-key", key) for key in everything.keys),
    ]


# --- prepare ----------------------------------------------------------------------------------------------------------


def state(given: Mapping[str, t.Any], about: About, token: str) -> list[Order]:
    """Return the orders that bring a state about.

    Args:
        given: keys of a case's ``given``.
        about: the machine.
        token: of this boot, for a journal that names it, unless ``given`` does.

    Raises:
        Cannot: this machine cannot be brought into it.
    """
    for key in sorted(given):
        if key in LAB_ONLY:
            raise Cannot(f"{key}: {LAB_ONLY[key]}")
        if key not in _ORDERS and key not in ("event_errors", "drives"):
            raise Cannot(f"{key}: nobody has said how")
    _check_drives(given, about)
    for log in given.get("event_errors") or {}:
        if log in ("System", "Application", "Security"):
            raise Cannot(f"event_errors: the log {log} can be read")
    orders: list[Order] = []
    for key, value in given.items():
        if key in _ORDERS:
            orders += _ORDERS[key](value, about, given.get("boot") or token)
    return orders


def _check_drives(given: Mapping[str, t.Any], about: About) -> None:
    for letter, kind in (given.get("drives") or {}).items():
        if about.drives.get(letter.upper(), "") != kind:
            raise Cannot(f"drive {letter}: is no {kind} here")
    services = given.get("services") or ()
    images = [program_of(service.get("image") or "", about.root) for service in services if _lives(service)]
    for path in [*(given.get("files") or {}), *filter(None, images)]:
        if re.match("[A-Za-z]:", path) and path[0].upper() not in about.drives:
            raise Cannot(f"there is no drive {path[0].upper()}: here")


def _files(files: Mapping[str, t.Any], about: About, dummy_token: str) -> Iterator[Order]:
    for path, item in files.items():
        if item is None:
            yield ("remove", path)
            continue
        if item.get("directory"):
            yield ("directory", path)
        else:
            modified = item.get("modified", 0) and round((item["modified"] + EPOCH_1601) * 10_000_000)
            yield ("file", path, content(item).hex(), str(modified), str(int(bool(item.get("read_only")))))
        if item.get("denied"):
            yield ("deny", path)
        if item.get("held_open"):
            yield ("hold", path, item["held_open"])


def value(data: t.Any, kind: str | None = None) -> tuple[int, bytes]:
    """Return type and bytes of a registry value."""
    if isinstance(data, list):
        return KINDS["multi_sz"], "".join(f"{line}\0" for line in [*data, ""]).encode("utf-16-le")
    if kind == "binary":
        return KINDS["binary"], base64.b64decode(data)
    if isinstance(data, int):
        return KINDS[kind or "dword"], data.to_bytes(8 if kind == "qword" else 4, "little")
    return KINDS[kind or "sz"], f"{data}\0".encode("utf-16-le")


def set_value(key: str, name: str, data: t.Any, kind: str | None = None, *, volatile: bool = False) -> Order:
    """Return the order that sets a registry value, and makes its key."""
    number, raw = value(data, kind)
    return ("volatile" if volatile else "value", key, name, str(number), raw.hex())


def _registry(keys: Mapping[str, t.Any], dummy_about: About, dummy_token: str) -> Iterator[Order]:
    for key, values in keys.items():
        for name, data in values.items():
            if isinstance(data, Mapping):
                yield set_value(key, name, data["data"], data["kind"])
            else:
                yield set_value(key, name, data)


def program_of(image: str, root: str) -> str | None:
    """Return the path of a service's program; None when it does not lie on a drive.

    Args:
        image: ImagePath, which may have quotes and arguments.
        root: the directory of Windows.
    """
    quoted = re.match('"([^"]+)"', image)
    plain = re.match(r"(.+?\.exe)(?=\s|$)", image, re.IGNORECASE)
    path = quoted[1] if quoted else plain[1] if plain else image.partition(" ")[0]
    path = re.sub(r"(?i)^%(systemroot|windir)%|^\\?systemroot(?=\\)", lambda _: root, path.removeprefix("\\??\\"))
    if re.match(r"(?i)system32\\", path):
        path = f"{root}\\{path}"
    return path if re.match(r"[A-Za-z]:\\", path) else None


def _lives(service: Mapping[str, t.Any]) -> bool:
    """Whether a service has to have a program: a stopped one that lies nowhere has none."""
    image = service.get("image") or ""
    return service.get("state", "running") != "stopped" or image.lower().startswith(
        ("c:\\exchsrvr\\", '"c:\\exchsrvr\\')
    )


def _services(services: Sequence[Mapping[str, t.Any]], about: About, dummy_token: str) -> Iterator[Order]:
    placed: set[str] = set()
    for service in services:
        yield from _made(service, about, placed)
    # When all of them run: a start type or a dependency would be in the way of a start.
    for service in services:
        yield from _configured(service, about)


def _made(service: Mapping[str, t.Any], about: About, placed: set[str]) -> Iterator[Order]:
    name, behaviour = service["name"], dict(service.get("behaviour") or {})
    if service.get("type", OWN_PROCESS) in (1, 2, 4, 8):
        raise Cannot(f"{name}: a driver cannot be installed for a test")
    if behaviour.get("stop") == "refuse" and about.wine:
        raise Cannot(f"{name}: Wine's service manager drops it when a service refuses a stop")
    if behaviour.get("stop") == "lost":
        raise Cannot(f"{name}: a connection cannot be cut in the moment in which the answer comes")
    refuses = behaviour.get("start") == "refuse"
    if refuses and behaviour.get("code", 2) != 2:
        raise Cannot(f"{name}: a start is refused for a missing program (2), not with {behaviour['code']}")
    yield ("service-remove", name)
    yield ("remove-key", f"{BEHAVIOUR}\\{name}")
    for key, data in behaviour.items():
        yield set_value(f"{BEHAVIOUR}\\{name}", key, data)
    program = program_of(service.get("image") or f"{about.root}\\System32\\{name.lower()}.exe", about.root)
    running = service.get("state", "running") != "stopped"
    if running and program is None:
        raise Cannot(f"{name}: a service whose program does not lie on a drive does not run")
    if program is not None and _lives(service) and (running or not refuses):
        if program.lower() not in placed:  # one that runs already cannot be written
            yield ("copy", about.service, program)
        placed.add(program.lower())
        yield set_value(IMAGES, name, program)
    start = f'"{program}"' if program is not None else about.service
    yield ("service-create", name, start, str(service.get("type", OWN_PROCESS)))
    if running:
        yield ("service-start", name, str(STATES[service.get("state", "running")]))
    if running and refuses and program is not None:
        yield ("move", program, f"{program[:3]}conformance\\away\\{name}.exe")


def _configured(service: Mapping[str, t.Any], about: About) -> Iterator[Order]:
    name = service["name"]
    needs = [*(service.get("depends_on") or ()), *(f"+{group}" for group in service.get("depends_on_groups") or ())]
    account, display = service.get("account") or "", service.get("display_name") or ""
    start_type = str(START_TYPES[service.get("start_type", "auto")])
    hexadecimal = value(needs)[1].hex() if needs else ""
    yield ("service-config", name, start_type, account, display, service.get("group") or "", hexadecimal)
    if service.get("image"):
        kind = "expand_sz" if "%" in service["image"] else "sz"
        yield set_value(f"{SERVICES}\\{name}", "ImagePath", service["image"], kind)


def _lock(lock: Mapping[str, t.Any], about: About, dummy_token: str) -> Iterator[Order]:
    written = json.dumps({key: lock.get(key) for key in ("who", "run", "machine", "since")}).encode()
    if lock.get("held", True):
        yield ("lock", about.lock, written.hex(), str(round(float(lock.get("seconds", 0)) * 1000)))
    else:
        yield ("file", about.lock, written.hex(), "0", "0")


def _journal(journal: t.Any, dummy_about: About, token: str) -> Iterator[Order]:
    text = journal if isinstance(journal, str) else json.dumps(journal)
    if '"BOOT"' in text:
        yield from _boot(token)
    yield set_value(OWN, "journal", text.replace('"BOOT"', json.dumps(token)))


def _boot(token: str, *dummy: object) -> Iterator[Order]:
    # Made first, so that it does not become volatile with its child.
    yield ("key", OWN)
    yield set_value(f"{OWN}\\boot", "token", token, volatile=True)


def _records(records: Mapping[str, t.Any], dummy_about: About, dummy_token: str) -> Iterator[Order]:
    for service, values in records.items():
        for name in RECORD:
            yield set_value(f"{OWN}\\records\\{service}", name, values.get(name, ""))


def _backups(backups: Sequence[Mapping[str, t.Any]], about: About, dummy_token: str) -> Iterator[Order]:
    lines = []
    for item in backups:
        data = content(item)
        digest = hashlib.sha256(data).hexdigest()
        yield ("file", f"{about.home}\\backup\\{digest}.ini", data.hex(), "0", "0")
        lines.append(f"{float(item['saved']):.3f}|{digest}|{item['path']}")
    yield set_value(OWN, "backups", lines)


def _events(events: Sequence[Mapping[str, t.Any]], about: About, dummy_token: str) -> Iterator[Order]:
    if about.wine:
        raise Cannot("events: Wine has no event log")
    for item in events:
        kind, number = EVENT_TYPES[item["type"]], item["id"]
        yield ("event", item["log"], item["source"], str(kind), str(number), *item.get("strings", ()))


def _ports(ports: Mapping[t.Any, t.Any], dummy_about: About, dummy_token: str) -> Iterator[Order]:
    for port, item in ports.items():
        spoken = item or {}
        texts = (spoken.get("greeting", ""), spoken.get("answers", ""))
        yield ("listen", str(port), *(text.encode().hex() for text in texts))


_ORDERS: t.Final[Mapping[str, t.Callable[[t.Any, About, str], Iterable[Order]]]] = {
    "files": _files,
    "registry": _registry,
    "services": _services,
    "boot": _boot,
    "journal": _journal,
    "records": _records,
    "backups": _backups,
    "lock": _lock,
    "events": _events,
    "ports": _ports,
}


# --- observe ----------------------------------------------------------------------------------------------------------


def questions(given: Mapping[str, t.Any], then: Mapping[str, t.Any], about: About, *, patience_ms: int) -> list[Order]:
    """Return the orders that tell what ``then`` asks for."""
    directories = {path.rpartition("\\")[0] for path in [*(given.get("files") or {}), *(then.get("files") or {})]}
    directories |= {path.rstrip("\\") for path in then.get("directories") or {}}
    once = {path.lower(): path for path in sorted(directories) if re.match(r"[A-Za-z]:", path)}
    denied = [path for path, item in (given.get("files") or {}).items() if item and item.get("denied")]
    keys = [*(then.get("registry") or {}), OWN, IMAGES]
    return [
        # A worker that still works makes what is asked for; a lock that a case has set is not waited for.
        *([] if given.get("lock") else [("settle", about.lock, str(patience_ms))]),
        ("locked", about.lock),
        *(("state", name) for name in then.get("services") or {}),
        *(("access", path) for path in then.get("access") or {}),
        ("let-go",),
        *(("allow", path) for path in denied),
        *(("list", path) for path in once.values()),
        *(("values", key) for key in keys),
        ("tree", f"{OWN}\\records"),
    ]


def observed(answers: Sequence[Sequence[str]], then: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what the answers to :func:`questions` say, in the form that a case's ``then`` is compared with."""
    files: dict[str, t.Any] = {}
    services: dict[str, str] = {}
    registry: dict[str, dict[str, t.Any]] = {}
    access: dict[str, list[str]] = {}
    is_locked = False
    names = {number: name for name, number in STATES.items()}
    for kind, *words in answers:
        if kind == "file":
            files[words[0]] = {
                "base64": base64.b64encode(bytes.fromhex(words[3])).decode(),
                "read_only": bool(int(words[1]) & 1),
            }
        elif kind == "error":
            files[words[0]] = {"base64": "", "error": int(words[1])}
        elif kind == "state" and words[1] != "0":
            services[words[0]] = names[int(words[1])]
        elif kind == "value":
            registry.setdefault(words[0], {})[words[1]] = data_of(int(words[2]), bytes.fromhex(words[3]))
        elif kind == "access":
            access.setdefault(words[0], []).append(words[1])
        elif kind == "locked":
            is_locked = words[1] == "1"
    images = {path.lower() for path in registry.get(IMAGES, {}).values()}
    given_files = {path.lower() for path in then.get("files") or {}}
    own = registry.get(OWN, {})
    prefix = f"{OWN}\\records\\".lower()
    return {
        "files": {path: item for path, item in files.items() if path.lower() not in images - given_files},
        "services": services,
        "registry": {key: registry.get(key, {}) for key in then.get("registry") or {}},
        "records": {key[len(prefix) :]: values for key, values in registry.items() if key.lower().startswith(prefix)},
        "journal": _json_or_text(own.get("journal")),
        "backups": list(_index(own.get("backups") or [])),
        "locked": is_locked,
        "access": {path: sorted(sids) for path, sids in access.items()},
    }


def data_of(kind: int, raw: bytes) -> t.Any:
    """Return a registry value's data: text, number, list of texts, or base64 of anything else."""
    if kind in (KINDS["sz"], KINDS["expand_sz"]):
        return raw.decode("utf-16-le", "replace").partition("\0")[0]
    if kind == KINDS["multi_sz"]:
        return [line for line in raw.decode("utf-16-le", "replace").split("\0") if line]
    if kind in (KINDS["dword"], KINDS["qword"]):
        return int.from_bytes(raw, "little")
    return base64.b64encode(raw).decode()


def _json_or_text(text: t.Any) -> t.Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _index(lines: Iterable[str]) -> Iterator[dict[str, t.Any]]:
    for line in lines:
        match = re.fullmatch(r"(\d+\.?\d*)\|([0-9a-f]{64})\|(.+)", line)
        if match:
            yield {"saved": float(match[1]), "sha256": match[2], "path": match[3]}
