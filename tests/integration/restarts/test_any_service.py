# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``service_restart`` for services that have nothing to do with Exchange, and what it says while it takes long."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

from tests.lab.machines.services import Behaviour, Service
from tests.support.pairs import Pair, failure, name, restart_task, rows, states
from tests.support.unwired import Server

Servers = Callable[..., Pair]
STEP = re.compile(
    r"(?P<service>\S+) (?P<step>stopping|starting) for (\d+ min )?\d+ s, "
    r"at most until (?P<until>\d\d:\d\d \(UTC[-+]\d\d:\d\d\))"
)


@pytest.fixture
def printers(servers: Servers) -> Pair:
    """Two servers with a spooler, and a fax service and a counter on top of it; the counter does not run."""
    pair = servers()
    for server in pair:
        for service, depends_on, state in (
            ("Spooler", ("RPCSS",), "running"),
            ("Fax", ("Spooler",), "running"),
            ("Pages", ("Spooler",), "stopped"),
        ):
            new = Service(
                service,
                service,
                rf"C:\WINNT\System32\{service}.exe",
                state=state,  # type: ignore[arg-type]
                depends_on=depends_on,
                behaviour=Behaviour(stop_ms=300, start_ms=300),
            )
            pair.lab.call(lambda server=server, new=new: server.machine.services.add(new))
    pair.remember()
    return pair


def test_any_service_is_restarted_with_what_ran_on_top_of_it(printers: Pair) -> None:
    predicted = printers.play(restart_task(names=["Spooler"]), arguments=["--check", "--diff"])
    for server in printers:
        result = predicted.last(name(server), "service_restart")
        assert (result["changed"], result["outcome"], result["takes_down"]) == (True, "predicted", ["Fax"])
        assert server.process_ids() == printers.before(server)
    run = printers.play(restart_task(names=["Spooler"]))
    for server in printers:
        result = run.last(name(server), "service_restart")
        assert (result["changed"], result["outcome"], result["executions"]) == (True, "restarted", 2)
        assert states(result) == {"Spooler": ("running", "running"), "Fax": ("running", "running")}
        assert rows(result)["Fax"]["role"] == "dependent"
        assert [step["service"] for step in result["timeline"] if step["step"] == "stopped"] == ["Fax", "Spooler"]
        assert [step["service"] for step in result["timeline"] if step["step"] == "running"] == ["Spooler", "Fax"]
        now, before = server.process_ids(), printers.before(server)
        assert {service for service in now if now[service] != before.get(service)} == {"Spooler", "Fax"}
        assert server.service("Pages") == "stopped"


def test_dependents_stay_down_where_that_is_wished(printers: Pair) -> None:
    run = printers.play(restart_task(names=["Spooler"], dependents="leave_stopped"))
    for server in printers:
        result = run.last(name(server), "service_restart")
        assert states(result) == {"Spooler": ("running", "running"), "Fax": ("running", "stopped")}
        assert (server.service("Spooler"), server.service("Fax")) == ("running", "stopped")


def test_a_stopped_service_is_started_on_request_only(printers: Pair) -> None:
    run = printers.play(restart_task(names=["Pages"]))
    for server in printers:
        result = run.last(name(server), "service_restart")
        assert (result["changed"], result["outcome"]) == (False, "nothing")
        assert [row["name"] for row in result["not_concerned"]] == ["Pages"]
        assert server.process_ids() == printers.before(server)
    run = printers.play(restart_task(names=["Pages"], start=True))
    for server in printers:
        assert states(run.last(name(server), "service_restart")) == {"Pages": ("stopped", "running")}
        assert server.service("Pages") == "running"
        assert server.process_id("Spooler") == printers.before(server)["Spooler"]


def test_a_service_that_does_not_exist_is_named(printers: Pair) -> None:
    run = printers.play(restart_task(names=["Spooler", "Spoler"]))
    for server in printers:
        result = failure(run, server)
        assert (result["changed"], result["problems"][0]["code"]) == (False, "service_missing")
        assert "Spoler" in result["msg"]
        assert server.process_ids() == printers.before(server)


def test_a_driver_is_refused_as_one_and_blanks_around_a_name_are_none_of_it(printers: Pair) -> None:
    run = printers.play(restart_task(names="Spooler, Tcpip"))
    for server in printers:
        result = failure(run, server)
        assert (result["changed"], [problem["code"] for problem in result["problems"]]) == (False, ["driver"])
        assert "TCPIP is a driver" in result["msg"]
        assert server.process_ids() == printers.before(server)


# -- what the task says meanwhile -------------------------------------------------------------------------------------
def test_a_task_that_takes_longer_prints_service_step_how_long_and_until_when(servers: Servers) -> None:
    pair = servers()
    pair.inject("service", name="MSExchangeIS", stop_ms=300_000)
    run = pair.play(restart_task(names=["MSExchangeIS"]))
    for server in pair:
        assert run.last(name(server), "service_restart")["outcome"] == "restarted"
        (line,) = [line for line in run.output.splitlines() if line.startswith(f"{name(server)}: ")][:1]
        found = STEP.search(line)
        assert found is not None, line
        assert (found["service"], found["step"]) == ("MSExchangeIS", "stopping")


@pytest.mark.parametrize("mode", ["direct", "computer"])
def test_it_prints_such_a_line_every_half_minute_of_the_controllers_clock(mode: str) -> None:
    """Both clocks are simulated here; the one that keeps the minutes is the collection's own."""
    server = Server(mode)
    minutes = 14
    server.machine.services.open("MSExchangeIS").behaviour.stop_ms = minutes * 60_000
    begun = server.monotonic()
    result = server.service_restart(names=["MSExchangeIS"])
    assert result["outcome"] == "restarted"
    stopping = [line for line in server.said if STEP.search(line)]
    times = [begun, *(at for at, line in zip(server.said_at, server.said, strict=True) if line in stopping)]
    assert all(30 <= after - before <= 32 for before, after in itertools.pairwise(times))
    assert 2 * minutes - 1 <= len(stopping) <= 2 * minutes
    assert all("MSExchangeIS stopping" in line for line in stopping)
    assert len({found["until"] for line in stopping if (found := STEP.search(line))}) == 1
    server.close()
