# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated ``inspect`` and ``apply``: compare and swap, backups, records, and what a failure leaves."""

from __future__ import annotations

import base64
import itertools

import pytest

from tests.conformance.expand import request
from tests.lab.conformance import Mode
from tests.unit.lab.lab_support import (
    BIN_FILE,
    STORE_TEXT,
    Json,
    apply,
    change,
    digest,
    encoded,
    inspect,
    inspect_file,
    run_steps,
    services,
)

MODES: list[Mode] = ["direct", "computer"]
OTHER = "C:\\exchsrvr\\connect\\msexcimc\\bin\\Wspcfg.ini"
NEW_TEXT = "[STORE]\r\nServerBindTcpPorts=110,143\r\n"
SETUP = "SOFTWARE\\Microsoft\\Exchange\\Setup"


def given(**values: Json) -> Json:
    return {"files": {BIN_FILE: {"text": STORE_TEXT}}, **values}


def replace(**values: object) -> Json:
    return change(expect_sha256=digest(STORE_TEXT), content=encoded(NEW_TEXT), **values)


@pytest.mark.parametrize("mode", MODES)
def test_apply_replaces_and_keeps_the_original(mode: Mode) -> None:
    run = run_steps(given(), apply(replace()), mode=mode)
    (answer,) = run.answers
    assert answer["applied"][0]["sha256"] == digest(NEW_TEXT)
    assert run.observed["files"][BIN_FILE]["text"] == NEW_TEXT
    backup = f"C:\\WINNT\\msexchange.winsock_proxy\\backup\\{digest(STORE_TEXT)}.ini"
    assert answer["applied"][0]["backup"] == backup
    assert run.observed["files"][backup]["text"] == STORE_TEXT
    assert not run.observed["locked"]
    assert run.observed["boot"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("state", "request_", "code"),
    [
        ({"files": {BIN_FILE: {"text": "[STORE]\r\n"}}}, apply(replace()), "changed"),
        ({"files": {"C:\\exchsrvr\\bin": {"directory": True}}}, apply(replace()), "not_found"),
        ({"files": {}}, apply(replace()), "parent_missing"),
        ({"files": {BIN_FILE: {"directory": True}}}, apply(replace()), "is_directory"),
        ({"files": {BIN_FILE: {"text": STORE_TEXT, "read_only": True}}}, apply(replace()), "read_only"),
        ({"files": {BIN_FILE: {"text": STORE_TEXT, "denied": True}}}, apply(replace()), "access_denied"),
        ({"files": {BIN_FILE: {"text": STORE_TEXT, "held_open": "none"}}}, apply(replace()), "locked"),
        ({"files": {BIN_FILE: {"text": STORE_TEXT, "held_open": "read"}}}, apply(replace()), "locked"),
        (given(disk_free=0), apply(replace(backup="none")), "disk_full"),
        (given(disk_free=110), apply(replace()), "backup_failed"),
        (given(), apply(change("C:\\exchsrvr\\a|b.ini", content="")), "bad_name"),
        (given(), apply(replace(backup="beside", backup_path=BIN_FILE)), "backup_failed"),
        (given(), apply(change(expect_sha256=digest(STORE_TEXT), from_backup="a" * 64)), "backup_missing"),
        (given(lock={"who": "other@there", "run": "x"}), apply(replace()), "busy"),
        (given(), apply(change()), "changed"),
        (given(), {**apply(replace()), "lock": 1}, "bad_request"),
        (given(), request({"op": "format"}), "bad_request"),
    ],
)
def test_apply_refuses_and_changes_nothing(state: Json, request_: Json, code: str, mode: Mode) -> None:
    run = run_steps(state, request_, mode=mode)
    assert run.answers[0]["error"]["code"] == code
    before = {path for path, item in state["files"].items() if not item.get("directory")}
    left = {path for path in run.observed["files"] if "backup" not in path and not path.endswith(".lock")}
    assert left == before
    assert all(run.observed["files"][path]["text"] == state["files"][path]["text"] for path in before)


@pytest.mark.parametrize("mode", ["direct", "computer"])
def test_either_way_needs_room_for_a_second_copy(mode: Mode) -> None:
    run = run_steps(given(disk_free=125), apply(replace(backup="none")), mode=mode)
    assert run.answers[0]["error"]["code"] == "disk_full"
    assert list(run.observed["files"]) == [BIN_FILE]


def test_when_the_second_file_fails_the_first_and_the_records_are_put_back() -> None:
    state = given(files={BIN_FILE: {"text": STORE_TEXT}, OTHER: {"text": STORE_TEXT}})
    record = {"service": "MSExchangeIS", "loaded": None, "wanted": "a" * 64, "owned": ""}
    fault = {"name": "lock_file", "at": "apply.file1.after", "arguments": {"path": OTHER}}
    second = {**replace(), "path": OTHER}
    run = run_steps(state, {"fault": fault, "request": apply(replace(), second, records=[record])})
    (answer,) = run.answers
    assert (answer["error"]["code"], answer["restored"], answer["left"]) == ("locked", [BIN_FILE], [])
    assert answer["applied"] == []
    assert run.observed["files"][BIN_FILE]["text"] == STORE_TEXT
    assert run.observed["records"] == {}


def test_somebody_who_writes_between_comparison_and_swap_is_not_overwritten() -> None:
    fault = {"name": "write_file", "at": "apply.file1.before", "arguments": {"text": "[STORE]\r\n; newer\r\n"}}
    run = run_steps(given(), {"fault": fault, "request": apply(replace())})
    assert run.answers[0]["error"]["code"] == "changed"
    assert run.observed["files"][BIN_FILE]["text"] == "[STORE]\r\n; newer\r\n"


def test_the_lock_is_waited_for() -> None:
    run = run_steps(given(lock={"who": "other", "seconds": 20}), apply(replace(), lock_wait=30))
    assert "error" not in run.answers[0]


def test_the_first_original_stays_for_ever_and_the_last_ten_besides() -> None:
    texts = [f"[STORE]\r\n; {number}\r\n" for number in range(15)]
    steps = [apply(change(expect_sha256=digest(old), content=encoded(new))) for old, new in itertools.pairwise(texts)]
    run = run_steps({"files": {BIN_FILE: {"text": texts[0]}}}, *steps)
    kept = [entry["sha256"] for entry in run.observed["backups"]]
    assert kept == [digest(text) for text in [texts[0], *texts[4:14]]]
    stored = {path for path in run.observed["files"] if "\\backup\\" in path}
    assert len(stored) == len(kept)


@pytest.mark.parametrize("mode", MODES)
def test_inspect_finds_the_file_beside_the_service(mode: Mode) -> None:
    state = given(services=services(), registry={SETUP: {"Services": "D:\\elsewhere"}})
    state["files"]["C:\\exchsrvr\\bin\\Wspcfg.ini.txt"] = {"text": ""}
    state["files"]["C:\\exchsrvr\\bin\\STORE.EXE"] = {"text": "MZ"}
    request = inspect(services=["MSExchangeIS", "nosuch"], files=[inspect_file(beside=["nosuch", "MSExchangeIS"])])
    (answer,) = run_steps(state, request, mode=mode).answers
    (found,) = answer["files"]
    assert (found["path"], found["source"], found["exists"]) == (BIN_FILE, "service", True)
    assert base64.b64decode(found["content"]).decode() == STORE_TEXT
    assert (found["lookalikes"], found["executables"]) == (["Wspcfg.ini.txt"], ["store.exe"])
    assert found["file_system"] == ("NTFS" if mode == "direct" else None)
    names = [entry["name"] for entry in answer["services"]]
    assert names[:2] == ["MSExchangeIS", "nosuch"]
    assert names[2:] == sorted(names[2:], key=str.lower)
    assert {"MSExchangeIMC", "MSExchangeES", "MSExchangeDS", "MSExchangeMTA", "MSExchangeSA"} <= set(names)
    process = answer["services"][0]["process"]
    assert (process is not None) == (mode == "direct")


def test_inspect_follows_registry_and_pointer() -> None:
    state = given(registry={SETUP: {"Services": "C:\\exchsrvr"}})
    state["files"]["C:\\WINNT\\System.ini"] = {"text": "[X]\r\nIni File Path=C:\\p\\m.ini\r\n"}
    pointer = {"file": "%SystemRoot%\\System.ini", "section": "x", "key": "ini file path", "default": None}
    files = [
        inspect_file(root="install_root", below="bin"),
        inspect_file(id="client", name="m.ini", pointer=pointer),
        inspect_file(id="none", name="x.ini"),
    ]
    registry = [{"id": "install_root", "key": SETUP, "value": "Services"}]
    (answer,) = run_steps(state, inspect(registry=registry, files=files)).answers
    assert [(item["path"], item["source"]) for item in answer["files"]] == [
        (BIN_FILE, "registry"),
        ("C:\\p\\m.ini", "pointer"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"text": "x" * 70000}, "too_large"),
        ({"text": STORE_TEXT, "held_open": "none"}, "locked"),
        ({"text": STORE_TEXT, "denied": True}, "access_denied"),
        ({"directory": True}, "is_directory"),
    ],
)
def test_a_file_that_cannot_be_read_does_not_end_the_inspection(item: Json, code: str) -> None:
    request = inspect(files=[inspect_file(path=BIN_FILE), inspect_file(id="other", path=OTHER)])
    (answer,) = run_steps({"files": {BIN_FILE: item, OTHER: {"text": STORE_TEXT}}}, request).answers
    assert answer["files"][0]["error"]["code"] == code
    assert answer["files"][1]["sha256"] == digest(STORE_TEXT)


@pytest.mark.parametrize(
    ("network", "credential", "code"),
    [
        ({"down": True}, None, "computer_unreachable"),
        ({"denied": True}, None, "second_hop_denied"),
        ({"accounts": {"LAB\\a": "right"}}, {"username": "LAB\\a", "password": "wrong"}, "credential_refused"),
        ({"denied": True, "accounts": {"LAB\\a": "right"}}, {"username": "LAB\\a", "password": "right"}, None),
    ],
)
def test_the_second_hop(network: Json, credential: Json | None, code: str | None) -> None:
    request = {**inspect(), "credential": credential}
    (answer,) = run_steps(given(network=network), request, mode="computer").answers
    assert (answer.get("error") or {}).get("code") == code


def test_records_and_state_are_told() -> None:
    loaded = digest(STORE_TEXT)
    state = given(
        records={"MSExchangeIS": {"file": loaded, "wanted": "w", "process": "204@12.500"}},
        backups=[{"saved": 5, "path": BIN_FILE, "text": STORE_TEXT}],
        journal={"version": 1, "run": "r", "phase": "done", "boot": "BOOT"},
        lock={"who": "other@there", "run": "r", "machine": "M", "since": 1},
    )
    (answer,) = run_steps(state, inspect(backup=loaded)).answers
    (record,) = answer["records"]
    assert record["loaded_content"] == encoded(STORE_TEXT)
    assert record["process"] == {"id": 204, "started": 12.5}
    assert answer["backup"]["content"] == encoded(STORE_TEXT)
    assert answer["journal"]["boot"] == answer["boot"]
    assert answer["lock"] == {"who": "other@there", "run": "r", "machine": "M", "since": 1}


def test_events_come_newest_first_and_only_those_asked_for() -> None:
    state = {
        "events": [
            {"log": "Application", "at": at, "source": source, "id": 11508, "type": "error", "message": "m"}
            for at, source in ((1.0, "A"), (3.0, "A"), (2.0, "B"), (4.0, "A"))
        ],
        "event_errors": {"System": "the log is corrupt"},
    }
    query = {"since": 2, "logs": ["Application", "System"], "sources": ["a"], "ids": [], "limit": 1, "scan": 9}
    (answer,) = run_steps(state, inspect(events=query)).answers
    assert [event["at"] for event in answer["events"]] == [4.0]
    assert "corrupt" in answer["events_error"]


def test_the_inside_view() -> None:
    state = {"ports": {110: {"greeting": "+OK ready\r\n"}, 389: {"answers": "\x30\x0c"}}}
    asked = [
        {"port": 110, "send": None, "read_ms": 1000},
        {"port": 389, "send": base64.b64encode(b"bind").decode(), "read_ms": 1000},
        {"port": 143, "send": None, "read_ms": 1000},
    ]
    (answer,) = run_steps(state, inspect(ports=asked)).answers
    assert [(port["listening"], port["connected"]) for port in answer["ports"]] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    assert base64.b64decode(answer["ports"][0]["greeting"]) == b"+OK ready\r\n"
