# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run: when it is one, and what is said then."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from itertools import chain

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.outcome import Run, Told, outcome_of
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.summary import (
    Play,
    Progress,
    headline_of,
    progress_of,
    summary_result,
    summary_text,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.wording import duration
from tests.support.looks import look, result

Json = dict[str, t.Any]
PATH = "C:\\exchsrvr\\bin\\Wspcfg.ini"


def outcome(*, ok: bool = True, **summary: t.Any) -> Json:
    empty = {
        "wrote": [],
        "put_back": False,
        "restarted": [],
        "proven": [],
        "waits": [],
        "failed": "",
        "asked_from": "outside1",
    }
    return {"ok": ok, "plan": "p1", "summary": {**empty, **summary}}


def made(**more: t.Any) -> Json:
    empty: Json = {name: [] for name in ("in_order", "broken", "refused", "unreached", "owing")}
    return {"id": "p1", "max_fail_percentage": 0, "servers": {}, **empty, **more}


GOOD = outcome(
    wrote=[
        {"path": PATH, "action": "replace", "backup": "C:\\winnt\\msexchange.winsock_proxy\\backup\\9f3c21ab00.ini"}
    ],
    restarted=[
        {"service": "MSExchangeIS", "down_s": 38.2, "state": "running"},
        {"service": "MSExchangeIMC", "down_s": 45.0, "state": "running"},
    ],
    proven=[
        {
            "host": "203.0.113.10",
            "port": number,
            "protocol": protocol,
            "status": "open",
            "product": "Microsoft Exchange",
            "version": "5.5.2653.23",
        }
        for number, protocol in ((110, "pop3"), (143, "imap4"))
    ],
)
BAD = outcome(
    ok=False,
    wrote=[{"path": PATH, "action": "replace", "backup": None}],
    failed="ex3: 1 of 2 ports are not as expected.\n203.0.113.11:143 (imap4): is taken by someone else on the proxy.",
)


def test_the_summary_of_a_run_that_stopped() -> None:
    plan = made(
        in_order=["ex7", "ok1"],
        servers={
            "ex7": {"deferred": [{"service": "MSExchangeIS", "because": "outside publish_restart_window"}]},
            "ok1": {},
        },
        refused=["ex9"],
        unreached=["ex12"],
    )
    progress = Progress(plan, {"ex1": GOOD, "ex3": BAD}, ["ex3"], seconds=134, acting=("ex1", "ex3", "ex4", "ex5"))
    assert progress.is_last
    assert summary_text(progress) == [
        "Published 1 of 4 servers in 2 min 14 s.",
        "",
        "  ex1         wrote    C:\\exchsrvr\\bin\\Wspcfg.ini (the old one is kept: 9f3c21ab)",
        "              restart  MSExchangeIS (down 38 s), MSExchangeIMC (down 45 s)",
        "              proven   110 POP3, 143 IMAP4: answers as Exchange 5.5.2653.23 on 203.0.113.10, asked",
        "                       from outside1",
        "",
        "  ex3         wrote    C:\\exchsrvr\\bin\\Wspcfg.ini",
        "              failed   1 of 2 ports are not as expected.",
        "                       203.0.113.11:143 (imap4): is taken by someone else on the proxy.",
        "                       the file stays; the playbook restore puts the old one back:",
        "                       -e publish_restore=latest --limit ex3",
        "",
        "  not started, because ex3 failed (publish_max_fail_percentage 0): ex4 ex5; run again after mending",
        "    it",
        "  waits: ex7 MSExchangeIS: outside publish_restart_window",
        "  refused: ex9   not reached: ex12   in order: 2",
    ]
    told = summary_result(progress)
    assert (told["good"], told["bad"], told["not_started"]) == (["ex1"], ["ex3"], ["ex4", "ex5"])
    assert "failed" not in told, "Ansible would take it for a failure of the summary's own task"


def test_a_service_that_was_down_before_was_started_not_restarted() -> None:
    services = ({"at": 5.0, "step": "running", "service": "MSExchangeIMC"},)
    restarted = {"services": [{"name": "MSExchangeIMC", "after": "running"}], "timeline": services}
    told = Told(look("a", results=[result(25, "open")]))
    told_of_it = outcome_of(told, Run(owed={"restarts": [1]}, restarted=restarted))["summary"]["restarted"]
    evidence = {"steps": {"running": 5.0}, "processes": [None, None]}
    assert told_of_it == [{"service": "MSExchangeIMC", "down_s": None, "state": "running", "started": True, **evidence}]
    progress = Progress(made(), {"a": outcome(restarted=told_of_it)}, ["a"], acting=("a",))
    assert "  a           start    MSExchangeIMC" in summary_text(progress)


@pytest.mark.parametrize(
    ("good", "bad", "lost", "percentage", "left", "last"),
    [
        (1, 0, 0, 0, 3, False),
        (1, 0, 0, 0, 0, True),
        (0, 1, 0, 0, 3, True),
        (0, 1, 0, 100, 3, True),  # all of a batch: Ansible stops whatever the percentage is
        (1, 1, 0, 0, 3, True),
        (1, 1, 0, 50, 3, False),  # more than the percentage, not as many
        (2, 1, 0, 50, 3, False),
        (1, 2, 0, 50, 3, True),
        (1, 0, 1, 0, 3, False),  # who was lost does not count for the percentage
        (0, 0, 1, 0, 3, True),
    ],
)
def test_when_a_run_ends(good: int, bad: int, lost: int, percentage: float, left: int, last: bool) -> None:
    names = [f"s{number}" for number in range(good + bad + lost + left)]
    outcomes = {name: outcome() for name in names[:good]} | {
        name: outcome(ok=False) for name in names[good : good + bad]
    }
    batch = names[: good + bad + lost]
    progress = Progress(made(), outcomes, batch, lost=batch[good + bad :], percentage=percentage, acting=tuple(names))
    assert progress.is_last is last
    assert summary_result(progress)["not_started"] == (names[good + bad + lost :] if last else [])


@pytest.mark.parametrize(
    ("others", "bad", "percentage", "stops"),
    [
        ({}, 1, 100, True),  # all of the batch
        ({"in_order": ["x"]}, 1, 100, False),  # the play goes on with who is in order
        ({"in_order": ["x"]}, 1, 0, True),
        ({"refused": ["x"]}, 1, 100, True),
        ({"refused": ["x"], "in_order": ["y"]}, 1, 50, True),  # two of three
        ({"unreached": ["x"], "in_order": ["y"]}, 1, 50, False),
        ({"refused": ["x"]}, 0, 100, False),
    ],
)
def test_a_batch_that_fails_says_that_it_is_one_and_who_is_left(
    others: Json, bad: int, percentage: float, stops: bool
) -> None:
    plan = made(**others, owing=["a"], servers={name: {} for name in ("a", *chain(*others.values()))})
    play = Play(later=("l", "m"), meant=9, percentage=percentage)
    progress = progress_of(
        plan, ["a"], outcomes={"a": outcome(ok=not bad)}, started={}, summed={}, seconds=1, play=play
    )
    assert progress.is_last
    assert headline_of(progress).endswith(f"; this batch has {len(plan['servers'])} of the 9 servers of this play.")
    text = "\n".join(summary_text(progress))
    assert ("not started, because a failed: l m; run again after mending it" in text) is stops
    assert summary_result(progress)["not_started"] == (["l", "m"] if stops else [])


def test_what_an_earlier_plan_left_counts_for_nothing() -> None:
    old = {"plan": "p0", "ok": False, "summary": {}}
    progress = progress_of(
        made(owing=["a", "b"]),
        ["a", "b"],
        outcomes={"a": outcome(), "b": old},
        started={"a": {"plan": "p1"}, "b": {"plan": "p0"}},
        summed={"a": {"plan": "p0"}},
        seconds=1,
    )
    assert (progress.batch, progress.lost, progress.waiting) == (["a"], [], ["b"])
    later = progress_of(
        made(owing=["a", "b"]),
        ["a", "b"],
        outcomes={"a": outcome()},
        started={"a": {"plan": "p1"}, "b": {"plan": "p1"}},
        summed={"a": {"plan": "p1"}},
        seconds=1,
    )
    assert (later.batch, later.lost) == (["b"], ["b"])
    assert replace(later, percentage=0.0).stops


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (38, "38 s"), (59.6, "1 min 0 s"), (134, "2 min 14 s"), (11100, "3 h 5 min")]
)
def test_time_spans_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_verbose_shows_steps_and_processes_of_a_restart_and_what_the_ports_said() -> None:
    restart = {"service": "MSExchangeIS", "down_s": 38.0, "state": "running", "processes": [100, None]}
    steps = {"stopping": 36061.0, "running": 36099.0}
    port = {"host": "203.0.113.10", "port": 110, "protocol": "pop3", "status": "open", "greeting": "+OK hello"}
    done = outcome(restarted=[{**restart, "steps": steps}], proven=[{**port, "attempts": 2, "elapsed_ms": 900}])
    progress = Progress(made(), {"ex1": done}, ["ex1"], acting=("ex1",))
    shown = " ".join(" ".join(summary_text(progress, evidence=True)).split())
    assert "MSExchangeIS: process 100 -> unknown; stopping 10:01:01 UTC, running 10:01:39 UTC" in shown
    assert "203.0.113.10: 110 POP3 open, said '+OK hello'; 2 attempts, 900 ms" in shown
    assert "said" not in "\n".join(summary_text(progress))
