# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the role publish: every task hands on what the user gave, and none can be reached in two ways."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.options import documented_options

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "publish"
COLLECTION = "msexchange.winsock_proxy."
Json = dict[str, t.Any]

# Options of modules whose input has another name in the role.
RENAMED = {
    ("service_restart", "deadline"): "publish_restart_deadline",
    ("service_restart", "window"): "__publish_restart_window",
    ("service_restart", "start"): "publish_start_stopped",
    ("port_probe", "timeout"): "publish_probe_timeout",
    ("wspcfg", "listeners"): "__publish_listeners",
}
# Options that the role decides itself or leaves alone.
OWN = {
    "service_restart": {"names", "plan", "only_if_pending", "dependents", "settle"},
    "port_probe": {
        "targets",
        "deadline",
        "delay",
        "fail_on_mismatch",
        "connect_timeout",
        "concurrency",
        "source_address",
        "check_mode_deadline",
    },
    "wspcfg": {"undo"},
    "wspcfg_info": {"events_since", "inside_ports", "lock_wait"},
}
# What is put back is not wanted anew; a plan takes no lock.
LEFT_OUT = {
    "rollback | Put the file of before back": {
        *("state", "listeners", "ports", "proxy_address", "proxy_addresses", "pin", "mta_direct", "force_credentials"),
        "restore",
    },
    "gather | Compare the server with what is wanted": {"lock_wait"},
}


def tasks(rows: list[Json]) -> Iterator[Json]:
    for row in rows:
        yield row
        yield from tasks(row.get("block", []))


def module_tasks() -> list[tuple[str, str, Json]]:
    """Name, module and arguments of every task of the role that is one of the collection's."""
    files = sorted([*ROLE.glob("tasks/*.yml"), *ROLE.glob("handlers/*.yml")])
    rows = [row for file in files for row in tasks(yaml.safe_load(file.read_text(encoding="utf-8")))]
    return [
        (row["name"], key.removeprefix(COLLECTION), row[key])
        for row in rows
        for key in row
        if key.startswith(COLLECTION)
    ]


TASKS = module_tasks()


@pytest.mark.parametrize(("name", "module", "arguments"), TASKS, ids=[row[0] for row in TASKS])
def test_a_task_hands_on_every_input_that_its_module_takes(name: str, module: str, arguments: Json) -> None:
    for option in documented_options(module).keys() - OWN[module] - LEFT_OUT.get(name, set()):
        source = RENAMED.get((module, option), f"publish_{option}")
        assert source in str(arguments.get(option)), f"{option} is not handed on"


def test_every_module_of_the_role_was_looked_at() -> None:
    assert {module for _name, module, _arguments in TASKS} == set(OWN)


def test_port_checks_never_make_the_server_unreachable() -> None:
    files = ROLE.glob("tasks/*.yml")
    rows = [row for file in files for row in tasks(yaml.safe_load(file.read_text(encoding="utf-8")))]
    checks = [row for row in rows if COLLECTION + "port_probe" in row]
    assert len(checks) == 5
    assert all(row["delegate_to"] == "{{ publish_probe_host }}" and row["ignore_unreachable"] for row in checks)
