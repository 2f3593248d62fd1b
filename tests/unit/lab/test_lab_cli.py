# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line, its fleets and its table of faults."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.lab.api import Lab
from tests.lab.cli import runs
from tests.lab.faults import FAULTS, FaultError
from tests.lab.fleet import FleetError, demo, from_data, generate, load, to_data
from tests.lab.machines.errors import WindowsFailure


def lab_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.lab", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_up_status_inject_clear_down(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    up = lab_command("up", "--background", "--dir", str(deep), "--speed", "100")
    try:
        assert up.returncode == 0, up.stderr
        assert "no PowerShell" in up.stdout
        pid = json.loads((deep / "lab.json").read_text())["pid"]
        assert lab_command("up", "--dir", str(deep)).returncode == 1
        inventory = yaml.safe_load((deep / "inventory.yml").read_text())
        assert len(inventory["all"]["children"]["exchange"]["hosts"]) == 7
        injected = lab_command("inject", "lock_file", "EX5", "mode=none", "--dir", str(deep))
        assert injected.stdout == "fault 1: lock_file\n", injected.stderr
        refused = lab_command("inject", "lock_file", "EX99", "--dir", str(deep))
        assert (refused.returncode, "there is no machine EX99" in refused.stderr) == (1, True)
        taken = lab_command("inject", "take_port", "address=PROXY2", "port=119", "--dir", str(deep))
        assert taken.stdout == "fault 2: take_port\n", taken.stderr
        wrong = lab_command("inject", "take_port", "address=PROXY2", "port=99999", "--dir", str(deep))
        assert wrong.returncode == 1 and wrong.stderr.startswith("lab: "), wrong.stderr
        shown = lab_command("status", "--dir", str(deep))
        assert "fault 1: lock_file EX5" in shown.stdout
        assert "EX5:MSExchangeIS" in shown.stdout
        assert lab_command("clear", "--dir", str(deep)).stdout == "2 faults cleared\n"
    finally:
        down = lab_command("down", "--dir", str(deep))
    assert down.returncode == 0, down.stderr
    assert lab_command("status", "--dir", str(deep)).returncode == 1
    assert not runs(pid)


def test_a_lab_that_has_a_time_ends_by_itself(tmp_path: Path) -> None:
    up = lab_command("up", "--dir", str(tmp_path), "--fleet", "1", "--hours", "0.0001")
    assert up.returncode == 0, up.stderr
    assert "1 Exchange server" in up.stdout
    assert not (tmp_path / "lab.sock").exists()


def test_hundreds_of_hosts_fit_into_little_memory(tmp_path: Path) -> None:
    up = lab_command("up", "--background", "--fleet", "300", "--dir", str(tmp_path))
    try:
        assert up.returncode == 0, up.stderr
        assert "300 Exchange servers" in up.stdout
        pid = json.loads((tmp_path / "lab.json").read_text())["pid"]
        highest = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        assert highest and int(highest[1]) < 300 * 1024
    finally:
        lab_command("down", "--dir", str(tmp_path))


def test_the_list_of_faults_is_complete() -> None:
    listed = lab_command("inject", "--list").stdout
    assert all(f"{fault.usage()}\n    {fault.description}" in listed for fault in FAULTS.values())
    assert all(fault.description.endswith(".") and "\n" not in fault.description for fault in FAULTS.values())
    assert "apply.compared" in listed
    assert "command.before" in listed


# Arguments with which a fault can be injected into the demo fleet at once.
ARGUMENTS = {
    "service": {"name": "MSExchangeIS", "stop": "hang"},
    "stop_service": {"name": "MSExchangeES"},
    "start_service": {"name": "MSExchangeES"},
    "crash_service": {"name": "MSExchangeIS"},
    "end_hang": {"name": "MSExchangeIS"},
    "start_type": {"name": "MSExchangeIS"},
    "take_port": {"address": "PROXY2", "port": 119},
    "proxy": {"name": "PROXY2"},
    "slow_greeting": {"protocol": "pop3"},
    "wrong_greeting": {"protocol": "pop3"},
    "bind_fails": {"protocol": "pop3"},
}
ONLY_AT_A_POINT = {"cut_worker"}
# EX5 has the file that faults of files are about; these faults are about a machine's own WinRM.
ON_THE_WIRE = {"drop", "delay", "refuse_login", "not_windows", "quota", "no_administrator", "no_endpoint"}


@pytest.fixture(scope="module")
def faulty() -> object:
    with Lab("demo", speed=1000) as lab:
        yield lab


@pytest.mark.parametrize("name", sorted(set(FAULTS) - ONLY_AT_A_POINT))
def test_every_fault_can_be_injected_and_cleared(faulty: Lab, name: str) -> None:
    arguments = dict(ARGUMENTS.get(name, {}))
    if name == "take_port":
        arguments["address"] = faulty.world.proxies["PROXY2"].addresses[0]
    host = None if name in ("take_port", "proxy") else "EX4" if name in ON_THE_WIRE else "EX5"
    if name == "age_journal":
        faulty.host("EX5").set_registry(
            "SOFTWARE\\msexchange.winsock_proxy", "journal", '{"version": 1, "began": 9e9, "updated": 9e9}'
        )
    if name == "start_service":
        faulty.inject("stop_service", "EX5", name="MSExchangeES")
        faulty.host("EX5").until_service("MSExchangeES", "stopped")
    faulty.inject(name, host, **arguments)
    faulty.clear()
    assert faulty.status()["faults"] == []
    faulty.host("EX5").until_service("MSExchangeES", "running" if name != "stop_service" else "stopped")
    if name in ("stop_service", "crash_service", "end_hang"):
        missing = "MSExchangeES" if name == "stop_service" else "MSExchangeIS"
        faulty.call(lambda: faulty.host("EX5").machine.services.start(missing))
        faulty.host("EX5").until_service(missing, "running")
    if name == "delete_file":
        faulty.host("EX5").write("C:\\exchsrvr\\bin\\Wspcfg.ini", "[STORE]\r\n")


@pytest.mark.parametrize(
    ("fault", "host", "values"),
    [
        ("nosuch", "EX1", {}),
        ("lock_file", None, {}),
        ("lock_file", "EX1", {"nosuch": 1}),
        ("drop", "EX1", {}),
        ("drop", "EX4", {"point": "nowhere"}),
        ("proxy", None, {"name": "PROXY1", "condition": "sideways"}),
        ("read_only", "EX1", {}),
    ],
)
def test_a_fault_that_cannot_be_is_refused(faulty: Lab, fault: str, host: str | None, values: dict[str, str]) -> None:
    with pytest.raises((FaultError, WindowsFailure)):
        faulty.inject(fault, host, **values)
    with pytest.raises(FaultError):
        faulty.inject("lock_file", "EX1", at="apply.nowhere")


def test_a_fleet_survives_being_written_down(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_data(demo())))))
    assert to_data(load(str(path))) == to_data(demo())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"hosts": [{"name": "A"}]}, "either address"),
        ({"hosts": [{"name": "A", "via": "M"}]}, "no management host M"),
        ({"hosts": [{"name": "A", "address": "127.0.0.9", "proxy": "P"}]}, "no proxy P"),
        ({"hosts": [{"name": "A", "colour": "red"}]}, "unknown keys"),
        ({"hosts": [{}]}, "missing"),
    ],
)
def test_a_fleet_that_makes_no_sense_is_refused(data: dict[str, object], words: str) -> None:
    with pytest.raises(FleetError, match=words):
        from_data(data)


def test_generated_hosts_have_addresses_of_their_own() -> None:
    fleet = generate(600)
    assert len({host.address for host in fleet.hosts}) == 600
    assert len({address for proxy in fleet.proxies for address in proxy.addresses}) == 600
    with pytest.raises(FleetError):
        load("0")
