# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers and management hosts that go away in the middle of a run, or meet at one server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import session
from tests.lab.api import HostView, PauseView
from tests.support.inspections import sent_in
from tests.support.pairs import (
    BIN,
    LOADED,
    SPARE,
    Pair,
    failure,
    name,
    plain,
    restart_task,
    running,
    states,
    told_truly,
)
from tests.support.playbook import Started
from tests.support.unwired import ControllerGone, Server

Servers = Callable[..., Pair]
WHOLE = {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
HOLD = {
    "name": "hold",
    "ansible.builtin.wait_for": {"path": "/nonexistent/file", "timeout": 100},
    "delegate_to": "localhost",
}


def until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that has no event of its own."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def hold_between_stop_and_start(pair: Pair) -> tuple[Started, list[PauseView]]:
    """Begin a plain run and hold it on both servers when the store has stopped."""
    pauses = [pair.lab.pause(server.machine.name, "worker.stopped", service="MSExchangeIS") for server in pair]
    started = pair.playbooks.start(pair.write(*plain(), name="held.yml"))
    for pause in pauses:
        pause.reached()
    return started, pauses


def leave_unfinished(pair: Pair) -> None:
    """End controller and worker between stop and start: the store and what depends on it are down."""
    started, pauses = hold_between_stop_and_start(pair)
    started.kill()
    started.process.communicate()
    pair.inject("cut_worker", at="worker.*")
    for pause in pauses:
        pause.release()
    for server in pair:
        until(lambda server=server: not runner_tasks(pair, server))
        assert set(pair.before(server)) - running(server) == WHOLE
    pair.lab.clear()


def runner_tasks(pair: Pair, server: HostView) -> list[str]:
    machine = pair.lab.world.machine(pair.runner(server))
    return pair.lab.call(lambda: list(machine.tasks))


def restarted(server: HostView, before: dict[str, int]) -> set[str]:
    now = server.process_ids()
    assert set(now) == set(before)
    return {service for service in now if now[service] != before[service]}


def test_killed_between_write_and_restart_the_next_run_restarts(servers: Servers) -> None:
    pair = servers()
    write, restart = plain()
    old = pair.direct.file(BIN)
    started = pair.playbooks.start(pair.write(write, HOLD, restart))
    until(lambda: all(server.file(BIN) != old for server in pair) and not any(runner_tasks(pair, one) for one in pair))
    started.kill()
    started.process.communicate()
    for server in pair:
        assert server.process_ids() == pair.before(server)
        assert server.in_force()["STORE"] == (143,)
    run = pair.converge()
    for server in pair:
        first = run.last(name(server), "wspcfg", "first")
        assert not first["changed"]
        assert [row["service"] for row in first["owed"]] == ["MSExchangeIS"]
        assert restarted(server, pair.before(server)) == WHOLE
        assert server.in_force()["STORE"] == (110, 143)


def test_killed_between_stop_and_start_the_worker_goes_on_alone(servers: Servers) -> None:
    pair = servers()
    started, pauses = hold_between_stop_and_start(pair)
    started.kill()
    started.process.communicate()
    for server in pair:
        assert set(pair.before(server)) - running(server) == WHOLE
    for server, pause in zip(pair, pauses, strict=True):
        pause.release()
        for service in WHOLE:
            server.until_service(service, "running")
        until(lambda server=server: (server.journal() or {})["phase"] == "done")
        assert restarted(server, pair.before(server)) == WHOLE
    pair.remember()
    run = pair.converge()
    for server in pair:
        assert run.changed(name(server)) == 0
        assert server.process_ids() == pair.before(server)


def test_without_worker_and_controller_the_next_run_finishes(servers: Servers) -> None:
    pair = servers()
    leave_unfinished(pair)
    run = pair.converge()
    for server in pair:
        first = run.last(name(server), "wspcfg", "first")
        assert {row["service"] for row in first["owed"] if row.get("unfinished")} == WHOLE
        assert first["unfinished"]["same_boot"] is True
        assert set(run.last(name(server), "service_restart", "first")["completed"]) == WHOLE
        assert restarted(server, pair.before(server)) == WHOLE


def test_a_reboot_of_the_machine_that_runs_the_worker_brings_everything_back(servers: Servers) -> None:
    pair = servers()
    for server in pair:
        pair.lab.inject(
            "reboot", pair.runner(server), on=server.machine.name, at="worker.stopped", at_service="MSExchangeIS"
        )
    run = pair.play(*plain(ignore=True))
    for server in pair:
        (entry,) = run.of(name(server), "service_restart")
        assert entry.outcome in ("failed", "ignored")
        assert entry.result["error"]["code"] == "interrupted"
        assert running(server) >= set(pair.before(server))
        result = entry.result
        # A server that boots starts its automatic services itself; the next run finds nothing left to complete.
        assert set(result["completed"]) == (WHOLE if server is pair.computer else set())
        assert (result["changed"], result["outcome"], result["down"]) == (True, "interrupted", [])
        assert states(result) == dict.fromkeys(WHOLE, ("running", "running"))
        told_truly(server, result, pair.before(server))
        assert [problem["code"] for problem in result["problems"]] == ["interrupted"]
        assert "Q168739" in result["msg"]
    pair.lab.clear()
    pair.converge()
    for server in pair:
        assert running(server) >= set(pair.before(server))
        assert server.in_force()["STORE"] == (110, 143)


def test_what_an_interrupted_restart_cannot_bring_back_is_told_with_the_reason(servers: Servers) -> None:
    """The worker dies between stop and start, and the information store does not start for the run that completes."""
    pair = servers()
    pair.inject("cut_worker", at="worker.stopped", at_service="MSExchangeIS")
    pair.inject("service", name="MSExchangeIS", start="refuse", code=1069)
    run = pair.play(*plain())
    for server in pair:
        result = failure(run, server)
        assert (result["changed"], result["outcome"], result["completed"]) == (True, "interrupted", [])
        assert [problem["code"] for problem in result["problems"]] == ["interrupted", "start_failed"]
        assert result["error"]["detail"]["finish_error"]["detail"]["native"] == 1069
        assert set(result["down"]) == set(pair.before(server)) - running(server) == WHOLE
        assert states(result) == dict.fromkeys(WHOLE, ("running", "stopped"))
        told_truly(server, result, pair.before(server))
        assert all(service in result["msg"].partition("Down now: ")[2] for service in WHOLE)
        assert {text.partition(":")[0] for text in result["advice"]} >= WHOLE
    pair.lab.clear()
    run = pair.converge()
    for server in pair:
        assert set(run.last(name(server), "service_restart", "first")["completed"]) == WHOLE
        assert restarted(server, pair.before(server)) == WHOLE


def test_a_second_controller_is_told_who_is_at_work_or_waits(servers: Servers) -> None:
    pair = servers(services=("ES", "MSMI"))
    started, pauses = hold_between_stop_and_start(pair)
    refused = pair.play(restart_task(names=["MSExchangeMSMI"]), name="refused.yml")
    for server in pair:
        result = failure(refused, server)
        assert (result["changed"], result["error"]["code"]) == (False, "busy")
        assert "@" in result["error"]["detail"]["who"]
        assert result["error"]["detail"]["who"] in result["msg"]
        assert result["error"]["detail"]["machine"] == pair.runner(server)
        assert server.process_id("MSExchangeMSMI") == pair.before(server)["MSExchangeMSMI"]
    waiting = pair.playbooks.start(pair.write(restart_task(names=["MSExchangeMSMI"], lock_wait=100_000)))
    for server in pair:
        until(lambda server=server: len(runner_tasks(pair, server)) > 1)
    for pause in pauses:
        pause.release()
    assert started.wait().status == 0
    second = waiting.wait()
    for server in pair:
        assert second.last(name(server), "service_restart")["outcome"] == "restarted"
        assert restarted(server, pair.before(server)) == {*WHOLE, "MSExchangeMSMI"}
    pair.converge()


def test_a_second_management_host_meets_the_lock_of_the_first(servers: Servers) -> None:
    pair = servers()
    started, pauses = hold_between_stop_and_start(pair)
    account = {"publish_computer_username": "LAB\\Administrator", "publish_computer_password": "lab-password"}
    address = pair.lab.world.machine(SPARE).address
    for server in pair:
        refused = pair.play(
            restart_task(names=["MSExchangeMTA"]),
            name="second.yml",
            arguments=["--limit", name(server)],
            extra={"ansible_host": address, "publish_computer": server.machine.name, **account},
        )
        result = failure(refused, server)
        assert (result["changed"], result["error"]["code"]) == (False, "busy")
        assert result["error"]["detail"]["machine"] == pair.runner(server)
        assert server.process_id("MSExchangeMTA") == pair.before(server)["MSExchangeMTA"]
    for pause in pauses:
        pause.release()
    assert started.wait().status == 0
    for server in pair:
        assert restarted(server, pair.before(server)) == WHOLE
    pair.converge()


# -- launches that do not come through --------------------------------------------------------------------------------
class Unlucky(Server):
    """A server whose first restarts are lost on their way.

    Attributes:
        accidents: What happens to them: ``lost`` before they arrive, or ``cut`` between journal and worker.
    """

    accidents: tuple[str, ...] = ()

    def execute(self, command: str, stdin: str) -> session.Execution:
        if not self.accidents or sent_in(stdin)[1]["op"] != "restart":
            return super().execute(command, stdin)
        accident, *rest = self.accidents
        self.accidents = tuple(rest)
        if accident == "cut":
            self._cut(command, stdin)
        raise session.ConnectionLost("reset by peer", sent=True)

    def _cut(self, command: str, stdin: str) -> None:
        self.runner.can_detach = False
        self.machine.clock.call_later(5.0, self.lose_controller)
        with pytest.raises(ControllerGone):
            super().execute(command, stdin)
        self.runner.can_detach = True


@pytest.mark.parametrize("mode", ["direct", "computer"])
@pytest.mark.parametrize("accidents", [("lost",), ("lost", "lost"), ("cut",), ("lost", "cut")], ids="-".join)
def test_a_launch_that_does_not_come_through_is_made_again(mode: str, accidents: tuple[str, ...]) -> None:
    server = Unlucky(mode, services=("ES",), text=LOADED)
    before = server.processes()
    server.accidents = accidents
    written, result = server.plain_run(listeners=["pop3", "imap4"])
    assert (written["changed"], result["outcome"], result["down"]) == (True, "restarted", [])
    assert {service for service, number in server.processes().items() if before[service] != number} == WHOLE
    again, nothing = server.plain_run(listeners=["pop3", "imap4"])
    assert (again["changed"], again["owed"], nothing["changed"]) == (False, [], False)
    server.close()


@pytest.mark.parametrize("mode", ["direct", "computer"])
def test_launches_that_never_arrive_are_no_success(mode: str) -> None:
    server = Unlucky(mode, services=("ES",), text=LOADED)
    before = server.processes()
    server.accidents = ("lost",) * 9
    dummy, result = server.plain_run(listeners=["pop3", "imap4"])
    assert (result["failed"], result["changed"], result["error"]["code"]) == (True, False, "connection_lost")
    assert server.processes() == before
    server.accidents = ()
    written, result = server.plain_run(listeners=["pop3", "imap4"])
    assert (written["changed"], result["outcome"]) == (False, "restarted")
    server.close()


# -- journals that nobody may simply finish ---------------------------------------------------------------------------
@pytest.fixture(params=["forget_boot", "age_journal"])
def old_journal(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Pair]:
    """Both servers with a journal of another boot, or of yesterday, and services down."""
    pair = servers()
    leave_unfinished(pair)
    pair.inject(request.param)
    yield pair


def test_an_old_journal_is_reported_and_finished_on_request_only(old_journal: Pair) -> None:
    pair = old_journal
    run = pair.play(*plain())
    for server in pair:
        result = run.last(name(server), "wspcfg")
        assert (result["changed"], result["unfinished"]["same_boot"]) == (False, False)
        assert set(result["unfinished"]["down"]) == WHOLE
        assert any("finish: any" in warning for warning in result["warnings"])
        assert set(pair.before(server)) - running(server) == WHOLE
    run = pair.play(restart_task(only_if_pending=True, finish="any"), name="finish.yml")
    for server in pair:
        assert set(run.last(name(server), "service_restart")["completed"]) == WHOLE
        assert restarted(server, pair.before(server)) == WHOLE
    pair.converge()


def test_a_corrupt_journal_stops_nothing(servers: Servers) -> None:
    pair = servers()
    pair.inject("corrupt_journal")
    run = pair.play(*plain())
    for server in pair:
        assert any("unreadable" in warning for warning in run.last(name(server), "wspcfg")["warnings"])
        result = failure(run, server)
        assert (result["changed"], result["error"]["code"], result["services"]) == (False, "journal_corrupt", [])
        assert r"HKLM\SOFTWARE\msexchange.winsock_proxy" in result["msg"]
        assert server.process_ids() == pair.before(server)
    pair.lab.clear()
    pair.converge()
    for server in pair:
        assert restarted(server, pair.before(server)) == WHOLE
