# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session through every accident: what is repeated, what is looked at, what is given up, and how often."""

from __future__ import annotations

import base64
import itertools
import re
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.installation import (
    Places,
    inspection_request,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.errors import TargetError, unreached
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.restarting import restart
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.script import (
    begin_marker,
    end_marker,
    loader,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.session import (
    ConnectionLost,
    Credential,
    Execution,
    Identity,
    Session,
)
from tests.support.inspections import BIN, NOW, Described, FakeClock, File, Replay, error, sent_in, session, sha256

Json = dict[str, t.Any]
LOST = ConnectionLost("reset by peer", sent=True)
OLD = b"[STORE]\r\n"
NEW = b"[STORE]\r\nServerBindTcpPorts=110\r\n"

ASK = inspection_request(Places())
WRITE: Json = {
    "files": [
        {
            "path": BIN,
            "expect_sha256": sha256(OLD),
            "content": base64.b64encode(NEW).decode(),
            "from_backup": None,
            "backup": "store",
            "backup_path": None,
        }
    ],
    "records": [],
    "lock_wait": 0,
    "lock": True,
}
RESTART: Json = {"services": [], "start": [], "start_timeout": 1800, "deadline": 3600, "wait": 40, "window": None}


def described(content: bytes = OLD) -> Described:
    server = Described()
    server.files["bin"] = File(BIN, content)
    return server


def test_request_carries_the_common_keys_and_the_secret_only_on_standard_input() -> None:
    replay = Replay()
    identity = Identity("r" * 8, "me@here", "EX1", Credential("LAB\\admin", "s3cret"))
    Session(replay, identity, clock=FakeClock()).inspect(**ASK)
    request = replay.requests[0]
    assert {"version", "op", "computer", "credential", "run", "who"} <= set(request)
    assert request["credential"] == {"username": "LAB\\admin"}
    assert replay.commands == [loader()] and "s3cret" not in replay.commands[0]
    assert "s3cret" not in repr(identity)


def test_target_error_carries_code_detail_and_answer() -> None:
    replay = Replay(steps={"inspect": [{**error("access_denied", "no", path=BIN), "applied": []}]})
    with pytest.raises(TargetError) as caught:
        session(replay, computer="EX1").inspect(**ASK)
    assert (caught.value.code, caught.value.detail["path"], caught.value.detail["computer"]) == (
        "access_denied",
        BIN,
        "EX1",
    )
    assert caught.value.answer["applied"] == []


class Mute:
    """A host that runs the command and says something else."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def execute(self, command: str, stdin: str) -> Execution:
        return self._execution

    def reset(self) -> None:
        """Nothing to forget."""

    def release(self) -> None:
        """Nothing to give back."""


def test_no_answer_shows_what_came_instead() -> None:
    mute = Mute(Execution(127, "", "bash: powershell: command not found"))
    with pytest.raises(TargetError) as caught:
        Session(mute, Identity("r" * 8, "w"), clock=FakeClock()).inspect(**ASK)
    assert caught.value.code == "no_answer" and "command not found" in caught.value.text


class Answering(Mute):
    """Answers everything with the same text between the right markers."""

    def execute(self, command: str, stdin: str) -> Execution:
        nonce = sent_in(stdin)[0]
        return Execution(0, f"{begin_marker(nonce)}\n{self._execution.stdout}\n{end_marker(nonce)}\n", "")


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        ("[" * 100_000, "no_answer", "nested too deeply"),
        ('{"a":', "no_answer", "no JSON"),
        ('{"error": "x"}', "wrong_answer", "without code"),
        ('{"error": {"code": 7}}', "wrong_answer", "without code"),
        ('{"error": {"code": "busy", "detail": [1]}}', "wrong_answer", "without code"),
        ('{"error": {"code": "busy", "message": "\\u001b[2J", "detail": null}}', "busy", "\ufffd[2J"),
    ],
)
def test_an_odd_answer_is_an_error_that_says_so(said: str, code: str, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        Session(Answering(Execution(0, said, "")), Identity("r" * 8, "w"), clock=FakeClock()).inspect(**ASK)
    assert caught.value.code == code and text in caught.value.text and "\x1b" not in str(caught.value)


def test_every_request_has_a_nonce_of_its_own() -> None:
    nonces = []

    class Listening(Replay):
        def execute(self, command: str, stdin: str) -> Execution:
            nonces.append(sent_in(stdin)[0])
            return super().execute(command, stdin)

    asked = session(Listening())
    asked.inspect(**ASK)
    asked.inspect(**ASK)
    assert len(set(nonces)) == 2 and all(re.fullmatch("[0-9a-f]{16}", nonce) for nonce in nonces)


def test_what_is_said_meanwhile_is_no_order_for_the_terminal() -> None:
    said: list[str] = []
    lost = ConnectionLost("\x1b]0;owned\x07", sent=True)
    replay = Replay(accidents={1: ("before", lost)})
    Session(replay, Identity("r" * 8, "w"), clock=FakeClock(), say=said.append).inspect(**ASK)
    assert said and all("\x1b" not in line and "\x07" not in line for line in said)
    heard = unreached("401 \x1b[2J").message("h")
    assert "\x1b" not in heard and "[2J" in heard


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_inspection_is_asked_again(when: str) -> None:
    replay = Replay(accidents={1: (when, LOST)})
    clock = FakeClock()
    asked = session(replay, clock=clock)
    assert asked.inspect(**ASK)["registry"]
    assert (
        replay.ops == ["inspect", "inspect"] and replay.resets == 1 and asked.executions == 2 and clock.slept == [1.0]
    )


def test_never_reached_is_told_apart_from_lost() -> None:
    replay = Replay(accidents={1: ("before", ConnectionLost("no route", sent=False))})
    with pytest.raises(ConnectionLost) as caught:
        session(replay).inspect(**ASK)
    assert not caught.value.sent and len(replay.ops) == 1


def test_lost_for_good_ends_at_the_deadline() -> None:
    accidents: dict[int, tuple[str, Exception]] = dict.fromkeys(range(1, 100), ("before", LOST))
    clock = FakeClock()
    with pytest.raises(TargetError) as caught:
        session(Replay(accidents=accidents), clock=clock, deadline=100.0).inspect(**ASK)
    assert caught.value.code == "connection_lost" and clock.now <= 100.0
    assert clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_quota_backs_off_and_says_so() -> None:
    quota = ConnectionLost("2150859174 maximum number of concurrent shells", sent=False, quota=True)
    said: list[str] = []
    replay = Replay(accidents={1: ("before", quota), 2: ("before", quota)})
    clock = FakeClock()
    asked = session(replay, clock=clock, say=said.append)
    asked.inspect(**ASK)
    assert clock.slept == [1.0, 2.0] and len(said) == 2 and "quota" in said[0] and asked.executions == 1


def test_apply_lost_after_it_wrote_is_a_success() -> None:
    server = described()
    replay = Replay(server, accidents={1: ("after", LOST)})
    answer = session(replay).apply(**WRITE)
    assert replay.ops == ["apply", "inspect"] and answer["applied"][0]["sha256"] == sha256(NEW)
    assert server.files["bin"].content == NEW


@pytest.mark.parametrize("existed", [True, False])
def test_apply_lost_after_it_wrote_still_names_the_copy_that_was_made(existed: bool) -> None:
    server = described()
    if not existed:
        server.files["bin"].content = None
    (file,) = WRITE["files"]
    expect = sha256(OLD) if existed else None
    row = {**file, "backup": "beside", "backup_path": f"{BIN}.bak", "expect_sha256": expect}
    answer = session(Replay(server, accidents={1: ("after", LOST)})).apply(**{**WRITE, "files": [row]})
    assert answer["applied"][0]["backup"] == (f"{BIN}.bak" if existed else None)


def test_apply_lost_before_it_wrote_is_tried_once_more() -> None:
    server = described()
    replay = Replay(server, accidents={1: ("before", LOST)})
    answer = session(replay).apply(**WRITE)
    assert replay.ops == ["apply", "inspect", "apply"] and answer["applied"] and server.files["bin"].content == NEW


def test_apply_lost_twice_is_looked_at_again() -> None:
    server = described()
    replay = Replay(server, accidents={1: ("before", LOST), 3: ("after", LOST)})
    assert session(replay).apply(**WRITE)["applied"][0]["sha256"] == sha256(NEW)
    assert replay.ops == ["apply", "inspect"] * 2


def test_apply_lost_again_and_again_is_given_up() -> None:
    replay = Replay(described(), accidents=dict.fromkeys((1, 3, 5), ("before", LOST)))
    with pytest.raises(TargetError) as caught:
        session(replay).apply(**WRITE)
    assert caught.value.code == "connection_lost" and replay.ops == ["apply", "inspect"] * 3
    assert caught.value.answer == {"applied": [], "restored": [], "left": []}


def late(server: Described, refusal: Json) -> t.Callable[[Json], Json]:
    """The write that was believed lost comes after all, just before its repetition, which is refused for it."""

    def answer(request: Json) -> Json:
        server.apply(request)
        return refusal

    return answer


@pytest.mark.parametrize("code", ["busy", "changed", "not_found"])
def test_repeated_write_that_meets_its_own_first_try_is_a_success(code: str) -> None:
    server = described()
    replay = Replay(server)
    own = session(replay)
    refusal = error(code, run=own.identity.run, path=BIN, found=sha256(NEW))
    replay.steps["apply"] = [LOST, late(server, refusal)]
    assert own.apply(**WRITE)["applied"][0]["sha256"] == sha256(NEW)
    assert replay.ops == ["apply", "inspect"] * 2


def test_own_write_that_is_at_work_is_waited_for() -> None:
    server = described()
    replay = Replay(server)
    own = session(replay, clock=(clock := FakeClock()))
    server.lock = {"who": "me", "run": own.identity.run, "machine": "m", "since": NOW}

    def finished(request: Json) -> Json:
        if clock.now > 60:
            server.lock, server.files["bin"].content = None, NEW
        return server.inspect(request)

    replay.steps.update(apply=[LOST], inspect=[finished] * 100)
    assert own.apply(**WRITE)["applied"][0]["sha256"] == sha256(NEW)
    assert replay.ops.count("apply") == 1


def test_repeated_write_that_somebody_else_forestalled_is_refused() -> None:
    server = described()
    replay = Replay(server)
    foreign = error("changed", path=BIN, expected=sha256(OLD), found=sha256(b"[other]"))
    replay.steps["apply"] = [LOST, foreign]
    with pytest.raises(TargetError) as caught:
        session(replay).apply(**WRITE)
    assert caught.value.code == "changed" and replay.ops == ["apply", "inspect"] * 2


def test_look_after_a_lost_write_outlasts_errors_of_the_look() -> None:
    replay = Replay(described(), accidents={1: ("after", LOST)})
    replay.steps["inspect"] = [error("computer_unreachable"), error("internal")]
    assert session(replay).apply(**WRITE)["applied"][0]["sha256"] == sha256(NEW)


def test_apply_lost_while_the_lock_is_held_waits_and_never_writes_blindly() -> None:
    server = described()
    server.lock = {"who": "me", "run": "x", "machine": "m", "since": NOW}
    replay = Replay(server, accidents={1: ("before", LOST)})
    with pytest.raises(TargetError) as caught:
        session(replay).apply(**WRITE)
    assert caught.value.code == "connection_lost" and replay.ops == ["apply"] + ["inspect"] * 3
    assert server.files["bin"].content == OLD


def test_apply_lost_and_somebody_else_wrote() -> None:
    server = described(b"[other]\r\n")
    replay = Replay(server, accidents={1: ("before", LOST)})
    with pytest.raises(TargetError) as caught:
        session(replay).apply(**WRITE)
    assert caught.value.code == "connection_lost" and caught.value.answer["left"] == []
    assert server.files["bin"].content == b"[other]\r\n"


DONE: Json = {"done": True, "outcome": "restarted", "services": [], "timeline": [], "down": []}
BUSY: Json = {
    "done": False,
    "service": "MSExchangeIS",
    "step": "stopping",
    "since": NOW,
    "deadline": NOW + 900,
    "services": [],
}
UNKNOWN: Json = {"done": True, "outcome": "unknown"}


def test_fast_restart_is_one_execution() -> None:
    replay = Replay(steps={"restart": [DONE]})
    assert restart(session(replay), RESTART)["outcome"] == "restarted" and replay.ops == ["restart"]


def test_slow_restart_is_told_every_half_minute_by_the_clock_of_the_machine_that_runs_the_script() -> None:
    clock = FakeClock()
    said: dict[float, str] = {}

    def later(request: Json) -> Json:
        clock.now += request["wait"] + 2.0
        return {**BUSY, "clock": {"now": NOW + clock.now, "utc_offset_minutes": 60}}

    def say(line: str) -> None:
        said[clock.now] = line

    steps: dict[str, list[t.Any]] = {"restart": [later], "restart_status": [later] * 60 + [DONE]}
    restart(session(Replay(steps=steps), clock=clock, say=say, computer="EX1"), RESTART)
    gaps = [after - before for before, after in itertools.pairwise([0.0, *said])]
    assert len(gaps) > 20 and max(gaps) <= 32 and min(gaps) >= 30
    until = "at most until 15:01 (UTC+01:00); Q246287: over 10 minutes is possible"
    assert list(said.values())[:2] == [f"MSExchangeIS stopping for {text}, {until}" for text in ("32 s", "1 min 4 s")]


def test_worker_that_announces_more_time_than_the_deadline_gets_it() -> None:
    clock = FakeClock()

    def later(request: Json) -> Json:
        clock.now += request["wait"]
        return {**BUSY, "deadline": NOW + 1800}

    steps: dict[str, list[t.Any]] = {"restart": [later], "restart_status": [later] * 60 + [DONE]}
    assert restart(session(Replay(steps=steps), clock=clock), {**RESTART, "deadline": 60})["outcome"] == "restarted"
    assert clock.now > 60 + 300


def test_restart_lost_is_found_again_and_not_launched_twice() -> None:
    steps: dict[str, list[t.Any]] = {"restart": [LOST], "restart_status": [BUSY, DONE]}
    replay = Replay(steps=steps)
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
    assert replay.ops == ["restart", "restart_status", "restart_status"]
    assert replay.requests[1]["of"] == replay.requests[0]["run"]


def test_restart_without_a_trace_is_launched_again() -> None:
    steps: dict[str, list[t.Any]] = {"restart": [LOST, DONE], "restart_status": [UNKNOWN] * 3}
    replay = Replay(steps=steps)
    clock = FakeClock()
    assert restart(session(replay, clock=clock), RESTART)["outcome"] == "restarted"
    assert replay.ops == ["restart"] + ["restart_status"] * 3 + ["restart"] and clock.now >= 10


def test_poll_that_is_lost_is_asked_again_even_if_the_host_is_away() -> None:
    away = ConnectionLost("host is down", sent=False)
    steps: dict[str, list[t.Any]] = {"restart": [BUSY], "restart_status": [away, LOST, DONE]}
    replay = Replay(steps=steps)
    assert restart(session(replay), RESTART)["outcome"] == "restarted"


def test_own_launch_that_is_still_busy_is_polled() -> None:
    own = {"run": "0a0a0a0a-0000-4000-8000-000000000001"}
    steps: dict[str, list[t.Any]] = {
        "restart": [LOST, error("busy", **own)],
        "restart_status": [UNKNOWN, UNKNOWN, UNKNOWN, DONE],
    }
    assert restart(session(Replay(steps=steps)), RESTART)["outcome"] == "restarted"


def test_launch_that_was_cut_short_is_launched_under_a_new_name() -> None:
    replay = Replay(steps={"restart": [BUSY, DONE], "restart_status": [CUT_BEFORE]})
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
    assert replay.ops == ["restart", "restart_status", "restart"]
    assert replay.requests[0]["run"] != replay.requests[2]["run"]


def test_launches_that_never_arrive_are_an_error_and_no_success() -> None:
    replay = Replay(steps={"restart": [LOST] * 3, "restart_status": [UNKNOWN] * 9})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.code == "connection_lost" and replay.ops.count("restart") == 3


def test_second_launch_that_is_lost_as_well_is_found() -> None:
    steps: dict[str, list[t.Any]] = {"restart": [LOST, LOST], "restart_status": [UNKNOWN] * 3 + [BUSY, DONE]}
    replay = Replay(steps=steps)
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
    assert replay.ops.count("restart") == 2


def test_run_whose_journal_is_gone_is_an_error_with_what_was_seen_last() -> None:
    row = {"name": "MSExchangeIS", "step": "stopping"}
    replay = Replay(steps={"restart": [BUSY], "restart_status": [{**BUSY, "services": [row]}, UNKNOWN]})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.code == "connection_lost" and caught.value.answer["services"] == [row]


TRANSIENT = ["internal", "access_denied", "computer_unreachable", "second_hop_denied", "locked", "journal_corrupt"]


@pytest.mark.parametrize("code", TRANSIENT)
def test_error_of_the_question_is_no_error_of_the_restart(code: str) -> None:
    clock = FakeClock()
    replay = Replay(steps={"restart": [BUSY], "restart_status": [error(code), error(code), BUSY, error(code), DONE]})
    assert restart(session(replay, clock=clock), RESTART)["outcome"] == "restarted"
    assert clock.slept == [1.0, 2.0, 1.0]


def test_errors_of_the_question_end_at_the_deadline_and_what_was_seen_is_told() -> None:
    clock = FakeClock()
    row = {"name": "MSExchangeIS", "step": "stopping"}
    replay = Replay(
        steps={"restart": [{**BUSY, "services": [row]}], "restart_status": [BUSY, *[error("internal")] * 99]}
    )
    replay.steps["restart_status"][0] = {**BUSY, "services": [row]}
    with pytest.raises(TargetError) as caught:
        restart(session(replay, clock=clock, deadline=100.0), RESTART)
    assert caught.value.code == "internal" and caught.value.answer["services"] == [row] and 70 <= clock.now <= 100


@pytest.mark.parametrize("code", ["credential_refused", "bad_request"])
def test_question_that_cannot_succeed_is_not_repeated(code: str) -> None:
    replay = Replay(steps={"restart": [BUSY], "restart_status": [error(code)]})
    with pytest.raises(TargetError):
        restart(session(replay), RESTART)
    assert replay.ops == ["restart", "restart_status"]


@pytest.mark.parametrize("answers", [[BUSY, DONE], [error("internal"), BUSY, DONE]])
def test_error_that_may_have_come_after_the_launch_is_looked_into(answers: list[t.Any]) -> None:
    replay = Replay(steps={"restart": [error("internal")], "restart_status": answers})
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
    assert replay.ops.count("restart") == 1


@pytest.mark.parametrize("answers", [[UNKNOWN], [error("computer_unreachable")] * 3])
def test_error_before_the_launch_stays_that_error(answers: list[t.Any]) -> None:
    replay = Replay(steps={"restart": [error("computer_unreachable", "53")], "restart_status": answers})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert (caught.value.code, caught.value.text) == ("computer_unreachable", "53") and not replay.steps[
        "restart_status"
    ]


@pytest.mark.parametrize("code", ["busy", "journal_corrupt", "outside_window", "worker_failed", "credential_refused"])
def test_refused_launch_is_one_execution(code: str) -> None:
    replay = Replay(steps={"restart": [error(code, run="0b0b0b0b")]})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.code == code and replay.ops == ["restart"]


CUT_BEFORE: Json = {
    "done": True,
    "outcome": "interrupted",
    "services": [{"name": "A", "step": "recorded"}],
    "timeline": [{"at": NOW, "service": "A", "step": "recorded"}],
}


def own_busy(replay: Replay) -> t.Callable[[Json], Json]:
    """The launch that was cut off is not stale yet: the next one meets it."""
    return lambda request: error("busy", run=replay.requests[0]["run"])


def test_own_launch_that_was_cut_off_is_waited_for_until_it_is_stale() -> None:
    replay = Replay()
    busy = own_busy(replay)
    replay.steps.update(restart=[LOST, busy, busy, busy, DONE], restart_status=[CUT_BEFORE] * 4)
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
    runs = [request["run"] for request in replay.requests if request["op"] == "restart"]
    assert len(set(runs)) == 5


def test_worker_of_a_cut_launch_that_comes_late_is_followed() -> None:
    replay = Replay()
    replay.steps.update(restart=[LOST, own_busy(replay)], restart_status=[CUT_BEFORE, BUSY, DONE])
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
    asked = [request["of"] for request in replay.requests if request["op"] == "restart_status"]
    assert asked == [replay.requests[0]["run"]] * 3


def test_somebody_else_who_is_busy_is_not_waited_for() -> None:
    replay = Replay(steps={"restart": [BUSY, error("busy", run="0b0b0b0b")], "restart_status": [CUT_BEFORE]})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.code == "busy"


CUT: Json = {
    "done": True,
    "outcome": "interrupted",
    "services": [
        {"name": "MSExchangeIS", "role": "root", "step": "stopped", "before": "running", "after": "running"},
        {"name": "MSExchangeES", "role": "dependent", "step": "stopped", "before": "running", "after": "running"},
    ],
    "timeline": [{"at": NOW, "service": name, "step": "stopping"} for name in ("MSExchangeES", "MSExchangeIS")],
    "down": ["MSExchangeIS", "MSExchangeES"],
}
WHOLE = ["MSExchangeIS", "MSExchangeES"]


def interrupted(server: Described, *answers: t.Any) -> tuple[TargetError, Replay]:
    replay = Replay(server, steps={"restart": [BUSY, *answers], "restart_status": [CUT]})
    request = {**RESTART, "services": [{"name": "MSExchangeIS"}], "window": {"from": "22:00", "to": "05:00"}}
    with pytest.raises(TargetError) as caught:
        restart(session(replay), request)
    assert caught.value.code == "interrupted"
    return caught.value, replay


def test_interrupted_work_is_finished_and_reported() -> None:
    finished = {**DONE, "finished": WHOLE, "left_alone": []}
    found, replay = interrupted(described(), finished)
    assert found.answer["finished"] == WHOLE and found.answer["down"] == [] and found.detail == {}
    assert replay.requests[2]["services"] == [] and replay.requests[2]["window"] is None
    assert [row["after"] for row in found.answer["services"]] == ["running", "running"]


def test_what_completing_could_not_start_is_told_with_the_reason() -> None:
    server = described()
    for name in WHOLE:
        server.services[name].update(state="stopped", process=None)
    row = {**CUT["services"][0], "step": "failed", "before": "stopped", "error": {"code": "start_failed"}}
    failed = {**DONE, **error("start_failed", "1069", service="MSExchangeIS"), "outcome": "failed", "services": [row]}
    found, dummy = interrupted(server, failed)
    assert found.answer["down"] == WHOLE
    assert found.detail["finish_error"]["code"] == "start_failed"
    first = found.answer["services"][0]
    assert (first["before"], first["after"], first["step"]) == ("running", "stopped", "failed")
    assert first["error"] == {"code": "start_failed"}


def test_what_was_disabled_meanwhile_is_down_although_nothing_failed() -> None:
    server = described()
    server.services["MSExchangeES"].update(state="stopped", process=None)
    found, dummy = interrupted(server, {**DONE, "finished": ["MSExchangeIS"]})
    assert found.answer["down"] == ["MSExchangeES"]
    assert [row["after"] for row in found.answer["services"]] == ["running", "stopped"]


def test_a_machine_that_still_boots_is_looked_at_until_its_services_are_up() -> None:
    server = described()
    booting = [dict.fromkeys(WHOLE, "start_pending"), {"MSExchangeES": "start_pending"}, {}]

    def looked(request: Json) -> Json:
        states = booting.pop(0)
        for name in WHOLE:
            server.services[name].update(state=states.get(name, "running"))
        return server.inspect(request)

    replay = Replay(server, steps={"restart": [BUSY, {**DONE, "finished": []}], "restart_status": [CUT]})
    replay.steps["inspect"] = [looked] * 3
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert (caught.value.code, caught.value.answer["down"]) == ("interrupted", [])
    assert [row["after"] for row in caught.value.answer["services"]] == ["running", "running"]


def test_a_service_that_starts_for_ever_is_waited_for_as_long_as_a_start_may_take() -> None:
    server = described()
    for name in WHOLE:
        server.services[name].update(state="start_pending")
    replay = Replay(server, steps={"restart": [BUSY, {**DONE, "finished": []}], "restart_status": [CUT]})
    clock = FakeClock()
    with pytest.raises(TargetError) as caught:
        restart(session(replay, clock=clock), RESTART)
    assert caught.value.answer["down"] == WHOLE
    assert RESTART["start_timeout"] <= sum(clock.slept) <= RESTART["start_timeout"] + 30


def test_states_that_cannot_be_seen_are_not_invented() -> None:
    replay = Replay(steps={"restart": [BUSY, {**DONE, "finished": ["MSExchangeIS"]}], "restart_status": [CUT]})
    replay.steps["inspect"] = [error("computer_unreachable")] * 99
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.answer["down"] == ["MSExchangeES"]
    assert [row["after"] for row in caught.value.answer["services"]] == [None, None]


def test_completion_that_is_interrupted_as_well_says_so() -> None:
    replay = Replay(steps={"restart": [BUSY, BUSY], "restart_status": [CUT, CUT]})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.detail["finish_error"]["code"] == "interrupted"


def test_worker_that_died_after_a_first_error_is_completed_as_well() -> None:
    failed = {**CUT, **error("start_failed", service="MSExchangeES")}
    replay = Replay(steps={"restart": [failed, {**DONE, "finished": WHOLE}]})
    with pytest.raises(TargetError) as caught:
        restart(session(replay), RESTART)
    assert caught.value.code == "interrupted" and replay.ops == ["restart", "restart", "inspect"]


def test_rows_of_an_earlier_run_are_no_steps_of_this_one() -> None:
    inherited = {**CUT, "timeline": [{"at": NOW, "service": "MSExchangeIS", "step": "recorded"}]}
    replay = Replay(steps={"restart": [BUSY, DONE], "restart_status": [inherited]})
    assert restart(session(replay), RESTART)["outcome"] == "restarted"
