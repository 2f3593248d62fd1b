# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole service_restart task against a described server: what it asks for, refuses, predicts and reports."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.session import ConnectionLost
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import service_restart, wspcfg, wspcfg_info
from tests.support.inspections import BIN, NOW, Described, File, Replay, error, service, session
from tests.support.options import options_of

Json = dict[str, t.Any]


def carried_out(request: Json) -> Json:
    """Answer as if everything went well."""
    rows = [
        {
            **row,
            "before": "running",
            "after": "running",
            "process_before": {"id": 1, "started": 1.0},
            "process_after": {"id": 2, "started": 2.0},
            "process_source": "path",
            "stop_ms": 10,
            "start_ms": 20,
            "step": "running",
            "error": None,
        }
        for row in request["services"]
    ]
    steps = ("recorded", "stopping", "stopped", "starting", "running")
    timeline = [{"at": NOW, "service": row["name"], "step": step} for row in rows for step in steps]
    answer = {"done": True, "outcome": "restarted", "services": rows, "timeline": timeline, "down": []}
    return {**answer, "left_alone": [], "finished": [], "previous": None}


def restart(server: Described, *steps: t.Any, check: bool = False, **options: t.Any) -> tuple[Json, Replay]:
    replay = Replay(server, steps={"restart": list(steps) or [carried_out]})
    result = service_restart.run(session(replay), options_of("service_restart", **options), host="EX1", check=check)
    return result, replay


def test_by_name_is_two_executions() -> None:
    result, replay = restart(Described(), names=["MSExchangeIS"])
    assert replay.ops == ["inspect", "restart"] and result["changed"] and result["outcome"] == "restarted"
    roles = {row["name"]: row["role"] for row in result["services"]}
    assert roles == {
        "MSExchangeIS": "requested",
        "MSExchangeIMC": "dependent",
        "MSExchangeFB": "dependent",
        "MSExchangeES": "dependent",
    }
    assert set(result["services"][0]) == {
        *("name", "role", "before", "after", "process_before", "process_after", "process_source"),
        *("stop_ms", "start_ms", "step", "error"),
    }
    request = replay.requests[1]
    assert request["start"] == [] and request["wait"] == 30 and request["window"] is None
    assert request["services"][0]["name"] == "MSExchangeIS"


def test_with_a_plan_is_one_execution_and_loads_are_recorded() -> None:
    server = Described()
    planned = wspcfg.run(session(Replay(server)), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    plan = json.loads(json.dumps(planned["restart"]))
    result, replay = restart(server, plan=plan)
    assert replay.ops == ["restart"] and result["executions"] == 1 and not result.get("failed")
    root = replay.requests[0]["services"][0]
    assert root["file"] == BIN and root["file_sha256"] == planned["files"][0]["sha256"] and len(root["loaded"]) == 64


@pytest.mark.parametrize("plan", [{}, {"services": [{"name": "x"}]}, {"services": [], "refusals": [{"odd": 1}]}])
def test_what_is_no_plan_is_refused(plan: Json) -> None:
    result, replay = restart(Described(), plan=plan)
    assert result["failed"] and "option plan" in result["msg"] and replay.ops == []


def test_empty_plan_does_nothing() -> None:
    plan: Json = {"services": [], "roots": [], "takes_down": [], "stopped": [], "refusals": [], "warnings": []}
    result, replay = restart(Described(), plan=plan)
    assert not result["changed"] and replay.ops == [] and result["outcome"] == "nothing"
    result, replay = restart(Described(), plan={**plan, "unfinished": True})
    assert replay.ops == ["restart"], "an interrupted restart is completed although nothing else is owed"


def test_check_mode_predicts_with_dependents() -> None:
    result, replay = restart(Described(), names=["MSExchangeIS"], check=True)
    assert replay.ops == ["inspect"] and result["changed"] and result["outcome"] == "predicted"
    assert result["takes_down"] == ["MSExchangeES", "MSExchangeFB", "MSExchangeIMC"]
    assert "MSExchangeIMC: running" in result["diff"]["before"]
    assert "MSExchangeIMC: running, restarted" in result["diff"]["after"]
    result, dummy = restart(Described(), names=["MSExchangeIS"], check=True, dependents="leave_stopped")
    assert {row["name"]: row["after"] for row in result["services"]}["MSExchangeIMC"] == "stopped"


def test_stopped_service_is_started_only_on_request() -> None:
    server = Described()
    server.services["MSExchangeIMC"].update(state="stopped", process=None)
    result, replay = restart(server, names=["MSExchangeIMC"])
    assert replay.ops == ["inspect"] and not result["changed"] and result["not_concerned"][0]["name"] == "MSExchangeIMC"
    result, replay = restart(server, names=["MSExchangeIMC"], start=True)
    assert replay.requests[1]["start"] == ["MSExchangeIMC"] and result["not_concerned"] == []


def test_stopped_service_of_a_plan() -> None:
    server = Described()
    server.services["MSExchangeIS"].update(state="stopped", process=None)
    planned = wspcfg.run(session(Replay(server)), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    result, replay = restart(server, plan=planned["restart"])
    assert replay.ops == [] and [row["name"] for row in result["not_concerned"]] == ["MSExchangeIS"]
    result, replay = restart(server, plan=planned["restart"], start=True)
    assert replay.requests[0]["start"] == ["MSExchangeIS"]


def test_a_plan_is_refused_for_what_it_starts_before_anything_is_sent() -> None:
    server = Described()
    server.services["MSExchangeIS"].update(state="stopped", process=None, start_type="disabled")
    planned = wspcfg.run(session(Replay(server)), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    result, replay = restart(server, plan=planned["restart"])
    assert not result.get("failed") and replay.ops == []
    result, replay = restart(server, plan=planned["restart"], start=True)
    assert result["failed"] and replay.ops == []
    assert [row["code"] for row in result["problems"]] == ["service_disabled"]
    dummy, replay = restart(server, plan=planned["restart"], start=True, allow_disabled=True)
    assert replay.ops == ["restart"]


def test_what_an_older_restart_left_down_is_completed_on_request_only() -> None:
    plan: Json = {"services": [], "roots": [], "takes_down": [], "stopped": [], "refusals": [], "warnings": []}
    older = {**plan, "unfinished": False, "left_down": ["MSExchangeIS"]}
    dummy, replay = restart(Described(), plan=older)
    assert replay.ops == []
    dummy, replay = restart(Described(), plan=older, finish="any")
    assert replay.ops == ["restart"] and replay.requests[0]["finish"] == "any"
    dummy, replay = restart(Described(), plan={**older, "left_down": []}, finish="any")
    assert replay.ops == []


def test_fail_refuses_dependents() -> None:
    result, replay = restart(Described(), names=["MSExchangeIS"], dependents="fail")
    assert result["failed"] and "MSExchangeIMC" in result["msg"] and "option dependents" in result["msg"]
    assert replay.ops == ["inspect"]


def test_only_if_pending() -> None:
    server = Described()
    server.files["bin"] = File(BIN, b"[STORE]\r\nServerBindTcpPorts=110\r\n", modified=NOW - 10)
    result, replay = restart(server, only_if_pending=True)
    assert result["roots"] == ["MSExchangeIS"]
    assert {row["name"] for row in result["not_concerned"]} == {"MSExchangeDS", "MSExchangeIMC", "MSExchangeMTA"}
    server.files["bin"].modified = NOW - 90000
    result, replay = restart(server, only_if_pending=True, names=["msexchangeis"])
    assert replay.ops == ["inspect"] and not result["changed"]
    result, replay = restart(server, only_if_pending=True, names=["Spooler"])
    assert result["failed"] and "Spooler" in result["msg"]


FILES = {"none": None, "old": NOW - 90_000, "new": NOW - 10}
MODES = {"direct": lambda server: server, "computer": lambda server: server.remotely()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("changes", [{}, {"state": "stopped"}, {"proxy": True}], ids=["up", "down", "proxy"])
def test_all_three_modules_agree_on_what_is_pending(mode: str, file: str, recorded: bool, changes: Json) -> None:
    server = MODES[mode](Described())
    modified = FILES[file]
    if modified is not None:
        server.files["bin"] = File(BIN, b"[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\n", modified=modified)
    if recorded:
        wspcfg.run(session(Replay(server)), options_of("wspcfg", listeners=["pop3", "ldap"]), host="EX1", check=False)
    if "state" in changes:
        server.services["MSExchangeIS"].update(state="stopped", process=None)
    if "proxy" in changes:
        server.services["wspsrv"] = service("wspsrv")
    told = wspcfg_info.run(session(Replay(server)), options_of("wspcfg_info"), host="EX1")
    expected = {row["service"] for row in told["pending"] if row["pending"]}
    if recorded and "proxy" not in changes:
        again = wspcfg.run(
            session(Replay(server)), options_of("wspcfg", listeners=["pop3", "ldap"]), host="EX1", check=True
        )
        assert not again["changed"] and {row["service"] for row in again["owed"] if row["running"]} == expected
    result, dummy = restart(server, only_if_pending=True, check=True)
    assert set(result["roots"]) == expected


@pytest.mark.parametrize(
    ("name", "option"),
    [("MSExchangeKMS", "allow_kms"), ("ClusSvc", "allow_cluster"), ("MSExchangeES", "allow_disabled")],
)
def test_refusals_and_the_options_that_accept_them(name: str, option: str) -> None:
    server = Described()
    server.services[name] = service(name, **({"start_type": "disabled"} if option == "allow_disabled" else {}))
    result, replay = restart(server, names=["MSExchangeDS"])
    assert result["failed"] and not result["changed"] and f"option {option}" in result["msg"]
    assert replay.ops == ["inspect"] and result["refusals"][0]["option"] == option
    result, replay = restart(server, names=["MSExchangeDS"], **{option: True})
    assert not result.get("failed") and replay.ops == ["inspect", "restart"]


BAD = [
    ({"names": []}, "names"),
    ({"names": ["a\nb"]}, "names"),
    ({"names": ["NoSuchService"]}, "names"),
    ({"names": ["MSExchangeIS"], "window": "22-5"}, "window"),
    ({"names": ["MSExchangeIS"], "window": "24:00-05:00"}, "window"),
    ({"names": ["MSExchangeIS"], "window": "05:00-05:00"}, "window"),
    ({"names": ["MSExchangeIS"], "stop_timeout": 0}, "stop_timeout"),
    ({"names": ["MSExchangeIS"], "settle": -1}, "settle"),
]


@pytest.mark.parametrize(("options", "option"), BAD)
def test_bad_options(options: Json, option: str) -> None:
    result, replay = restart(Described(), **options)
    assert result["failed"] and f"option {option}" in result["msg"] and "restart" not in replay.ops


FAILED: Json = {
    **error("stop_timeout", "it hangs", service="MSExchangeIS", state="stop_pending", waited_ms=900000),
    "done": True,
    "outcome": "failed",
    "services": [
        {
            "name": "MSExchangeIS",
            "role": "root",
            "before": "running",
            "after": "stop_pending",
            "process_before": None,
            "process_after": None,
            "process_source": "unknowable",
            "stop_ms": None,
            "start_ms": None,
            "step": "hung",
            "error": {"code": "stop_timeout", "message": "", "detail": {"state": "stop_pending", "waited_ms": 900000}},
        }
    ],
    "timeline": [{"at": NOW, "service": "MSExchangeIS", "step": "stopping"}],
    "down": ["MSExchangeIMC"],
    "left_alone": [],
    "finished": [],
    "previous": None,
}


def test_failure_has_the_same_keys_and_says_what_is_down() -> None:
    good, dummy = restart(Described(), names=["MSExchangeIS"])
    bad, dummy = restart(Described(), FAILED, names=["MSExchangeIS"])
    assert set(good) <= set(bad) and bad["failed"] and bad["changed"]
    assert "Down now: MSExchangeIMC, MSExchangeIS." in bad["msg"] and "Q246287" in bad["msg"] and "EX1" in bad["msg"]
    assert bad["advice"][0].startswith("MSExchangeIS: ") and bad["services"][0]["step"] == "hung"
    assert "MSExchangeIS: stop_pending" in bad["diff"]["after"]


def test_refused_before_anything_was_stopped_is_no_change() -> None:
    row = {**FAILED["services"][0], "after": "running", "step": "recorded"}
    answer = {**FAILED, **error("outside_window"), "services": [row], "down": []}
    bad, dummy = restart(Described(), answer, names=["MSExchangeIS"], window="22:00-05:00")
    assert bad["failed"] and not bad["changed"] and "window" in bad["msg"]


def test_host_that_was_never_reached_is_for_the_caller() -> None:
    replay = Replay(accidents={1: ("before", ConnectionLost("no route", sent=False))})
    with pytest.raises(ConnectionLost):
        service_restart.run(session(replay), options_of("service_restart", names=["x"]), host="EX1", check=False)


def test_any_windows_service() -> None:
    server = Described(services={"Spooler": service("Spooler"), "Fax": service("Fax", depends_on=["spooler"])})
    result, replay = restart(server, names=["spooler"])
    assert [row["name"] for row in result["services"]] == ["Spooler", "Fax"]
    assert replay.requests[1]["services"][0]["file"] is None and result["warnings"] == []


def test_old_journal_is_finished_on_request() -> None:
    server = Described()
    server.services["MSExchangeIS"].update(state="stopped", process=None)
    rows = [{"name": "MSExchangeIS", "role": "root", "step": "stopped", "before": "running"}]
    server.journal = {"run": "r", "who": "w", "boot": "other", "began": NOW - 60, "phase": "stopping", "services": rows}
    result, replay = restart(server, only_if_pending=True)
    assert replay.ops == ["inspect"] and any("finish" in warning for warning in result["warnings"])
    result, replay = restart(server, only_if_pending=True, finish="any")
    assert replay.ops == ["inspect", "restart"] and replay.requests[1]["finish"] == "any"


# -- what is down, and what to do --------------------------------------------------------------------------------------

EARLIER: Json = {"run": "r", "who": "me@there", "began": NOW - 60, "boot": "boot-1", "services": [{"name": "x"}]}
DOWN_THERE = {**EARLIER, "down": ["MSExchangeIS", "MSExchangeES"]}
START_FAILED = error("start_failed", "1069", service="MSExchangeIS", native=1069)


def row(name: str, role: str = "root", **changes: t.Any) -> Json:
    empty = dict.fromkeys(("process_before", "process_after", "process_source", "stop_ms", "start_ms", "error"))
    return {**empty, "name": name, "role": role, "before": "running", "after": "stopped", "step": "stopped", **changes}


def answer(**changes: t.Any) -> Json:
    lists: Json = {"services": [], "timeline": [], "down": [], "left_alone": [], "finished": []}
    return {"done": True, "outcome": "restarted", "previous": None, **lists, **changes}


def test_run_that_fails_to_complete_an_earlier_one_says_what_is_down() -> None:
    """Its own services are none: all that it tells stands in ``previous``."""
    failed = answer(**START_FAILED, outcome="failed", previous=DOWN_THERE)
    result, dummy = restart(Described(), failed, names=["MSExchangeIS"])
    assert (result["failed"], result["changed"], result["down"]) == (True, False, ["MSExchangeIS", "MSExchangeES"])
    assert "Down now: MSExchangeIS, MSExchangeES." in result["msg"]
    assert [text.split(":")[0] for text in result["advice"]] == ["MSExchangeIS", "MSExchangeES"]
    assert "Q222553" in result["advice"][0] and "Q168739" in result["advice"][1]
    assert set(result["previous"]) == {"run", "who", "began", "down"}


def test_service_that_hangs_since_an_earlier_run_is_down_too() -> None:
    pending = error("service_pending", service="MSExchangeIS", state="stop_pending")
    earlier = {**EARLIER, "down": ["MSExchangeES"]}
    result, dummy = restart(Described(), answer(**pending, outcome="failed", previous=earlier), names=["MSExchangeIS"])
    assert set(result["down"]) == {"MSExchangeIS", "MSExchangeES"}
    assert not any("finish: any" in text for text in result["advice"])


def test_rows_of_an_earlier_run_are_told_and_are_no_change_of_this_one() -> None:
    rows = [row("MSExchangeIS", stop_ms=10, start_ms=10, step="failed", error=START_FAILED["error"])]
    rows += [row("MSExchangeES", "dependent", stop_ms=10)]
    steps = [{"at": NOW, "service": "MSExchangeIS", "step": step} for step in ("starting", "failed")]
    down = ["MSExchangeIS", "MSExchangeES"]
    failed = answer(**START_FAILED, outcome="failed", services=rows, timeline=steps, down=down, previous=DOWN_THERE)
    result, dummy = restart(Described(), failed, names=["MSExchangeIS"])
    assert (result["changed"], result["down"], result["diff"]["after"]) == (False, down, "")
    assert [one["name"] for one in result["services"]] == down and len(result["advice"]) == 2


@pytest.mark.parametrize(
    ("options", "role", "words"),
    [
        ({"allow_disabled": True}, "dependent", "is disabled"),
        ({"dependents": "leave_stopped"}, "dependent", "leave_stopped"),
        ({"dependents": "leave_stopped", "allow_disabled": True}, "root", "is disabled"),
    ],
)
def test_success_with_something_down_says_what_to_do(options: Json, role: str, words: str) -> None:
    done = answer(services=[row("MSExchangeES", role, stop_ms=10, ran=True)], down=["MSExchangeES"])
    result, dummy = restart(Described(), done, names=["MSExchangeIS"], **options)
    assert not result.get("failed") and result["down"] == ["MSExchangeES"]
    (text,) = result["advice"]
    assert text.startswith("MSExchangeES: ") and words in text and " Q" in text.replace("(", " ")
    assert "ran" not in result["services"][0]


def test_earlier_restart_that_is_only_reported_is_told_with_the_option() -> None:
    result, dummy = restart(Described(), answer(previous=DOWN_THERE), names=["MSExchangeIMC"])
    assert result["down"] == DOWN_THERE["down"] and all("finish: any" in text for text in result["advice"])


def test_failure_beside_an_earlier_restart_does_not_promise_that_the_next_run_starts_what_that_left() -> None:
    own = error("start_failed", service="MSExchangeIMC")
    failed = answer(**own, outcome="failed", services=[row("MSExchangeIMC", error=own["error"])], previous=DOWN_THERE)
    result, dummy = restart(Described(), failed, names=["MSExchangeIMC"])
    assert ["finish: any" in text for text in result["advice"]] == [False, True, True]


def test_why_an_interrupted_restart_could_not_be_completed() -> None:
    cut = answer(outcome="interrupted", services=[row("MSExchangeIS", stop_ms=10)], down=["MSExchangeIS"])
    steps = [{"at": NOW, "service": "MSExchangeIS", "step": step} for step in ("stopping", "stopped")]
    replay = Replay(
        Described(), steps={"restart": [{**cut, "timeline": steps}, answer(**START_FAILED, outcome="failed")]}
    )
    replay.server.services["MSExchangeIS"].update(state="stopped", process=None)
    plan = {"services": [{**row("MSExchangeIS"), "depends_on": [], "file": None, "file_sha256": None, "loaded": None}]}
    plan.update({key: [] for key in ("roots", "takes_down", "stopped", "refusals", "warnings")})
    result = service_restart.run(session(replay), options_of("service_restart", plan=plan), host="EX1", check=False)
    assert (result["outcome"], result["changed"], result["down"]) == ("interrupted", True, ["MSExchangeIS"])
    assert [problem["code"] for problem in result["problems"]] == ["interrupted", "start_failed"]
    assert "Completing it failed: MSExchangeIS did not start [1069]" in result["msg"]
    assert "Down now: MSExchangeIS." in result["msg"] and result["error"]["detail"]["finish_error"]["message"] == "1069"


def test_what_was_seen_last_is_told_when_the_target_does_not_come_back() -> None:
    busy = {**answer(services=[row("MSExchangeIS", step="stopping", after=None)]), "done": False, "step": "stopping"}
    lost = ConnectionLost("reset by peer", sent=True)
    replay = Replay(Described(), steps={"restart": [busy], "restart_status": [busy, *[lost] * 99]})
    result = service_restart.run(
        session(replay), options_of("service_restart", names=["MSExchangeIS"]), host="EX1", check=False
    )
    assert result["failed"] and result["error"]["code"] == "connection_lost"
    assert "Seen last: MSExchangeIS stopping." in result["msg"] and result["services"][0]["step"] == "stopping"


def test_a_time_is_told_with_the_machine_whose_clock_it_is() -> None:
    refused = error("outside_window", now=NOW, utc_offset_minutes=60, window={"from": "22:00", "to": "05:00"})
    result, dummy = restart(Described(), copy.deepcopy(refused), names=["MSExchangeIS"], window="22:00-05:00")
    assert "the clock of MGMT1 says 14:46 (UTC+01:00)" in result["msg"]
    assert result["clock"] == {"now": NOW, "utc_offset_minutes": 60, "machine": "MGMT1"}
    assert wspcfg_info.run(session(Replay()), {}, host="EX1")["clock"] == result["clock"]
    plan = wspcfg.run(session(Replay()), {"listeners": ["pop3"]}, host="EX1", check=False)["restart"]
    carried, dummy = restart(Described(), plan=plan)
    assert carried["clock"] == {"now": NOW, "utc_offset_minutes": 60, "machine": "MGMT1"}
    late, dummy = restart(Described(), copy.deepcopy(refused), plan=plan, window="22:00-05:00")
    assert late["msg"] == result["msg"]


def test_how_the_worker_was_started_is_told_and_warned_of_where_it_may_end_with_the_connection() -> None:
    told = {name: restart(Described(), answer(launched=name), names=["MSExchangeIS"])[0] for name in ("wmi", "process")}
    assert [row["launched"] for row in told.values()] == ["wmi", "process"]
    assert not any("WMI" in text for text in told["wmi"]["warnings"])
    (warning,) = [text for text in told["process"]["warnings"] if "WMI" in text]
    assert warning.startswith("EX1: WMI did not start") and "may end with it" in warning
    assert restart(Described(), check=True, names=["MSExchangeIS"])[0]["launched"] is None


def test_what_others_may_write_is_warned_of_also_when_the_restart_failed() -> None:
    exposed = [{"machine": "MGMT1", "path": None, "key": "SOFTWARE\\msexchange.winsock_proxy"}]
    for changes in ({}, {**START_FAILED, "outcome": "failed"}):
        result, dummy = restart(Described(), answer(exposed=exposed, **changes), names=["MSExchangeIS"])
        (warning,) = [text for text in result["warnings"] if "HKLM\\SOFTWARE\\msexchange.winsock_proxy" in text]
        assert "on MGMT1 others than SYSTEM and Administrators" in warning


def test_what_create_returned_is_told_as_its_own_number() -> None:
    refused = error("worker_failed", returned=2)
    result, dummy = restart(Described(), refused, names=["MSExchangeIS"])
    assert "Win32_Process.Create returned 2: access denied" in result["msg"]
