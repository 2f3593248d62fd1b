# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conformance cases answered by the lab: no sockets, no PowerShell, and time that jumps from event to event.

``LabExecutor().run(case, mode)`` builds a server from ``given`` (given.py), sends every step's request, and observes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from .doors import Doors
from .fleet import Fleet, Json
from .given import SERVER, apply_given, build_machine, build_management
from .injection import Faults
from .machines.machine import Machine
from .target.operations import answer_request
from .target.state import KEY, RECORDS, Store
from .world import World

Mode: t.TypeAlias = t.Literal["direct", "computer"]


@dataclass(frozen=True)
class Run:
    """What came of a case.

    Attributes:
        answers: One per step, as the controller would parse it.
        observed: State afterwards, as :func:`observe` gives it.
    """

    answers: list[Json]
    observed: Json


class LabExecutor:
    """Runs cases in the lab."""

    def run(self, case: Mapping[str, t.Any], mode: Mode) -> Run:
        """Build the server, run every step, observe.

        Args:
            case: One case.
            mode: ``computer`` runs the script on a management host and names the server in every request.
        """
        return asyncio.run(_run(case, mode))


async def _run(case: Mapping[str, t.Any], mode: Mode) -> Run:
    stage = Stage(case.get("given") or {}, mode)
    answers = []
    try:
        for step in case["steps"]:
            answers.append(await stage.step(step))
        await stage.settle()
        return Run(json.loads(json.dumps(answers)), observe(stage.server))
    finally:
        stage.close()


@dataclass
class Stage:
    """The machines of one case."""

    given: Mapping[str, t.Any]
    mode: Mode
    faults: Faults = field(init=False)
    server: Machine = field(init=False)
    runner: Machine = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(Fleet(hosts=()), doors=Doors(real=False))
        self.server = self.world.network.add(build_machine(self.given))
        self.runner = self.server
        if self.mode == "computer":
            self.runner = self.world.network.add(
                build_management(self.given.get("management") or {}, self.server.clock)
            )
        self.faults = Faults(self.world)

    async def step(self, step: Mapping[str, t.Any]) -> Json:
        """Do what a step says before its request, send it, and return the answer."""
        for change in _listed(step.get("before")):
            await self._change(change)
        for fault in _listed(step.get("fault")):
            self._inject(fault)
        if "request" not in step:
            return {}
        request = dict(step["request"])
        if self.mode == "computer" and request.get("computer") is None and "computer" in request:
            request["computer"] = SERVER
        answer = await answer_request(self.world.network, self.runner, request, delegated=self._delegated())
        return answer

    async def settle(self) -> None:
        """Let everything that is under way come to its end."""
        for machine in self.world.network:
            tasks = list(machine.tasks.values())
            if tasks:
                await asyncio.wait(tasks, timeout=10)

    def close(self) -> None:
        for machine in self.world.network:
            for task in machine.tasks.values():
                task.cancel()
            machine.clock.close()

    def _delegated(self) -> bool:
        return not (self.given.get("network") or {}).get("denied", False)

    def _inject(self, fault: Mapping[str, t.Any]) -> None:
        values = dict(fault)
        name, host = values.pop("name"), values.pop("host", SERVER)
        placing = {key: values.pop(key) for key in ("at", "service", "times", "skip") if key in values}
        arguments = values.pop("arguments", values)
        self.faults.inject(name, host, on=SERVER, arguments=arguments, **placing)

    async def _change(self, change: Mapping[str, t.Any]) -> None:
        """Something that happens between two steps: time passes, or the state of ``given`` is changed."""
        values = dict(change)
        await self.server.clock.sleep(float(values.pop("seconds", 0)))
        apply_given(self.server, values)


def _listed(value: t.Any) -> list[t.Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def observe(machine: Machine) -> Json:
    """The state of a server, seen from beside the operations: what ``then`` is compared with."""
    store = Store(machine)
    journal = machine.registry.get(KEY, "journal")
    return {
        "files": {
            node.path: {
                "base64": base64.b64encode(node.data or b"").decode(),
                "text": (node.data or b"").decode("cp1252", "replace"),
                "read_only": node.read_only,
            }
            for node in machine.files.files()
        },
        "services": {service.name: service.state for service in machine.services},
        "registry": machine.registry.dump(),
        "records": {name: store.record(name) for name in machine.registry.subkeys(RECORDS)},
        "journal": None if journal is None else _parsed(str(journal.data)),
        "backups": store.backups(),
        "boot": store.boot(),
        "locked": store.locked(),
    }


def _parsed(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
