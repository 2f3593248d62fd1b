# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the role publish: what every task gets, and what a task for the whole play must never do."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from ansible import constants

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "publish"
COLLECTION = "msexchange.winsock_proxy."
GROUP = f"group/{COLLECTION}target"
Json = dict[str, t.Any]

# Modules that ask a server, and where their arguments come from; the handler's are what is owed.
ASKING: Mapping[str, tuple[str, ...]] = {
    "publish_look": (),
    "wspcfg": ("__publish_look.wishes.arguments.wspcfg", "__publish_look.wishes.arguments.undo"),
    "wspcfg_info": ("__publish_look.wishes.arguments.wspcfg_info",),
    "service_restart": ("__publish_restart",),
}
FOR_THE_PLAY = {"publish_ports", "publish_plan", "publish_report", "publish_summary"}
FOR_ONE_SERVER = {"publish_refuse", "publish_owed", "publish_verdict"}


def tasks(rows: list[Json], inherited: Json) -> Iterator[tuple[Json, Json]]:
    """Every task with the module_defaults that are in effect for it."""
    for row in rows:
        defaults = {**inherited, **row.get("module_defaults", {})}
        yield row, defaults
        for part in ("block", "rescue", "always"):
            yield from tasks(row.get(part, []), defaults)


def all_tasks() -> list[tuple[Json, Json]]:
    files = sorted([*ROLE.glob("tasks/*.yml"), *ROLE.glob("handlers/*.yml")])
    return [pair for file in files for pair in tasks(yaml.safe_load(file.read_text(encoding="utf-8")), {})]


def module_tasks() -> list[tuple[str, str, Json, Json]]:
    """Name, module, task and module_defaults of every task that runs a module of the collection."""
    return [
        (row["name"], key.removeprefix(COLLECTION), row, defaults)
        for row, defaults in all_tasks()
        for key in row
        if key.startswith(COLLECTION)
    ]


TASKS = module_tasks()
CASES = [pytest.param(*rest, id=name) for name, *rest in TASKS]


def test_every_module_of_the_role_was_looked_at() -> None:
    assert {module for _name, module, *_rest in TASKS} == {*ASKING, *FOR_THE_PLAY, *FOR_ONE_SERVER, "port_probe"}


@pytest.mark.parametrize(("module", "row", "defaults"), CASES)
def test_a_task_that_asks_a_server_gets_connection_and_options_from_one_place(
    module: str, row: Json, defaults: Json
) -> None:
    if module not in ASKING:
        return
    assert defaults[GROUP] == "{{ __publish_connection }}"
    assert "publish_throttle | int(10)" in row["throttle"]
    given = defaults.get(COLLECTION + module, "").strip("{} ")
    assert given in ASKING[module] or not ASKING[module]


@pytest.mark.parametrize(("module", "row", "defaults"), CASES)
def test_a_port_check_never_makes_the_server_fail_or_unreachable(module: str, row: Json, defaults: Json) -> None:
    if module != "port_probe":
        return
    arguments = row[COLLECTION + module]
    assert arguments["fail_on_unreachable"] is False
    assert arguments["fail_on_mismatch"] is False
    assert row["delegate_to"] in ("{{ __publish_look.wishes.probe_host }}", "{{ item.probe_host }}")
    # Where one vantage serves many servers it says its timeout; else the server's own options are in effect.
    assert "timeout" in arguments or defaults[COLLECTION + module] == "{{ __publish_look.wishes.arguments.port_probe }}"


@pytest.mark.parametrize(("module", "row", "defaults"), CASES)
def test_a_task_for_the_whole_play_runs_once_and_ends_no_play(module: str, row: Json, defaults: Json) -> None:
    once = module in FOR_THE_PLAY or (module == "port_probe" and "loop" in row)
    assert bool(row.get("run_once")) is once
    if once:
        assert row["ignore_errors"] is True


def test_nothing_else_of_the_role_runs_once() -> None:
    names = [row["name"] for row, _defaults in all_tasks() if "run_once" in row]
    known = {module for _name, module, row, _defaults in TASKS if "run_once" in row}
    assert known == {*FOR_THE_PLAY, "port_probe"}
    assert len(names) == sum("run_once" in row for _name, _module, row, _defaults in TASKS)


@pytest.mark.parametrize("module", sorted(FOR_THE_PLAY))
def test_a_task_for_the_whole_play_does_not_hang_on_the_first_servers_connection(module: str) -> None:
    """Ansible reads these variables of the first server, and a task that breaks on them plans for nobody."""
    known = {name for names in constants.MAGIC_VARIABLE_MAPPING.values() for name in names}
    (own,) = [row["vars"] for _name, one, row, _defaults in TASKS if one == module]
    assert set(own) == known
    assert own["ansible_connection"] == "local"
    assert not [value for value in own.values() if "{" in str(value)]


def test_what_the_user_includes_lies_outside_of_our_module_defaults() -> None:
    hooks = [
        defaults for row, defaults in all_tasks() if "_restart_tasks" in str(row.get("ansible.builtin.include_tasks"))
    ]
    assert len(hooks) == 2
    assert hooks == [{}, {}]


def test_no_block_of_the_role_switches_max_fail_percentage_off() -> None:
    assert not [row["name"] for row, _defaults in all_tasks() if "always" in row]
