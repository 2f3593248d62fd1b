# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that can be published: real Windows services that bind ports, behind the lab's WinRM.

What arrives there is handed to a real PowerShell.

Where the lab answers a request with code of its own, here the target script itself runs, on Windows' API.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import socket
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.fleet import Fleet, HostSpec, ProxySpec, free_net
from tests.lab.inventory import inventory, write_inventory
from tests.lab.moving import PORTS, moved
from tests.lab.wire.api import Binding, Call, Emit
from tests.lab.wire.server import WireServer
from tests.lab.wire.threaded import running
from tests.support.fleets import port_offset
from tests.windows import orders
from tests.windows.machine import Prefix, that_came_up
from tests.windows.orders import BEHAVIOUR, STATES, Order
from tests.windows.stage import Stage

NAME: t.Final = "REAL"
ROOT: t.Final = "C:\\exchsrvr"
PUBLISHED: t.Final = ("pop3", "imap4", "smtp")
SETUP_KEY: t.Final = "SOFTWARE\\Microsoft\\Exchange\\Setup"
BIN_FILE: t.Final = ROOT + "\\bin\\Wspcfg.ini"
IMC_FILE: t.Final = ROOT + "\\connect\\msexcimc\\bin\\Wspcfg.ini"
REQUEST_SECONDS: t.Final = 120.0
SLOW_MS: t.Final = 1500  # long enough to be caught on the way

# Name, program below the installation, what it depends on, section of Wspcfg.ini, what it listens on.
_SERVICES: t.Final[tuple[tuple[str, str, tuple[str, ...], str, tuple[str, ...]], ...]] = (
    ("MSExchangeSA", "bin\\mad.exe", (), "", ()),
    ("MSExchangeDS", "bin\\dsamain.exe", ("MSExchangeSA",), "DSAMAIN", ()),
    ("MSExchangeIS", "bin\\store.exe", ("MSExchangeDS",), "STORE", ("pop3", "imap4")),
    ("MSExchangeMTA", "bin\\emsmta.exe", ("MSExchangeDS",), "", ()),
    (
        "MSExchangeIMC",
        "connect\\msexcimc\\bin\\msexcimc.exe",
        ("MSExchangeIS", "MSExchangeMTA"),
        "MSEXCIMC",
        ("smtp",),
    ),
)
SERVICES: t.Final = tuple(row[0] for row in _SERVICES)


@dataclass(frozen=True)
class Handler:
    """What the lab's WinRM service asks to run a command: a real PowerShell."""

    stage: Stage
    pwsh: Sequence[str]

    async def run(self, call: Call, emit: Emit) -> int:
        if call.powershell is None:
            emit.stderr(b"only PowerShell can be run here\r\n")
            return 1
        encoded = base64.b64encode(call.powershell.encode("utf-16-le")).decode()
        words = [*self.pwsh, "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted"]
        words += ["-EncodedCommand", encoded]
        run = functools.partial(self.stage.machine.run, words, call.stdin, seconds=REQUEST_SECONDS)
        done = await asyncio.to_thread(that_came_up, run)
        emit.stdout(done.out)
        emit.stderr(done.err)
        return done.status


@dataclass(frozen=True)
class RealServer:
    """A server of the inventory that is real.

    Attributes:
        stage: the Windows that it is.
        proxy: the address on which its ports are published.
        ports: protocol to port.
        inventory: file for ansible-playbook.
        wire: its WinRM service.
    """

    stage: Stage
    proxy: str
    ports: Mapping[str, int]
    inventory: Path
    wire: WireServer

    def states(self) -> dict[str, str]:
        """Services and their states."""
        names = {number: name for name, number in STATES.items()}
        answers = self.stage.obey([("state", name) for name in SERVICES])
        return {words[1]: names.get(int(words[2]), "missing") for words in answers}

    def file(self, path: str) -> bytes | None:
        """Content of a file of the server; None when there is none."""
        ((kind, *words),) = self.stage.obey([("read", path)])
        return bytes.fromhex(words[3]) if kind == "file" else None

    def profile(self, path: str, section: str, key: str) -> str | None:
        """What GetPrivateProfileString reads there from a file; None where it finds nothing."""
        ((_profile, found, *words),) = self.stage.obey([("profile", path, section, key)])
        return bytes.fromhex("".join(words)).decode("utf-16-le") if found == "1" else None

    def write(self, path: str, data: bytes | None) -> None:
        """Somebody writes a file by hand, or removes it."""
        self.stage.obey([("remove", path) if data is None else ("file", path, data.hex(), "0", "0")])

    def restart(self, *names: str) -> None:
        """Somebody restarts services by hand; those that depend on them come first."""
        self.stage.obey([*(("service-stop", name) for name in names), *_starts(reversed(names))])

    def journal(self) -> t.Any:
        """The journal of a restart, as it stands; None when there is none."""
        return orders.observed(self.stage.obey([("values", orders.OWN)]), {})["journal"]

    def greetings(self) -> dict[str, str]:
        """First word that each published port says to somebody on the Internet; empty where nobody listens."""
        return {protocol: _greeting(self.proxy, port) for protocol, port in self.ports.items()}

    def workers(self) -> list[int]:
        """Processes of a detached worker, by their command line."""
        if not isinstance(self.stage.machine, Prefix):
            raise RuntimeError("only a Wine prefix is looked into")
        wanted = f"WINEPREFIX={self.stage.machine.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                    bypass = b"-ExecutionPolicy\0Bypass\0" in (entry / "cmdline").read_bytes()
                    if bypass and wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found


def _starts(names: t.Iterable[str]) -> list[Order]:
    return [("service-start", name, str(STATES["running"])) for name in names]


def _greeting(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=10) as connection:
            return connection.recv(512).decode("ascii", "replace").split(" ")[0]
    except ConnectionRefusedError:
        return ""


def _install(stage: Stage, proxy: str, ports: Mapping[str, int]) -> None:
    """Registry, programs and services of an Exchange server, all of it running."""
    services = [
        {
            "name": name,
            "image": f"{ROOT}\\{program}",
            "state": "stopped",
            "depends_on": list(needs),
            "behaviour": {"stop_ms": SLOW_MS, "start_ms": SLOW_MS // 2},
        }
        for name, program, needs, *dummy in _SERVICES
    ]
    stage.prepare({"services": services, "registry": {SETUP_KEY: {"Services": ROOT}}}, change=False)
    settings: list[Order] = []
    for name, *dummy, section, protocols in _SERVICES:
        if section:
            values = {"section": section, "lan": "127.0.0.1", "proxy": proxy}
            key = f"{BEHAVIOUR}\\{name}"
            settings += [orders.set_value(key, value, text) for value, text in values.items()]
            settings += [orders.set_value(key, "protocols", [f"{ports[name]} {name}" for name in protocols])]
    stage.obey([*settings, *_starts(SERVICES)])


@contextlib.contextmanager
def serving(
    stage: Stage, pwsh: Sequence[str], directory: Path, *, connection: str = "winrm", computer: bool = False
) -> Iterator[RealServer]:
    """Make a stage the one server of an inventory.

    Args:
        stage: the Windows.
        pwsh: words that start PowerShell there.
        directory: where the inventory goes.
        connection: ``winrm`` or ``psrp``.
        computer: the script reaches the server by its name, as a management host would another machine.
    """
    directory.mkdir(parents=True, exist_ok=True)
    net, reservation = free_net()
    offset = port_offset()
    proxy = f"{net}.0.1"
    ports = {name: PORTS[name] + offset for name in PUBLISHED}
    publish = {"listeners": list(PUBLISHED), "proxy_address": proxy, "proxy": "PROXY1"}
    if computer:
        publish["computer"] = stage.about.computer
    host = HostSpec(NAME, address=f"{net}.2.1", proxy="PROXY1", publish=publish, connection=connection)
    fleet = moved(Fleet(hosts=(host,), proxies=(ProxySpec("PROXY1", (proxy,)),)), offset)
    wire = WireServer(Handler(stage, pwsh), {fleet.username: fleet.password}, directory=directory)
    try:
        _install(stage, proxy, ports)
        with running(wire, [Binding(host.address)]):
            file = directory / "inventory.yml"
            write_inventory(file, inventory(fleet, wire.endpoints, ca_file=wire.ca_file))
            yield RealServer(stage, proxy, ports, file, wire)
    finally:
        reservation.close()
    stage.clear()
