# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service control manager of one simulated machine: dependencies, pending states, timing, process ids."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass, field

from .clock import Clock, Signal, Timer
from .errors import (
    DEPENDENT_SERVICES_RUNNING,
    INVALID_SERVICE_CONTROL,
    RPC_CALL_FAILED,
    SERVICE_ALREADY_RUNNING,
    SERVICE_CANNOT_ACCEPT_CTRL,
    SERVICE_DEPENDENCY_FAIL,
    SERVICE_DISABLED,
    SERVICE_DOES_NOT_EXIST,
    SERVICE_NOT_ACTIVE,
    SERVICE_REQUEST_TIMEOUT,
    WindowsFailure,
)

State = t.Literal[
    "stopped", "start_pending", "stop_pending", "running", "continue_pending", "pause_pending", "paused", "unknown"
]
StartType = t.Literal["boot", "system", "auto", "manual", "disabled"]
DRIVER_TYPES: t.Final = frozenset({1, 2, 4, 8})
FIRST_PROCESS_ID: t.Final = 204
DIES_AFTER_MS: t.Final = 500
# The service manager waits so long for a service's answer to a control.
CONTROL_LIMIT_MS: t.Final = 30_000


@dataclass
class Behaviour:
    """How a service behaves when it is told to do something.

    Attributes:
        stop_ms, start_ms: Simulated milliseconds in the pending state.
        stop: ``ok``, ``hang`` (stays StopPending for ever), ``ignore`` (takes the control and goes on running),
            ``late`` (takes it, and begins to stop ``late_ms`` later), ``mute`` (answers it after ``late_ms``: when too
            late, the caller hears 1053), ``lost`` (takes it, and the caller hears ``code``) or ``refuse`` (the
            control fails with ``code``).
        start: ``ok``, ``fail`` (back to Stopped), ``refuse`` (the call fails with ``code``), ``hang`` (stays
            StartPending for ever) or ``die`` (Running, and gone after ``die_ms``).
        code: Win32 code of a refusal or failure.
    """

    stop_ms: int = 200
    start_ms: int = 300
    stop: str = "ok"
    start: str = "ok"
    die_ms: int = DIES_AFTER_MS
    late_ms: int = 0
    code: int | None = None


class Program(t.Protocol):
    """What runs inside a service's process."""

    def begin(self) -> None:
        """The process has been started; configuration is read here."""

    def ready(self) -> bool:
        """The service is about to report Running; False when it cannot, and stops."""

    def end(self, *, graceful: bool) -> None:
        """The process is gone; not ``graceful`` when it crashed or its machine lost power."""


@dataclass(frozen=True)
class Process:
    id: int
    started: float
    image: str


@dataclass(eq=False)
class Service:
    """One service. ``image_path`` is the registry's ImagePath, arguments and all."""

    name: str
    display_name: str
    image_path: str
    state: State = "stopped"
    start_type: StartType = "auto"
    account: str = "LocalSystem"
    depends_on: tuple[str, ...] = ()
    depends_on_groups: tuple[str, ...] = ()
    group: str | None = None
    type: int = 16
    behaviour: Behaviour = field(default_factory=Behaviour)
    program: Program | None = None
    process: Process | None = None
    last_error: int | None = None
    timer: Timer | None = None

    @property
    def image(self) -> str | None:
        """The executable's path, unquoted and without arguments; ``%SystemRoot%`` is left as it is."""
        return executable(self.image_path)

    @property
    def driver(self) -> bool:
        return self.type in DRIVER_TYPES


def executable(image_path: str) -> str | None:
    """The executable of an ImagePath, as CreateProcess finds it for the spellings that occur here."""
    if not image_path:
        return None
    if image_path.startswith('"'):
        return image_path[1:].partition('"')[0]
    lower = image_path.lower()
    end = lower.find(".exe ")
    return image_path[: end + 4] if end >= 0 else image_path


class ServiceManager:
    """All services of one machine, in the order in which they were installed."""

    def __init__(self, clock: Clock, *, first_process_id: int = FIRST_PROCESS_ID) -> None:
        self.clock = clock
        self.changed = Signal()
        self._services: dict[str, Service] = {}
        self._next_process_id = first_process_id

    def __iter__(self) -> t.Iterator[Service]:
        return iter(self._services.values())

    def add(self, service: Service) -> Service:
        """Install a service; one whose state says that it runs gets a process."""
        self._services[service.name.lower()] = service
        if service.state != "stopped" and not service.driver:
            self._spawn(service)
        return service

    def remove(self, name: str) -> None:
        """Uninstall a service as if it had never been there; error 1060 when there is none."""
        service = self.open(name)
        if service.program is not None:
            service.program.end(graceful=True)
        del self._services[name.lower()]

    def find(self, name: str) -> Service | None:
        return self._services.get(name.lower())

    def open(self, name: str) -> Service:
        """The service of that name, or error 1060."""
        service = self.find(name)
        if service is None:
            raise WindowsFailure(SERVICE_DOES_NOT_EXIST, name)
        return service

    def dependencies(self, service: Service) -> list[Service]:
        """What a service depends on directly, group members included; names that do not exist are left out."""
        named = [self.find(name) for name in service.depends_on]
        groups = {group.lower() for group in service.depends_on_groups}
        members = [other for other in self if other.group and other.group.lower() in groups]
        return [other for other in named if other is not None] + members

    def dependents(self, service: Service) -> list[Service]:
        """What depends on a service directly."""
        return [other for other in self if service in self.dependencies(other)]

    def closure(self, start: Iterable[Service], neighbours: t.Callable[[Service], list[Service]]) -> list[Service]:
        """Everything that is reached from some services over one relation, without them."""
        begun = list(start)
        seen = {service.name.lower() for service in begun}
        found: list[Service] = []
        queue = begun
        while queue:
            for other in neighbours(queue.pop(0)):
                if other.name.lower() not in seen:
                    seen.add(other.name.lower())
                    found.append(other)
                    queue.append(other)
        return found

    def stop(self, name: str) -> None:
        """Send the stop control; a service that behaves is StopPending when this returns."""
        service = self.open(name)
        self._check_stop(service)
        behaviour = service.behaviour
        if behaviour.stop == "ignore":
            return
        if behaviour.stop in ("late", "mute"):
            self._later(service, behaviour.late_ms, lambda: self._stopping(service))
        else:
            self._stopping(service)
        if behaviour.stop == "mute" and behaviour.late_ms > CONTROL_LIMIT_MS:
            raise WindowsFailure(SERVICE_REQUEST_TIMEOUT, name)
        if behaviour.stop == "lost":
            raise WindowsFailure(behaviour.code or RPC_CALL_FAILED, name)

    def start(self, name: str) -> None:
        """Ask for a start; what it depends on is started before it, as Windows does."""
        service = self.open(name)
        if service.start_type == "disabled":
            raise WindowsFailure(SERVICE_DISABLED, name)
        if service.state != "stopped":
            raise WindowsFailure(SERVICE_ALREADY_RUNNING, name)
        if service.behaviour.start == "refuse":
            raise WindowsFailure(service.behaviour.code or SERVICE_REQUEST_TIMEOUT, name)
        waiting = [other for other in self.dependencies(service) if not other.driver and other.state != "running"]
        for other in waiting:
            self._start_dependency(other)
        if not waiting:
            self._launch(service)
            return
        self._enter(service, "start_pending")
        self._await_dependencies(service, waiting)

    def crash(self, name: str) -> None:
        """The service's process dies."""
        self._gone(self.open(name), graceful=False)

    async def reach(self, service: Service, state: State, seconds: float) -> bool:
        """Wait until a service is in a state; return whether it came in time."""
        return await self.changed.until(self.clock, lambda: service.state == state, seconds)

    def power_off(self) -> None:
        """Every process is gone at once."""
        for service in self:
            if not service.driver:
                self._gone(service, graceful=False)

    def boot(self) -> None:
        """Start every automatic service, as its dependencies allow."""
        for service in self:
            if not service.driver and service.start_type == "auto" and service.state == "stopped":
                try:
                    self.start(service.name)
                except WindowsFailure as failure:
                    service.last_error = failure.native

    def _check_stop(self, service: Service) -> None:
        codes: dict[str, int] = {
            "stopped": SERVICE_NOT_ACTIVE,
            "start_pending": INVALID_SERVICE_CONTROL,
            "stop_pending": SERVICE_CANNOT_ACCEPT_CTRL,
        }
        if service.state in codes:
            raise WindowsFailure(codes[service.state], service.name)
        if service.behaviour.stop == "refuse":
            raise WindowsFailure(service.behaviour.code or SERVICE_CANNOT_ACCEPT_CTRL, service.name)
        if any(other.state != "stopped" for other in self.dependents(service)):
            raise WindowsFailure(DEPENDENT_SERVICES_RUNNING, service.name)

    def _stopping(self, service: Service) -> None:
        self._enter(service, "stop_pending")
        if service.behaviour.stop != "hang":
            self._later(service, service.behaviour.stop_ms, lambda: self._gone(service))

    def _start_dependency(self, service: Service) -> None:
        if service.state == "stopped":
            try:
                self.start(service.name)
            except WindowsFailure as failure:
                raise WindowsFailure(SERVICE_DEPENDENCY_FAIL, service.name) from failure

    def _await_dependencies(self, service: Service, waiting: list[Service]) -> None:
        if service.state != "start_pending":
            return
        if all(other.state == "running" for other in waiting):
            self._launch(service)
        elif any(other.state == "stopped" for other in waiting):
            service.last_error = SERVICE_DEPENDENCY_FAIL
            self._gone(service)
        else:
            self._later(service, 50, lambda: self._await_dependencies(service, waiting))

    def _launch(self, service: Service) -> None:
        service.last_error = None
        self._spawn(service)
        self._enter(service, "start_pending")
        if service.program is not None:
            service.program.begin()
        if service.behaviour.start != "hang":
            self._later(service, service.behaviour.start_ms, lambda: self._started(service))

    def _started(self, service: Service) -> None:
        if service.behaviour.start == "fail":
            service.last_error = service.behaviour.code or SERVICE_REQUEST_TIMEOUT
            self._gone(service)
            return
        if service.program is not None and not service.program.ready():
            service.last_error = service.last_error or SERVICE_REQUEST_TIMEOUT
            self._gone(service)
            return
        self._enter(service, "running")
        if service.behaviour.start == "die":
            self._later(service, service.behaviour.die_ms, lambda: self._gone(service, graceful=False))

    def _gone(self, service: Service, *, graceful: bool = True) -> None:
        had_process = service.process is not None
        service.process = None
        self._enter(service, "stopped")
        if had_process and service.program is not None:
            service.program.end(graceful=graceful)

    def _spawn(self, service: Service) -> None:
        service.process = Process(self._next_process_id, self.clock.now(), service.image or service.name)
        self._next_process_id += 8

    def _enter(self, service: Service, state: State) -> None:
        if service.timer is not None:
            service.timer.cancel()
            service.timer = None
        service.state = state
        self.changed.notify()

    def _later(self, service: Service, milliseconds: int, callback: t.Callable[[], None]) -> None:
        service.timer = self.clock.call_later(milliseconds / 1000, callback)
