# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets for playbooks: where low ports are not allowed, Exchange itself is moved to high ports.

The role then sees what it sees at a site that moved its ports: ``publish_ports``, and nothing of the lab.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import yaml

from tests.lab.api import Lab
from tests.lab.fleet import Fleet, HostSpec, demo, to_data

MAPPED = "WSP_LAB_MAPPED_PORTS"
OFFSET = 20000

# The documented ports (Q178532, Q181420), written down a second time on purpose: tests do not import what they test.
PORTS: Mapping[str, int] = {
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


def port_offset() -> int:
    """What is added to every port number here."""
    return OFFSET if os.environ.get(MAPPED) == "1" else 0


@contextmanager
def started(lab: Lab) -> Iterator[Lab]:
    """Run a lab whose fleet is moved already, so that it maps no ports itself."""
    mapped = os.environ.pop(MAPPED, None)
    try:
        lab.__enter__()
    finally:
        if mapped is not None:
            os.environ[MAPPED] = mapped
    try:
        yield lab
    finally:
        lab.__exit__(None, None, None)


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


def write_demo(path: Path) -> None:
    """Write the seven servers as a file for ``python -m tests.lab up --fleet``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(_lists(to_data(moved(demo(), port_offset())))), encoding="utf-8")


def _lists(value: object) -> object:
    """The same data with lists where YAML knows no tuples."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    write_demo(Path(sys.argv[1]))
