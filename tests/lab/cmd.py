# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few lines of cmd.exe that people and testinfra type."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable

from .machines.errors import MESSAGES, SERVICE_DOES_NOT_EXIST, WindowsFailure
from .machines.files import normal
from .machines.machine import Machine
from .machines.services import Service

Output: t.TypeAlias = tuple[int, str, str]
_STATES: t.Final = {
    "stopped": 1,
    "start_pending": 2,
    "stop_pending": 3,
    "running": 4,
    "continue_pending": 5,
    "pause_pending": 6,
    "paused": 7,
}
_START_NAMES: t.Final = {
    "boot": "BOOT",
    "system": "SYSTEM",
    "auto": "AUTO",
    "manual": "DEMAND",
    "disabled": "DISABLED",
}
_STARTS: t.Final = {"boot": 0, "system": 1, "auto": 2, "manual": 3, "disabled": 4}


def not_recognized(word: str) -> Output:
    text = f"'{word}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
    return 1, "", text


def run_line(machine: Machine, line: str) -> Output:
    """Run one line as cmd would: exit code, standard output, standard error."""
    words = re.findall(r'"[^"]*"|\S+', line.strip())
    if not words:
        return 0, "", ""
    if words[0].lower() in ("cmd", "cmd.exe") and len(words) > 2 and words[1].lower() in ("/c", "/s"):
        return run_line(machine, line.strip().split(None, 2)[2].strip('"'))
    word = words[0].strip('"').lower().removesuffix(".exe")
    for names, command in _COMMANDS.items():
        if word in names:
            return command(machine, [part.strip('"') for part in words[1:]], line)
    return not_recognized(words[0].strip('"'))


def _hostname(machine: Machine, _words: list[str], _line: str) -> Output:
    return 0, f"{machine.name}\r\n", ""


def _remark(_machine: Machine, _words: list[str], _line: str) -> Output:
    return 0, "", ""


def _echo(machine: Machine, _words: list[str], line: str) -> Output:
    known = {"computername": machine.name, "os": "Windows_NT", "processor_architecture": "x86"}
    text = re.sub(r"%([^%]+)%", lambda match: known.get(match[1].lower(), match[0]), line.strip()[5:])
    return 0, f"{machine.expand(text)}\r\n", ""


def _type(machine: Machine, words: list[str], _line: str) -> Output:
    if not words:
        return 1, "", "The syntax of the command is incorrect.\r\n"
    try:
        data = machine.files.read(machine.expand(words[0]))
    except WindowsFailure as failure:
        return 1, "", f"{MESSAGES[failure.native]}\r\n"
    return 0, data.decode("latin-1"), ""


def _dir(machine: Machine, words: list[str], line: str) -> Output:
    switches = [word.lower() for word in words if word.startswith("/")]
    if switches != ["/b"]:
        return not_recognized(line.strip())
    path = next((machine.expand(word) for word in words if not word.startswith("/")), "C:\\")
    if machine.files.is_dir(path):
        return 0, "".join(f"{name}\r\n" for name in machine.files.names(path)), ""
    node = machine.files.node(path)
    if node is None:
        return 1, "", "File Not Found\r\n"
    return 0, f"{normal(node.path).rpartition(chr(92))[2]}\r\n", ""


def _sc(machine: Machine, words: list[str], line: str) -> Output:
    asked = [word.lower() for word in words]
    if asked in (["query"], ["query", "state=", "all"]):
        every = [one for one in machine.services if not one.driver and (len(asked) > 1 or one.state != "stopped")]
        return 0, "".join(_status(one, extended=False) for one in every), ""
    if len(words) < 2 or words[0].lower() not in ("query", "qc", "queryex"):
        return not_recognized(line.strip())
    service = machine.services.find(words[1])
    if service is None:
        reason = f"[SC] {words[0].upper()} OpenService FAILED 1060:\r\n\r\n{MESSAGES[SERVICE_DOES_NOT_EXIST]}\r\n\r\n"
        return SERVICE_DOES_NOT_EXIST, reason, ""
    if words[0].lower() == "qc":
        return 0, _configuration(service), ""
    return 0, _status(service, extended=words[0].lower() == "queryex"), ""


def _status(service: Service, *, extended: bool) -> str:
    state = _STATES.get(service.state, 4)
    accepts = "(STOPPABLE, NOT_PAUSABLE, ACCEPTS_SHUTDOWN)" if state == 4 else "(NOT_STOPPABLE, NOT_PAUSABLE)"
    lines = [
        "",
        f"SERVICE_NAME: {service.name}",
        f"        TYPE               : {service.type:x}  WIN32_OWN_PROCESS",
        f"        STATE              : {state}  {service.state.upper()}",
        f"                                {accepts}",
        f"        WIN32_EXIT_CODE    : {service.last_error or 0}  (0x{service.last_error or 0:x})",
        "        SERVICE_EXIT_CODE  : 0  (0x0)",
        "        CHECKPOINT         : 0x0",
        "        WAIT_HINT          : 0x0",
    ]
    if extended:
        lines += [
            f"        PID                : {service.process.id if service.process else 0}",
            "        FLAGS              :",
        ]
    return "".join(f"{text}\r\n" for text in lines)


def _configuration(service: Service) -> str:
    start = _STARTS[service.start_type]
    depends = [*service.depends_on, *(f"+{group}" for group in service.depends_on_groups)] or [""]
    lines = [
        "[SC] QueryServiceConfig SUCCESS",
        "",
        f"SERVICE_NAME: {service.name}",
        f"        TYPE               : {service.type:x}  WIN32_OWN_PROCESS",
        f"        START_TYPE         : {start}   {_START_NAMES[service.start_type]}_START",
        "        ERROR_CONTROL      : 1   NORMAL",
        f"        BINARY_PATH_NAME   : {service.image_path}",
        f"        LOAD_ORDER_GROUP   : {service.group or ''}",
        "        TAG                : 0",
        f"        DISPLAY_NAME       : {service.display_name}",
        f"        DEPENDENCIES       : {depends[0]}",
        *(f"                           : {name}" for name in depends[1:]),
        f"        SERVICE_START_NAME : {service.account}",
    ]
    return "".join(f"{text}\r\n" for text in lines)


def _net(machine: Machine, words: list[str], line: str) -> Output:
    if [word.lower() for word in words] != ["start"]:
        return not_recognized(line.strip())
    running = sorted(
        service.display_name for service in machine.services if service.state == "running" and not service.driver
    )
    listed = "".join(f"   {name}\r\n" for name in running)
    return 0, f"These Windows services are started:\r\n\r\n{listed}\r\nThe command completed successfully.\r\n\r\n", ""


def _netstat(machine: Machine, _words: list[str], _line: str) -> Output:
    head = "\r\nActive Connections\r\n\r\n  Proto  Local Address          Foreign Address        State\r\n"
    ports = "".join(
        f"  TCP    {f'0.0.0.0:{port}':<22} {'0.0.0.0:0':<22} LISTENING\r\n" for port in sorted(machine.ports)
    )
    return 0, head + ports, ""


_COMMANDS: t.Final[t.Mapping[tuple[str, ...], Callable[[Machine, list[str], str], Output]]] = {
    ("hostname",): _hostname,
    ("rem",): _remark,
    ("echo",): _echo,
    ("type",): _type,
    ("dir",): _dir,
    ("sc",): _sc,
    ("net",): _net,
    ("netstat",): _netstat,
}
