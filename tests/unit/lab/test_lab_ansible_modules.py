# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The canned answers to Ansible's own modules, by hand-made manifests; tests/bench has the real ones."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from collections.abc import Iterator

import pytest

from tests.lab.api import HostView, Lab
from tests.lab.target.ansible_modules import SEPARATOR, answer, unwrap
from tests.lab.wire.api import Call
from tests.unit.lab.lab_support import BIN_FILE, Json

BOOTSTRAP = b'{"name": "exec_wrapper", "script": "...", "params": {}}'


@pytest.fixture
def server() -> Iterator[HostView]:
    with Lab("1", speed=1000.0) as lab:
        yield lab.host("EX0001")


def manifest(script: str, /, **params: t.Any) -> bytes:
    actions = [{"name": "become_wrapper.ps1", "params": {}}, {"name": script, "params": params}]
    return BOOTSTRAP + SEPARATOR + json.dumps({"scripts": {}, "actions": actions}).encode()


def module(module_name: str, /, **arguments: t.Any) -> bytes:
    value = {"_ansible_module_name": module_name, **arguments}
    return manifest("module_wrapper.ps1", Variables=[{"Name": "complex_args", "Value": value, "Scope": "Global"}])


def said(server: HostView, stdin: bytes, *, powershell: str = "$codeJson") -> tuple[int, str]:
    call = Call("127.0.0.1", "admin", "1", "powershell", stdin, "winrm", powershell=powershell)
    found = server.lab.wait(answer(server.machine, call))
    assert found is not None
    return found


def query(server: HostView, content: bytes) -> Json:
    file = {"src": "/tmp/x", "dest": "Wspcfg.ini", "checksum": hashlib.sha1(content).hexdigest()}
    files = {"_copy_mode": "query", "dest": BIN_FILE.rpartition("\\")[0], "files": [file]}
    return t.cast("Json", json.loads(said(server, module("ansible.windows.win_copy", **files))[1]))


def test_only_a_file_with_another_checksum_is_asked_for(server: HostView) -> None:
    there = server.file(BIN_FILE)
    assert there is not None
    assert query(server, there)["files"] == []
    assert [one["dest"] for one in query(server, there + b"\r\n")["files"]] == ["Wspcfg.ini"]
    server.remove(BIN_FILE)
    assert [one["dest"] for one in query(server, there)["files"]] == ["Wspcfg.ini"]


def test_a_file_is_uploaded_taken_and_cleaned_up(server: HostView) -> None:
    folder = said(server, manifest("powershell_mkdtemp.ps1", Directory="%TEMP%", Name="one"))[1].strip()
    lines = b"\r\n".join(base64.b64encode(part) for part in (b"[STO", b"RE]\r\n"))
    put = manifest("winrm_put_file.ps1", Path=f"{folder}\\source") + SEPARATOR + lines + b"\r\n"
    assert json.loads(said(server, put)[1]) == {"sha1": hashlib.sha1(b"[STORE]\r\n").hexdigest()}
    copy = {"_copy_mode": "single", "src": f"{folder}\\source", "dest": BIN_FILE}
    assert json.loads(said(server, module("ansible.windows.win_copy", **copy))[1])["changed"]
    assert server.file(BIN_FILE) == b"[STORE]\r\n"
    said(
        server,
        b"",
        powershell=f"Set-StrictMode -Version Latest\nRemove-Item '{folder}' -Force -Recurse;\nIf (-not $?) {{}}",
    )
    assert not [path for path in server.files() if path.startswith(folder)]


def test_a_restart_takes_down_what_depends_on_the_service_only_by_force(server: HostView) -> None:
    before = server.process_ids()
    code, text = said(server, module("ansible.windows.win_service", name="MSExchangeIS", state="restarted"))
    assert (code, json.loads(text)["failed"]) == (1, True)
    assert "dependent services" in json.loads(text)["msg"]
    assert server.process_ids() == before
    wanted = module(
        "ansible.windows.win_service", name="MSExchangeIS", state="restarted", force_dependent_services=True
    )
    result = json.loads(said(server, wanted)[1])
    assert (result["changed"], result["state"]) == (True, "running")
    after = server.process_ids()
    assert {name for name in after if after[name] != before[name]} == {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
    assert set(server.services().values()) == {"running"}


def test_check_mode_restarts_nothing(server: HostView) -> None:
    before = server.process_ids()
    wanted = {"name": "MSExchangeIMC", "state": "restarted", "_ansible_check_mode": True}
    assert json.loads(said(server, module("ansible.windows.win_service", **wanted))[1])["changed"]
    assert server.process_ids() == before


@pytest.mark.parametrize(
    "stdin, told",
    [
        (module("ansible.windows.win_ping"), "the lab has no answer to ansible.windows.win_ping"),
        (module("ansible.windows.win_copy", _copy_mode="explode"), "win_copy in mode explode"),
        (module("ansible.windows.win_service", name="MSExchangeIS", state="absent"), "win_service with state absent"),
        (module("ansible.windows.win_service", name="Nobody", state="started"), "service"),
        (manifest("winrm_fetch_file.ps1", Path=BIN_FILE), "the lab has no answer to winrm_fetch_file.ps1"),
    ],
)
def test_what_the_lab_does_not_know_fails_by_name(server: HostView, stdin: bytes, told: str) -> None:
    code, text = said(server, stdin)
    assert (code, json.loads(text)["failed"]) == (1, True)
    assert told in json.loads(text)["msg"]


def test_other_input_is_no_manifest() -> None:
    assert unwrap(b"") is None
    assert unwrap(b'{"script": "x", "request": {}}') is None
    assert unwrap(BOOTSTRAP) is None
