# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session through every accident: what is repeated, what is looked at, what is given up, and how often."""

from __future__ import annotations

import base64
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils._errors import TargetError
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils._exchange import Places, inspection
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils._target import (
    ConnectionLost,
    Credential,
    Execution,
    Identity,
    Session,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils._target_script import loader
from tests.support.inspections import BIN, NOW, Described, FakeClock, File, Replay, error, session, sha256

Json = dict[str, t.Any]
LOST = ConnectionLost("reset by peer", sent=True)
OLD = b"[STORE]\r\n"
NEW = b"[STORE]\r\nServerBindTcpPorts=110\r\n"

ASK = inspection(Places())
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
RESTART: Json = {"services": [], "start": [], "deadline": 3600, "window": None}


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
    assert request["credential"] == {"username": "LAB\\admin", "password": "s3cret"}
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


def test_apply_lost_twice_is_given_up() -> None:
    replay = Replay(described(), accidents={1: ("before", LOST), 3: ("before", LOST)})
    with pytest.raises(TargetError) as caught:
        session(replay).apply(**WRITE)
    assert caught.value.code == "connection_lost" and replay.ops == ["apply", "inspect", "apply"]


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
    assert session(replay).restart(**RESTART)["outcome"] == "restarted" and replay.ops == ["restart"]


def test_slow_restart_is_polled_and_told_once_a_minute() -> None:
    clock = FakeClock()

    def later(request: Json) -> Json:
        clock.now += 40
        return BUSY

    said: list[str] = []
    steps: dict[str, list[t.Any]] = {"restart": [BUSY], "restart_status": [later] * 6 + [DONE]}
    session(Replay(steps=steps), clock=clock, say=said.append, computer="EX1").restart(**RESTART)
    assert len(said) == 4, "at the start and after every minute of the 240 s"
    assert said[0] == "EX1: MSExchangeIS stopping since 13:46:40 UTC, until 14:01:40 UTC at most"


def test_restart_lost_is_found_again_and_not_launched_twice() -> None:
    steps: dict[str, list[t.Any]] = {"restart": [LOST], "restart_status": [BUSY, DONE]}
    replay = Replay(steps=steps)
    assert session(replay).restart(**RESTART)["outcome"] == "restarted"
    assert replay.ops == ["restart", "restart_status", "restart_status"]
    assert replay.requests[1]["of"] == replay.requests[0]["run"]


def test_restart_without_a_trace_is_launched_again() -> None:
    steps: dict[str, list[t.Any]] = {"restart": [LOST, DONE], "restart_status": [UNKNOWN] * 3}
    replay = Replay(steps=steps)
    clock = FakeClock()
    assert session(replay, clock=clock).restart(**RESTART)["outcome"] == "restarted"
    assert replay.ops == ["restart"] + ["restart_status"] * 3 + ["restart"] and clock.now >= 10


def test_poll_that_is_lost_is_asked_again_even_if_the_host_is_away() -> None:
    away = ConnectionLost("host is down", sent=False)
    steps: dict[str, list[t.Any]] = {"restart": [BUSY], "restart_status": [away, LOST, DONE]}
    replay = Replay(steps=steps)
    assert session(replay).restart(**RESTART)["outcome"] == "restarted"


def test_own_launch_that_is_still_busy_is_polled() -> None:
    own = {"run": "0a0a0a0a-0000-4000-8000-000000000001"}
    steps: dict[str, list[t.Any]] = {
        "restart": [LOST, error("busy", **own)],
        "restart_status": [UNKNOWN, UNKNOWN, UNKNOWN, DONE],
    }
    assert session(Replay(steps=steps)).restart(**RESTART)["outcome"] == "restarted"


def test_launch_that_was_cut_short_is_launched_under_a_new_name() -> None:
    cut = {"done": True, "outcome": "interrupted", "services": [{"name": "A", "step": "recorded"}]}
    replay = Replay(steps={"restart": [BUSY, DONE], "restart_status": [cut]})
    assert session(replay).restart(**RESTART)["outcome"] == "restarted"
    assert replay.ops == ["restart", "restart_status", "restart"]
    assert replay.requests[0]["run"] != replay.requests[2]["run"]


def test_interrupted_work_is_finished_and_reported() -> None:
    cut = {"done": True, "outcome": "interrupted", "services": [{"name": "A", "step": "stopped"}], "down": ["A"]}
    finished = {**DONE, "outcome": "nothing", "finished": ["A"], "left_alone": []}
    request = {**RESTART, "services": [{"name": "A"}]}
    replay = Replay(steps={"restart": [BUSY, finished], "restart_status": [cut]})
    with pytest.raises(TargetError) as caught:
        session(replay).restart(**request)
    assert caught.value.code == "interrupted" and caught.value.answer["finished"] == ["A"]
    assert caught.value.answer["down"] == []
    assert replay.requests[2]["services"] == [] and replay.requests[2]["window"] is None
