# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook publish around a restart: refused before, judged after, taken back once, put off, with hooks.

One server is reached directly, the other through a management host; each has a proxy of its own. POP3 is published and
answers, IMAP4 is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.outside import Port, look
from tests.lab.api import HostView
from tests.support.playbook import Json, Run
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

SERVERS = ("ONE", "TWO")
OLD = "[STORE]\nServerBindTcpPorts=110\nPersistent=1\nKillOldSession=1\n"
PAST_S = 86400.0
TOGETHER: Json = {"publish_serial": 2, "publish_max_fail_percentage": 100}
# Ends a play early, so that what a port does not do need not be waited for.
IMPATIENT: Json = {**TOGETHER, "publish_probe_deadline": 1.0, "publish_probe_timeout": 2.0}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    spec = {"files": {BIN: OLD}}
    wishes = [
        Wish(name, mode, {"listeners": ["pop3", "imap4"]}, spec)
        for name, mode in zip(SERVERS, (DIRECT, COMPUTER), strict=True)
    ]
    with site(tmp_path, wishes) as here:
        for server in servers(here):
            here.lab.call(lambda server=server: age(server))
        yield here


def age(server: HostView) -> None:
    for node in server.machine.files.files():
        server.machine.files.set_modified(node.path, server.machine.clock.now() - PAST_S)


def servers(here: Site) -> list[HostView]:
    return [here.host(name) for name in SERVERS]


def files(here: Site) -> list[bytes | None]:
    return [server.file(BIN) for server in servers(here)]


def processes(here: Site) -> list[dict[str, int]]:
    return [server.process_ids() for server in servers(here)]


def answers(here: Site, protocol: str) -> list[bool]:
    """Whether Exchange greets on a published port of each server."""
    ports = [Port(name, protocol, here.address(name), here.port(protocol)) for name in SERVERS]
    return ["Microsoft Exchange" in look(port) for port in ports]


def publish(here: Site, *arguments: str, **extra: object) -> Run:
    return here.play.run("publish", *arguments, extra={**TOGETHER, **extra})


def converges(here: Site) -> None:
    """A plain run succeeds, the one after it changes nothing, and both ports answer."""
    first = publish(here)
    assert first.status == 0, first.output
    before = processes(here)
    second = publish(here)
    assert second.status == 0, second.output
    assert [second.changed(name.lower()) for name in SERVERS] == [0, 0]
    assert processes(here) == before
    assert answers(here, "pop3") == answers(here, "imap4") == [True, True]


# -- before anything is written ---------------------------------------------------------------------------------------
def test_a_port_that_another_program_has_on_the_proxy_is_refused_before_writing(fleet: Site) -> None:
    before, text = processes(fleet), files(fleet)
    for name in SERVERS:
        line = "* OK another mail server ready"
        fleet.lab.inject("take_port", address=fleet.address(name), port=fleet.port("imap4"), line=line)
    run = publish(fleet)
    assert run.failed() == ["one", "two"], run.output
    for name in SERVERS:
        assert "another mail server" in run.messages(name.lower())
        assert str(fleet.port("imap4")) in run.messages(name.lower())
    assert (processes(fleet), files(fleet)) == (before, text)
    fleet.lab.clear()
    converges(fleet)


def test_behind_a_proxy_that_nobody_can_see_nothing_is_written(fleet: Site) -> None:
    before, text = processes(fleet), files(fleet)
    for name in SERVERS:
        fleet.lab.inject("proxy", name=fleet.proxy(name), condition="gone")
    run = publish(fleet, **IMPATIENT)
    assert run.failed() == ["one", "two"], run.output
    for name in SERVERS:
        assert "publish_blind" in run.messages(name.lower())
    assert (processes(fleet), files(fleet)) == (before, text)
    for name in SERVERS:
        fleet.lab.inject("proxy", name=fleet.proxy(name), condition="up")
    converges(fleet)


# -- judged afterwards ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("times", [1, 2])
def test_a_port_that_answered_before_and_no_longer_does_takes_the_change_back_once(fleet: Site, times: int) -> None:
    text = files(fleet)
    for name in SERVERS:
        fleet.lab.inject("bind_fails", name, protocol="pop3", times=times)
    run = publish(fleet, **IMPATIENT)
    assert run.failed() == ["one", "two"], run.output
    for name in SERVERS:
        assert "put back" in run.messages(name.lower())
        assert len(run.of(name.lower(), "service_restart")) == 2
        written = [entry for entry in run.of(name.lower(), "wspcfg", outcome="ok") if entry.result["changed"]]
        assert len([entry for entry in written if not entry.result["check_mode"]]) == 2
    assert files(fleet) == text
    assert answers(fleet, "pop3") == [times == 1] * 2
    assert answers(fleet, "imap4") == [False, False]
    fleet.lab.clear()
    converges(fleet)


def test_a_new_port_that_does_not_come_up_is_named_and_the_change_stays(fleet: Site) -> None:
    for name in SERVERS:
        fleet.lab.inject("bind_fails", name, protocol="imap4")
    run = publish(fleet, **IMPATIENT)
    assert run.failed() == ["one", "two"], run.output
    for name, server in zip(SERVERS, servers(fleet), strict=True):
        message = run.messages(name.lower())
        assert f"{fleet.address(name)}:{fleet.port('imap4')}" in message
        assert "Nothing was rolled back" in message
        assert "Event log: " in message
        assert server.in_force()["STORE"] == (fleet.port("pop3"), fleet.port("imap4"))
        assert len(run.of(name.lower(), "service_restart")) == 1
    assert answers(fleet, "pop3") == [True, True]
    assert answers(fleet, "imap4") == [False, False]
    fleet.lab.clear()
    for server in servers(fleet):
        server.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    converges(fleet)


def test_a_restart_that_fails_is_told_with_its_article_and_nothing_is_taken_back(fleet: Site) -> None:
    for name in SERVERS:
        fleet.lab.inject("service", name, name="MSExchangeIMC", stop="hang")
    (text, _same) = files(fleet)
    run = publish(fleet, **IMPATIENT, publish_stop_timeout=60, publish_restart_deadline=300)
    assert run.failed() == ["one", "two"], run.output
    for name, server in zip(SERVERS, servers(fleet), strict=True):
        assert "MSExchangeIMC" in run.messages(name.lower())
        assert "Q246287" in run.messages(name.lower())
        (restart,) = run.of(name.lower(), "service_restart")
        assert (restart.outcome, restart.result["changed"]) == ("ok", False)
        assert server.file(BIN) not in (None, text)
    assert answers(fleet, "pop3") == [True, True]
    fleet.lab.clear()
    for name in SERVERS:
        fleet.lab.inject("end_hang", name, name="MSExchangeIMC")
    converges(fleet)


# -- when -----------------------------------------------------------------------------------------------------------
def test_restarts_that_are_put_off_are_told_and_not_changed(fleet: Site) -> None:
    before = processes(fleet)
    first, second = publish(fleet, publish_restart="defer"), publish(fleet, publish_restart="never")
    assert (first.status, second.status) == (0, 0), first.output + second.output
    for name in SERVERS:
        assert first.changed(name.lower()) == 1
        assert second.changed(name.lower()) == 0
        assert not second.of(name.lower(), "service_restart")
    for run, policy in ((first, "defer"), (second, "never")):
        for name in SERVERS:
            waits = run.server(name.lower(), run.plan())
            assert "wait MSExchangeIS: " in waits
            assert f"not done: publish_restart is '{policy}'" in waits
    for name in SERVERS:
        assert "wait MSExchangeIS: " in first.server(name.lower(), first.summary())
    assert processes(fleet) == before
    assert answers(fleet, "pop3") == [True, True]
    converges(fleet)


def test_outside_the_window_a_restart_waits_and_inside_it_is_made(fleet: Site) -> None:
    before = processes(fleet)
    clocks = {fleet.wire(name).machine.clock.now() for name in SERVERS}
    hour = int(min(clocks) // 3600) % 24
    outside = f"{(hour + 8) % 24:02d}:00-{(hour + 12) % 24:02d}:00"
    inside = f"{(hour - 2) % 24:02d}:00-{(hour + 8) % 24:02d}:00"
    waiting = publish(fleet, publish_restart_window=outside)
    assert waiting.status == 0, waiting.output
    for name in SERVERS:
        assert f"outside publish_restart_window '{outside}'" in waiting.server(name.lower(), waiting.plan())
    assert processes(fleet) == before
    done = publish(fleet, publish_restart_window=inside)
    assert done.status == 0, done.output
    for name in SERVERS:
        assert done.last(name.lower(), "service_restart")["outcome"] == "restarted"
    converges(fleet)


# -- hooks ----------------------------------------------------------------------------------------------------------
def test_hooks_are_included_when_a_restart_really_happens_and_only_then(fleet: Site) -> None:
    hooks = {
        f"publish_{when}_restart_tasks": str(
            fleet.play.write(f"{when}.yml", f"- name: Hook {when}\n  ansible.builtin.debug: {{msg: {when}}}\n")
        )
        for when in ("before", "after")
    }

    def seen(run: Run) -> list[list[str]]:
        assert run.status == 0, run.output
        names = ("Hook before", "Restart what is owed", "Hook after")
        tasks = [[entry.task.rpartition(" : ")[2] for entry in run.of(name.lower())] for name in SERVERS]
        return [[task for task in of_server if task in names] for of_server in tasks]

    assert seen(publish(fleet, "--check", **hooks)) == [["Restart what is owed"]] * 2
    assert seen(publish(fleet, publish_restart="defer", **hooks)) == [[], []]
    assert seen(publish(fleet, **hooks)) == [["Hook before", "Restart what is owed", "Hook after"]] * 2
    assert seen(publish(fleet, **hooks)) == [[], []]
