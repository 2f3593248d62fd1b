# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What services do wrong while they are restarted: what runs at the end, what the result says, what the next run does.

[STORE] is changed in every test, so that MSExchangeIS owes a restart; MSExchangeIMC and MSExchangeES depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.lab.api import HostView
from tests.lab.fleet import Json
from tests.support.pairs import Pair, failure, name, plain, rows, running, states, told_truly

Servers = Callable[..., Pair]
WHOLE = {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}


def only_these_restarted(server: HostView, before: dict[str, int], *names: str) -> None:
    """What ran runs, these services as new processes, everything else as the old ones."""
    now = server.process_ids()
    assert set(now) == set(before)
    assert {service for service in now if now[service] != before[service]} == set(names)


def still_down(result: Json) -> None:
    """The run after a failure says, too, what is down and what to do about each."""
    assert set(result["down"]) == WHOLE
    assert all(service in result["msg"].partition("Down now: ")[2] for service in WHOLE)
    advice = {service: text for service, dummy, text in (line.partition(": ") for line in result["advice"])}
    assert set(advice) == WHOLE
    assert all(re.search(r"\bQ\d{6}\b", text) for text in advice.values()), advice


def test_a_dependent_that_was_stopped_stays_stopped(servers: Servers) -> None:
    pair = servers(stopped=("MSExchangeES",))
    run = pair.play(*plain())
    for server in pair:
        result = run.last(name(server), "service_restart")
        assert (result["changed"], result["outcome"], result["down"]) == (True, "restarted", [])
        assert states(result) == {"MSExchangeIS": ("running", "running"), "MSExchangeIMC": ("running", "running")}
        told_truly(server, result, pair.before(server))
        assert server.service("MSExchangeES") == "stopped"
        only_these_restarted(server, pair.before(server), "MSExchangeIS", "MSExchangeIMC")
        assert server.in_force()["STORE"] == (110, 143)
    pair.converge()
    for server in pair:
        assert server.service("MSExchangeES") == "stopped"


def test_a_dependent_that_hangs_stopping_leaves_the_root_alone_and_brings_back_the_others(servers: Servers) -> None:
    pair = servers()
    pair.inject("service", name="MSExchangeIMC", stop="hang")
    run = pair.play(*plain(restart={"stop_timeout": 60, "deadline": 120}))
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], result["error"]["code"]) == (True, "stop_timeout")
        assert result["error"]["detail"]["service"] == "MSExchangeIMC"
        assert result["down"] == ["MSExchangeIMC"]
        assert "Q246287" in result["msg"]
        assert "Down now: MSExchangeIMC" in result["msg"]
        told_truly(server, result, pair.before(server))
        hung = rows(result)["MSExchangeIMC"]
        assert (hung["step"], hung["after"], hung["role"]) == ("stopping", "stop_pending", "dependent")
        assert 60_000 <= hung["stop_ms"] < 61_000
        assert server.process_id("MSExchangeIS") == pair.before(server)["MSExchangeIS"]
        assert server.service("MSExchangeES") == "running"
        assert server.process_id("MSExchangeES") != pair.before(server)["MSExchangeES"]
        assert server.in_force()["STORE"] == (143,)
    pair.lab.clear()
    pair.inject("end_hang", name="MSExchangeIMC")
    run = pair.converge()
    for server in pair:
        assert run.last(name(server), "service_restart", "first")["completed"] == ["MSExchangeIMC"]
        assert set(server.process_ids()) == set(pair.before(server))
        assert server.in_force()["STORE"] == (110, 143)


def test_a_dependent_that_refuses_to_stop_costs_nothing(servers: Servers) -> None:
    pair = servers()
    pair.inject("service", name="MSExchangeIMC", stop="refuse", code=5)
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["error"]["code"], result["down"]) == ("stop_refused", [])
        assert (result["error"]["detail"]["service"], result["error"]["detail"]["native"]) == ("MSExchangeIMC", 5)
        told_truly(server, result, pair.before(server))
        only_these_restarted(server, pair.before(server), "MSExchangeES")
    pair.lab.clear()
    pair.converge()
    for server in pair:
        assert set(server.process_ids()) == set(pair.before(server))


def test_a_root_that_hangs_past_the_deadline_is_not_killed_and_is_started_once_it_is_down(servers: Servers) -> None:
    pair = servers()
    pair.inject("service", name="MSExchangeIS", stop="hang")
    run = pair.play(*plain(restart={"stop_timeout": 900, "deadline": 120}))
    for server in pair:
        result = failure(run, server)
        assert (result["outcome"], result["error"]["code"]) == ("failed", "stop_timeout")
        assert set(result["down"]) == WHOLE
        told_truly(server, result, pair.before(server))
        hung = rows(result)["MSExchangeIS"]
        assert (hung["step"], hung["after"]) == ("stopping", "stop_pending")
        assert hung["stop_ms"] < 120_000
        assert server.process_id("MSExchangeIS") == pair.before(server)["MSExchangeIS"]
        assert "Q241152" in " ".join(result["advice"])
    again = pair.play(*plain(restart={"stop_timeout": 30, "deadline": 60}))
    for server in pair:
        result = failure(again, server)
        assert (result["changed"], result["outcome"], result["error"]["code"]) == (False, "failed", "service_pending")
        still_down(result)
        assert server.process_id("MSExchangeIS") == pair.before(server)["MSExchangeIS"]
    pair.lab.clear()
    pair.inject("end_hang", name="MSExchangeIS")
    run = pair.converge()
    for server in pair:
        assert set(run.last(name(server), "service_restart", "first")["completed"]) == WHOLE
        only_these_restarted(server, pair.before(server), *WHOLE)
        assert server.in_force()["STORE"] == (110, 143)


def test_a_root_that_fails_to_start_is_named_and_owed(servers: Servers) -> None:
    pair = servers()
    pair.inject("service", name="MSExchangeIS", start="fail", code=1053)
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], result["error"]["code"]) == (True, "start_failed")
        assert set(result["down"]) == WHOLE
        told_truly(server, result, pair.before(server))
        errors = {row["name"]: row["error"]["code"] for row in result["services"] if row["error"]}
        assert errors == {
            "MSExchangeIS": "start_failed",
            "MSExchangeIMC": "dependency_failed",
            "MSExchangeES": "dependency_failed",
        }
        assert set(pair.before(server)) - running(server) == WHOLE
    again = pair.play(*plain())
    for server in pair:
        result = failure(again, server)
        assert (result["changed"], result["outcome"], result["error"]["code"]) == (False, "failed", "start_failed")
        still_down(result)
        assert set(pair.before(server)) - running(server) == WHOLE
    pair.lab.clear()
    run = pair.converge()
    for server in pair:
        assert set(run.last(name(server), "service_restart", "first")["completed"]) == WHOLE
        only_these_restarted(server, pair.before(server), *WHOLE)


def test_a_dependent_that_fails_to_start_does_not_keep_the_others_down(servers: Servers) -> None:
    pair = servers()
    pair.inject("service", name="MSExchangeIMC", start="refuse", code=1069)
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["outcome"], result["error"]["code"]) == ("failed", "start_failed")
        assert result["error"]["detail"]["native"] == 1069
        assert result["down"] == ["MSExchangeIMC"]
        assert set(pair.before(server)) - running(server) == {"MSExchangeIMC"}
        assert server.in_force()["STORE"] == (110, 143)
        assert "Q222553" in " ".join(result["advice"])
    pair.lab.clear()
    pair.converge()
    for server in pair:
        only_these_restarted(server, pair.before(server), *WHOLE)


@pytest.mark.parametrize("service", ["MSExchangeES", "MSExchangeIS"], ids=["dependent", "root"])
def test_a_service_that_dies_within_a_second_of_starting_counts_as_failed(servers: Servers, service: str) -> None:
    pair = servers()
    pair.inject("service", name=service, start="die")
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], result["outcome"], result["error"]["code"]) == (True, "failed", "died")
        assert (result["error"]["detail"]["service"], result["down"]) == (service, [service])
        row = rows(result)[service]
        assert (row["before"], row["after"], row["step"]) == ("running", "stopped", "failed")
        told_truly(server, result, pair.before(server))
        assert set(pair.before(server)) - running(server) == {service}
        (advice,) = result["advice"]
        assert advice.startswith(f"{service}: ")
        assert "Q222553" in advice
    pair.lab.clear()
    run = pair.converge()
    for server in pair:
        assert run.last(name(server), "service_restart", "first")["completed"] == [service]
        only_these_restarted(server, pair.before(server), *WHOLE)


def test_somebody_else_who_starts_it_first_does_no_harm(servers: Servers) -> None:
    pair = servers()
    numbers = pair.inject("start_service", name="MSExchangeIS", at="worker.starting", at_service="MSExchangeIS")
    run = pair.play(*plain())
    for server in pair:
        assert pair.lab.hits(numbers[server.machine.name]) == 1
        result = run.last(name(server), "service_restart")
        assert (result["changed"], result["outcome"], result["down"]) == (True, "restarted", [])
        told_truly(server, result, pair.before(server))
        only_these_restarted(server, pair.before(server), *WHOLE)
        assert server.in_force()["STORE"] == (110, 143)
    pair.converge()


def test_a_store_on_a_crashed_directory_is_left_running(servers: Servers) -> None:
    pair = servers()
    pair.inject("crash_service", name="MSExchangeDS")
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert not result["changed"]
        assert result["problems"][0]["code"] == "dependency_down"
        assert "MSExchangeDS" in result["msg"]
        assert {"MSExchangeIS", "MSExchangeIMC"} <= running(server)
        assert server.process_id("MSExchangeIS") == pair.before(server)["MSExchangeIS"]
        assert server.service("MSExchangeDS") == "stopped"
    second = pair.play(*plain("second"))
    for server in pair:
        assert not second.last(name(server), "wspcfg")["changed"]
        result = failure(second, server)
        assert (result["changed"], result["problems"][0]["code"]) == (False, "dependency_down")
        assert "Q168739" in result["msg"]
        assert {"MSExchangeIS", "MSExchangeIMC"} <= running(server)
    again = pair.play(*plain(restart={"start_dependencies": True}))
    for server in pair:
        result = again.last(name(server), "service_restart")
        assert (result["changed"], result["outcome"]) == (True, "restarted"), result
        assert set(running(server)) >= {*WHOLE, "MSExchangeDS"}
    pair.converge()
    for server in pair:
        assert set(server.process_ids()) == set(pair.before(server))


def test_store_and_mta_bounce_the_internet_mail_service_once(servers: Servers) -> None:
    pair = servers()
    run = pair.play(*plain(mta_direct="true"))
    for server in pair:
        owed = {row["service"] for row in run.last(name(server), "wspcfg")["owed"]}
        assert owed == {"MSExchangeIS", "MSExchangeMTA"}
        result = run.last(name(server), "service_restart")
        assert {row["name"] for row in result["services"] if row["role"] == "requested"} == owed
        steps = [step["step"] for step in result["timeline"] if step["service"] == "MSExchangeIMC"]
        assert steps == ["recorded", "stopping", "stopped", "starting", "running"]
        only_these_restarted(server, pair.before(server), *WHOLE, "MSExchangeMTA")
        assert run.last(name(server), "service_restart")["executions"] == 1
    pair.converge(mta_direct="true")
