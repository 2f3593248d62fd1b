# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two simulated servers that are alike, one reached directly and one through a management host.

A test does the same to both, runs a playbook on both, and asks both the same: everything holds in both modes.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from tests.lab.api import HostView, Lab
from tests.lab.fleet import Fleet, Json, ManagementSpec, free_net
from tests.lab.machines.services import State
from tests.support.playbook import COLLECTION, Playbooks, Run
from tests.support.site import BIN, COMPUTER, DIRECT, Wish, fleet_of

LOADED: t.Final = "[STORE]\nServerBindTcpPorts=143\nPersistent=1\nKillOldSession=1\n"
WANTED: t.Final[Json] = {"listeners": ["pop3", "imap4"], "proxy_address": "192.0.2.1"}
SPEED: t.Final = 100.0  # a day passes in a quarter of an hour: no journal grows old because a machine is slow
DAY_S: t.Final = 86400.0
SPARE: t.Final = "MSPARE"  # a second management host, from which nobody is reached unless a test says so
TARGET: t.Final[Json] = {
    "computer": "{{ publish_computer | default(omit) }}",
    "computer_username": "{{ publish_computer_username | default(omit) }}",
    "computer_password": "{{ publish_computer_password | default(omit) }}",
}
# A service that does not run stays as it is, but for one that an interrupted restart has left down.
RESTARTS_OWED: t.Final = (
    "(written.owed | selectattr('running') | list"
    " + written.owed | selectattr('unfinished', 'defined') | list) | length > 0"
)


class Pair:
    """The two servers, and a controller.

    Args:
        lab: A lab in which only they are (and what they need).
        work: Directory for the controller.

    Attributes:
        direct, computer: The servers. before: Processes of each by service, when it was last asked for.
    """

    def __init__(self, lab: Lab, work: Path) -> None:
        self.lab = lab
        self.playbooks = Playbooks(lab.inventory, work)
        self.direct, self.computer = lab.host("EX1"), lab.host("EX2")
        self.remember()

    def __iter__(self) -> Iterator[HostView]:
        return iter((self.direct, self.computer))

    def remember(self) -> None:
        """Note which services run, and as which processes."""
        self._before = {server.machine.name: server.process_ids() for server in self}

    def before(self, server: HostView) -> dict[str, int]:
        return self._before[server.machine.name]

    def inject(self, fault: str, **arguments: t.Any) -> dict[str, int]:
        """Inject a fault into both; returns its numbers by server."""
        return {server.machine.name: self.lab.inject(fault, server.machine.name, **arguments) for server in self}

    def runner(self, server: HostView) -> str:
        """Name of the machine that runs the script."""
        return (
            next(spec.via for spec in self.lab.fleet.hosts if spec.name == server.machine.name) or server.machine.name
        )

    # playbooks
    def play(
        self, *tasks: Json, name: str = "play.yml", extra: Json | None = None, arguments: Sequence[str] = ()
    ) -> Run:
        """Run tasks on both."""
        return self.playbooks.run(self.write(*tasks, name=name), *arguments, extra=extra)

    def write(self, *tasks: Json, name: str = "play.yml") -> Path:
        names = ("wspcfg", "service_restart", "wspcfg_info")
        play = {
            "name": "Test",
            "hosts": "exchange",
            "gather_facts": False,
            "module_defaults": {f"{COLLECTION}.{module}": TARGET for module in names},
            "tasks": list(tasks),
        }
        return self.playbooks.write(name, yaml.safe_dump([play], sort_keys=False))

    def converge(self, **wanted: t.Any) -> Run:
        """Make a plain run, and another one that must change nothing and owe nothing; returns both in one."""
        run = self.play(*plain(**wanted), *plain("again", **wanted))
        for server in self:
            assert run.messages(name(server)) == ""
            second = run.last(name(server), "wspcfg", "again")
            assert not second["changed"], second["files"]
            assert second["owed"] == []
            assert run.of(name(server), "service_restart", "again", "ok") == []
            assert second["unfinished"] is None
        return run


def name(server: HostView) -> str:
    """Inventory name of a server."""
    return server.machine.name.lower()


def plain(label: str = "first", *, restart: Json | None = None, ignore: bool = False, **wanted: t.Any) -> list[Json]:
    """Tasks of a plain run: write what is wanted, restart what is owed.

    Args:
        label: Goes into the tasks' names.
        restart: Further options of service_restart.
        ignore: Go on after a failed restart.
        wanted: Options of wspcfg, instead of the usual ones.
    """
    return [
        {"name": f"{label} write", f"{COLLECTION}.wspcfg": {**WANTED, **wanted}, "register": "written"},
        {
            "name": f"{label} restart",
            f"{COLLECTION}.service_restart": {"plan": "{{ written.restart }}", **(restart or {})},
            "when": RESTARTS_OWED,
            "ignore_errors": ignore,
        },
    ]


def restart_task(**options: t.Any) -> Json:
    """A task that restarts services."""
    return {"name": "restart", f"{COLLECTION}.service_restart": options}


def failure(run: Run, server: HostView, action: str = "service_restart") -> Json:
    """Result of a task that failed."""
    (entry,) = run.of(name(server), action, outcome="failed")
    return entry.result


def running(server: HostView) -> set[str]:
    return {service for service, state in server.services().items() if state == "running"}


def rows(result: Json) -> dict[str, Json]:
    """Services of a result by name."""
    return {row["name"]: row for row in result["services"]}


def states(result: Json) -> dict[str, tuple[State | None, State | None]]:
    """State before and after by service, as the result tells."""
    return {row["name"]: (row["before"], row["after"]) for row in result["services"]}


def told_truly(server: HostView, result: Json, before: dict[str, int]) -> None:
    """The result says of every service what the service manager says, and knows processes where they can be known."""
    for row in result["services"]:
        assert row["after"] == server.service(row["name"])
        if server.machine.address:
            assert (row["process_before"] or {}).get("id") == before.get(row["name"])
            if row["step"] == "running":
                assert row["process_after"]["id"] == server.process_id(row["name"]) != before[row["name"]]
        else:
            assert (row["process_before"], row["process_after"], row["process_source"]) == (None, None, "unknowable")
    assert result["timeline"] == sorted(result["timeline"], key=lambda step: step["at"])


@contextlib.contextmanager
def fleet(**values: t.Any) -> Iterator[Fleet]:
    """Two servers that differ in the way to them only, and two management hosts. No mail port is really opened.

    Args:
        values: Attributes of both servers' specifications.
    """
    net, reservation = free_net()
    both = {"files": {BIN: LOADED}, "services": ("ES",), "lan": "", "proxy": "", **values}
    alike = fleet_of(net, [Wish("EX1", DIRECT, spec=both), Wish("EX2", COMPUTER, spec=both)], SPEED)
    with reservation:
        yield replace(alike, proxies=(), management=(*alike.management, ManagementSpec(SPARE, f"{net}.1.2")))


@contextlib.contextmanager
def pair(work: Path, *, settled: bool = True, **values: t.Any) -> Iterator[Pair]:
    """Start a lab with two servers.

    Args:
        work: Directory for the controller.
        settled: Whether their files are a day older than their processes.
        values: Attributes of both servers' specifications.
    """
    with fleet(**values) as both, Lab(both) as lab:
        if settled:
            for server in (lab.host("EX1"), lab.host("EX2")):
                lab.call(lambda server=server: _age(server))
        yield Pair(lab, work)
        assert lab.mistakes == []


def _age(server: HostView) -> None:
    for node in server.machine.files.files():
        server.machine.files.set_modified(node.path, server.machine.clock.now() - DAY_S)
