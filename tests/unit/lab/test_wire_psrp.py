# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pypsrp, unmodified, against the lab's wire: runspace pools and pipelines."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

import pytest
import requests
from psrpcore.types import PSObject
from pypsrp.client import Client
from pypsrp.complex_objects import PSInvocationState, RunspacePoolState
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.host import PSHost, PSHostUserInterface
from pypsrp.powershell import PowerShell, RunspacePool
from pypsrp.shell import Process, WinRS
from pypsrp.wsman import WSMan

from tests.lab.wire import wsman
from tests.lab.wire.api import Drop, WireSettings
from tests.lab.wire.psrp import as_text
from tests.unit.lab.wire_support import DEADLINE_S, HOST, USERS, Lab, lab


@pytest.fixture
def wire() -> Iterator[Lab]:
    """A server with the limits of Windows."""
    with lab() as running:
        yield running


def connect(wire: Lab, *, ssl: bool = False, auth: str = "ntlm", **options: t.Any) -> WSMan:
    """Make a pypsrp connection to the host."""
    return WSMan(
        HOST,
        port=wire.https_port if ssl else wire.http_port,
        ssl=ssl,
        auth=auth,
        username="admin",
        password=options.pop("password", USERS["admin"]),
        cert_validation=str(wire.server.ca_file) if ssl else True,
        no_proxy=True,
        **options,
    )


def new_host() -> PSHost:
    """A client's host object, which learns the exit code."""
    return PSHost(None, None, False, "test", None, PSHostUserInterface(), None)


def pipeline(pool: RunspacePool, script: str) -> PowerShell:
    """Make a pipeline of one script."""
    return PowerShell(pool).add_script(script)


class TestPipelines:
    @pytest.mark.parametrize(
        ("ssl", "auth", "proof"),
        [
            (False, "ntlm", "ntlm"),
            (False, "negotiate", "ntlm"),
            (False, "credssp", "credssp"),
            (True, "negotiate", "ntlm"),
            (True, "basic", "basic"),
            (True, "credssp", "credssp"),
        ],
    )
    def test_every_way_in(self, wire: Lab, ssl: bool, auth: str, proof: str) -> None:
        with RunspacePool(connect(wire, ssl=ssl, auth=auth)) as pool:
            assert pipeline(pool, "whoami").invoke() == [f"admin {proof} psrp"]
        assert wire.server.counters[HOST].shells_open == 0

    def test_wrong_password(self, wire: Lab) -> None:
        with pytest.raises(AuthenticationError):
            RunspacePool(connect(wire, password="wrong")).open()

    def test_output_is_one_string_a_line_and_errors_are_records(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            shell = pipeline(pool, "both")
            assert shell.invoke() == ["to stdout"]
            assert [(str(record), record.fq_error) for record in shell.streams.error] == [
                ("to stderr", "NativeCommandError")
            ]
            assert pipeline(pool, "echo a\r\nb\nc").invoke() == ["a", "b", "c"]
            assert shell.state == PSInvocationState.COMPLETED

    def test_exit_code_reaches_the_host(self, wire: Lab) -> None:
        with RunspacePool(connect(wire), host=new_host()) as pool:
            pipeline(pool, "exit 5").invoke()
            assert pool.host.rc == 5
        with RunspacePool(connect(wire), host=new_host()) as pool:
            pipeline(pool, "exit 0").invoke()
            assert pool.host.rc is None

    def test_input_lines_become_standard_input(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            assert pipeline(pool, "cat").invoke(["one", "zwei \u20ac"]) == ["one", "zwei \u20ac"]
        assert wire.handler.calls[0].stdin == "one\nzwei \u20ac".encode()
        assert wire.handler.calls[0].powershell == wire.handler.calls[0].command == "cat"

    def test_bytes_are_no_text(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            assert pipeline(pool, "cat").invoke(b"one") == ["System.Byte[]"]
        assert as_text(PSObject()) == str(PSObject())

    @pytest.mark.parametrize(("ssl", "auth"), [(False, "ntlm"), (False, "credssp"), (True, "ntlm")])
    def test_large_input_and_output(self, wire: Lab, ssl: bool, auth: str) -> None:
        text = "0123456789abcdef" * 40_000
        with RunspacePool(connect(wire, ssl=ssl, auth=auth)) as pool:
            assert pipeline(pool, "cat").invoke([text]) == [text]
            assert "".join(pipeline(pool, "big 600000").invoke()) == "0123456789abcdef" * 37_500

    def test_cmdlets_and_parameters_are_rendered(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            shell = PowerShell(pool).add_cmdlet("echo").add_parameter("Path", "C:\\x").add_argument("y")
            assert shell.add_cmdlet("Out-String").invoke() == ["-Path 'C:\\x' 'y' | Out-String"]

    def test_several_pipelines_of_one_pool(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            assert [pipeline(pool, f"echo {n}").invoke() for n in range(5)] == [[str(n)] for n in range(5)]
        assert wire.server.counters[HOST].shells_opened == 1
        assert len({call.shell_id for call in wire.handler.calls}) == 1

    def test_a_pool_answers_for_itself(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            assert pool.get_available_runspaces() == 1
            pool.reset_runspace_state()
            pool.exchange_keys()
            assert pool.is_alive()
        assert pool.state == RunspacePoolState.CLOSED

    @pytest.mark.parametrize("data", [b"x", bytes(40), b"\0" * 16 + b"\3\0\0\0\5hello"])
    def test_bytes_that_are_no_psrp_are_a_fault(self, wire: Lab, data: bytes) -> None:
        with RunspacePool(connect(wire)) as pool:
            with pytest.raises(WSManFaultError) as raised:
                pool.shell.send("stdin", data)
            assert raised.value.code == wsman.SCHEMA_VALIDATION
            assert wire.server.failures == []

    def test_client_of_pypsrp_runs_powershell_and_cmd(self, wire: Lab) -> None:
        client = Client(HOST, port=wire.http_port, ssl=False, username="admin", password=USERS["admin"], auth="ntlm")
        with client:
            assert client.execute_cmd("echo from cmd")[:3:2] == ("from cmd", 0)
            assert client.execute_cmd("exit 9")[2] == 9


class TestStopping:
    def test_stop_cancels_the_pipeline(self, wire: Lab) -> None:
        with RunspacePool(connect(wire)) as pool:
            shell = pipeline(pool, "hang")
            shell.begin_invoke()
            assert wire.handler.hanging.acquire(timeout=DEADLINE_S)
            shell.stop()
            assert wire.handler.cancelled.acquire(timeout=DEADLINE_S)
            assert pipeline(pool, "echo after").invoke() == ["after"]

    def test_closing_the_pool_cancels_its_pipelines(self, wire: Lab) -> None:
        pool = RunspacePool(connect(wire))
        pool.open()
        pipeline(pool, "hang").begin_invoke()
        assert wire.handler.hanging.acquire(timeout=DEADLINE_S)
        pool.close()
        assert wire.handler.cancelled.acquire(timeout=DEADLINE_S)
        assert wire.server.counters[HOST].running == 0

    def test_slow_pipeline_times_out_and_is_asked_again(self, wire: Lab) -> None:
        with RunspacePool(connect(wire, operation_timeout=1)) as pool:
            shell = pipeline(pool, "hang")
            shell.begin_invoke()
            shell.poll_invoke()
            assert shell.output == ["started"]
            shell.poll_invoke()
            assert (shell.output, shell.state) == (["started"], PSInvocationState.RUNNING)
            wire.let_go()
            assert shell.end_invoke() == ["started", "released"]

    def test_dropped_connection_leaves_the_pipeline_running(self, wire: Lab) -> None:
        pool = RunspacePool(connect(wire, ssl=True, auth="basic"))
        pool.open()
        shell = pipeline(pool, "hang")
        shell.begin_invoke()
        wire.interceptor.actions["receive.before"] = Drop()
        with pytest.raises(requests.exceptions.ConnectionError):
            shell.poll_invoke()
        wire.interceptor.actions.clear()
        wire.let_go()
        assert shell.end_invoke() == ["started", "released"]
        pool.close()

    def test_idle_pool_goes(self) -> None:
        with lab(WireSettings(idle_timeout_s=0.3)) as wire:
            pool = RunspacePool(connect(wire))
            pool.open()
            wire.until(lambda: wire.server.counters[HOST].shells_open == 0, "the pool was removed")
            assert not pool.is_alive()


class TestLimits:
    def test_pools_count_as_shells(self) -> None:
        with lab(WireSettings(shells_per_user=2)) as wire:
            pools = [RunspacePool(connect(wire)) for dummy in range(3)]
            pools[0].open()
            pools[1].open()
            with pytest.raises(WSManFaultError, match="maximum number of 2 concurrent shells") as raised:
                pools[2].open()
            assert raised.value.code == wsman.QUOTA_MAX_SHELLS
            pools[0].close()

    def test_pipelines_count_as_processes(self) -> None:
        with lab(WireSettings(processes_per_shell=1)) as wire, RunspacePool(connect(wire)) as pool:
            pipeline(pool, "hang").begin_invoke()
            with pytest.raises(WSManFaultError, match="maximum number of 1 concurrent operations"):
                pipeline(pool, "hang").begin_invoke()


def test_winrs_of_pypsrp(wire: Lab) -> None:
    with WinRS(connect(wire)) as shell:
        process = Process(shell, "echo", ["two", "words"])
        process.invoke()
        assert (process.stdout, process.rc) == (b"two words", 0)
