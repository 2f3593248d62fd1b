# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a change is taken back: every condition by itself."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.outcome import Run, Told, outcome_of
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.verdict import Evidence, judge
from tests.support.looks import look

Json = dict[str, t.Any]


def port(number: int, status: str, host: str = "192.0.2.1", expect: str = "open") -> Json:
    ok = (status == "open") == (expect == "open")
    return {
        "host": host,
        "port": number,
        "protocol": "pop3",
        "status": status,
        "expect": expect,
        "ok": ok,
        "greeting": None,
    }


def restarted(**changes: t.Any) -> Json:
    row: Json = {
        "name": "MSExchangeIS",
        "after": "running",
        "stop_ms": 1,
        "start_ms": 1,
        "process_before": {"id": 1, "started": 1.0},
        "process_after": {"id": 2, "started": 2.0},
        "error": None,
    }
    return {"services": [{**row, **changes}]}


# 110 answered before and is refused now; 143 still answers; the store runs anew.
REGRESSION = Evidence(
    before=[port(110, "open"), port(143, "open")],
    after=[port(110, "refused"), port(143, "open")],
    wrote=True,
    restarted=restarted(),
)


def test_regression_is_taken_back() -> None:
    verdict = judge(REGRESSION)
    assert verdict.action == "rollback" and not verdict.ok and verdict.regressed == ("192.0.2.1:110 (pop3) refused",)


def test_everything_well() -> None:
    good = replace(REGRESSION, after=[port(110, "open"), port(25, "refused", expect="closed")])
    assert judge(good).action == "none" and judge(good).ok


KEPT = [
    ("nothing written", {"wrote": False}, "wrote no file"),
    ("new port, old ones fine", {"before": [port(110, "refused"), port(143, "open")]}, "answered before"),
    ("nothing restarted", {"restarted": None}, "no service was restarted"),
    ("blind before", {"before": [port(110, "timeout"), port(143, "unreachable")]}, "saw nothing of the proxy before"),
    ("no check afterwards", {"after": [], "unproven": True}, "could not be checked afterwards"),
    ("proxy gone", {"after": [port(110, "timeout"), port(143, "timeout")]}, "cannot be reached"),
    ("somebody else", {"after": [port(110, "foreign"), port(143, "open")]}, "somebody else"),
    ("somebody else, in clear", {"after": [port(110, "no_tls"), port(143, "open")]}, "somebody else"),
    ("store died", {"restarted": restarted(after="stopped")}, "MSExchangeIS is stopped"),
    (
        "store hung",
        {"restarted": restarted(stop_ms=None, start_ms=None, error={"code": "stop_timeout"})},
        "MSExchangeIS",
    ),
    ("old process", {"restarted": restarted(process_after={"id": 1, "started": 1.0})}, "old process"),
    ("restart failed", {"restarted": {"failed": True, "services": []}}, "restart did not succeed"),
]


@pytest.mark.parametrize(("name", "changes", "why"), KEPT, ids=[row[0] for row in KEPT])
def test_otherwise_the_file_stays_and_the_reason_is_named(name: str, changes: Json, why: str) -> None:
    verdict = judge(replace(REGRESSION, **changes))
    assert verdict.action == "keep" and not verdict.ok and any(why in text for text in verdict.because), name


def test_reached_is_per_proxy() -> None:
    other = "192.0.2.2"
    evidence = replace(
        REGRESSION,
        before=[port(110, "open", other), port(143, "open")],
        after=[port(110, "timeout", other), port(143, "open")],
    )
    assert judge(evidence).action == "keep"


def test_unknowable_process_is_no_obstacle() -> None:
    evidence = replace(REGRESSION, restarted=restarted(process_before=None, process_after=None))
    assert judge(evidence).action == "rollback"


def test_policies() -> None:
    new_port = replace(REGRESSION, before=[])
    assert judge(new_port, policy="always").action == "rollback"
    assert judge(replace(new_port, wrote=False), policy="always").action == "keep"
    assert judge(REGRESSION, policy="never").action == "keep"
    blind = replace(REGRESSION, before=[port(110, "timeout"), port(143, "unresolved")])
    assert judge(blind, policy="always").action == "keep"
    assert judge(replace(REGRESSION, after=[], unproven=True), policy="always").action == "keep"
    with pytest.raises(ValueError, match="choose from"):
        judge(REGRESSION, policy="sometimes")


def test_failed_restart_alone_is_not_ok() -> None:
    evidence = replace(REGRESSION, after=[port(110, "open")], restarted={"failed": True, "services": []})
    assert judge(evidence).action == "keep"


def test_completing_an_interrupted_restart_is_one() -> None:
    completed = {"services": [], "completed": ["MSExchangeIS"]}
    assert judge(replace(REGRESSION, restarted=completed)).action == "rollback"


def outcome(**run: t.Any) -> Json:
    told = Told(look("a"))
    written = {"changed": True, "files": [], "clock": {"now": 0.0}}
    owed = {"restarts": [{}]}
    return outcome_of(told, Run(**{"written": written, "owed": owed, "restarted": restarted(), **run}))


def test_a_port_check_that_was_not_made_is_never_well() -> None:
    assert outcome(after={"skipped": True})["ok"]
    assert not outcome(after={"reached": False, "results": [], "ok": False, "msg": "gone"})["ok"]


def test_the_outcome_is_plain_data() -> None:
    judged = outcome(before={"results": list(REGRESSION.before)}, after={"results": list(REGRESSION.after)})
    assert judged["action"] == "rollback" and isinstance(judged["because"], list)


FAILED: Json = {"failed": True, "msg": "Task failed: the drain could not be ended."}


def test_what_fails_after_a_good_end_hides_neither_the_restart_nor_the_proof() -> None:
    done: Json = {"after": {"results": [port(110, "open")]}, "before": {"results": [port(110, "open")]}}
    good = outcome(**done)
    assert good["ok"]
    broken = outcome(**done, judged=good, failure=FAILED)
    assert not broken["ok"]
    assert broken["msg"] == "a: after that, a task failed: the drain could not be ended."
    assert broken["summary"] == {**good["summary"], "failed": broken["msg"]}
    assert broken["summary"]["proven"]


def test_what_fails_after_a_rollback_is_added_to_what_was_said_of_it() -> None:
    times = [{"service": "MSExchangeIS", "step": "stopping", "at": 1.0}, {"service": "MSExchangeIS", "step": "running"}]
    first = {**restarted(), "timeline": [times[0], {**times[1], "at": 9.0}]}
    second = {**restarted(), "timeline": [times[0], {**times[1], "at": 3.0}]}
    seen: Json = {
        "before": {"results": list(REGRESSION.before)},
        "after": {"results": list(REGRESSION.after)},
        "undone": {"changed": True, "files": []},
        "owed_again": {"restarts": [{}]},
        "back": {"results": [port(110, "open"), port(143, "open")]},
    }
    back = outcome(**seen, restarted=first, restarted_again=second)
    assert back["action"] == "rollback" and back["summary"]["put_back"]
    # What is registered as the restart then is the second one.
    broken = outcome(**seen, restarted=second, judged=back, failure=FAILED)
    assert broken["summary"] == {**back["summary"], "failed": broken["msg"]}
    assert [row["down_s"] for row in broken["summary"]["restarted"]] == [8.0, 2.0]
    assert broken["msg"].splitlines() == [
        *back["msg"].splitlines(),
        "a: after that, a task failed: the drain could not be ended.",
    ]


def test_what_fails_before_the_judgement_hides_no_restart() -> None:
    times = [{"service": "MSExchangeIS", "step": step, "at": at} for step, at in (("stopping", 1.0), ("running", 2.0))]
    broken = outcome(restarted={**restarted(), "timeline": times}, failure=FAILED)
    assert broken["msg"] == "a: the drain could not be ended."
    assert [row["service"] for row in broken["summary"]["restarted"]] == ["MSExchangeIS"]
