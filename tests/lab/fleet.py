# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets as data: which simulated machines there are, and what the inventory says about them."""

from __future__ import annotations

import dataclasses
import socket
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

NET: t.Final = "127.20"
DEMO_SPEED: t.Final = 25.0
Json: t.TypeAlias = dict[str, t.Any]

RESERVATION_PORT: t.Final = 47120
WINRM_PORT: t.Final = 5985
MACHINES: t.Final = (1, 2)  # third number of the addresses of management hosts and of servers
BIN_FILE: t.Final = "C:\\exchsrvr\\bin\\Wspcfg.ini"

HAND_WRITTEN: t.Final = """\
; Wspcfg.ini of the gateway, typed in by hand, 14 March 1999
[Store]
      ServerBindTCPPorts=110,143
      Persistent=1
      KillOldSession=1

; remote control of this machine
[awhost32]
ProxyBindIp=5631:{address}
ServerBindTCPPorts=5631
LocalBindTCPPorts=65301
KillOldSession=1
Persistent=1
"""


class FleetError(ValueError):
    """A fleet description that cannot be used; the text says where and why."""


@dataclass(frozen=True)
class ProxySpec:
    """One proxy with its external addresses."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class ManagementSpec:
    """One management host: today's Windows with WinRM, from which old servers are reached."""

    name: str
    address: str
    powershell: str = "5.1.19041.1"


@dataclass(frozen=True)
class HostSpec:
    """One Exchange server.

    Attributes:
        name: NetBIOS name; its lower-case form is the inventory's.
        version: Exchange version, ``4.0``, ``5.0`` or ``5.5``.
        address: Loopback address of its own WinRM service (direct mode), or empty.
        via: Management host through which it is reached (computer mode), or empty.
        second_hop: ``credential`` (computer_username and computer_password) or ``credssp``.
        connection: ``winrm`` or ``psrp``. transport: ``ntlm`` or ``basic`` (over HTTPS).
        proxy: Its proxy; empty: it has none.
        proxy_here: Proxy Server is installed on this machine.
        lan: Loopback address on which its processes listen for the LAN; empty: nothing real is opened.
        root: Installation directory.
        moved: Protocols on other ports. without: protocols that are switched off.
        certificate: Whether TLS ports have one.
        files: Windows path to text (ANSI, line ends are made CRLF) that is there when the machine starts.
        services: Optional services that are installed: KMS ES INS DX FB MSMI ClusSvc.
        stopped: Services that are not running.
        publish: Variables of the inventory host, without their prefix ``publish_``.
        variables: Other inventory variables.
    """

    name: str
    version: str = "5.5"
    address: str = ""
    via: str = ""
    second_hop: str = "credential"
    connection: str = "winrm"
    transport: str = "ntlm"
    proxy: str = ""
    proxy_here: bool = False
    lan: str = ""
    root: str = "C:\\exchsrvr"
    moved: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    certificate: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ("ES",)
    stopped: tuple[str, ...] = ()
    publish: Mapping[str, t.Any] = field(default_factory=dict)
    variables: Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fleet:
    """Everything that one lab simulates.

    Attributes:
        username, password: The one account that may log on everywhere.
        speed: Simulated seconds per real second on every machine.
    """

    hosts: tuple[HostSpec, ...]
    proxies: tuple[ProxySpec, ...] = ()
    management: tuple[ManagementSpec, ...] = ()
    username: str = "LAB\\Administrator"
    password: str = "lab-password"
    speed: float = DEMO_SPEED


def demo(net: str = NET) -> Fleet:
    """Seven servers: five through a management host, two with WinRM of their own.

    Args:
        net: First two numbers of every address.
    """
    first, pinned, second, own = (f"{net}.0.{number}" for number in (1, 2, 3, 4))
    hand_written = {BIN_FILE: HAND_WRITTEN.format(address=second)}
    hosts = (
        _member(1, "PROXY1", first, ["pop3", "imap4", "nntp"]),
        _member(2, "PROXY1", pinned, ["pop3s", "imap4s"]),
        _member(3, "PROXY1", first, ["ldap"], version="5.0"),
        _member(4, "PROXY1", first, ["smtp"], address=f"{net}.2.4"),
        _member(5, "PROXY2", second, ["pop3", "imap4", "ldap"], files=hand_written),
        _member(6, "EX6", own, ["pop3", "smtp"], address=f"{net}.2.6", proxy_here=True),
        _member(7, "PROXY2", second, ["smtp"], version="4.0", services=()),
    )
    proxies = ProxySpec("PROXY1", (first, pinned)), ProxySpec("PROXY2", (second,)), ProxySpec("EX6", (own,))
    lan = tuple(dataclasses.replace(host, lan=f"{net}.3.{number}") for number, host in enumerate(hosts, 1))
    return Fleet(hosts=lan, proxies=proxies, management=(ManagementSpec("MGMT1", f"{net}.1.1"),))


def _member(number: int, proxy: str, external: str, listeners: list[str], **values: t.Any) -> HostSpec:
    """One server of the demo; one without an address of its own is reached through the management host."""
    publish = {"listeners": listeners, "proxy_address": external, "proxy": proxy}
    via = "" if "address" in values else "MGMT1"
    return HostSpec(f"EX{number}", proxy=proxy, via=via, publish=publish, **values)


def generate(count: int, net: str = NET, *, per_proxy: int = 50) -> Fleet:
    """A fleet of identical 5.5 servers with WinRM of their own, each with an external address of its own.

    Args:
        count: Servers.
        net: First two numbers of every address.
        per_proxy: External addresses per proxy.
    """
    if not 0 < count <= 5000:
        raise FleetError(f"a fleet of {count} hosts: expected 1 to 5000")
    external = [_address(net, 100, number) for number in range(count)]
    groups = [external[start : start + per_proxy] for start in range(0, count, per_proxy)]
    proxies = tuple(ProxySpec(f"PROXY{number}", tuple(group)) for number, group in enumerate(groups, 1))
    hosts = tuple(
        _generated(number, _address(net, 150, number), external[number], f"PROXY{number // per_proxy + 1}")
        for number in range(count)
    )
    return Fleet(proxies=proxies, hosts=hosts)


def _address(net: str, block: int, number: int) -> str:
    return f"{net}.{block + number // 250}.{number % 250 + 1}"


def _generated(number: int, address: str, external: str, proxy: str) -> HostSpec:
    text = "[STORE]\nServerBindTcpPorts=110,143\nPersistent=1\nKillOldSession=1\n"
    text += f"ProxyBindIp=110:{external},143:{external}\n"
    return HostSpec(
        f"EX{number + 1:04d}",
        address=address,
        proxy=proxy,
        files={BIN_FILE: text},
        publish={"listeners": ["pop3", "imap4"], "proxy_address": external, "proxy": proxy, "pin": True},
    )


def free_net() -> tuple[str, socket.socket]:
    """A net that no other lab of this machine uses, and the socket that keeps it reserved until it is closed.

    A lab on the command line reserves nothing, and one that could not be ended may still listen: a net counts as free
    only where nobody answers for its first machine either.
    """
    for number in range(20, 250):
        reservation = socket.socket()
        try:
            reservation.bind((f"127.{number}.255.1", RESERVATION_PORT))
            reservation.listen(1)
            for kind in MACHINES:
                with socket.create_server((f"127.{number}.{kind}.1", WINRM_PORT)):
                    pass
        except OSError:
            reservation.close()
            continue
        return f"127.{number}", reservation
    raise FleetError("all loopback nets are taken by other labs")


def load(source: str, net: str = NET) -> Fleet:
    """A fleet from what the command line says: ``demo``, a number of hosts, or a YAML file.

    Args:
        source: What was said.
        net: First two numbers of the addresses of built-in fleets; a file names its own addresses.

    Raises:
        FleetError: The file cannot be used.
    """
    if source == "demo":
        return demo(net)
    if source.isdigit():
        return generate(int(source), net)
    try:
        data = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FleetError(f"{source}: {error}") from error
    if not isinstance(data, dict):
        raise FleetError(f"{source}: expected a mapping with hosts, proxies, management")
    return from_data(data)


def from_data(data: Json) -> Fleet:
    """A fleet from plain data, as a YAML file holds it."""
    values = dict(data)
    values["hosts"] = tuple(_spec(HostSpec, item) for item in values.get("hosts") or ())
    values["proxies"] = tuple(_spec(ProxySpec, item) for item in values.get("proxies") or ())
    values["management"] = tuple(_spec(ManagementSpec, item) for item in values.get("management") or ())
    fleet = _spec(Fleet, values)
    _check(fleet)
    return fleet


def to_data(fleet: Fleet) -> Json:
    """The fleet as plain data."""
    return dataclasses.asdict(fleet)


Spec = t.TypeVar("Spec", Fleet, HostSpec, ProxySpec, ManagementSpec)


def _spec(kind: type[Spec], data: Json) -> Spec:
    known = {item.name for item in dataclasses.fields(kind)}
    unknown = set(data) - known
    if unknown:
        raise FleetError(f"{kind.__name__}: unknown keys {sorted(unknown)}; known are {sorted(known)}")
    values: dict[str, t.Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise FleetError(f"{kind.__name__}: {error}") from error


def _check(fleet: Fleet) -> None:
    managers = {manager.name for manager in fleet.management}
    proxies = {proxy.name for proxy in fleet.proxies}
    for host in fleet.hosts:
        if bool(host.address) == bool(host.via):
            raise FleetError(f"{host.name}: give either address (direct) or via (a management host)")
        if host.via and host.via not in managers:
            raise FleetError(f"{host.name}: there is no management host {host.via}")
        if host.proxy and host.proxy not in proxies:
            raise FleetError(f"{host.name}: there is no proxy {host.proxy}")
