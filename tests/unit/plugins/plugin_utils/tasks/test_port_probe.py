# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a port probe waits: audibly, and on a probe host in calls that are no longer than it takes to speak."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Target
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import port_probe
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.port_probe import (
    NAMED_IN_A_LINE,
    Waiting,
    probe_there,
)

Json = dict[str, t.Any]
TARGETS = [Target("192.0.2.1", 110, "pop3"), Target("192.0.2.1", 143, "imap4")]


def row(index: int, status: str, seconds: float = 1.0) -> Json:
    target = TARGETS[index]
    told = {"host": target.host, "port": target.port, "protocol": target.protocol, "expect": "open", "detail": None}
    return {**told, "status": status, "ok": status == "open", "attempts": 1, "elapsed_ms": int(seconds * 1000)}


class ProbeHost:
    """A probe host with a clock of its own: each call takes all of its time unless everything is as expected.

    Args:
        opens: Second at which each port opens; None: never.
        strangers: Ports that somebody else has.
    """

    def __init__(self, *opens: float | None, strangers: tuple[int, ...] = ()) -> None:
        self.opens = opens
        self.strangers = strangers
        self.time = 0.0
        self.calls: list[tuple[list[int], float]] = []

    def now(self) -> float:
        return self.time

    def ask(self, pending: t.Sequence[int], deadline: float) -> Json:
        self.calls.append((list(pending), deadline))
        waits = [index for index in pending if index not in self.strangers]
        ends = [self.opens[index] for index in waits]
        known = [end for end in ends if end is not None]
        finished = max([self.time, *known]) if len(known) == len(waits) else float("inf")
        self.time = min(finished, self.time + deadline)
        rows = [self._row(index) for index in pending]
        return {"results": rows}

    def _row(self, index: int) -> Json:
        if index in self.strangers:
            return row(index, "foreign")
        opens = self.opens[index]
        return row(index, "open" if opens is not None and opens <= self.time else "refused")


def probe(host: ProbeHost, **options: t.Any) -> Json:
    limits = Options(**{"timeout": 10.0, "deadline": 100.0, "delay": 1.0, **options})
    return probe_there(TARGETS, limits, host.ask, fail_on_mismatch=True, say=lambda _line: None, now=host.now)


def test_a_probe_host_is_asked_again_only_for_what_is_missing() -> None:
    host = ProbeHost(0.0, 70.0)
    result = probe(host)
    assert result["ok"]
    assert host.calls == [([0, 1], 30.0), ([1], 30.0), ([1], 30.0)]
    assert [entry["attempts"] for entry in result["results"]] == [1, 3]


def test_no_call_is_longer_than_a_line_may_be_late_or_one_attempt_takes() -> None:
    host = ProbeHost(0.0, None)
    result = probe(host, timeout=45.0)
    assert [deadline for _pending, deadline in host.calls] == [45.0, 45.0, 10.0]
    assert (result["ok"], result["failed"]) == (False, True)


def test_without_a_deadline_there_is_one_call() -> None:
    host = ProbeHost(None, None)
    probe(host, deadline=0.0)
    assert host.calls == [([0, 1], 0.0)]


def test_a_stranger_is_not_waited_for() -> None:
    host = ProbeHost(None, 5.0, strangers=(0,))
    result = probe(host)
    assert len(host.calls) == 1
    assert [entry["status"] for entry in result["results"]] == ["foreign", "open"]


def test_a_probe_host_that_cannot_probe_says_so_at_once() -> None:
    answer = {"failed": True, "msg": "no Python there"}
    result = probe_there(TARGETS, Options(), lambda *_asked: answer, fail_on_mismatch=True, say=lambda _line: None)
    assert result == answer


def test_a_line_names_what_is_awaited_since_when_until_when_and_what_answers() -> None:
    waiting = Waiting([vars(target) for target in TARGETS], Options(deadline=60), say=lambda _line: None)
    waiting.watch(0, row(0, "open"))
    line = waiting.line()
    assert line.startswith("192.0.2.1:143 imap4 silent for 0 s, asked until ")
    assert line.endswith("; as expected: 192.0.2.1:110 pop3")
    waiting.watch(1, row(1, "refused"))
    assert waiting.line().startswith("192.0.2.1:143 imap4 refused for ")


def test_a_line_about_many_ports_names_a_few_and_counts_the_rest() -> None:
    targets = [{"host": f"192.0.2.{number}", "port": 110, "protocol": "pop3"} for number in range(1, 201)]
    waiting = Waiting(targets, Options(), say=lambda _line: None)
    for index in range(100, 200):
        waiting.watch(index, row(0, "open"))
    line = waiting.line()
    assert line.count("192.0.2.") == 2 * NAMED_IN_A_LINE
    assert line.count(f" and {100 - NAMED_IN_A_LINE} more") == 2


def test_a_single_attempt_is_awaited_for_its_timeout() -> None:
    begun = time.time()
    waiting = Waiting([vars(target) for target in TARGETS], Options(timeout=3600, deadline=0), say=lambda _line: None)
    until = [time.strftime("%H:%M:%S", time.localtime(at + 3600)) for at in (begun, time.time())]
    assert any(f"asked until {clock} on" in waiting.line() for clock in until)


def test_who_waits_hears_a_line_while_the_probe_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_probe, "SAY_EVERY_S", 0.01)
    heard = threading.Event()
    waiting = Waiting([vars(target) for target in TARGETS], Options(deadline=60), say=lambda _line: heard.set())
    with waiting.aloud():
        assert heard.wait(30)
