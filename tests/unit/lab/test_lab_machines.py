# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clock, files, registry, services: the rules on which everything else in the lab stands."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine

import pytest

from tests.lab.exchange.wspcfg import Settings, read_section
from tests.lab.machines.clock import Clock
from tests.lab.machines.errors import WindowsFailure, hresult
from tests.lab.machines.files import FileSystem
from tests.lab.machines.machine import Machine
from tests.lab.machines.registry import Registry
from tests.lab.machines.services import Behaviour, Service, executable


def clock_test(body: Callable[[Clock], Coroutine[None, None, None]], speed: float = math.inf) -> None:
    async def run() -> None:
        clock = Clock(epoch=1000.0, speed=speed)
        try:
            await body(clock)
        finally:
            clock.close()

    asyncio.run(run())


def code(call: Callable[[], object]) -> int:
    with pytest.raises(WindowsFailure) as caught:
        call()
    return caught.value.native


def test_timers_fire_in_order_and_time_stands_while_they_do() -> None:
    seen: list[tuple[str, float]] = []

    async def body(clock: Clock) -> None:
        async def wake(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            seen.append((name, clock.elapsed()))

        await asyncio.gather(wake("late", 900), wake("early", 0.5), wake("middle", 60))

    clock_test(body)
    assert seen == [("early", 0.5), ("middle", 60.0), ("late", 900.0)]


def test_a_slow_machine_does_not_change_what_times_out() -> None:
    async def body(clock: Clock) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        clock.call_later(10, lambda: future.set_result(None))
        waiting = asyncio.ensure_future(clock.wait(future, 20))
        await asyncio.sleep(0)
        time.sleep(0.1)  # a hundred simulated seconds in which this process does nothing
        assert await waiting

    clock_test(body, speed=1000)


def test_an_expired_wait_is_told_and_a_cancelled_timer_does_not_move_the_clock() -> None:
    async def body(clock: Clock) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        assert not await clock.wait(future, 5)
        clock.call_later(500, lambda: None).cancel()
        await clock.sleep(1)
        assert clock.elapsed() == 6

    clock_test(body)


def test_skew_moves_what_the_machine_believes_and_nothing_else() -> None:
    async def body(clock: Clock) -> None:
        clock.skew_s = 3600
        assert clock.now() == 4600
        await clock.sleep(1)
        assert clock.now() == 4601

    clock_test(body)


def test_speed_and_forward() -> None:
    async def body(clock: Clock) -> None:
        begun = time.monotonic()
        await clock.sleep(10)
        assert 0.005 < time.monotonic() - begun < 5
        await clock.forward(86400)
        assert clock.elapsed() >= 86410
        assert clock.speed == 1000

    clock_test(body, speed=1000)


def test_files_compare_without_case_and_keep_their_spelling() -> None:
    files = FileSystem(Clock(epoch=1000.0, speed=math.inf))
    files.put("C:\\Exchsrvr\\Bin\\Wspcfg.ini", b"x")
    files.put("c:/exchsrvr//bin/WSPCFG.INI", b"y")
    assert files.names("C:\\EXCHSRVR\\bin\\") == ["Wspcfg.ini"]
    assert files.read("c:\\exchsrvr\\bin\\wspcfg.ini") == b"y"


@pytest.mark.parametrize(
    ("hold", "read", "write"), [("read", None, 32), ("write", None, 32), ("none", 32, 32), (None, None, None)]
)
def test_sharing(hold: str | None, read: int | None, write: int | None) -> None:
    files = FileSystem(Clock(speed=math.inf))
    files.put("C:\\a.ini", b"x")
    if hold:
        files.hold("C:\\a.ini", hold)
    for expected, call in (
        (read, lambda: files.read("C:\\a.ini")),
        (write, lambda: files.overwrite("C:\\a.ini", b"y")),
    ):
        if expected is None:
            call()
        else:
            assert code(call) == expected


def test_the_codes_of_the_file_system() -> None:
    files = FileSystem(Clock(speed=math.inf))
    files.put("C:\\d\\a.ini", b"x")
    assert code(lambda: files.read("C:\\d\\b.ini")) == 2
    assert code(lambda: files.read("C:\\e\\b.ini")) == 3
    assert code(lambda: files.read("C:\\d")) == 5
    assert code(lambda: files.read("C:\\d\\a?.ini")) == 123
    assert code(lambda: files.create("C:\\d\\a.ini", b"")) == 183
    files.free = 1
    assert code(lambda: files.create("C:\\d\\c.ini", b"12")) == 112
    assert hresult(32) == -2147024864


def test_fat_keeps_local_time_with_a_grain_of_two_seconds() -> None:
    clock = Clock(epoch=1001.5, speed=math.inf, utc_offset_minutes=60)
    files = FileSystem(clock, kinds={"D": "FAT"})
    files.put("D:\\a.ini", b"x")
    files.put("C:\\a.ini", b"x")
    assert (files.modified("D:\\a.ini"), files.modified("C:\\a.ini")) == (1000, 1001.5)
    clock.utc_offset_minutes = 120
    assert (files.modified("D:\\a.ini"), files.modified("C:\\a.ini")) == (1000 - 3600, 1001.5)


def test_a_boot_takes_volatile_keys_and_nothing_else() -> None:
    registry = Registry()
    registry.set("HKLM\\SOFTWARE\\Own\\boot", "token", "t", volatile=True)
    registry.set("SOFTWARE\\own", "journal", "j")
    registry.boot()
    assert registry.get("software\\OWN\\Boot", "token") is None
    assert registry.get("software\\OWN", "JOURNAL") is not None
    assert registry.subkeys("SOFTWARE") == ["own"]


@pytest.mark.parametrize(
    ("image_path", "expected"),
    [
        ('"C:\\Program Files\\a.exe" -k secret', "C:\\Program Files\\a.exe"),
        ("C:\\exchsrvr\\bin\\kmserver.exe password", "C:\\exchsrvr\\bin\\kmserver.exe"),
        ("%SystemRoot%\\a.exe", "%SystemRoot%\\a.exe"),
        ("", None),
    ],
)
def test_the_executable_of_an_image_path(image_path: str, expected: str | None) -> None:
    assert executable(image_path) == expected


def services_test(body: Callable[[Machine], Coroutine[None, None, None]]) -> None:
    async def with_machine(clock: Clock) -> None:
        machine = Machine("EX1", clock)
        for name, depends_on in (("A", ()), ("B", ("A",)), ("C", ("B",))):
            machine.services.add(Service(name, name, f"C:\\{name}.exe", "running", depends_on=depends_on))
        await body(machine)

    clock_test(with_machine)


def test_the_codes_of_the_service_manager() -> None:
    async def body(machine: Machine) -> None:
        manager = machine.services
        assert code(lambda: manager.stop("nosuch")) == 1060
        assert code(lambda: manager.stop("B")) == 1051
        assert code(lambda: manager.start("B")) == 1056
        manager.stop("C")
        assert code(lambda: manager.stop("C")) == 1061
        await manager.reach(manager.open("C"), "stopped", 60)
        assert code(lambda: manager.stop("C")) == 1062
        manager.open("C").start_type = "disabled"
        assert code(lambda: manager.start("C")) == 1058
        manager.open("C").start_type = "auto"
        manager.start("C")
        assert code(lambda: manager.stop("C")) == 1052

    services_test(body)


def test_a_start_starts_what_it_depends_on_and_never_what_depends_on_it() -> None:
    async def body(machine: Machine) -> None:
        manager = machine.services
        for name in ("C", "B", "A"):
            manager.stop(name)
            await manager.reach(manager.open(name), "stopped", 60)
        manager.start("B")
        assert await manager.reach(manager.open("B"), "running", 60)
        assert (manager.open("A").state, manager.open("C").state) == ("running", "stopped")

    services_test(body)


def test_process_ids_are_the_same_in_every_run() -> None:
    seen: list[list[int]] = []

    async def body(machine: Machine) -> None:
        machine.services.stop("C")
        await machine.services.reach(machine.services.open("C"), "stopped", 60)
        machine.services.start("C")
        seen.append([service.process.id for service in machine.services if service.process])

    services_test(body)
    services_test(body)
    assert seen[0] == seen[1] == [204, 212, 228]


def test_a_boot_starts_what_is_automatic() -> None:
    async def body(machine: Machine) -> None:
        machine.services.open("C").start_type = "manual"
        before = machine.services.open("A").process
        machine.power_off()
        assert {service.state for service in machine.services} == {"stopped"}
        await machine.power_on(seconds=30)
        assert await machine.services.reach(machine.services.open("B"), "running", 60)
        assert machine.services.open("C").state == "stopped"
        assert machine.services.open("A").process != before

    services_test(body)


def test_a_service_that_dies() -> None:
    async def body(machine: Machine) -> None:
        service = machine.services.add(Service("D", "D", "C:\\d.exe", behaviour=Behaviour(start="die", die_ms=500)))
        machine.services.start("D")
        assert await machine.services.reach(service, "running", 60)
        assert await machine.services.reach(service, "stopped", 60)
        assert service.process is None

    services_test(body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[STORE]\r\nServerBindTcpPorts=110,119,143\r\nPersistent=1\r\n", Settings((110, 119, 143), {}, True)),
        (b"\r\n[Store]\n      serverbindtcpports=110\n", Settings((110,))),
        (b"[STORE]\r\nServerBindTcpPorts=7000-7002, 25\r\n", Settings((7000, 7001, 7002, 25))),
        (b"[STORE]\r\nServerBindTcpPorts=389 (636 for Secure)\r\n", Settings()),
        (b"[STORE]\r\nServerBindTcpPorts=993\r\nProxyBindIp=993:192.0.2.1\r\n", Settings((993,), {993: "192.0.2.1"})),
        (b"[STORE]\r\nProxyBindIp=993:192.0.2.1 (secure)\r\n", Settings()),
        (b"[STORE]\r\nServerBindTcpPorts=110\r\n[STORE]\r\nServerBindTcpPorts=25\r\n", Settings((110,))),
        (b"[OTHER]\r\nServerBindTcpPorts=110\r\n", None),
        ("[STORE]\r\nServerBindTcpPorts=110\r\n".encode("utf-16"), None),
        ("[STORE]\r\nServerBindTcpPorts=110\r\n".encode("utf-16-le"), None),
        (b"\xef\xbb\xbf[STORE]\r\nServerBindTcpPorts=110\r\n", None),
    ],
)
def test_the_labs_own_reader(text: bytes, expected: Settings | None) -> None:
    assert read_section(text, "STORE") == expected
