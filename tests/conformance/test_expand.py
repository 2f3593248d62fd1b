# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case leaves out comes from ``defaults.yml``, and no case says it again."""

from __future__ import annotations

import copy
import json
import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conformance import expand
from tests.conformance.expand import ABSENT, DEFAULTS, NO_DEFAULT, CaseError
from tests.conformance.run import ROOT
from tests.conformance.schema import CASES, load_all

FILES = sorted(CASES.glob("*.yml"))
BIN = "C:\\exchsrvr\\bin\\Wspcfg.ini"
Place: t.TypeAlias = tuple[str | int, ...]


def _places(value: t.Any, place: Place = ()) -> Iterator[Place]:
    """Every key and every item below a value."""
    entries: t.Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield (*place, key)
        yield from _places(item, (*place, key))


def _without(data: t.Any, place: Place) -> t.Any:
    changed = copy.deepcopy(data)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    del parent[place[-1]]
    return changed


def _in_full(data: t.Any) -> str | None:
    """A case in full as text (so that 1 is not true); None: it says too little."""
    try:
        return json.dumps(expand.case(data), sort_keys=True)
    except (CaseError, KeyError):
        return None


def _said_again(data: t.Any) -> list[Place]:
    """Places of a case without which it says the same."""
    full = _in_full(data)
    expanded = [("given", *place) for place in _places(data.get("given"))]
    for number, step in enumerate(data["steps"]):
        for part in ("before", "request", "answer", "answer_direct", "answer_computer"):
            expanded += [("steps", number, part, *place) for place in _places(step.get(part))]
    return [place for place in expanded if _in_full(_without(data, place)) == full]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_case_says_only_what_is_its_own(path: Path) -> None:
    assert _said_again(yaml.safe_load(path.read_text(encoding="ascii"))) == []


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_server_that_has_a_name_is_named(path: Path) -> None:
    said = yaml.safe_load(path.read_text(encoding="ascii")).get("given", {})
    full = expand.given(said)
    for name in DEFAULTS["servers"] if "base" not in said else ():
        server = expand.given({"base": name})
        assert expand.over(full, server) != full, f"given is {name}, and more"


def test_what_is_said_again_is_noticed() -> None:
    again = {
        "name": "x",
        "given": {"base": "store55", "services": [{"name": "MSExchangeIS", "state": "running"}], "lock": {"who": "me"}},
        "steps": [
            {
                "request": {
                    "op": "restart",
                    "settle": 1,
                    "services": [{"name": "MSExchangeIS", "role": "root", "depends_on": ["MSExchangeDS"]}],
                    "allow_disabled": 0,
                },
                "answer": {"error": {"code": "busy", "message": "str"}},
            }
        ],
    }
    assert [".".join(map(str, place)) for place in _said_again(again)] == [
        "given.services",
        "given.services.0",
        "given.services.0.state",
        "steps.0.request.settle",
        "steps.0.request.services.0.role",
        "steps.0.request.services.0.depends_on",
        "steps.0.answer.error.message",
    ]


def _documented(op: str) -> t.Any:
    """The request that the protocol's page shows."""
    page = (ROOT / "docs" / "target_protocol.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf'(\{{"op": "{op}",?\s.*?)(?=```|`)', page, re.DOTALL)
    return json.loads(text.replace('" | null', '"'))


@pytest.mark.parametrize("op", list(DEFAULTS["operations"]))
def test_a_request_has_the_keys_that_the_protocol_names(op: str) -> None:
    shown = _documented(op)
    assert set(shown) - {"op"} == set(DEFAULTS["operations"][op])
    for key, default in DEFAULTS["items"].get(op, {}).items():
        if shown[key]:
            assert set(shown[key][0]) == set(default)


def _lacking(request: t.Any, op: str) -> set[str]:
    """Keys that a request, or an item of one of its lists, does not have."""
    missing = set(DEFAULTS["common"]) | set(DEFAULTS["operations"].get(op, ()))
    missing -= set(request)
    for key, default in DEFAULTS["items"].get(op, {}).items():
        for item in request.get(key, ()):
            missing |= set(default) - set(item)
    return missing


def test_a_key_is_absent_only_where_that_is_the_point() -> None:
    absent = 0
    for case in load_all():
        for step in case.steps:
            lacking = _lacking(step["request"], step["request"]["op"]) if "request" in step else set()
            absent += len(lacking)
            for key in lacking:
                assert step["answer"]["error"] == {"code": "bad_request", "message": "str", "detail": {"key": key}}, (
                    case.id
                )
    assert absent >= 5, "an absent key of a request and of an item have cases"


def test_nothing_of_the_defaults_is_left_in_a_case() -> None:
    for case in load_all():
        assert not {ABSENT, NO_DEFAULT} & set(re.findall(r'"(\w+)"', json.dumps(case.data))), case.id


def test_a_request_is_laid_over_its_operation() -> None:
    full = expand.request({"op": "apply", "files": [{"path": BIN, "backup": "none"}], "lock": ABSENT})
    (item,) = full["files"]
    assert (full["version"], full["who"], full["records"]) == (1, "admin@controller", [])
    assert "lock" not in full
    assert (item["path"], item["backup"], item["from_backup"]) == (BIN, "none", None)


def test_an_operation_that_does_not_exist_has_what_all_have() -> None:
    assert expand.request({"op": "reboot", "state": 1}) == {**DEFAULTS["common"], "op": "reboot", "state": 1}


def test_a_case_cannot_change_what_the_next_one_gets() -> None:
    expand.request({"op": "inspect"})["files"].append("x")
    expand.given({"base": "store55"})["services"][1]["depends_on"].append("x")
    assert expand.request({"op": "inspect"})["files"] == []
    assert expand.given({"base": "store55"})["services"][1]["depends_on"] == ["MSExchangeSA"]


def test_services_are_those_of_the_base_then_those_of_the_case() -> None:
    services = [{"name": "New", "start_type": "manual"}, {"name": "MSExchangeDS", "state": "stopped"}]
    full = expand.given({"base": "store55", "services": services})["services"]
    assert [(row["name"], row["state"], row["start_type"]) for row in full] == [
        ("MSExchangeSA", "running", "auto"),
        ("MSExchangeDS", "stopped", "auto"),
        ("MSExchangeIS", "running", "auto"),
        ("New", "running", "manual"),
    ]
    assert full[1]["depends_on"] == ["MSExchangeSA"]


@pytest.mark.parametrize(
    ("services", "said", "depends_on"),
    [
        ([{"name": "S", "depends_on": ["A"]}], {}, ["A"]),
        ([{"name": "S", "depends_on": ["A"]}], {"depends_on": []}, []),
        ([{"name": "S"}], {}, []),
        ([], {}, []),
    ],
)
def test_an_item_depends_on_what_its_service_depends_on(
    services: list[expand.Json], said: expand.Json, depends_on: list[str]
) -> None:
    item = {"name": "S", **said}
    journal = {"phase": "stopping", "services": [{**item, "step": "stopped"}]}
    case = {
        "given": {"services": services, "journal": journal},
        "steps": [{"request": {"op": "restart", "services": [item]}}],
    }
    full = expand.case(case)
    assert full["steps"][0]["request"]["services"][0]["depends_on"] == depends_on
    assert full["given"]["journal"]["services"][0]["depends_on"] == depends_on


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"given": {"base": "exchange2000"}}, "exchange2000 is unknown"),
        ({"given": {"journal": {"phase": "done", "fase": 1}}}, "journal: unknown fase"),
        ({"given": {"journal": {}}}, "journal: phase has no default"),
        ({"given": {"services": [{"name": "S"}, {"name": "S"}]}}, "twice"),
        ({"steps": [{"request": {}}]}, "op has no default"),
        ({"steps": [{"request": {"op": "apply", "lock_wiat": 1}}]}, "apply: unknown lock_wiat"),
        ({"steps": [{"request": {"op": "apply", "files": [{"pth": BIN}]}}]}, "apply.files: unknown pth"),
        ({"steps": [{"request": {"op": "apply", "files": [{"content": None}]}}]}, "apply.files: path has no default"),
    ],
)
def test_what_cannot_be_completed_is_an_error(part: expand.Json, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        expand.case({"name": "x", **part})
