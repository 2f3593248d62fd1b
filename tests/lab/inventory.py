# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible inventory of a lab."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import yaml

from .fleet import Fleet, HostSpec, Json
from .wire.server import Endpoint

ENVIRONMENT: t.Final = {"http_proxy": "", "https_proxy": "", "REQUESTS_CA_BUNDLE": "", "no_proxy": "*"}


def inventory(fleet: Fleet, endpoints: t.Mapping[str, Endpoint], *, ca_file: Path) -> Json:
    """Inventory as data: group ``exchange`` with one host per Exchange server, and localhost as probe host.

    Args:
        fleet: What runs.
        endpoints: Where the WinRM services answer, by address.
        ca_file: Certificate of the lab's authority.
    """
    managers = {manager.name: manager.address for manager in fleet.management}
    hosts = {
        host.name.lower(): _host(fleet, host, endpoints[host.address or managers[host.via]], ca_file)
        for host in fleet.hosts
    }
    # Simulated time runs faster; what waits for it may ask more often.
    common = {"ansible_shell_type": "powershell", "publish_probe_delay": 0.5}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {
        "all": {
            "hosts": {"localhost": local},
            "children": {"exchange": {"hosts": hosts, "vars": common}},
        }
    }


def write_inventory(path: Path, data: Json) -> None:
    head = "# Written by the lab: every host in it is simulated. No PowerShell runs there.\n---\n"
    path.write_text(head + yaml.safe_dump(data, sort_keys=False, allow_unicode=False), encoding="utf-8")


def _host(fleet: Fleet, host: HostSpec, endpoint: Endpoint, ca_file: Path) -> Json:
    values: Json = {
        "ansible_host": endpoint.address,
        "ansible_user": fleet.username,
        "ansible_password": fleet.password,
        "ansible_connection": host.connection,
        **_connection(host, endpoint, ca_file),
        **{f"publish_{name}": _plain(value) for name, value in host.publish.items()},
    }
    if host.via:
        values["publish_computer"] = host.name
        if host.second_hop == "credential":
            values["publish_computer_username"] = fleet.username
            values["publish_computer_password"] = fleet.password
    return {**values, **{name: _plain(value) for name, value in host.variables.items()}}


def _connection(host: HostSpec, endpoint: Endpoint, ca_file: Path) -> Json:
    transport = "credssp" if host.via and host.second_hop == "credssp" else host.transport
    secure = transport in ("basic", "credssp")
    port = endpoint.https_port if secure else endpoint.http_port
    if host.connection == "psrp":
        return {
            "ansible_port": port,
            "ansible_psrp_protocol": "https" if secure else "http",
            "ansible_psrp_auth": transport,
            "ansible_psrp_ca_cert": str(ca_file),
            "ansible_psrp_ignore_proxy": True,
        }
    return {
        "ansible_port": port,
        "ansible_winrm_scheme": "https" if secure else "http",
        "ansible_winrm_transport": transport,
        "ansible_winrm_ca_trust_path": str(ca_file),
    }


def _plain(value: t.Any) -> t.Any:
    """Tuples as lists, all the way down: YAML has no tuples."""
    if isinstance(value, t.Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
