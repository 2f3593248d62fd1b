# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the WinSock Proxy client of the simulated processes takes from a Wspcfg.ini.

The lab's own reader, written from Q178532, Q181420, Q181847 and Q231878. Where those articles say nothing it is the
strictest reader that agrees with them: a file saved as Unicode, or with a byte order mark, puts nothing in force.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass, field

_BOMS: t.Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_RANGE = re.compile(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?")


@dataclass(frozen=True)
class Settings:
    """What one section puts in force.

    Attributes:
        ports: Ports that are bound on the proxy; empty when the list cannot be read.
        bind: Port to the proxy's address (ProxyBindIp).
        persistent: Whether the binding comes back when the proxy does.
        kill_old: Whether a stale session of an earlier process is dropped.
        disable: Whether the process's calls bypass the proxy client.
    """

    ports: tuple[int, ...] = ()
    bind: t.Mapping[int, str] = field(default_factory=dict)
    persistent: bool = False
    kill_old: bool = False
    disable: bool = False


def section_values(data: bytes, section: str) -> dict[str, str] | None:
    """Keys (lower case) and values of the first section of that name; None when there is none."""
    if data.startswith(_BOMS) or b"\x00" in data:
        return None
    found: dict[str, str] | None = None
    for raw in re.split(rb"\r\n|\n|\r", data):
        line = raw.decode("cp1252", "replace").strip(" \t")
        if line.startswith("["):
            if found is not None:
                return found
            if "]" in line and line[1 : line.index("]")].strip().lower() == section.lower():
                found = {}
        elif found is not None and line and not line.startswith(";"):
            name, equals, value = line.partition("=")
            if equals:
                found.setdefault(name.strip().lower(), value.strip())
    return found


def read_section(data: bytes, section: str) -> Settings | None:
    """What a process whose executable is named like the section reads; None without such a section."""
    values = section_values(data, section)
    if values is None:
        return None
    return Settings(
        ports=_ports(values.get("serverbindtcpports", "")),
        bind=_pairs(values.get("proxybindip", "")),
        persistent=values.get("persistent") == "1",
        kill_old=values.get("killoldsession") == "1",
        disable=values.get("disable") == "1",
    )


def _ports(text: str) -> tuple[int, ...]:
    """The ports of a list like ``110,119,143`` or ``1025-1030``; one bad item spoils it all."""
    ports: list[int] = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            return ()
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last <= 65535:
            return ()
        ports.extend(range(first, last + 1))
    return tuple(dict.fromkeys(ports))


def _pairs(text: str) -> dict[int, str]:
    """The pairs of a list like ``993:192.0.2.1,995:192.0.2.1``; one bad item spoils it all."""
    pairs: dict[int, str] = {}
    for item in text.split(","):
        port, colon, address = item.strip().partition(":")
        try:
            if not colon or not 0 < int(port) <= 65535:
                return {}
            pairs[int(port)] = str(ipaddress.IPv4Address(address.strip()))
        except ValueError:
            return {}
    return pairs
