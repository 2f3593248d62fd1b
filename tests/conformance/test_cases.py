# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every conformance case in the lab, in every mode that it names; and every word of the protocol in some case."""

from __future__ import annotations

import re
import typing as t
import warnings
from collections.abc import Iterator, Mapping

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script
from tests.conformance.compare import differences, state_differences
from tests.conformance.expand import DEFAULTS, CaseError
from tests.conformance.run import ROOT, Executor, pairs, problems
from tests.conformance.schema import EXECUTORS, MODES, Case, check, load_all
from tests.lab.conformance import LabExecutor

CASES = load_all()
PROTOCOL = (ROOT / "docs" / "target_protocol.md").read_text(encoding="utf-8")

# Error codes that no case can provoke, and what proves them instead.
UNPROVOKED: t.Final[Mapping[str, str]] = {
    "powershell_too_old": "the loader says it before there is a script: test_target_ps1.py",
    "internal": "it means a bug in the script; a case that provoked one would be that bug's report",
}


@pytest.mark.parametrize(
    ("case", "mode"),
    [pytest.param(case, mode, id=f"{case.id}-{mode}") for case, mode in pairs(CASES, "lab")],
)
def test_the_lab_answers_as_the_case_says(case: Case, mode: str) -> None:
    executor = t.cast(Executor, LabExecutor())
    assert problems(case, mode, executor) == []


def _error_codes() -> set[str]:
    table = PROTOCOL.partition("### Error codes")[2].partition("Codes of the controller alone")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def _expected_codes(value: t.Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("code"), str):
            yield value["code"]
        for item in value.values():
            yield from _expected_codes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _expected_codes(item)


def _answers(case: Case) -> list[t.Any]:
    return [step[key] for step in case.steps for key in ("answer", "answer_direct", "answer_computer") if key in step]


def test_every_error_code_has_a_case() -> None:
    seen = {code for case in CASES for answer in _answers(case) for code in _expected_codes(answer)}
    assert _error_codes() - seen == set(UNPROVOKED), "codes without a case, and without a reason for that"
    assert seen <= _error_codes(), "codes that the protocol does not know"
    for code, reason in UNPROVOKED.items():
        warnings.warn(f"no conformance case provokes {code}: {reason}", stacklevel=1)


# What an operation's code can say and no case of it brings about, with the reason.
ELSEWHERE: t.Final[Mapping[tuple[str, str], str]] = {
    (
        "restart",
        "backup_failed",
    ): "the copy of a file that a service read is not worth a failure; `apply` has the cases",
    ("restart", "access_denied"): "where the directory of the hand-over cannot be protected; only with a credential",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", ["inspect", "apply", "restart", "restart_status"])
def test_every_code_that_an_operation_raises_has_a_case_of_it(op: str, mode: str) -> None:
    shared = {"common", "look", "direct", "computer", "credential", "main"}
    names = set(script.regions_for({"op": op, "events": {}})) - shared
    code = "".join(script.regions()[name] for name in names)
    raised = {code for code in re.findall(r"Stop-Run ([a-z_]+)\b", code) if code != "internal"}
    if mode == "direct":
        raised.discard("computer_unreachable")  # there is no other computer
    steps = [step for case in CASES if mode in case.modes for step in case.steps]
    answers = [
        answer
        for step in steps
        if step.get("request", {}).get("op") == op
        for answer in (step.get("answer"), step.get(f"answer_{mode}"))
    ]
    seen = set(_expected_codes(answers))
    assert raised - seen == {code for of, code in ELSEWHERE if of == op and code in raised}


def _requests(op: str, mode: str | None = None, executor: str | None = None) -> list[Mapping[str, t.Any]]:
    return [
        step["request"]
        for case in CASES
        if (mode is None or mode in case.modes) and (executor is None or executor in case.executors)
        for step in case.steps
        if step.get("request", {}).get("op") == op
    ]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("op", "key"),
    [(op, key) for op, keys in DEFAULTS["operations"].items() for key in keys] + [("inspect", "computer")],
)
def test_every_option_has_cases_with_different_values(op: str, key: str, mode: str, executor: str) -> None:
    values = {repr(request.get(key)) for request in _requests(op, mode, executor)}
    assert len(values) > 1, f"{op}.{key} has the same value in every case"


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("op", "part", "key"),
    [(op, part, key) for op, parts in DEFAULTS["items"].items() for part, keys in parts.items() for key in keys],
)
def test_every_key_of_an_item_has_cases_with_different_values(
    op: str, part: str, key: str, mode: str, executor: str
) -> None:
    values = {repr(item.get(key)) for request in _requests(op, mode, executor) for item in request.get(part) or ()}
    assert len(values) > 1, f"{op}.{part}.{key} has the same value in every case"


@pytest.mark.parametrize("value", ["restore", "leave_stopped", "fail"])
def test_every_way_with_dependents_has_a_case(value: str) -> None:
    assert any(request["dependents"] == value for request in _requests("restart"))


def test_every_outcome_of_a_restart_has_a_case() -> None:
    outcomes = {answer.get("outcome") for case in CASES for answer in _answers(case)}
    assert outcomes >= {"restarted", "nothing", "failed", "interrupted", "unknown"}


def test_every_mode_and_executor_has_cases() -> None:
    for mode in MODES:
        for executor in EXECUTORS:
            assert sum(wanted == mode for dummy, wanted in pairs(CASES, executor)) > 100


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    assert len(CASES) >= 100
    assert len({case.data["name"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "damage",
    [
        {"then": {"flies": {}}},
        {"given": {"services": [{"name": "X", "behavior": {}}]}},
        {"given": {"files": {"C:\\x": {"txt": "a"}}}},
        {"modes": ["direct"]},
        {"modes": ["remote"], "why": "x"},
        {"steps": [{"request": {"op": "inspect"}}]},
        {"steps": [{"request": {}, "answer": {}, "answr": {}}]},
        {"steps": [{"fault": {"name": "x"}, "request": {}, "answer": {}}]},
        {"executors": ["wine"], "why": "x"},
        {"requires": "luck", "why": "x"},
        {"steps": []},
    ],
)
def test_what_the_format_does_not_know_is_an_error(damage: Mapping[str, t.Any]) -> None:
    sound = {"name": "a case", "steps": [{"request": {}, "answer": {}}]}
    check(sound)
    with pytest.raises(CaseError):
        check({**sound, **damage})


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"b": 2}, False),
        ([1], [1, 2], False),
        ("ANY", None, True),
        ("int", 3, True),
        ("int", True, False),
        ("number", 1.5, True),
        ("str", None, False),
        ("/a+/", "aaa", True),
        ("/a+/", "aab", False),
        (False, 0, False),
        (0, False, False),
        (None, "", False),
        (1.0, 1, True),
        (">5", 5.5, True),
        (">5", 5, False),
        (">5", "6", False),
    ],
)
def test_comparison(expected: t.Any, found: t.Any, same: bool) -> None:
    assert (not list(differences(expected, found))) is same


def test_a_state_that_is_not_as_expected_is_noticed() -> None:
    observed = {"files": {"C:\\A\\x.ini": {"base64": "YQ=="}}, "services": {"S": "running"}, "locked": True}
    then = {
        "files": {"c:\\a\\X.ini": {"text": "b"}, "C:\\a\\gone.ini": {"text": ""}},
        "directories": {"C:\\a": []},
        "services": {"S": "stopped"},
        "locked": False,
    }
    assert len(list(state_differences(then, observed))) == 5
    assert (
        list(
            state_differences({"files": {"c:\\a\\x.ini": {"text": "a"}}, "directories": {"c:\\A": ["x.ini"]}}, observed)
        )
        == []
    )
