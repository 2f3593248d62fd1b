# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the lab: up, down, status, inject, clear."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from .control import SOCKET, Control, ControlError, ask
from .doors import Doors
from .faults import FAULTS, OPERATION_POINTS
from .fleet import FleetError, free_net, load
from .injection import Faults
from .inventory import inventory, write_inventory
from .moving import moved
from .wire.api import POINTS
from .world import World

ROOT: t.Final = Path(__file__).resolve().parents[2]
DEFAULT_DIRECTORY: t.Final = ROOT / "build" / "lab"
START_LIMIT_S: t.Final = 60.0
STOP_LIMIT_S: t.Final = 30.0
HONESTY: t.Final = "These are simulated machines: no PowerShell and no Windows runs here."


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status 0 when it did what was asked."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ControlError, FleetError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=f"A loopback fleet. {HONESTY}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = _command(commands, "up", _up, "start a lab and write its inventory")
    up.add_argument("--fleet", default="demo", help="demo, a number of hosts, or a YAML file (default: demo)")
    up.add_argument("--speed", type=float, help="simulated seconds per real second")
    up.add_argument("--engine", choices=("lab", "wine"), default="lab", help="wine: one server whose Windows is real")
    up.add_argument("--hours", type=float, help="end by itself after so many hours")
    up.add_argument("--background", action="store_true", help="return as soon as the lab answers")
    _command(commands, "down", _down, "stop the lab")
    show = _command(commands, "status", _status, "machines, services, ports on the proxies, armed faults")
    show.add_argument("--json", action="store_true")
    inject = _command(commands, "inject", _inject, "inject a fault")
    inject.add_argument("fault", nargs="?", help="name; --list shows them all")
    inject.add_argument("rest", nargs="*", metavar="HOST key=value", help="machine, and the fault's arguments")
    inject.add_argument("--list", action="store_true", help="list faults and points")
    inject.add_argument("--at", help="do it at a point of an operation instead of now")
    inject.add_argument("--on", help="server whose operations are watched for the point")
    inject.add_argument("--service", help="only when the point is about this service")
    inject.add_argument("--times", type=int, default=1)
    inject.add_argument("--skip", type=int, default=0)
    clear = _command(commands, "clear", _clear, "undo faults")
    clear.add_argument("host", nargs="?", help="only those of one machine")
    return parser


def _command(
    commands: t.Any, name: str, run: t.Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="the lab's directory (default: build/lab)")
    parser.set_defaults(run=run)
    return parser


def _up(options: argparse.Namespace) -> int:
    if options.engine == "wine":  # it simulates nothing, so nothing of this lab is in it but its WinRM
        os.execv(sys.executable, [sys.executable, "-m", "tests.windows", "up"])
    directory: Path = options.dir
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ControlError):
        ask(directory, "status")
        raise FleetError(f"a lab runs in {directory} already; `down` stops it")
    if options.background:
        return _up_in_background(options)
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    directory: Path = options.dir
    net, reservation = free_net()
    offset = Doors.from_environment().offset
    # Moved as a whole, so that the inventory says where each port is.
    world = World(moved(load(options.fleet, net), offset), doors=Doors())
    control = Control(world, Faults(world))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, control.stopped.set)
    try:
        await world.start()
        if options.speed:
            for machine in world.network:
                machine.clock.speed = options.speed
        _write(world, directory, offset)
        await control.listen(directory)
        print(_summary(world, directory, offset), flush=True)
        if options.hours:
            loop.call_later(3600.0 * options.hours, control.stopped.set)
        await control.stopped.wait()
    except OSError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    finally:
        control.close()
        await world.stop()
        reservation.close()
        (directory / SOCKET).unlink(missing_ok=True)
    return 0


def _write(world: World, directory: Path, offset: int) -> None:
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(world.wire.ca_file.read_bytes())
    data = inventory(world.fleet, world.wire.endpoints, ca_file=ca_file)
    write_inventory(directory / "inventory.yml", data)
    (directory / "lab.json").write_text(json.dumps({"pid": os.getpid(), "port_offset": offset}) + "\n")


def _summary(world: World, directory: Path, offset: int) -> str:
    servers, managers = len(world.fleet.hosts), len(world.fleet.management)
    lines = [
        HONESTY,
        f"{servers} Exchange servers, {managers} management hosts, {len(world.proxies)} proxies.",
        f"Inventory: {directory / 'inventory.yml'}",
    ]
    if offset:
        lines.append(f"LOW PORTS ARE NOT ALLOWED HERE: Exchange listens {offset} higher, and the inventory says so.")
    return "\n".join(lines)


def _up_in_background(options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "tests.lab", "up", "--dir", str(options.dir), "--fleet", options.fleet]
    command += ["--speed", str(options.speed)] if options.speed else []
    command += ["--hours", str(options.hours)] if options.hours else []
    with (options.dir / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ControlError):
            ask(options.dir, "status")
            print((options.dir / "lab.log").read_text(), end="")
            return 0
        time.sleep(0.1)
    process.terminate()
    raise ControlError(f"the lab did not start:\n{(options.dir / 'lab.log').read_text()}")


def runs(pid: int) -> bool:
    """Whether a process is alive; one that nobody has waited for yet is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _down(options: argparse.Namespace) -> int:
    ask(options.dir, "stop")
    pid = json.loads((options.dir / "lab.json").read_text())["pid"]
    deadline = time.monotonic() + STOP_LIMIT_S
    while runs(pid):
        if time.monotonic() > deadline:
            raise ControlError(f"the lab in {options.dir} did not stop")
        time.sleep(0.05)
    print("The lab is down.")
    return 0


def _status(options: argparse.Namespace) -> int:
    found = ask(options.dir, "status")
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for machine in found["machines"]:
        down = [name for name, state in machine["services"].items() if state != "running"]
        state = "up" if machine["up"] else "down"
        print(
            f"{machine['name']:<8} {machine['address'] or '-':<14} {state:<5} executions {machine['executions']:<4} "
            f"in force {machine['in_force'] or '-'}" + (f"  not running: {', '.join(down)}" if down else "")
        )
    for proxy in found["proxies"]:
        ports = ", ".join(f"{one['address']}:{one['port']} {one['owner']}" for one in proxy["ports"])
        print(f"{proxy['name']:<8} {proxy['condition']:<5} {ports or 'nothing bound'}")
    for fault in found["faults"]:
        print(f"fault {fault['number']}: {fault['fault']} {fault['host']} {fault['at'] or ''} hits {fault['hits']}")
    for mistake in found["mistakes"]:
        print(f"MISTAKE OF THE LAB: {mistake}")
    return 1 if found["mistakes"] else 0


def _inject(options: argparse.Namespace) -> int:
    if options.list or not options.fault:
        for fault in sorted(FAULTS.values(), key=lambda one: one.name):
            print(f"{fault.usage()}\n    {fault.description}")
        print(f"\nPoints of operations (--at): {' '.join(OPERATION_POINTS)}")
        print(f"Points of the wire (drop, delay): {' '.join(POINTS)}")
        return 0
    hosts = [word for word in options.rest if "=" not in word]
    arguments = dict(word.split("=", 1) for word in options.rest if "=" in word)
    values = {key: getattr(options, key) for key in ("at", "on", "service", "times", "skip")}
    host = hosts[0] if hosts else None
    number = ask(options.dir, "inject", fault=options.fault, host=host, arguments=arguments, **values)
    print(f"fault {number}: {options.fault}")
    return 0


def _clear(options: argparse.Namespace) -> int:
    print(f"{ask(options.dir, 'clear', host=options.host)} faults cleared")
    return 0
