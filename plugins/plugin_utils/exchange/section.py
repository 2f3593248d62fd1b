# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of one section of Wspcfg.ini: lists of ports, pairs of port and address, flags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...module_utils.listeners import DSAMAIN, MSEXCIMC, STORE, Owner
from ..ini.readers import Reading
from .wanted import Published

PORTS = "ServerBindTcpPorts"
BIND_IP = "ProxyBindIp"
FORCE_CREDENTIALS = "ForceCredentials"
DISABLE = "Disable"
# Kept and restored over a restart of the proxy; a stale session of the old process makes room (Q178532, Q181420).
FLAGS = ("Persistent", "KillOldSession")
# Ours without asking; ForceCredentials and [EMSMTA] Disable only where our record says that we wrote them.
OWN_KEYS = (PORTS, BIND_IP, *FLAGS)

PUBLISHERS: tuple[Owner, ...] = (STORE, DSAMAIN, MSEXCIMC)

_RANGE = re.compile(r"(\d+)-(\d+)\Z")


def tokens(value: str) -> list[str]:
    """Split a port list or a list of ``port:address`` pairs; blanks do not count (Q231878)."""
    return ["".join(item.split()) for item in value.split(",") if item.strip()]


def single_ports(value: str) -> list[int]:
    """Return the ports of a list that stand alone; ranges name no listener."""
    return [int(item) for item in tokens(value) if item.isdigit()]


def in_range(value: str, port: int) -> bool:
    matches = (_RANGE.match(item) for item in tokens(value))
    return any(match and int(match[1]) <= port <= int(match[2]) for match in matches)


def same_value(key: str, found: str | None, wanted: str) -> bool:
    """Compare as the proxy client would: the order of a list and blanks in it mean nothing."""
    if found is None:
        return False
    if key in (PORTS, BIND_IP):
        return sorted(tokens(found)) == sorted(tokens(wanted))
    return found.strip() == wanted


def section_values(published: Sequence[Published], force_credentials: bool | None) -> dict[str, str]:
    """Return the keys of a section that publishes these listeners, in the order in which they are written."""
    ordered = sorted(published, key=lambda item: item.port)
    values = {PORTS: ",".join(str(item.port) for item in ordered)}
    pairs = [item.pair for item in ordered if item.pinned]
    if pairs:
        values[BIND_IP] = ",".join(pairs)
    values.update(dict.fromkeys(FLAGS, "1"))
    if force_credentials:
        values[FORCE_CREDENTIALS] = "1"
    return values


def bind_addresses(reading: Reading, section: str) -> dict[int, str]:
    """Return the address of every port that a section pins."""
    pairs = (item.partition(":") for item in tokens(reading.get(section, BIND_IP) or ""))
    return {int(port): address for port, dummy, address in pairs if port.isdigit()}
