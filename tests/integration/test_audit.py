# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook audit: one line per server, the exit status, and the table for programs."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.support.playbook import Run
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

POP = {"listeners": ["pop3"]}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    wishes = [
        Wish("FINE", DIRECT, POP),
        Wish("DRIFT", COMPUTER, POP),
        Wish("AWAY", DIRECT, POP),
        Wish("WRONG", DIRECT, {"listeners": ["pop4"]}),
        Wish("NEVER", DIRECT, {**POP, "restart": "never"}),
    ]
    with site(tmp_path_factory.mktemp("audit"), wishes) as running:
        first = running.play.run("publish", "-l", "fine,drift,never")
        assert first.status == 0, first.output
        yield running


@pytest.fixture
def drifted(here: Site) -> Iterator[None]:
    right = here.host("DRIFT").file(BIN) or b""
    here.host("DRIFT").write(BIN, right.replace(b"Persistent=1", b"Persistent=0"))
    yield
    here.host("DRIFT").write(BIN, right)


@pytest.fixture
def away(here: Site) -> Iterator[None]:
    here.lab.inject("network_down", "AWAY")
    yield
    here.lab.clear("AWAY")


def table(run: Run) -> list[str]:
    """The lines that the audit prints, once for all hosts."""
    return run.plan().splitlines()


def states(run: Run) -> dict[str, str]:
    return {row["host"]: row["state"] for row in run.fleet("publish_plan")["audit"]}


def test_clean_is_0_and_one_line(here: Site) -> None:
    here.lab.reset_counters()
    run = here.play.run("audit", "-l", "fine,drift")
    assert run.status == 0, run.output
    assert table(run) == ["2 servers: 2 in order; 2 of 2 ports as wanted; ports asked from localhost"]
    assert states(run) == {"fine": "ok", "drift": "ok"}
    assert (here.executions("FINE"), here.executions("DRIFT")) == (1, 1)
    every = here.play.run("audit", "-l", "fine,drift", "-v")
    assert table(every)[:2] == ["ok       fine", "ok       drift"]


@pytest.mark.usefixtures("drifted")
def test_drift_is_2_and_nothing_is_changed(here: Site) -> None:
    file = here.host("DRIFT").file(BIN)
    run = here.play.run("audit", "-l", "fine,drift")
    assert run.status == 2
    drift, totals = table(run)
    assert drift.startswith(f"drift    drift  {BIN} has to be replaced; -Persistent=0 +Persistent=1")
    assert totals.startswith("2 servers: 1 in order, 1 drift; ")
    assert states(run) == {"fine": "ok", "drift": "drift"}
    assert run.failed() == ["drift"]
    assert here.host("DRIFT").file(BIN) == file


@pytest.mark.usefixtures("drifted", "away")
def test_unreachable_is_4_and_has_its_line_beside_the_others(here: Site) -> None:
    target = here.lab.directory / "audit.json"
    run = here.play.run("audit", extra={"publish_report": str(target)})
    assert run.status == 4, run.output
    reported = {row["host"]: row["state"] for row in json.loads(target.read_text(encoding="utf-8"))["servers"]}
    expected = {"fine": "in order", "drift": "drift", "away": "not reached", "wrong": "refused", "never": "in order"}
    assert reported == expected
    rows = {row["host"]: row for row in run.fleet("publish_plan")["audit"]}
    (finding,) = rows["away"]["findings"]
    assert "cannot be reached" in finding and "ansible_host" in finding
    assert rows["away"]["line"] in table(run)
    assert "pop4" in rows["wrong"]["findings"][0]
    assert table(run)[-1].startswith("5 servers: 2 in order, 1 drift, 1 refused, 1 unknown; ")
    assert run.unreachable() == ["away"]
    assert run.failed() == ["drift", "wrong"]


@pytest.mark.usefixtures("away")
def test_a_fleet_that_is_altogether_unreachable_has_its_lines_too(here: Site) -> None:
    run = here.play.run("audit", "-l", "away")
    assert run.status == 4
    away, totals = table(run)
    assert away.startswith("unknown  away  ") and "cannot be reached" in away
    assert totals == "1 server: 0 in order, 1 unknown; no port was asked"


def test_an_error_alone_is_2_and_stays_on_its_line(here: Site) -> None:
    run = here.play.run("audit", "-l", "wrong,fine", extra={"publish_restart_window": ["22:00", "05:00"]})
    assert run.status == 2
    fine, wrong, totals = table(run)
    for line, part in (
        (fine, "publish_restart_window"),
        (wrong, "publish_restart_window"),
        (wrong, "publish_listeners"),
        (wrong, "pop4"),
    ):
        assert part in line
    assert [line.split()[:2] for line in (fine, wrong)] == [["refused", "fine"], ["refused", "wrong"]]
    assert totals == "2 servers: 0 in order, 2 refused; no port was asked"


def test_a_server_is_asked_once_and_the_next_audit_sees_that_it_answers(here: Site) -> None:
    here.lab.inject("drop", "AWAY", point="connect", times=1)
    first = here.play.run("audit", "-l", "fine,away")
    here.lab.clear("AWAY")
    assert (first.status, first.failed(), first.unreachable()) == (4, [], ["away"])
    assert states(first) == {"fine": "ok", "away": "unknown"}
    later = here.play.run("audit", "-l", "fine,away")
    away, dummy = table(later)
    assert away.startswith(f"drift    away  {BIN} has to be created")
    assert states(later) == {"fine": "ok", "away": "drift"}
    assert (later.status, later.failed(), later.unreachable()) == (2, ["away"], [])
    assert "duplicate mapping key" not in first.output + later.output


def test_what_an_option_of_the_role_keeps_quiet(here: Site) -> None:
    assert here.host("NEVER").file(BIN), "written, and never loaded"
    quiet = here.play.run("audit", "-l", "never")
    assert (quiet.status, states(quiet)) == (0, {"never": "ok"}), quiet.output
    waiting = here.play.run("audit", "-l", "never", extra={"publish_restart": "defer"})
    assert waiting.status == 2
    assert "MSExchangeIS: " in table(waiting)[0]
    unproven = here.play.run("audit", "-l", "never", extra={"publish_probe": False})
    assert unproven.status == 0
    assert table(unproven)[0].startswith("ok       never  note: publish_probe is false, so no port is checked")
