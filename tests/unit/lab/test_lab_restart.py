# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated restart: orders, failures, and a cut after every single step of the worker."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.lab.conformance import Mode, Stage
from tests.lab.faults import OPERATION_POINTS
from tests.unit.lab.lab_support import BIN_FILE, GRAPH, STORE_TEXT, Json, digest, restart, run_steps, services, status

WORKER_POINTS = [point for point in OPERATION_POINTS if point.startswith("worker.")]
RUNNING: dict[str, str] = dict.fromkeys(GRAPH, "running")
MODES: list[Mode] = ["direct", "computer"]
AFFECTED = ("MSExchangeDS", "MSExchangeIS", "MSExchangeMTA", "MSExchangeIMC", "MSExchangeES")


def steps_of(answer: Json, step: str) -> list[str]:
    return [entry["service"] for entry in answer["timeline"] if entry["step"] == step]


@pytest.mark.parametrize("mode", MODES)
def test_stops_in_reverse_and_starts_in_order(mode: Mode) -> None:
    run = run_steps({"services": services()}, restart("MSExchangeDS", wait=300), mode=mode)
    (answer,) = run.answers
    assert answer["outcome"] == "restarted"
    assert steps_of(answer, "stopped") == list(reversed(AFFECTED))
    assert steps_of(answer, "running") == list(AFFECTED)
    assert run.observed["services"] == RUNNING


@pytest.mark.parametrize("roots", [r for n in (1, 2, 3) for r in itertools.combinations(AFFECTED, n)])
def test_every_set_of_roots_ends_as_it_began(roots: tuple[str, ...]) -> None:
    run = run_steps({"services": services()}, restart(*roots, wait=300))
    (answer,) = run.answers
    assert answer["outcome"] == "restarted"
    assert answer["down"] == []
    assert run.observed["services"] == RUNNING
    for name, position in {name: place for place, name in enumerate(steps_of(answer, "running"))}.items():
        started = steps_of(answer, "running")[:position]
        assert all(other in started for other in GRAPH[name] if other in steps_of(answer, "stopped"))


CUTS = [(point, name) for point in WORKER_POINTS for name in AFFECTED]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("point", "service"), CUTS)
def test_cut_after_each_step_then_a_second_run(point: str, service: str, mode: Mode) -> None:
    about_service = point.split(".")[1] in ("stopping", "stop_sent", "stopped", "starting", "start_sent", "running")
    cut = {"name": "cut_worker", "at": point, **({"service": service} if about_service else {})}
    second = "00000002-bbbb"
    run = run_steps(
        {"services": services(stopped=("MSExchangeES",))},
        {"fault": cut, "request": restart("MSExchangeDS", wait=60)},
        {"before": {"seconds": 70}},
        {"request": restart("MSExchangeDS", run=second, wait=900)},
        {"request": status(second)},
        mode=mode,
    )
    assert run.answers[-1]["done"]
    assert run.observed["services"] == {**RUNNING, "MSExchangeES": "stopped"}
    assert run.answers[-1]["outcome"] in ("restarted", "nothing")


def test_a_root_that_hangs_leaves_the_journal_unfinished_and_the_next_run_finishes() -> None:
    run = run_steps(
        {"services": services(IS={"stop": "hang"})},
        restart("MSExchangeIS", stop_timeout=60, deadline=120, wait=300),
        {"fault": {"name": "end_hang", "arguments": {"name": "MSExchangeIS"}}, "before": {"seconds": 5}},
        {"request": restart("MSExchangeIS", run="00000002-bbbb", wait=300)},
    )
    first, dummy, second = run.answers
    assert (first["outcome"], first["error"]["code"]) == ("failed", "stop_timeout")
    assert set(first["down"]) == {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
    assert set(second["finished"]) == {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
    assert steps_of(second, "stopped") == []
    assert run.observed["services"] == RUNNING
    assert run.observed["journal"]["phase"] == "done"


def test_a_dependent_that_hangs_leaves_the_root_alone_and_starts_the_others_again() -> None:
    request = restart("MSExchangeIS", stop_timeout=30, deadline=120, wait=300)
    run = run_steps({"services": services(IMC={"stop": "hang"})}, request)
    (answer,) = run.answers
    assert answer["error"]["detail"]["service"] == "MSExchangeIMC"
    assert run.observed["services"] == {**RUNNING, "MSExchangeIMC": "stop_pending"}


@pytest.mark.parametrize("seconds", [5, 70])
@pytest.mark.parametrize("late_ms", [2_000, 30_000, 100_000])
def test_a_stop_that_comes_late_is_undone_although_the_worker_was_cut(late_ms: int, seconds: int) -> None:
    cut = {"name": "cut_worker", "at": "worker.stop_sent", "service": "MSExchangeIS"}
    run = run_steps(
        {"services": services(IS={"stop": "late", "late_ms": late_ms})},
        {"fault": cut, "request": restart("MSExchangeIS")},
        {"before": {"seconds": seconds}},
        {"request": restart("MSExchangeMTA", run="00000002-bbbb", wait=900)},
        {"before": {"seconds": 120}},
        {"request": restart(run="00000003-cccc", wait=900)},
        {"request": restart(run="00000004-dddd", wait=900)},
    )
    assert run.observed["services"] == RUNNING
    assert (run.answers[-1]["outcome"], run.answers[-1]["services"]) == ("nothing", [])
    assert run.observed["journal"]["phase"] == "done"


def test_the_poll_says_until_when_a_late_service_is_waited_for() -> None:
    run = run_steps(
        {"services": services(IS={"stop": "hang"})},
        restart("MSExchangeIS", stop_timeout=60, deadline=600, wait=100),
        status("00000001-aaaa", wait=1000),
    )
    first, second = run.answers
    assert (first["done"], first["service"], first["step"]) == (False, "MSExchangeIS", "stopping")
    assert first["deadline"] - first["since"] == pytest.approx(540, abs=2)
    assert (second["outcome"], second["error"]["code"]) == ("failed", "stop_timeout")


def test_a_start_that_fails_spares_what_does_not_depend_on_it() -> None:
    run = run_steps({"services": services(MTA={"start": "fail", "code": 1053})}, restart("MSExchangeDS", wait=300))
    (answer,) = run.answers
    errors = {entry["name"]: (entry["error"] or {}).get("code") for entry in answer["services"]}
    assert errors["MSExchangeMTA"] == "start_failed"
    assert errors["MSExchangeIMC"] == "dependency_failed"
    assert errors["MSExchangeIS"] is None
    assert answer["error"]["detail"]["native"] == 1053


def test_a_service_that_dies_is_not_called_running() -> None:
    run = run_steps({"services": services(ES={"start": "die", "die_ms": 700})}, restart("MSExchangeES", wait=300))
    assert run.answers[0]["error"]["code"] == "died"
    assert run.answers[0]["down"] == ["MSExchangeES"]


def test_fifteen_minutes_pass_in_no_time_and_the_poll_says_where_it_is() -> None:
    run = run_steps(
        {"services": services(IS={"stop_ms": 900_000})},
        restart("MSExchangeIS", wait=40, stop_timeout=1800),
        status("00000001-aaaa", wait=40),
        status("00000001-aaaa", wait=3000),
    )
    first, second, third = run.answers
    assert (first["done"], first["service"], first["step"]) == (False, "MSExchangeIS", "stopping")
    assert second["deadline"] - second["since"] == pytest.approx(1800, abs=1)
    assert third["outcome"] == "restarted"
    assert next(entry["stop_ms"] for entry in third["services"] if entry["name"] == "MSExchangeIS") == 900_000


@pytest.mark.parametrize(
    ("given", "request_values", "code"),
    [
        ({"services": services(stopped=("MSExchangeSA",))}, {}, "dependency_down"),
        ({"services": services(), "journal": "{broken"}, {}, "journal_corrupt"),
        ({"services": services(), "lock": {"who": "other@there"}}, {}, "busy"),
        ({"services": services()}, {"window": {"from": "22:00", "to": "05:00"}}, "outside_window"),
        ({"services": services()}, {"dependents": "fail"}, "graph_changed"),
        ({"services": services()[:2]}, {}, "service_missing"),
    ],
)
def test_refused_before_anything_is_stopped(given: Json, request_values: Json, code: str) -> None:
    run = run_steps(given, restart("MSExchangeDS", **request_values))
    assert run.answers[0]["error"]["code"] == code
    before = {item["name"]: item["state"] for item in given["services"]}
    assert run.observed["services"] == before


def test_the_record_says_what_the_new_process_loaded() -> None:
    request = restart("MSExchangeES", wait=300)
    item = request["services"][0]
    item.update(file=BIN_FILE, file_sha256=digest(STORE_TEXT), loaded="a" * 64)
    run = run_steps({"services": services(), "files": {BIN_FILE: {"text": STORE_TEXT}}}, request)
    record = run.observed["records"]["MSExchangeES"]
    assert (record["loaded"], record["file"]) == ("a" * 64, digest(STORE_TEXT))
    assert record["process"] != ""


def test_a_file_that_changes_during_the_start_is_not_recorded_as_loaded() -> None:
    request = restart("MSExchangeES", wait=300)
    request["services"][0].update(file=BIN_FILE, file_sha256=digest(STORE_TEXT), loaded="a" * 64)
    fault = {"name": "write_file", "at": "worker.start_sent", "arguments": {"text": "[STORE]\r\n"}}
    given = {"services": services(), "files": {BIN_FILE: {"text": STORE_TEXT}}}
    run = run_steps(given, {"fault": fault, "request": request})
    record = run.observed["records"]["MSExchangeES"]
    assert (record["loaded"], record["file"]) == ("", "")


def test_a_worker_that_cannot_be_started_is_said_and_changes_nothing() -> None:
    run = run_steps({"services": services()}, {"fault": {"name": "no_worker"}, "request": restart("MSExchangeIS")})
    assert run.answers[0]["error"]["code"] == "worker_failed"
    assert run.observed["journal"] is None


@pytest.mark.parametrize(("finish", "finished"), [("same_boot", set()), ("any", {"IS", "IMC", "ES"})])
def test_the_journal_of_another_boot_is_reported_and_finished_only_on_request(finish: str, finished: set[str]) -> None:
    cut = {"name": "cut_worker", "at": "worker.stopped", "service": "MSExchangeIS"}
    run = run_steps(
        {"services": services()},
        {"fault": cut, "request": restart("MSExchangeIS")},
        {
            "fault": {"name": "forget_boot"},
            "request": restart("MSExchangeES", run="00000002-bbbb", finish=finish, wait=300),
        },
    )
    dummy, second = run.answers
    assert set(second["finished"]) == {f"MSExchange{name}" for name in finished}
    told = set() if second["previous"] is None else set(second["previous"]["down"])
    assert told == {f"MSExchange{name}" for name in {"IS", "IMC", "ES"} - finished}
    assert run.observed["services"]["MSExchangeIS"] == ("running" if finished else "stopped")


@pytest.mark.parametrize("mode", MODES)
def test_somebody_else_who_starts_it_first_is_as_good(mode: Mode) -> None:
    fault = {
        "name": "start_service",
        "at": "worker.starting",
        "service": "MSExchangeIS",
        "arguments": {"name": "MSExchangeIS"},
    }
    run = run_steps({"services": services()}, {"fault": fault, "request": restart("MSExchangeIS", wait=300)}, mode=mode)
    assert (run.answers[0]["outcome"], run.observed["services"]) == ("restarted", RUNNING)


def test_a_crashed_dependency_is_refused_or_started_as_asked() -> None:
    crash = {"name": "crash_service", "arguments": {"name": "MSExchangeDS"}}
    refused = run_steps({"services": services()}, {"fault": crash, "request": restart("MSExchangeIS")})
    assert refused.answers[0]["error"]["detail"]["dependency"] == "MSExchangeDS"
    started = run_steps(
        {"services": services()},
        {"fault": crash, "request": restart("MSExchangeIS", start_dependencies=True, wait=300)},
    )
    assert (started.answers[0]["outcome"], started.observed["services"]) == ("restarted", RUNNING)


@pytest.mark.parametrize("mode", MODES)
def test_two_runs_at_once(mode: Mode) -> None:
    async def both(lock_wait: float) -> tuple[Json, Json, set[str]]:
        stage = Stage({"services": services()}, mode)
        first = asyncio.ensure_future(stage.step({"request": restart("MSExchangeIS", wait=300)}))
        await stage.server.clock.sleep(1)
        second = restart("MSExchangeDS", run="00000002-bbbb", wait=300, lock_wait=lock_wait)
        answers = await asyncio.gather(first, stage.step({"request": second}))
        states = {service.state for service in stage.server.services}
        stage.close()
        return answers[0], answers[1], states

    first, second, states = asyncio.run(both(0))
    assert (first["outcome"], second["error"]["code"]) == ("restarted", "busy")
    assert second["error"]["detail"]["run"] == "00000001-aaaa"
    first, second, states = asyncio.run(both(120))
    assert (first["outcome"], second["outcome"], states) == ("restarted", "restarted", {"running"})


def test_the_same_case_gives_the_same_run_to_the_last_digit() -> None:
    def once() -> object:
        return run_steps({"services": services(IS={"stop_ms": 1234})}, restart("MSExchangeDS", wait=300))

    assert once() == once()
