# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Injecting faults into a running lab: at once, or when an operation comes to a point."""

from __future__ import annotations

import asyncio
import fnmatch
import inspect
import itertools
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .faults import FAULTS, OPERATION_POINTS, FaultError, Undo
from .machines.machine import Machine
from .world import World


@dataclass(eq=False)
class Injection:
    """One fault that is armed or was done."""

    number: int
    name: str
    host: str
    at: str | None
    undo: Undo | None = None
    hits: int = 0


@dataclass
class Faults:
    """What is injected into one world."""

    world: World
    active: list[Injection] = field(default_factory=list)
    numbers: t.Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def inject(
        self,
        name: str,
        host: str | None = None,
        *,
        at: str | None = None,
        on: str | None = None,
        service: str | None = None,
        times: int = 1,
        skip: int = 0,
        arguments: Mapping[str, t.Any] | None = None,
    ) -> Injection:
        """Inject a fault now, or arm it for a point of an operation.

        Args:
            name: One of :data:`FAULTS`.
            host: Machine; faults of proxies need none.
            at: Point such as ``apply.compared`` or ``worker.*``; None: now.
            on: Exchange server whose operations are watched for that point; None: ``host``, or any without a host.
            service: Only when the point is about this service.
            times, skip: How often it happens at the point, after how many that pass.
            arguments: The fault's own.
        """
        fault = FAULTS.get(name)
        if fault is None:
            raise FaultError(f"there is no fault {name}; known are {', '.join(sorted(FAULTS))}")
        machine = self.world.machine(host) if host else None
        needed = list(inspect.signature(fault.apply).parameters.values())[1].annotation
        if machine is None and "None" not in str(needed):
            raise FaultError(f"{name} needs a host")
        values = fault.convert(arguments or {})
        injection = Injection(next(self.numbers), name, host or "", at)
        if at is None:
            injection.undo = fault.apply(self.world, machine, **values)
        else:
            trigger = _Trigger(at, service, times, skip)
            self._arm(injection, trigger, on or host, lambda: fault.apply(self.world, machine, **values))
        self.active.append(injection)
        return injection

    def clear(self, host: str | None = None) -> int:
        """Undo what can be undone, last first; return how many injections are forgotten."""
        chosen = [one for one in self.active if host is None or one.host.lower() == host.lower()]
        for injection in reversed(chosen):
            if injection.undo is not None:
                injection.undo()
            self.active.remove(injection)
        return len(chosen)

    def pause(self, on: str, at: str, *, service: str | None = None) -> Pause:
        """Hold an operation of a server at a point until it is released."""
        machine, trigger = self.world.machine(on), _Trigger(at, service, 1, 0)
        trigger.check()
        pause = Pause()

        async def hook(_machine: Machine, point: str, detail: Mapping[str, str]) -> None:
            if trigger.hit(point, detail):
                pause.reached.set()
                await pause.released.wait()

        machine.hooks.append(hook)
        return pause

    def _arm(self, injection: Injection, trigger: _Trigger, on: str | None, apply: Callable[[], Undo | None]) -> None:
        trigger.check()
        watched = list(self.world.network) if on is None else [self.world.machine(on)]
        undone: list[Undo] = []

        async def hook(_machine: Machine, point: str, detail: Mapping[str, str]) -> None:
            if trigger.hit(point, detail):
                injection.hits += 1
                undo = apply()
                if undo is not None:
                    undone.append(undo)

        for one in watched:
            one.hooks.append(hook)

        def undo_all() -> None:
            for one in watched:
                one.hooks.remove(hook)
            for undo in reversed(undone):
                undo()

        injection.undo = undo_all


@dataclass
class Pause:
    """An operation that is held at a point."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Trigger:
    point: str
    service: str | None
    times: int
    skip: int

    def check(self) -> None:
        if not any(fnmatch.fnmatch(point, self.point) for point in OPERATION_POINTS):
            raise FaultError(f"{self.point} is no point of an operation; known are {', '.join(OPERATION_POINTS)}")

    def hit(self, point: str, detail: Mapping[str, str]) -> bool:
        if not self.times or not fnmatch.fnmatch(point, self.point):
            return False
        if self.service is not None and detail.get("service", "").lower() != self.service.lower():
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True
