# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts that are refused until somebody accepts the risk, and restarts at the wrong time of day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from tests.lab.fleet import Json
from tests.support.pairs import Pair, failure, name, plain, restart_task, rows

Servers = Callable[..., Pair]
DIRECTORY: Json = {"listeners": ["imap4", "ldap"]}
OFFSET_MINUTES = 120


def test_a_running_key_management_server_is_refused_until_accepted(servers: Servers) -> None:
    pair = servers(services=("ES", "KMS"))
    run = pair.play(*plain(**DIRECTORY))
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], [row["code"] for row in result["refusals"]]) == (False, ["kms_running"])
        assert "Q151689" in result["msg"]
        assert "allow_kms" in result["msg"]
        assert server.process_ids() == pair.before(server)
    accepted = pair.play(*plain(restart={"allow_kms": True}, **DIRECTORY))
    for server in pair:
        result = accepted.last(name(server), "service_restart")
        assert rows(result)["MSExchangeKMS"]["after"] == server.service("MSExchangeKMS") == "running"
        assert server.process_id("MSExchangeKMS") != pair.before(server)["MSExchangeKMS"]
    pair.converge(**DIRECTORY)


def test_a_stopped_key_management_server_is_no_obstacle(servers: Servers) -> None:
    pair = servers(services=("KMS",), stopped=("MSExchangeKMS",))
    run = pair.play(*plain(**DIRECTORY))
    for server in pair:
        assert "MSExchangeKMS" not in rows(run.last(name(server), "service_restart"))
        assert server.service("MSExchangeKMS") == "stopped"
    pair.converge(**DIRECTORY)


def test_a_cluster_node_is_refused_until_accepted(servers: Servers) -> None:
    pair = servers(services=("ES", "ClusSvc"))
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], [row["code"] for row in result["refusals"]]) == (False, ["cluster_node"])
        assert "Q173809" in result["msg"]
        assert server.process_ids() == pair.before(server)
    accepted = pair.play(*plain(restart={"allow_cluster": True}))
    for server in pair:
        assert accepted.last(name(server), "service_restart")["outcome"] == "restarted"
        assert server.process_id("ClusSvc") == pair.before(server)["ClusSvc"]
    pair.converge()


def test_a_disabled_dependent_is_refused_until_it_may_stay_down(servers: Servers) -> None:
    pair = servers()
    pair.inject("start_type", name="MSExchangeES")
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], [row["code"] for row in result["refusals"]]) == (False, ["service_disabled"])
        assert server.process_ids() == pair.before(server)
    accepted = pair.play(*plain(restart={"allow_disabled": True}))
    for server in pair:
        result = accepted.last(name(server), "service_restart")
        assert rows(result)["MSExchangeES"]["after"] == server.service("MSExchangeES") == "stopped"
        assert result["down"] == ["MSExchangeES"]
        assert server.in_force()["STORE"] == (110, 143)
    pair.converge()


def test_what_would_take_others_down_is_refused_where_that_is_wished(servers: Servers) -> None:
    pair = servers()
    run = pair.play(restart_task(names=["MSExchangeIS"], dependents="fail"))
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], result["refusals"][0]["option"]) == (False, "dependents")
        assert set(result["takes_down"]) == {"MSExchangeIMC", "MSExchangeES"}
        assert server.process_ids() == pair.before(server)


def set_time(pair: Pair, hour: int, minute: int) -> None:
    """Make it this time of day where the script runs, two hours ahead of UTC."""
    for server in pair:
        machine = pair.lab.world.machine(pair.runner(server))
        now = datetime.fromtimestamp(machine.clock.now(), timezone.utc)
        wanted = now.replace(hour=hour, minute=minute, second=0).timestamp() - OFFSET_MINUTES * 60
        skew = machine.clock.skew_s + wanted - now.timestamp()
        pair.lab.inject("clock", machine.name, skew_s=skew, utc_offset_minutes=OFFSET_MINUTES, speed=10.0)


def test_a_window_over_midnight_is_kept_by_the_clock_of_the_machine_that_runs_the_script(servers: Servers) -> None:
    pair = servers()
    for server in pair:
        for service in server.machine.services:
            service.behaviour.stop_ms = service.behaviour.start_ms = 100
    night = {"window": "22:00-05:00", "settle": 1}
    for hour, minute in ((12, 0), (21, 40), (5, 10)):
        set_time(pair, hour, minute)
        run = pair.play(*plain(restart=night))
        for server in pair:
            result = failure(run, server)
            assert (result["changed"], result["error"]["code"]) == (False, "outside_window")
            detail = result["error"]["detail"]
            assert detail["window"] == {"from": "22:00", "to": "05:00"}
            assert detail["utc_offset_minutes"] == result["clock"]["utc_offset_minutes"] == OFFSET_MINUTES
            local = datetime.fromtimestamp(detail["now"], timezone.utc).timestamp() + OFFSET_MINUTES * 60
            assert int(local % 86400 // 3600) == hour
            assert server.process_ids() == pair.before(server)
    wanted = [["pop3", "imap4"], ["imap4"]]
    for (hour, minute), listeners in zip(((23, 30), (1, 15)), wanted, strict=True):
        set_time(pair, hour, minute)
        run = pair.play(*plain(restart=night, listeners=listeners))
        for server in pair:
            result = run.last(name(server), "service_restart")
            assert (result["changed"], result["clock"]["utc_offset_minutes"]) == (True, OFFSET_MINUTES)
    pair.lab.clear()
    pair.converge(listeners=wanted[-1])
