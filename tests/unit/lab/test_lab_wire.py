# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target script's operations over the real wire, and faults that only the wire can show."""

from __future__ import annotations

import socket
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import winrm.exceptions
from winrm.protocol import Protocol

from tests.conftest import ROOT
from tests.lab.api import Lab
from tests.lab.fleet import BIN_FILE, MACHINES, WINRM_PORT, free_net
from tests.lab.target.script import answer_in
from tests.unit.lab.lab_support import Json, apply, change, encoded, inspect, inspect_file, restart, status

LOADER = ROOT / "plugins" / "plugin_utils" / "target" / "loader.ps1"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("demo", speed=1000) as lab:
        yield lab
        assert [failure.error for failure in lab.mistakes] == []


def client(lab: Lab, host: str, **values: t.Any) -> Protocol:
    view = lab.host(host)
    endpoint = lab.world.wire.endpoints[view.machine.address]
    return Protocol(
        f"http://{endpoint.address}:{endpoint.http_port}/wsman",
        transport="ntlm",
        username=lab.fleet.username,
        password=lab.fleet.password,
        **values,
    )


def script_for(request: Json) -> str:
    from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script

    return script.script_for(request)


def lines(text: str, request: Json) -> str:
    from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script

    return script.lines(text, request, "0a1b")


def execute(connection: Protocol, command: str, stdin: bytes = b"") -> tuple[str, str, int]:
    """One command in a shell of its own: standard output, standard error, exit code."""
    shell = connection.open_shell(codepage=65001)
    number = connection.run_command(shell, command, console_mode_stdin=not stdin)
    if stdin:
        connection.send_command_input(shell, number, stdin, end=True)
    out, err, code = connection.get_command_output(shell, number)
    connection.cleanup_command(shell, number)
    connection.close_shell(shell)
    return out.decode(), err.decode(), code


def powershell(text: str) -> str:
    import base64

    return f"powershell -NoProfile -EncodedCommand {base64.b64encode(text.encode('utf-16-le')).decode()}"


def operation(connection: Protocol, request: Json, *, script: str | None = None) -> Json:
    """Send a request as the collection does."""
    stdin = lines(script_for(request) if script is None else script, request)
    out, err, code = execute(connection, powershell(LOADER.read_text()), stdin.encode())
    assert (code, err) == (0, ""), err
    return t.cast(Json, answer_in(out))


def credential(lab: Lab) -> Json:
    return {"username": lab.fleet.username, "password": lab.fleet.password}


def test_direct_and_through_the_management_host(lab: Lab) -> None:
    request = inspect(files=[inspect_file(path=BIN_FILE)])
    direct = operation(client(lab, "EX4"), request)
    assert direct["machine"]["name"] == "EX4"
    far = {**request, "computer": "EX5", "credential": credential(lab)}
    remote = operation(client(lab, "MGMT1"), far)
    assert (remote["machine"]["name"], remote["machine"]["system_root"]) == ("MGMT1", "C:\\WINNT")
    assert remote["files"][0]["exists"]
    assert operation(client(lab, "MGMT1"), {**far, "credential": None})["error"]["code"] == "second_hop_denied"


def test_a_restart_goes_on_without_its_connection_and_its_shell(lab: Lab) -> None:
    lab.inject("drop_here", at="worker.stopped", on="EX4", at_service="MSExchangeIS")
    with pytest.raises((requests.ConnectionError, winrm.exceptions.WinRMTransportError)):
        operation(client(lab, "EX4"), restart("MSExchangeIS", wait=600))
    answer = operation(client(lab, "EX4"), status("00000001-aaaa", wait=600))
    assert (answer["outcome"], answer["down"]) == ("restarted", [])


@pytest.mark.parametrize("point", ["inspect.begin", "apply.file1.after", "restart.checked"])
def test_the_connection_can_be_dropped_inside_any_operation(lab: Lab, point: str) -> None:
    number = lab.inject("drop_here", at=point, on="EX4")
    requests_ = {
        "inspect": inspect(),
        "apply": apply(change(content=encoded("[STORE]\r\n"))),
        "restart": restart("MSExchangeIS", wait=600),
    }
    with pytest.raises((requests.ConnectionError, winrm.exceptions.WinRMTransportError)):
        operation(client(lab, "EX4"), requests_[point.partition(".")[0]])
    assert lab.hits(number) == 1


def test_an_answer_that_is_lost_was_an_operation_that_was_done(lab: Lab) -> None:
    lab.inject("drop", "EX4", point="receive.after")
    with pytest.raises((requests.ConnectionError, winrm.exceptions.WinRMTransportError)):
        operation(client(lab, "EX4"), apply(change(content=encoded("[STORE]\r\n"))))
    assert lab.host("EX4").file(BIN_FILE) == b"[STORE]\r\n"


def test_an_operation_can_be_held_at_a_point(lab: Lab) -> None:
    held = lab.pause("EX4", "worker.stopped", service="MSExchangeIS")
    answer = operation(client(lab, "EX4"), restart("MSExchangeIS", wait=0))
    assert answer["done"] is False
    held.reached()
    assert lab.host("EX4").service("MSExchangeIS") == "stopped"
    held.release()
    assert operation(client(lab, "EX4"), status("00000001-aaaa", wait=600))["outcome"] == "restarted"


def test_a_management_host_that_reboots_takes_its_workers_with_it(lab: Lab) -> None:
    lab.inject("reboot", "MGMT1", at="worker.stopped", on="EX1", at_service="MSExchangeIS", seconds=30)
    values = {"computer": "EX1", "credential": credential(lab)}
    with pytest.raises((requests.ConnectionError, winrm.exceptions.WinRMTransportError)):
        operation(client(lab, "MGMT1"), {**restart("MSExchangeIS", wait=600), **values})
    view = lab.host("EX1")
    assert view.service("MSExchangeIS") == "stopped"
    lab.wait(until_up(lab, "MGMT1"))
    again = {**restart("MSExchangeIS", run="00000002-bbbb", wait=600), **values}
    answer = operation(client(lab, "MGMT1"), again)
    assert set(answer["finished"]) == {"MSExchangeIS", "MSExchangeIMC", "MSExchangeES"}
    assert view.service("MSExchangeIMC") == "running"


async def until_up(lab: Lab, name: str) -> None:
    machine = lab.world.machine(name)
    while not machine.up:
        await machine.clock.sleep(1)


def test_only_the_repositorys_script_is_answered(lab: Lab) -> None:
    request = inspect()
    stdin = lines(script_for(request) + "\n# more", request).encode()
    command = powershell(LOADER.read_text())
    out, err, code = execute(client(lab, "EX4"), command, stdin)
    assert (out, code) == ("", 1)
    assert "is not recognized as an internal or external command" in err
    out, err, code = execute(client(lab, "EX4"), powershell("Get-Service MSExchangeIS | Stop-Service"))
    assert (out, code) == ("", 1)


def test_lines_of_cmd(lab: Lab) -> None:
    connection = client(lab, "EX4")
    assert execute(connection, "hostname")[0] == "EX4\r\n"
    lab.host("EX4").write(BIN_FILE, "[STORE]\r\n")
    assert execute(connection, f"type {BIN_FILE}")[0] == "[STORE]\r\n"
    assert "Wspcfg.ini" in execute(connection, "dir /b C:\\exchsrvr\\bin")[0].split()
    assert "STATE              : 4  RUNNING" in execute(connection, "sc query MSExchangeIS")[0]
    assert "DEPENDENCIES       : MSExchangeDS" in execute(connection, "sc qc MSExchangeIS")[0]
    assert execute(connection, "sc query nosuch")[2] == 1060
    assert "SERVICE_NAME: MSExchangeIS\r\n" in execute(connection, "sc query")[0]
    assert all(execute(connection, line)[2] == 1 for line in ("ver", "date /t", "dir", "sc stop MSExchangeIS"))
    assert "Microsoft Exchange Information Store" in execute(connection, "net start")[0]
    assert "0.0.0.0:110" in execute(connection, "netstat -an")[0]
    out, err, code = execute(connection, "format c:")
    assert (out, code) == ("", 1)
    assert err.startswith("'format' is not recognized as an internal or external command,\r\n")


@pytest.mark.parametrize(
    ("fault", "values", "error"),
    [
        ("refuse_login", {}, winrm.exceptions.InvalidCredentialsError),
        ("not_windows", {}, winrm.exceptions.WinRMTransportError),
        ("not_windows", {"banner": "SSH-2.0-OpenSSH_9.2"}, requests.ConnectionError),
        ("power_off", {}, requests.ConnectionError),
        ("drop", {"point": "command.before"}, requests.ConnectionError),
        ("quota", {"of": "shells"}, winrm.exceptions.WinRMError),
    ],
)
def test_faults_of_the_wire(lab: Lab, fault: str, values: Json, error: type[Exception]) -> None:
    lab.inject(fault, "EX4", **values)
    with pytest.raises(error):
        operation(client(lab, "EX4"), inspect())
    lab.clear()
    assert "error" not in operation(client(lab, "EX4"), inspect())


def test_answers_of_machines_that_misbehave(lab: Lab) -> None:
    request = inspect()
    lab.inject("old_powershell", "EX4", version="2.0")
    answer = operation(client(lab, "EX4"), request)
    assert (answer["error"]["code"], answer["error"]["detail"]["found"]) == ("powershell_too_old", "2.0")
    lab.clear()
    lab.inject("noise", "EX4", before="Welcome!")
    assert operation(client(lab, "EX4"), request)["op"] == "inspect"
    lab.inject("silent", "EX4")
    command = powershell(LOADER.read_text())
    stdin = lines(script_for(request), request).encode()
    assert execute(client(lab, "EX4"), command, stdin) == ("", "", 0)
    lab.inject("silent", "EX4", said="Welcome!")
    assert execute(client(lab, "EX4"), command, stdin) == ("Welcome!\r\n", "", 0)
    lab.inject("constrained", "EX4")
    out, err, code = execute(client(lab, "EX4"), command, stdin)
    assert (out, "Language" in "".join(err.split()), code) == ("", True, 1)
    lab.inject("no_powershell", "EX4")
    out, err, code = execute(client(lab, "EX4"), command, stdin)
    assert (out, err.startswith("'powershell' is not recognized"), code) == ("", True, 1)
    lab.clear()
    assert operation(client(lab, "EX4"), request)["op"] == "inspect"


@pytest.mark.parametrize(("fault", "code"), [("no_administrator", 5), ("no_endpoint", 2150858811)])
def test_shells_that_are_refused_with_a_code(lab: Lab, fault: str, code: int) -> None:
    lab.inject(fault, "EX4")
    with pytest.raises(winrm.exceptions.WSManFaultError) as caught:
        client(lab, "EX4").open_shell()
    assert (caught.value.code, caught.value.wsman_fault_code) == (500, code)


def test_the_inventory_names_every_host(lab: Lab) -> None:
    import yaml

    data = yaml.safe_load(Path(lab.inventory).read_text())
    hosts = data["all"]["children"]["exchange"]["hosts"]
    assert list(hosts) == [f"ex{number}" for number in range(1, 8)]
    through = [name for name, values in hosts.items() if values.get("publish_computer") == name.upper()]
    assert len(through) >= 4
    assert all(values["publish_listeners"] for values in hosts.values())


class Stubborn:
    """A program that cannot be ended, as a mistake of the lab would look."""

    def begin(self) -> None:
        """Nothing is read."""

    def ready(self) -> bool:
        return True

    def end(self, *, graceful: bool) -> None:
        raise RuntimeError("does not end")


def test_what_goes_wrong_while_a_lab_stops_leaves_nothing_listening() -> None:
    with pytest.raises(RuntimeError, match="does not end"), Lab("demo") as lab:
        machine = next(machine for machine in lab.world.network if machine.services.find("MSExchangeIS"))
        machine.services.open("MSExchangeIS").program = Stubborn()
        bound = list(lab.world.wire.endpoints.values())
    for endpoint in bound:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((endpoint.address, endpoint.http_port))


@pytest.mark.parametrize("kind", MACHINES)
def test_a_net_in_which_somebody_listens_is_not_free(kind: int) -> None:
    net, reservation = free_net()
    reservation.close()
    with socket.create_server((f"{net}.{kind}.1", WINRM_PORT)):
        other, reservation = free_net()
        reservation.close()
    assert other != net
