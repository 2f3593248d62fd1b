# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the machine of one Exchange server: registry, files, services, processes."""

from __future__ import annotations

import ssl
import typing as t
from collections.abc import Callable, Iterable

from .doors import Doors
from .exchange.products import BUILDS, Installation
from .exchange.programs import ExchangeProgram, MtaProgram
from .fleet import HostSpec, Json
from .given import apply_given
from .machines.clock import Clock
from .machines.machine import Machine
from .proxy import Proxy

SETUP_KEY: t.Final = "SOFTWARE\\Microsoft\\Exchange\\Setup"
_SYSTEM_INI: t.Final = "[Microsoft Proxy Service]\r\nIni File Path=C:\\mspclnt\\mspclnt.ini\r\n"  # Q231878
_CLIENT_INI: t.Final = (
    "[Common]\r\nPort=1745\r\nLocalDomains=.lab.example\r\n[EMSMTA]\r\nDisable=1\r\n"  # Q231878, Q254909
)

# Name, display name, executable below the installation or the system directory, depends on, stop and start in
# milliseconds (Q143380, Q160572, Q260698). The times are the lab's own.
_Row: t.TypeAlias = tuple[str, str, str, tuple[str, ...], int, int]
_WINDOWS: t.Final[tuple[_Row, ...]] = (
    ("EventLog", "EventLog", "services.exe", (), 100, 100),
    ("RPCSS", "Remote Procedure Call (RPC) Service", "rpcss.exe", (), 100, 100),
    ("NtLmSsp", "NT LM Security Support Provider", "services.exe", (), 100, 100),
    ("RPCLocator", "Remote Procedure Call (RPC) Locator", "locator.exe", ("RPCSS",), 100, 100),
    ("LanmanWorkstation", "Workstation", "services.exe", (), 100, 100),
    ("LanmanServer", "Server", "services.exe", (), 100, 100),
)
_EXCHANGE: t.Final[tuple[_Row, ...]] = (
    (
        "MSExchangeSA",
        "Microsoft Exchange System Attendant",
        "bin\\mad.exe",
        ("EventLog", "NtLmSsp", "RPCLocator", "RPCSS", "LanmanWorkstation", "LanmanServer"),
        1500,
        2000,
    ),
    ("MSExchangeDS", "Microsoft Exchange Directory", "bin\\dsamain.exe", ("MSExchangeSA",), 1500, 2500),
    ("MSExchangeIS", "Microsoft Exchange Information Store", "bin\\store.exe", ("MSExchangeDS",), 2500, 5000),
    ("MSExchangeMTA", "Microsoft Exchange Message Transfer Agent", "bin\\emsmta.exe", ("MSExchangeDS",), 1500, 2000),
    (
        "MSExchangeIMC",
        "Microsoft Exchange Internet Mail Service",
        "connect\\msexcimc\\bin\\msexcimc.exe",
        ("MSExchangeIS", "MSExchangeMTA", "TCPIP"),
        1200,
        1500,
    ),
)
_OPTIONAL: t.Final[t.Mapping[str, _Row]] = {
    "ES": ("MSExchangeES", "Microsoft Exchange Event Service", "bin\\events.exe", ("MSExchangeIS",), 800, 1000),
    "INS": (
        "MSExchangeINS",
        "Microsoft Exchange Internet News Service",
        "bin\\exchins.exe",
        ("MSExchangeIS",),
        800,
        900,
    ),
    "KMS": ("MSExchangeKMS", "Microsoft Exchange Key Manager", "bin\\kmserver.exe", ("MSExchangeDS",), 800, 900),
    "DX": (
        "MSExchangeDX",
        "Microsoft Exchange Directory Synchronization",
        "bin\\dxa.exe",
        ("MSExchangeMTA",),
        700,
        900,
    ),
    "FB": (
        "MSExchangeFB",
        "Microsoft Schedule+ Free/Busy Connector",
        "connect\\msfbconn\\msfbconn.exe",
        ("MSExchangeDS", "MSExchangeIS", "EventLog"),
        700,
        900,
    ),
    "MSMI": (
        "MSExchangeMSMI",
        "MS Mail Connector Interchange",
        "connect\\msmcon\\bin\\mt.exe",
        ("MSExchangeDS", "EventLog"),
        700,
        900,
    ),
    "ClusSvc": ("ClusSvc", "Cluster Server", "%SystemRoot%\\cluster\\clussvc.exe", (), 500, 500),
}
_PROXY: t.Final[_Row] = ("wspsrv", "Microsoft WinSock Proxy Service", "inetsrv\\wspsrv.exe", (), 500, 500)
_TCPIP: t.Final[Json] = {
    "name": "TCPIP",
    "display_name": "TCP/IP",
    "image": "System32\\drivers\\tcpip.sys",
    "start_type": "system",
    "type": 1,
}


def build_server(
    spec: HostSpec,
    clock: Clock,
    *,
    proxy: Proxy | None,
    doors: Doors,
    certificate: Callable[[str], ssl.SSLContext] | None,
) -> Machine:
    """Make an Exchange server as its specification says, with every automatic service running."""
    machine = Machine(spec.name, clock, address=spec.address)
    if not spec.address:
        machine.os, machine.powershell = "Microsoft Windows NT 4.0", None
    apply_given(machine, given_of(spec, machine.system_root))
    install_programs(machine, spec, proxy=proxy, doors=doors, certificate=certificate)
    return machine


def given_of(spec: HostSpec, system_root: str = "C:\\WINNT") -> Json:
    """Write an Exchange server down as a conformance case does.

    Args:
        spec: the server.
        system_root: Windows' directory there.
    """
    windows = [_service(row, f"{system_root}\\System32\\") for row in _WINDOWS + (_PROXY,) * spec.proxy_here]
    exchange = [
        _service(row, f"{spec.root}\\", state="stopped" if row[0] in spec.stopped else "running")
        for row in _EXCHANGE + tuple(_OPTIONAL[name] for name in spec.services)
    ]
    build = BUILDS[spec.version][0]
    setup = {"Services": spec.root, "AdminDest": f"{spec.root}\\BIN", "NewestBuild": build, "Build": build}
    texts = {path: text.replace("\r\n", "\n").replace("\n", "\r\n") for path, text in spec.files.items()}
    files = {
        **_programs([*windows, *exchange], system_root),
        f"{spec.root}\\bin\\admin.exe": {"text": "MZ"},
        f"{system_root}\\System.ini": {"text": _SYSTEM_INI},
        "C:\\mspclnt\\mspclnt.ini": {"text": _CLIENT_INI},
        **{path: {"text": text} for path, text in texts.items()},
    }
    return {"registry": {SETUP_KEY: setup}, "files": files, "services": [*windows, _TCPIP, *exchange]}


def add_optional(machine: Machine, name: str, *, root: str = "C:\\exchsrvr", state: str = "running") -> None:
    """Install one of the optional services on a machine that runs."""
    row = _service(_OPTIONAL[name], f"{root}\\", state=state)
    apply_given(machine, {"files": _programs([row], machine.system_root), "services": [row]})


def _service(row: _Row, base: str, *, state: str = "running") -> Json:
    name, display_name, executable, depends_on, stop_ms, start_ms = row
    return {
        "name": name,
        "display_name": display_name,
        "image": executable if executable.startswith("%") else base + executable,
        "state": state,
        "account": "LAB\\exservice" if name.startswith("MSExchange") else "LocalSystem",
        "depends_on": depends_on,
        "behaviour": {"stop_ms": stop_ms, "start_ms": start_ms},
    }


def _programs(services: Iterable[Json], system_root: str) -> Json:
    """Files that services run."""
    return {row["image"].replace("%SystemRoot%", system_root): {"text": "MZ"} for row in services}


def install_programs(
    machine: Machine,
    spec: HostSpec,
    *,
    proxy: Proxy | None,
    doors: Doors,
    certificate: Callable[[str], ssl.SSLContext] | None,
) -> None:
    """Put Exchange's programs into the services of a machine; those of services that run begin."""
    installation = Installation(
        spec.version,
        f"{spec.name.lower()}.lab.example",
        spec.root,
        dict(spec.moved),
        frozenset(spec.without),
        spec.certificate,
    )
    for section, name in (("DSAMAIN", "MSExchangeDS"), ("STORE", "MSExchangeIS"), ("MSEXCIMC", "MSExchangeIMC")):
        machine.services.open(name).program = ExchangeProgram(
            machine,
            installation,
            section,
            name,
            proxy=proxy,
            doors=doors,
            lan_address=spec.lan or None,
            certificate=certificate,
        )
    machine.services.open("MSExchangeMTA").program = MtaProgram(machine)
    for service in machine.services:
        if service.state == "running" and service.program is not None:
            service.program.begin()
            service.program.ready()
