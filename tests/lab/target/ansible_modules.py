# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Canned answers to the few modules of Ansible that benchmarks compare the collection with.

ansible-core 2.19 and later send every PowerShell module as one manifest on standard input: scripts, and at its end what
to run with which arguments. The lab runs none of the scripts; it reads the name and the arguments, does the same to the
simulated machine, and prints what the module would have printed. So a playbook with these modules costs its controller
what it would cost against Windows, and costs the server nothing like it: only the controller may be compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ..machines.errors import WindowsFailure
from ..machines.machine import Machine
from ..machines.services import Service
from ..wire.api import Call
from .failures import Json

SEPARATOR: t.Final = b"\n\0\0\0\0\n"  # between bootstrap, manifest, and what the script reads
_BOOTSTRAP: t.Final = b'{"name": "exec_wrapper"'
_REMOVAL: t.Final = re.compile(r"^Remove-Item '(?P<path>(?:[^']|'')+)' -Force(?: -Recurse)?;$", re.MULTILINE)
_TEMP: t.Final = "C:\\TEMP"
SERVICE_LIMIT_S: t.Final = 600.0  # simulated seconds until a service must have stopped or started


class Refused(Exception):
    """The module fails; the text is its ``msg``."""


@dataclass(frozen=True)
class Wrapped:
    """What a manifest asks for. script: name of the script that acts last; data: what comes behind the manifest."""

    script: str
    params: Json
    data: bytes


def unwrap(stdin: bytes) -> Wrapped | None:
    """The request inside Ansible's own wrapper; None when it is not that wrapper.

    Raises:
        ValueError, LookupError: A manifest of another shape than ansible-core 2.19 to 2.21 make.
    """
    head, found, rest = stdin.partition(SEPARATOR)
    if not found or not head.startswith(_BOOTSTRAP):
        return None
    manifest, _found, data = rest.partition(SEPARATOR)
    action = json.loads(manifest)["actions"][-1]
    return Wrapped(action["name"], action["params"], data)


async def answer(machine: Machine, call: Call) -> tuple[int, str] | None:
    """Exit code and standard output for a command of Ansible's own; None when the command is something else."""
    if call.powershell is None:
        return None
    wrapped = unwrap(call.stdin)
    if wrapped is None:
        removal = _REMOVAL.search(call.powershell)
        if removal is None:
            return None
        _remove(machine, removal["path"].replace("''", "'"))
        return 0, ""
    script = _SCRIPTS.get(wrapped.script)
    if script is not None:
        return 0, script(machine, wrapped)
    return await _module(machine, wrapped)


# --- scripts that move files ------------------------------------------------------------------------------------------


def _make_directory(machine: Machine, wrapped: Wrapped) -> str:
    path = wrapped.params["Directory"].replace("%TEMP%", _TEMP) + "\\" + wrapped.params["Name"]
    machine.files.mkdir(path)
    return f"{path}\r\n"


def _put_file(machine: Machine, wrapped: Wrapped) -> str:
    data = b"".join(base64.b64decode(line) for line in wrapped.data.splitlines())
    machine.files.put(wrapped.params["Path"], data)
    return json.dumps({"sha1": _sha1(data)})


def _remove(machine: Machine, path: str) -> None:
    below = path.lower().rstrip("\\") + "\\"
    for node in machine.files.files():
        if node.path.lower().startswith(below):
            machine.files.remove(node.path)
    machine.files.remove(path)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


_SCRIPTS: t.Final[Mapping[str, Callable[[Machine, Wrapped], str]]] = {
    "powershell_mkdtemp.ps1": _make_directory,
    "winrm_put_file.ps1": _put_file,
}


# --- modules ----------------------------------------------------------------------------------------------------------


async def _module(machine: Machine, wrapped: Wrapped) -> tuple[int, str]:
    arguments: Json = next(
        (one["Value"] for one in wrapped.params.get("Variables", ()) if one["Name"] == "complex_args"), {}
    )
    name = str(arguments.get("_ansible_module_name", wrapped.script))
    module = _MODULES.get(name)
    try:
        if module is None:
            raise Refused(f"the lab has no answer to {name}; it knows {', '.join(sorted(_MODULES))}")
        result = await module(machine, arguments)
    except (Refused, WindowsFailure) as error:
        return 1, json.dumps({"failed": True, "changed": False, "msg": str(error)})
    return 0, json.dumps(result)


async def _win_copy(machine: Machine, arguments: Json) -> Json:
    """The two steps in which the action plugin copies one file: which of these differ, and take the uploaded one."""
    mode = arguments.get("_copy_mode", "single")
    if mode == "query":
        differing = [one for one in arguments["files"] if _differs(machine, arguments["dest"], one)]
        return {"changed": False, "files": differing, "directories": [], "symlinks": []}
    if mode != "single":
        raise Refused(f"the lab has no answer to win_copy in mode {mode}")
    data = machine.files.read(arguments["src"])
    if not arguments.get("_ansible_check_mode"):
        machine.files.put(arguments["dest"], data)
    return {"changed": True}


def _differs(machine: Machine, directory: str, file: Json) -> bool:
    node = machine.files.node(f"{directory}\\{file['dest']}")
    return node is None or node.data is None or _sha1(node.data) != file["checksum"]


async def _win_service(machine: Machine, arguments: Json) -> Json:
    service, state = machine.services.open(arguments["name"]), arguments.get("state")
    if state not in (None, "started", "restarted"):
        raise Refused(f"the lab has no answer to win_service with state {state}")
    changed = state == "restarted" or (state == "started" and service.state != "running")
    if changed and not arguments.get("_ansible_check_mode"):
        await _restart(machine, service, force=bool(arguments.get("force_dependent_services")))
    return {
        "changed": changed,
        "exists": True,
        "name": service.name,
        "display_name": service.display_name,
        "state": service.state,
        "start_mode": service.start_type,
        "path": service.image_path,
        "username": service.account,
        "dependencies": list(service.depends_on),
        "depended_by": [other.name for other in machine.services.dependents(service)],
        "can_pause_and_continue": False,
        "desktop_interact": False,
        "description": "",
        "invocation": {"module_args": {key: value for key, value in arguments.items() if key[0] != "_"}},
    }


async def _restart(machine: Machine, service: Service, *, force: bool) -> None:
    """Restart-Service: with ``force`` what depends on the service stops before it, and starts again after it."""
    manager = machine.services
    waiting = [one for one in (service, *manager.closure([service], manager.dependents)) if one.state != "stopped"]
    if len(waiting) > 1 and not force:
        raise Refused(f"Cannot stop service '{service.display_name}' because it has dependent services.")
    stopped: list[Service] = []
    while waiting:
        free = [one for one in waiting if all(other.state == "stopped" for other in manager.dependents(one))]
        for one in free:
            manager.stop(one.name)
            if not await manager.reach(one, "stopped", SERVICE_LIMIT_S):
                raise Refused(f"Service '{one.display_name}' did not stop.")
        stopped += free
        waiting = [one for one in waiting if one not in free]
    for one in reversed(stopped or [service]):
        manager.start(one.name)
        if not await manager.reach(one, "running", SERVICE_LIMIT_S):
            raise Refused(f"Service '{one.display_name}' did not start.")


_MODULES: t.Final[Mapping[str, Callable[[Machine, Json], Awaitable[Json]]]] = {
    "ansible.windows.win_copy": _win_copy,
    "ansible.windows.win_service": _win_service,
}
