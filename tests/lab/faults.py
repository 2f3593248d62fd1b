# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faults: what can be injected into a running lab, with what each needs."""

from __future__ import annotations

import inspect
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .builder import add_optional
from .dispatcher import Conduct, current_shell
from .fleet import BIN_FILE
from .interceptor import Rule
from .machines.machine import Machine
from .machines.services import StartType
from .proxy import Condition
from .target.journal import STALE_S
from .target.state import BOOT, KEY, Store
from .target.worker import Cut
from .wire.api import POINTS, Action, Drop, NotWindows, Proceed, QuotaReached, Refuse
from .wire.api import Fault as SoapFault
from .world import PROXY_PORTS, World, programs

Undo: t.TypeAlias = Callable[[], None]
DEFAULT_TEXT: t.Final = "[STORE]\r\nServerBindTcpPorts=110\r\n"

# Points inside operations; a star stands for the number of the file. `worker.*` carry the service.
OPERATION_POINTS: t.Final = (
    *(f"inspect.{point}" for point in ("begin", "registry", "services", "files", "end")),
    *(f"apply.{point}" for point in ("begin", "locked", "compared", "backed_up", "recorded")),
    *("apply.file1.before", "apply.file1.after", "apply.file2.before", "apply.file2.after", "apply.end"),
    *(f"restart.{point}" for point in ("begin", "checked", "recorded", "launched")),
    *(f"worker.{point}" for point in ("begin", "finishing", "recorded", "stopping", "stop_sent", "stopped")),
    *(f"worker.{point}" for point in ("starting", "start_sent", "running", "settling")),
    *("restart_status.begin", "restart_status.end"),
)


class FaultError(ValueError):
    """A fault that cannot be injected as asked; the text says why."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        description: One line for people.
        apply: Does it, and returns what undoes it.
    """

    name: str
    description: str
    apply: Callable[..., Undo | None]

    @property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        parameters = inspect.signature(self.apply).parameters
        return {name: value for name, value in parameters.items() if value.kind is value.KEYWORD_ONLY}

    def usage(self) -> str:
        """Name and arguments, as the command line takes them."""
        texts = [
            f"{name}=..." if value.default is value.empty else f"[{name}={_one_line(value.default)}]"
            for name, value in self.arguments.items()
        ]
        return " ".join([self.name, *texts])

    def convert(self, given: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Arguments with the types of their defaults; texts from the command line are converted."""
        unknown = set(given) - set(self.arguments)
        missing = [name for name, value in self.arguments.items() if value.default is value.empty and name not in given]
        if unknown or missing:
            raise FaultError(f"{self.name}: unknown {sorted(unknown)}, missing {missing}; usage: {self.usage()}")
        hints = t.get_type_hints(self.apply)
        return {name: _convert(hints[name], value) for name, value in given.items()}


def _one_line(value: object) -> str:
    return str(value).replace("\r", "\\r").replace("\n", "\\n")


FAULTS: t.Final[dict[str, Fault]] = {}
Function = t.TypeVar("Function", bound=Callable[..., "Undo | None"])


def _fault(function: Function) -> Function:
    name = function.__name__
    FAULTS[name] = Fault(name, (function.__doc__ or "").strip(), function)
    return function


def _convert(hint: t.Any, value: t.Any) -> t.Any:
    if hint is bool and isinstance(value, str):
        return value.lower() in ("1", "true", "yes")
    if hint in (int, float):
        return hint(value)
    return value


# --- files -----------------------------------------------------------------------------------------------------------
@_fault
def lock_file(
    _world: World, machine: Machine, *, path: str = BIN_FILE, mode: str = "none", seconds: float = 0.0
) -> Undo:
    """A program keeps the file open; mode is what it lets others do: none, read or write (it writes itself)."""
    machine.files.hold(path, mode)
    if seconds:
        machine.clock.call_later(seconds, lambda: machine.files.release(path))
    return lambda: machine.files.release(path)


@_fault
def deny_path(_world: World, machine: Machine, *, path: str = BIN_FILE) -> Undo:
    """Nobody may open the file or anything below the directory."""
    machine.files.denied.add(path.lower())
    return lambda: machine.files.denied.discard(path.lower())


@_fault
def deny_key(_world: World, machine: Machine, *, key: str = KEY, seconds: float = 0.0) -> Undo:
    """Nobody may open the registry key or anything below, for ever or for some seconds."""
    machine.registry.denied.add(key.lower())
    if seconds:
        machine.clock.call_later(seconds, lambda: machine.registry.denied.discard(key.lower()))
    return lambda: machine.registry.denied.discard(key.lower())


@_fault
def fill_disk(_world: World, machine: Machine, *, free: int = 0) -> Undo:
    """So many bytes may still be written."""
    machine.files.free = free

    def undo() -> None:
        machine.files.free = None

    return undo


@_fault
def read_only(_world: World, machine: Machine, *, path: str = BIN_FILE) -> Undo:
    """The file gets the read-only attribute."""
    node = machine.files.node(path)
    if node is None:
        raise FaultError(f"{machine.name}: {path} does not exist")
    node.read_only = True

    def undo() -> None:
        node.read_only = False

    return undo


@_fault
def write_file(
    _world: World, machine: Machine, *, path: str = BIN_FILE, text: str = DEFAULT_TEXT, encoding: str = "cp1252"
) -> None:
    """Somebody else writes the file; encoding utf-16 is what Notepad calls Unicode."""
    machine.files.put(path, text.encode(encoding))


@_fault
def delete_file(_world: World, machine: Machine, *, path: str = BIN_FILE) -> None:
    """Somebody else deletes the file."""
    machine.files.remove(path)


@_fault
def age_file(_world: World, machine: Machine, *, path: str = BIN_FILE, hours: float = 24.0) -> None:
    """The file gets an older time, as a restored backup has."""
    machine.files.set_modified(path, machine.clock.now() - hours * 3600)


@_fault
def fat(_world: World, machine: Machine, *, drive: str = "C") -> Undo:
    """The drive is FAT: local times with a grain of two seconds."""
    machine.files.convert(drive, "FAT")
    return lambda: machine.files.convert(drive, "NTFS")


# --- services --------------------------------------------------------------------------------------------------------
@_fault
def service(
    _world: World,
    machine: Machine,
    *,
    name: str,
    stop: str = "ok",
    start: str = "ok",
    stop_ms: int = -1,
    start_ms: int = -1,
    late_ms: int = 0,
    code: int = 0,
) -> Undo:
    """Change a service: stop ok|hang|ignore|late|mute|lost|refuse, start ok|fail|refuse|hang|die, times in ms."""
    behaviour = machine.services.open(name).behaviour
    old = dict(vars(behaviour))
    behaviour.stop, behaviour.start, behaviour.code = stop, start, code or None
    behaviour.late_ms = late_ms
    behaviour.stop_ms = stop_ms if stop_ms >= 0 else behaviour.stop_ms
    behaviour.start_ms = start_ms if start_ms >= 0 else behaviour.start_ms
    return lambda: vars(behaviour).update(old)


@_fault
def stop_service(_world: World, machine: Machine, *, name: str) -> None:
    """Somebody stops a service; what depends on it has to be stopped before."""
    machine.services.stop(name)


@_fault
def start_service(_world: World, machine: Machine, *, name: str) -> None:
    """Somebody starts a service."""
    machine.services.start(name)


@_fault
def crash_service(_world: World, machine: Machine, *, name: str) -> None:
    """The service's process dies; what depends on it keeps running."""
    machine.services.crash(name)


@_fault
def end_hang(_world: World, machine: Machine, *, name: str) -> None:
    """A service that hung in StopPending stops after all."""
    machine.services.crash(name)


@_fault
def start_type(_world: World, machine: Machine, *, name: str, to: str = "disabled") -> Undo:
    """Change a service's start type: auto, manual or disabled."""
    found = machine.services.open(name)
    old = found.start_type
    found.start_type = t.cast(StartType, to)

    def undo() -> None:
        found.start_type = old

    return undo


@_fault
def install(_world: World, machine: Machine, *, kind: str = "KMS", state: str = "running") -> None:
    """Install one more service: KMS ES INS DX FB MSMI ClusSvc."""
    add_optional(machine, kind, state=state)


# --- journal -------------------------------------------------------------------------------------------------------
@_fault
def corrupt_journal(_world: World, machine: Machine, *, text: str = "{broken") -> Undo:
    """The journal cannot be read."""
    machine.registry.set(KEY, "journal", text)
    return lambda: machine.registry.delete_value(KEY, "journal")


@_fault
def age_journal(_world: World, machine: Machine, *, hours: float = STALE_S / 3600 + 1) -> None:
    """The journal began earlier than it did."""
    store = Store(machine)
    journal = store.journal()
    if journal is None:
        raise FaultError(f"{machine.name}: there is no journal")
    journal["began"] -= hours * 3600
    journal["updated"] -= hours * 3600
    store.write_journal(journal)


@_fault
def forget_boot(_world: World, machine: Machine) -> None:
    """The volatile boot token is gone, as after a restart of the machine that left all services as they are."""
    machine.registry.delete(BOOT)


@_fault
def no_worker(_world: World, machine: Machine) -> Undo:
    """No detached process can be started on this machine, which runs the script."""
    machine.can_detach = False

    def undo() -> None:
        machine.can_detach = True

    return undo


@_fault
def no_wmi(_world: World, machine: Machine) -> Undo:
    """WMI starts no process on this machine, which runs the script; the worker stays in the connection's job."""
    machine.has_wmi = False

    def undo() -> None:
        machine.has_wmi = True

    return undo


@_fault
def cut_worker(_world: World, _machine: Machine | None) -> None:
    """The worker is gone from here on (only with a point worker.*)."""
    raise Cut


# --- machines and clocks ---------------------------------------------------------------------------------------------
@_fault
def reboot(world: World, machine: Machine, *, seconds: float = 60.0) -> None:
    """The machine restarts: processes, detached work and open handles are gone, automatic services start."""
    machine.power_off()
    world.spawn(machine.power_on(seconds=seconds))


@_fault
def power_off(world: World, machine: Machine) -> Undo:
    """The machine is switched off."""
    machine.power_off()

    def undo() -> None:
        machine.up = True
        machine.services.boot()

    return undo


@_fault
def network_down(_world: World, machine: Machine) -> Undo:
    """The machine works and cannot be reached."""
    machine.up = False

    def undo() -> None:
        machine.up = True

    return undo


@_fault
def clock(
    _world: World, machine: Machine, *, skew_s: float = 0.0, utc_offset_minutes: int = 0, speed: float = 0.0
) -> Undo:
    """Set the machine's clock wrong, change its offset from UTC (daylight saving time), or its speed."""
    old = machine.clock.skew_s, machine.clock.utc_offset_minutes, machine.clock.speed
    machine.clock.skew_s, machine.clock.utc_offset_minutes = skew_s, utc_offset_minutes
    machine.clock.speed = speed or old[2]

    def undo() -> None:
        machine.clock.skew_s, machine.clock.utc_offset_minutes, machine.clock.speed = old

    return undo


@_fault
def old_powershell(_world: World, machine: Machine, *, version: str = "2.0") -> Undo:
    """The machine has another PowerShell."""
    old = machine.powershell
    machine.powershell = version

    def undo() -> None:
        machine.powershell = old

    return undo


@_fault
def no_powershell(_world: World, machine: Machine) -> Undo:
    """The machine has no PowerShell."""
    old = machine.powershell
    machine.powershell = None

    def undo() -> None:
        machine.powershell = old

    return undo


@_fault
def constrained(world: World, machine: Machine) -> Undo:
    """PowerShell runs in Constrained Language Mode and refuses the script, in German."""
    return _conduct(world, machine, Conduct(error=_CONSTRAINED))


@_fault
def silent(world: World, machine: Machine, *, said: str = "") -> Undo:
    """The script ends without an answer; with a text, that is printed instead."""
    return _conduct(world, machine, Conduct(silent=True, before=f"{said}\r\n".encode() if said else b""))


@_fault
def noise(world: World, machine: Machine, *, before: str = "Profile loaded.", after: str = "Bye.") -> Undo:
    """A profile prints something around the answer."""
    return _conduct(world, machine, Conduct(before=f"{before}\r\n".encode(), after=f"{after}\r\n".encode()))


@_fault
def slow(world: World, machine: Machine, *, seconds: float = 5.0) -> Undo:
    """Every operation takes so many real seconds longer."""
    return _conduct(world, machine, Conduct(slow_s=seconds))


# As a console of 80 columns breaks it; only the identifier is the same in every language.
_CONSTRAINED = (
    b"Die Methode kann nicht aufgerufen werden. Der Methodenaufruf wird in diesem Sprachmodus\r\nnur fuer Kerntypen "
    b"unterstuetzt.\r\n    + CategoryInfo          : InvalidOperation: (:) [], RuntimeException\r\n"
    b"    + FullyQualifiedErrorId : MethodInvocationNotSupportedInConstrainedLang\r\n   uage\r\n"
)


def _conduct(world: World, machine: Machine, conduct: Conduct) -> Undo:
    world.dispatcher.conduct[machine.name] = conduct
    return lambda: t.cast(None, world.dispatcher.conduct.pop(machine.name, None))


@_fault
def refuse_credential(_world: World, machine: Machine) -> Undo:
    """The server accepts no account from another machine (password changed, account locked)."""
    old = machine.accepts
    machine.accepts = {}

    def undo() -> None:
        machine.accepts = old

    return undo


# --- wire ------------------------------------------------------------------------------------------------------------
@_fault
def drop(world: World, machine: Machine, *, point: str = "receive.before", times: int = 1, skip: int = 0) -> Undo:
    """The connection is reset at a point of the wire: connect, command.before, receive.after and so on."""
    return _rule(world, machine, point, Drop(), times=times, skip=skip)


@_fault
def drop_here(world: World, _machine: Machine | None) -> None:
    """The connection that waits for this very operation is reset (only with a point of an operation)."""
    world.interceptor.cut(current_shell.get())


@_fault
def delay(
    world: World, machine: Machine, *, point: str = "receive.before", seconds: float = 5.0, times: int = 1
) -> Undo:
    """A point of the wire takes real seconds longer."""
    return _rule(world, machine, point, Proceed(), times=times, delay_s=seconds)


@_fault
def refuse_login(world: World, machine: Machine, *, times: int = -1) -> Undo:
    """The right password is refused (401)."""
    return _rule(world, machine, "authenticate", Refuse(), times=times)


@_fault
def no_administrator(world: World, machine: Machine) -> Undo:
    """The account may log on and not use WinRM: access denied (5), in German."""
    return _rule(world, machine, "create.before", SoapFault(5, "Zugriff verweigert", "w:AccessDenied"), times=-1)


@_fault
def no_endpoint(world: World, machine: Machine) -> Undo:
    """The resource of the shell is not registered (2150858811), as PowerShell's where remoting is not set up."""
    text = "Der Ressourcen-URI wurde nicht im Katalog von WS-Verwaltung gefunden."
    return _rule(world, machine, "create.before", SoapFault(2150858811, text, "a:DestinationUnreachable"), times=-1)


@_fault
def not_windows(world: World, machine: Machine, *, banner: str = "", status: int = 404) -> Undo:
    """Something else than WinRM answers: an HTTP server, or with a banner an SSH daemon."""
    line = f"{banner}\r\n".encode() if banner else b""
    return _rule(world, machine, "connect", NotWindows(banner=line, status=status), times=-1)


@_fault
def quota(world: World, machine: Machine, *, of: str = "shells", times: int = 1) -> Undo:
    """The user's quota of shells or processes is used up."""
    point = "create.before" if of == "shells" else "command.before"
    kind: t.Literal["shells", "processes"] = "shells" if of == "shells" else "processes"
    return _rule(world, machine, point, QuotaReached(kind), times=times)


def _rule(world: World, machine: Machine, point: str, action: Action, **values: t.Any) -> Undo:
    if point not in POINTS:
        raise FaultError(f"{point} is no point of the wire; known are {', '.join(POINTS)}")
    if not machine.address:
        raise FaultError(f"{machine.name} has no WinRM; name its management host")
    rule = Rule(point, machine.address, action, **values)
    world.interceptor.rules.append(rule)
    return lambda: world.interceptor.rules.remove(rule)


# --- proxy and listeners ---------------------------------------------------------------------------------------------
@_fault
def take_port(
    world: World,
    _machine: Machine | None,
    *,
    address: str,
    port: int,
    line: str = "220 gateway Microsoft ESMTP MAIL Service, Version: 5.0.2195.6713 ready",
    program: str = "inetinfo.exe",
) -> Undo:
    """Another program of the proxy machine takes a port of an external address, or of a proxy's first one."""
    proxy = world.proxy(address)
    taken = address if address in proxy.addresses else proxy.addresses[0]
    proxy.take(taken, port, program=program, line=line)
    return lambda: proxy.give_back(taken, port)


@_fault
def proxy(world: World, _machine: Machine | None, *, name: str, condition: str = "gone") -> Undo:
    """The proxy is down (refuses), gone (nothing answers), restarted, or up again."""
    found = world.proxy(name)
    if condition == "restart":
        found.restart()
    elif condition in ("up", "down", "gone"):
        found.set_condition(t.cast(Condition, condition), ports=PROXY_PORTS)
    else:
        raise FaultError(f"condition {condition}: expected up, down, gone or restart")
    return lambda: found.set_condition("up") if found.condition != "up" else None


@_fault
def slow_greeting(_world: World, machine: Machine, *, protocol: str, seconds: float = 5.0) -> Undo:
    """A listener greets so many real seconds late (reverse DNS)."""
    manner = _program(machine, protocol).manners[protocol]
    manner.delay_s = seconds

    def undo() -> None:
        manner.delay_s = 0.0

    return undo


@_fault
def wrong_greeting(_world: World, machine: Machine, *, protocol: str, line: str = "220 something else") -> Undo:
    """A listener greets with another line."""
    manner = _program(machine, protocol).manners[protocol]
    manner.line = line

    def undo() -> None:
        manner.line = None

    return undo


@_fault
def bind_fails(_world: World, machine: Machine, *, protocol: str, times: int = 1) -> Undo:
    """A listener fails to bind on the proxy at the next starts of its service."""
    failing = _program(machine, protocol).failing
    failing[protocol] = times
    return lambda: t.cast(None, failing.pop(protocol, None))


def _program(machine: Machine, protocol: str) -> t.Any:
    for program in programs(machine):
        if protocol in program.manners:
            return program
    raise FaultError(f"{machine.name} does not offer {protocol}")
