# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's winrm and psrp connections and testinfra's winrm backend, unmodified, against the lab's wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import testinfra

from tests.lab.wire.api import QuotaReached
from tests.unit.lab.wire_support import HOST, PROXY_VARIABLES, USERS, Lab, lab

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - {task}
"""
# Keeps each host's result as a line of JSON. ansible-core renamed the attributes of a result in 2.19.
CALLBACK = """
import json
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "keep"

    def keep(self, result, **dummy):
        host = getattr(result, "host", None) or result._host
        said = getattr(result, "result", None) or result._result
        with open("results.jsonl", "a", encoding="utf-8") as lines:
            lines.write(json.dumps({"host": str(host), "result": dict(said)}) + chr(10))

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = keep
"""


@pytest.fixture
def wire() -> Iterator[Lab]:
    """A server with the limits of Windows."""
    with lab() as running:
        yield running


def winrm_host(wire: Lab, **variables: t.Any) -> dict[str, t.Any]:
    """Inventory variables for Ansible's winrm connection."""
    own = {
        "ansible_connection": "winrm",
        "ansible_host": HOST,
        "ansible_port": wire.http_port,
        "ansible_winrm_scheme": "http",
        "ansible_winrm_transport": "ntlm",
        "ansible_user": "admin",
        "ansible_password": USERS["admin"],
    }
    return own | variables


def psrp_host(wire: Lab, **variables: t.Any) -> dict[str, t.Any]:
    """Inventory variables for Ansible's psrp connection."""
    own = {
        "ansible_connection": "psrp",
        "ansible_host": HOST,
        "ansible_port": wire.http_port,
        "ansible_psrp_protocol": "http",
        "ansible_psrp_auth": "ntlm",
        "ansible_user": "admin",
        "ansible_password": USERS["admin"],
    }
    return own | variables


def play(folder: Path, hosts: dict[str, dict[str, t.Any]], command: str) -> tuple[int, dict[str, dict[str, t.Any]]]:
    """Run ``ansible.builtin.raw`` on all hosts; return what :func:`play_task` returns."""
    return play_task(folder, hosts, {"ansible.builtin.raw": command})


def play_task(
    folder: Path, hosts: dict[str, dict[str, t.Any]], task: dict[str, t.Any]
) -> tuple[int, dict[str, dict[str, t.Any]]]:
    """Run one task on all hosts; return ansible-playbook's exit code and each host's result."""
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (folder / "play.yml").write_text(PLAY.format(task=json.dumps(task)))
    (folder / "ansible.cfg").write_text("[defaults]\nnocows = true\n")
    (folder / "keep.py").write_text(CALLBACK)
    (folder / "results.jsonl").write_text("")
    environment = {name: value for name, value in os.environ.items() if name not in _hidden()}
    environment |= {
        "ANSIBLE_CALLBACK_PLUGINS": str(folder),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", "inventory.json", "play.yml"], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len(lines) == len(hosts), done.stdout + done.stderr
    return done.returncode, {line["host"]: line["result"] for line in lines}


def _hidden() -> set[str]:
    return {*PROXY_VARIABLES, *(name.upper() for name in PROXY_VARIABLES)}


class TestAnsible:
    def test_every_connection_and_login(self, wire: Lab, tmp_path: Path) -> None:
        ca, https = str(wire.server.ca_file), wire.https_port
        tls: dict[str, t.Any] = {
            "ansible_winrm_scheme": "https",
            "ansible_port": https,
            "ansible_winrm_ca_trust_path": ca,
        }
        psrp_tls: dict[str, t.Any] = {
            "ansible_psrp_protocol": "https",
            "ansible_port": https,
            "ansible_psrp_ca_cert": ca,
        }
        hosts = {
            "winrm_ntlm": winrm_host(wire),
            "winrm_credssp": winrm_host(wire, ansible_winrm_transport="credssp"),
            "winrm_https_ntlm": winrm_host(wire, **tls),
            "winrm_https_basic": winrm_host(wire, **tls, ansible_winrm_transport="basic"),
            "psrp_ntlm": psrp_host(wire),
            "psrp_credssp": psrp_host(wire, ansible_psrp_auth="credssp"),
            "psrp_https_negotiate": psrp_host(wire, **psrp_tls, ansible_psrp_auth="negotiate"),
            "psrp_https_basic": psrp_host(wire, **psrp_tls, ansible_psrp_auth="basic"),
        }
        code, results = play(tmp_path, hosts, "whoami")
        said = {name: result["stdout"].strip() for name, result in results.items()}
        assert said == {
            "winrm_ntlm": "admin ntlm winrm",
            "winrm_credssp": "admin credssp winrm",
            "winrm_https_ntlm": "admin ntlm winrm",
            "winrm_https_basic": "admin basic winrm",
            "psrp_ntlm": "admin ntlm psrp",
            "psrp_credssp": "admin credssp psrp",
            "psrp_https_negotiate": "admin ntlm psrp",
            "psrp_https_basic": "admin basic psrp",
        }
        assert code == 0
        assert wire.server.counters[HOST].shells_open == 0

    def test_one_raw_task_costs_eight_requests(self, wire: Lab, tmp_path: Path) -> None:
        assert play(tmp_path, {"one": winrm_host(wire)}, "echo hello")[0] == 0
        counters = wire.server.counters[HOST]
        assert (counters.requests, counters.executions) == (8, 1)
        assert counters.bytes_in < 16_000
        assert wire.handler.calls[0].powershell == "echo hello"
        assert wire.handler.calls[0].codepage == 65001

    def test_exit_code_and_both_streams(self, wire: Lab, tmp_path: Path) -> None:
        hosts = {"winrm": winrm_host(wire), "psrp": psrp_host(wire)}
        code, results = play(tmp_path, hosts, "both")
        assert code == 0
        assert {name: result["stdout"].strip() for name, result in results.items()} == {
            "winrm": "to stdout",
            "psrp": "to stdout",
        }
        assert all("to stderr" in result["stderr"] for result in results.values())
        code, results = play(tmp_path, hosts, "exit 42")
        assert (code, {result["rc"] for result in results.values()}) == (2, {42})

    def test_wrong_password_is_unreachable_and_stops_nobody_else(self, wire: Lab, tmp_path: Path) -> None:
        hosts = {
            "winrm": winrm_host(wire, ansible_password="wrong"),
            "psrp": psrp_host(wire, ansible_password="wrong"),
            "good": winrm_host(wire),
        }
        code, results = play(tmp_path, hosts, "echo hello")
        assert code == 4
        assert {name: result.get("unreachable", False) for name, result in results.items()} == {
            "winrm": True,
            "psrp": True,
            "good": False,
        }
        assert "rejected" in results["winrm"]["msg"]

    def test_a_module_arrives_whole_and_its_answer_is_understood(self, wire: Lab, tmp_path: Path) -> None:
        (tmp_path / "library").mkdir()
        script = "#!powershell\n#AnsibleRequires -CSharpUtil Ansible.Basic\n# " + "padding " * 40_000
        (tmp_path / "library" / "lab_module.ps1").write_text(script)
        hosts = {"winrm": winrm_host(wire), "psrp": psrp_host(wire)}
        code, results = play_task(tmp_path, hosts, {"lab_module": {"key": "v\u00e4lue"}})
        assert code == 2
        assert {result["msg"] for result in results.values()} == {"this lab executes no PowerShell"}
        calls = {call.transport: call for call in wire.handler.calls}
        for call in calls.values():
            assert call.powershell
            assert b"lab_module" in call.stdin
            assert len(call.stdin) > 100_000
        assert len(wire.handler.calls) == 2

    def test_quota_of_shells_names_itself(self, wire: Lab, tmp_path: Path) -> None:
        wire.interceptor.actions["create.before"] = QuotaReached("shells")
        code, results = play(tmp_path, {"winrm": winrm_host(wire), "psrp": psrp_host(wire)}, "echo hello")
        assert code == 4
        assert all("maximum number of 30 concurrent shells" in result["msg"] for result in results.values())


class TestTestinfra:
    def target(self, wire: Lab, *, no_ssl: bool) -> t.Any:
        """A testinfra host over its own winrm backend."""
        port = wire.http_port if no_ssl else wire.https_port
        option = "no_ssl" if no_ssl else "no_verify_ssl"
        return testinfra.get_host(f"winrm://admin:{quote(USERS['admin'])}@{HOST}:{port}?{option}=true")

    @pytest.mark.parametrize("no_ssl", [True, False])
    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_commands(self, wire: Lab, no_ssl: bool) -> None:
        host = self.target(wire, no_ssl=no_ssl)
        assert host.check_output("whoami") == "admin ntlm winrm"
        done = host.run("both")
        assert (done.rc, done.stdout, done.stderr) == (0, "to stdout\r\n", "to stderr\r\n")
        assert host.run("exit 3").rc == 3
        assert wire.server.counters[HOST].shells_open == 0

    def test_line_reaches_cmd_as_it_is_written(self, wire: Lab) -> None:
        self.target(wire, no_ssl=True).run('type "C:\\exchsrvr\\bin\\Wspcfg.ini" | findstr /B [')
        assert wire.handler.calls[0].command == 'type "C:\\exchsrvr\\bin\\Wspcfg.ini" | findstr /B ['
