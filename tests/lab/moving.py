# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets whose Exchange was moved to high ports, for systems where low ones are not allowed.

Whoever publishes such a fleet sees what a site shows that moved its ports: ``publish_ports``, and nothing of the lab.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import replace

from .fleet import Fleet, HostSpec

# The documented ports (Q178532, Q181420), written down a second time on purpose: the lab imports nothing it checks.
PORTS: t.Final[Mapping[str, int]] = {
    "pop3": 110,
    "pop3s": 995,
    "imap4": 143,
    "imap4s": 993,
    "nntp": 119,
    "nntps": 563,
    "ldap": 389,
    "ldaps": 636,
    "smtp": 25,
}
_LISTS = re.compile(r"(?im)^(?P<head>\s*(?:ServerBindTCPPorts|ProxyBindIp)\s*=)(?P<list>.*)$")
_KNOWN = re.compile(r"(?<![\d.])(?P<port>" + "|".join(str(port) for port in PORTS.values()) + r")(?![\d.])")


def move_text(text: str, offset: int) -> str:
    """A Wspcfg.ini with every known port moved."""
    return _LISTS.sub(
        lambda line: line["head"] + _KNOWN.sub(lambda port: str(int(port["port"]) + offset), line["list"]), text
    )


def moved(fleet: Fleet, offset: int) -> Fleet:
    """The fleet with every protocol of every server moved by ``offset``; 0 changes nothing."""
    return replace(fleet, hosts=tuple(_moved(host, offset) for host in fleet.hosts)) if offset else fleet


def _moved(host: HostSpec, offset: int) -> HostSpec:
    ports = {name: port + offset for name, port in PORTS.items()}
    return replace(
        host,
        moved={**ports, **{name: port + offset for name, port in host.moved.items()}},
        files={path: move_text(text, offset) for path, text in host.files.items()},
        publish={"ports": {name: ports[name] for name in host.publish.get("listeners", ())}, **host.publish},
    )
