# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pywinrm, unmodified, against the lab's wire: logins, shells, commands, and what happens when something breaks."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import requests
import winrm
import xmltodict  # type: ignore[import-untyped]
from pypsrp.powershell import RunspacePool
from pypsrp.wsman import WSMan
from requests_credssp.exceptions import (  # type: ignore[import-untyped]
    AuthenticationException,
    NTStatusException,
)
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from tests.lab.wire import wsman
from tests.lab.wire.api import Drop, Fault, NotWindows, QuotaReached, Refuse, WireSettings
from tests.unit.lab.wire_support import DEADLINE_S, HOST, USERS, Lab, lab, raw_request, run


@pytest.fixture
def wire() -> Iterator[Lab]:
    """A server with the limits of Windows."""
    with lab() as running:
        yield running


def start(protocol: Protocol, command: str) -> tuple[str, str]:
    """Open a shell and start a command in it."""
    shell = protocol.open_shell()
    return shell, protocol.run_command(shell, command)


def is_hanging(wire: Lab) -> bool:
    """Wait until a ``hang`` has begun."""
    return wire.handler.hanging.acquire(timeout=DEADLINE_S)


class TestLogin:
    @pytest.mark.parametrize(
        ("transport", "scheme", "proof"),
        [
            ("ntlm", "http", "ntlm"),
            ("ntlm", "https", "ntlm"),
            ("basic", "https", "basic"),
            ("ssl", "https", "basic"),
            ("credssp", "http", "credssp"),
            ("credssp", "https", "credssp"),
        ],
    )
    def test_every_way_in(self, wire: Lab, transport: str, scheme: str, proof: str) -> None:
        assert run(wire.protocol(transport, scheme=scheme), "whoami") == (f"admin {proof} winrm", "", 0)
        assert wire.server.counters[HOST].shells_open == 0

    def test_ntlm_over_http_seals_every_message(self, wire: Lab) -> None:
        protocol = wire.protocol()
        run(protocol, "echo hello")
        assert protocol.transport.encryption is not None

    def test_one_command_costs_eight_requests(self, wire: Lab) -> None:
        run(wire.protocol(), "echo hello")
        counters = wire.server.counters[HOST]
        assert (counters.requests, counters.connections, counters.executions, counters.logins) == (8, 1, 1, 1)
        assert counters.bytes_in < 16_000

    def test_domain_account_in_any_case(self, wire: Lab) -> None:
        protocol = wire.protocol(user="lab\\OPERATOR", password="other")
        assert run(protocol, "whoami")[0] == "LAB\\operator ntlm winrm"

    @pytest.mark.parametrize(("transport", "scheme"), [("ntlm", "http"), ("ntlm", "https"), ("basic", "https")])
    @pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("nobody", "S3cret pass"), ("admin", "other")])
    def test_wrong_password_or_account(self, wire: Lab, transport: str, scheme: str, user: str, password: str) -> None:
        with pytest.raises(InvalidCredentialsError):
            wire.protocol(transport, scheme=scheme, user=user, password=password).open_shell()
        counters = wire.server.counters[HOST]
        assert (counters.refused_logins, counters.logins, counters.shells_opened) == (1, 0, 0)

    @pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("nobody", "S3cret pass")])
    def test_wrong_password_by_credssp(self, wire: Lab, user: str, password: str) -> None:
        with pytest.raises((NTStatusException, AuthenticationException), match=r"0x8009030c|NTStatus in TSRequest"):
            wire.protocol("credssp", user=user, password=password).open_shell()
        assert (wire.server.counters[HOST].logins, wire.server.counters[HOST].shells_opened) == (0, 0)

    def test_basic_over_http_is_refused(self, wire: Lab) -> None:
        with pytest.raises(InvalidCredentialsError):
            wire.protocol("plaintext").open_shell()

    def test_unencrypted_soap_over_http_is_refused(self, wire: Lab) -> None:
        with pytest.raises(WinRMTransportError, match="Code 500"):
            wire.protocol(message_encryption="never").open_shell()
        assert wire.server.counters[HOST].shells_opened == 0

    def test_certificate_is_validated(self, wire: Lab) -> None:
        with lab() as other, pytest.raises(requests.exceptions.SSLError):
            wire.protocol(scheme="https", ca_trust_path=str(other.server.ca_file)).open_shell()

    def test_gate_may_refuse_a_right_password(self, wire: Lab) -> None:
        wire.interceptor.actions["authenticate"] = Refuse()
        with pytest.raises(InvalidCredentialsError):
            wire.protocol().open_shell()

    def test_an_account_that_ntlm_cannot_hold(self) -> None:
        with pytest.raises(ValueError, match="neither name nor password"), lab(users={"admin": "a:b"}):
            pass


class TestCommands:
    def test_output_error_and_exit_code(self, wire: Lab) -> None:
        assert run(wire.protocol(), "both") == ("to stdout\r\n", "to stderr\r\n", 0)
        assert run(wire.protocol(), "exit", "3") == ("", "", 3)
        assert run(wire.protocol(), "exit", "-1073741510")[2] == -1073741510

    def test_arguments_are_joined_by_blanks(self, wire: Lab) -> None:
        run(wire.protocol(), "echo", '"a b"', "c")
        assert wire.handler.calls[0].command == 'echo "a b" c'
        assert wire.handler.calls[0].powershell is None

    def test_encoded_powershell_is_decoded(self, wire: Lab) -> None:
        session = winrm.Session(f"http://{HOST}:{wire.http_port}/wsman", ("admin", USERS["admin"]), transport="ntlm")
        assert session.run_ps("echo 'grün' \u20ac").std_out.decode() == "'grün' \u20ac"
        assert wire.handler.calls[0].powershell == "echo 'grün' \u20ac"
        assert wire.handler.calls[0].command.lower().startswith("powershell")

    def test_standard_input_arrives_in_one_piece(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell = protocol.open_shell(codepage=65001, env_vars={"NAME": "value"})
        command = protocol.run_command(shell, "cat", console_mode_stdin=False)
        payload = bytes(range(256)) * 1500
        for position in range(0, len(payload), 200_000):
            protocol.send_command_input(shell, command, payload[position : position + 200_000])
        assert wire.handler.calls == []
        protocol.send_command_input(shell, command, b"", end=True)
        assert protocol.get_command_output(shell, command)[0] == payload
        call = wire.handler.calls[0]
        assert (call.stdin, call.codepage, call.environment) == (payload, 65001, {"NAME": "value"})
        assert (call.host, call.user, call.shell_id, call.transport) == (HOST, "admin", shell, "winrm")

    def test_input_that_was_not_announced_is_refused(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell, command = start(protocol, "cat")
        with pytest.raises(WSManFaultError, match="WINRS_CONSOLEMODE_STDIN"):
            protocol.send_command_input(shell, command, b"late")

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_large_output_arrives_whole_in_several_answers(self, wire: Lab, scheme: str) -> None:
        before = wire.server.counters[HOST].requests
        out = run(wire.protocol(scheme=scheme), "big", "1000000")[0]
        assert out == "0123456789abcdef" * 62500
        assert wire.server.counters[HOST].requests - before > 12

    def test_large_output_by_credssp(self, wire: Lab) -> None:
        assert len(run(wire.protocol("credssp"), "big", "100000")[0]) == 100000

    def test_several_commands_of_one_shell_run_side_by_side(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell, hanging = start(protocol, "hang")
        assert is_hanging(wire)
        other = protocol.run_command(shell, "echo meanwhile")
        assert protocol.get_command_output(shell, other)[0] == b"meanwhile"
        wire.let_go()
        assert protocol.get_command_output(shell, hanging) == (b"started\r\nreleased\r\n", b"", 7)

    def test_a_mistake_of_the_handler_is_shown(self, wire: Lab) -> None:
        out, err, code = run(wire.protocol(), "raise")
        assert (out, err.strip(), code) == ("", "lab: LookupError: a mistake in the lab", 1)
        assert [type(failure.error) for failure in wire.server.failures] == [LookupError]


class TestWaiting:
    def test_no_output_is_a_timeout_and_the_client_asks_again(self, wire: Lab) -> None:
        protocol = wire.protocol(operation_timeout_sec=1, read_timeout_sec=30)
        shell, command = start(protocol, "hang")
        assert protocol.get_command_output_raw(shell, command)[0] == b"started\r\n"
        with pytest.raises(WinRMOperationTimeoutError):
            protocol.get_command_output_raw(shell, command)
        wire.let_go()
        assert protocol.get_command_output(shell, command) == (b"released\r\n", b"", 7)

    def test_terminate_cancels_the_command(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell, command = start(protocol, "hang")
        assert is_hanging(wire)
        protocol.cleanup_command(shell, command)
        assert wire.handler.cancelled.acquire(timeout=DEADLINE_S)
        assert wire.server.counters[HOST].running == 0
        with pytest.raises(WSManFaultError, match="parameter is incorrect"):
            protocol.get_command_output_raw(shell, command)
        protocol.cleanup_command(shell, command)

    def test_delete_cancels_the_commands_of_the_shell(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell, command = start(protocol, "hang")
        assert is_hanging(wire)
        protocol.close_shell(shell)
        assert wire.handler.cancelled.acquire(timeout=DEADLINE_S)
        with pytest.raises(WSManFaultError) as raised:
            wire.protocol().get_command_output_raw(shell, command)
        assert raised.value.wsman_fault_code == wsman.UNEXPECTED_SELECTORS

    def test_dropped_connection_leaves_the_command_running(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell, command = start(protocol, "hang")
        assert is_hanging(wire)
        wire.interceptor.actions["receive.before"] = Drop()
        with pytest.raises(requests.exceptions.ConnectionError):
            protocol.get_command_output_raw(shell, command)
        wire.interceptor.actions.clear()
        wire.let_go()
        assert wire.protocol().get_command_output(shell, command) == (b"started\r\nreleased\r\n", b"", 7)
        assert wire.handler.cancelled.acquire(blocking=False) is False

    def test_client_that_leaves_while_it_waits_takes_no_output(self, wire: Lab) -> None:
        impatient = wire.protocol(operation_timeout_sec=20, read_timeout_sec=21)
        shell, command = start(impatient, "hang")
        impatient.get_command_output_raw(shell, command)
        impatient.read_timeout_sec = impatient.transport.read_timeout_sec = 1
        with pytest.raises(requests.exceptions.ReadTimeout):
            impatient.get_command_output_raw(shell, command)
        impatient.transport.close_session()
        wire.until(lambda: wire.server.counters[HOST].connections_open == 0, "the server saw the client go")
        wire.let_go()
        wire.until(lambda: wire.server.counters[HOST].running == 0, "the command ended")
        assert wire.protocol().get_command_output(shell, command) == (b"released\r\n", b"", 7)

    def test_idle_shell_goes_and_takes_its_command_along(self) -> None:
        with lab(WireSettings(idle_timeout_s=0.3)) as wire:
            shell, command = start(wire.protocol(), "hang")
            assert wire.handler.cancelled.acquire(timeout=DEADLINE_S)
            wire.until(lambda: wire.server.counters[HOST].shells_open == 0, "the shell was removed")
            with pytest.raises(WSManFaultError) as raised:
                wire.protocol().get_command_output_raw(shell, command)
            assert raised.value.wsman_fault_code == wsman.UNEXPECTED_SELECTORS

    def test_shell_in_use_is_not_idle(self) -> None:
        with lab(WireSettings(idle_timeout_s=0.3)) as wire:
            protocol = wire.protocol(operation_timeout_sec=1, read_timeout_sec=30)
            shell, command = start(protocol, "hang")
            protocol.get_command_output_raw(shell, command)
            with pytest.raises(WinRMOperationTimeoutError):
                protocol.get_command_output_raw(shell, command)
            wire.let_go()
            assert protocol.get_command_output(shell, command)[2] == 7

    def test_client_may_ask_for_a_shorter_idle_timeout(self, wire: Lab) -> None:
        wire.protocol().open_shell(idle_timeout="PT0.2S")
        wire.until(lambda: wire.server.counters[HOST].shells_open == 0, "the shell was removed")

    def test_the_same_receive_again_gets_the_same_answer(self, wire: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        protocol = wire.protocol()
        shell, command = start(protocol, "echo once")
        real, sent = protocol.build_wsman_header, "11111111-2222-3333-4444-555555555555"
        monkeypatch.setattr(protocol, "build_wsman_header", lambda **kwargs: real(**{**kwargs, "message_id": sent}))
        first = protocol.get_command_output_raw(shell, command)
        assert first == (b"once", b"", 0, True)
        assert protocol.get_command_output_raw(shell, command) == first


class TestLimits:
    def test_thirty_shells_for_each_user(self, wire: Lab) -> None:
        protocol = wire.protocol("basic", scheme="https")
        shells = [protocol.open_shell() for dummy in range(30)]
        with pytest.raises(WSManFaultError, match="maximum number of 30 concurrent shells") as raised:
            protocol.open_shell()
        assert raised.value.wsman_fault_code == wsman.QUOTA_MAX_SHELLS
        wire.protocol(user="LAB\\operator").open_shell()
        protocol.close_shell(shells[0], close_session=False)
        protocol.open_shell()

    def test_processes_of_one_shell(self) -> None:
        with lab(WireSettings(processes_per_shell=2)) as wire:
            protocol = wire.protocol()
            shell = protocol.open_shell()
            first = protocol.run_command(shell, "hang")
            protocol.run_command(shell, "hang")
            with pytest.raises(WSManFaultError, match="maximum number of 2 concurrent operations") as raised:
                protocol.run_command(shell, "hang")
            assert raised.value.wmierror_code == wsman.QUOTA_MAX_OPERATIONS
            protocol.cleanup_command(shell, first)
            protocol.run_command(shell, "hang")

    def test_operations_count_until_their_shell_goes(self) -> None:
        with lab(WireSettings(operations_per_user=2)) as wire:
            protocol = wire.protocol()
            shell = protocol.open_shell()
            for dummy in range(2):
                protocol.cleanup_command(shell, protocol.run_command(shell, "echo x"))
            with pytest.raises(WSManFaultError) as raised:
                protocol.run_command(shell, "echo x")
            assert raised.value.wmierror_code == wsman.QUOTA_MAX_OPERATIONS
            protocol.close_shell(shell, close_session=False)
            assert run(protocol, "echo x")[0] == "x"

    def test_a_shell_belongs_to_its_user(self, wire: Lab) -> None:
        shell = wire.protocol().open_shell()
        with pytest.raises(WSManFaultError) as raised:
            wire.protocol(user="LAB\\operator").run_command(shell, "echo x")
        assert raised.value.wsman_fault_code == wsman.UNEXPECTED_SELECTORS

    def test_an_action_that_is_not_served(self, wire: Lab) -> None:
        protocol = wire.protocol()
        header = protocol.build_wsman_header(
            resource_uri="x", action="http://schemas.xmlsoap.org/ws/2004/09/transfer/Put"
        )
        with pytest.raises(WSManFaultError, match="does not support the action"):
            protocol.send_message(xmltodict.unparse({"env:Envelope": {**header, "env:Body": {}}}))


class TestGate:
    def test_is_asked_at_every_point_with_what_is_known(self, wire: Lab) -> None:
        run(wire.protocol(), "echo hello")
        points = [point for point, host, dummy in wire.interceptor.asked if host == HOST]
        operations = [
            f"{name}.{when}"
            for name in ("create", "command", "receive", "signal", "delete")
            for when in ("before", "after")
        ]
        assert points == ["connect", "authenticate", *operations]
        details = {point: detail for point, dummy, detail in wire.interceptor.asked}
        assert details["connect"]["scheme"] == "http"
        assert details["connect"]["peer"].startswith("127.0.0.1:")
        assert (details["create.before"]["user"], details["create.before"]["transport"]) == ("admin", "winrm")
        assert details["receive.before"]["command"] == "echo hello"
        assert details["receive.before"]["shell_id"] == wire.handler.calls[0].shell_id

    @pytest.mark.parametrize(
        "point",
        ["connect", "authenticate", "create.before", "create.after", "command.before", "command.after",
         "receive.before", "receive.after", "signal.before", "signal.after", "delete.before", "delete.after"],
    )  # fmt: skip
    def test_drops_the_connection_at_every_point(self, wire: Lab, point: str) -> None:
        wire.interceptor.actions[point] = Drop()
        with pytest.raises(requests.exceptions.ConnectionError):
            run(wire.protocol(), "echo hello")
        assert len(wire.handler.calls) == (
            0 if point in ("connect", "authenticate") or "create" in point or point == "command.before" else 1
        )

    def test_drops_while_input_is_sent(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell = protocol.open_shell()
        command = protocol.run_command(shell, "cat", console_mode_stdin=False)
        wire.interceptor.actions["send.before"] = Drop()
        with pytest.raises(requests.exceptions.ConnectionError):
            protocol.send_command_input(shell, command, b"x", end=True)
        assert wire.handler.calls == []

    def test_answers_a_fault(self, wire: Lab) -> None:
        wire.interceptor.actions["create.before"] = Fault(5, "Access is denied. ", "w:AccessDenied")
        with pytest.raises(WSManFaultError, match="Access is denied") as raised:
            wire.protocol().open_shell()
        assert (raised.value.wsman_fault_code, raised.value.fault_subcode) == (5, "w:AccessDenied")
        assert wire.server.counters[HOST].faults == 1

    def test_answers_quotas(self, wire: Lab) -> None:
        protocol = wire.protocol()
        wire.interceptor.actions["create.before"] = QuotaReached("shells")
        with pytest.raises(WSManFaultError) as raised:
            protocol.open_shell()
        assert raised.value.wsman_fault_code == wsman.QUOTA_MAX_SHELLS
        wire.interceptor.actions = {"command.before": QuotaReached("processes")}
        with pytest.raises(WSManFaultError) as raised:
            start(protocol, "echo x")
        assert raised.value.wmierror_code == wsman.QUOTA_MAX_OPERATIONS

    def test_host_that_is_no_windows_host(self, wire: Lab) -> None:
        wire.interceptor.actions["connect"] = NotWindows()
        with pytest.raises(WinRMTransportError, match="Code 404"):
            wire.protocol().open_shell()
        wire.interceptor.actions["connect"] = NotWindows(banner=b"SSH-2.0-OpenSSH_9.6\r\n")
        assert raw_request(wire.http_port, b"").startswith(b"SSH-2.0-OpenSSH_9.6\r\n")
        with pytest.raises(requests.exceptions.ConnectionError):
            wire.protocol().open_shell()


class TestHttp:
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"GET /wsman HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            (b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
            (b"POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 401),
            (b"POST /wsman HTTP/1.1\r\nHost: x\r\nAuthorization: Negotiate ###\r\n\r\n", 401),
            (b"POST /wsman HTTP/1.1\r\nHost: x\r\nAuthorization: Digest AAAA\r\n\r\n", 401),
            (b"POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
            (b"POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
            (b"POST /wsman HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            (b"SSH-2.0-client\r\n\r\n", 400),
            (b"x" * 100_000, 400),
        ],
    )
    def test_bad_input_gets_a_status(self, wire: Lab, data: bytes, status: int) -> None:
        assert raw_request(wire.http_port, data).startswith(b"HTTP/1.1 %d " % status)

    def test_an_offer_of_logins_keeps_the_connection(self, wire: Lab) -> None:
        request = b"POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        answers = raw_request(wire.http_port, request * 2)
        assert answers.count(b"HTTP/1.1 401") == 2
        assert answers.count(b"WWW-Authenticate: Negotiate\r\n") == 2
        assert b"Basic" not in answers

    def test_no_envelope_is_a_fault(self, wire: Lab) -> None:
        login = base64.b64encode(f"admin:{USERS['admin']}".encode()).decode()
        answer = requests.post(
            f"https://{HOST}:{wire.https_port}/wsman",
            data=b"<not soap",
            headers={"Authorization": f"Basic {login}"},
            verify=str(wire.server.ca_file),
            timeout=DEADLINE_S,
        )
        assert (answer.status_code, str(wsman.SCHEMA_VALIDATION) in answer.text) == (500, True)

    @pytest.mark.parametrize(
        ("action", "body"),
        [
            ("Create", ""),
            ("Create psrp", "<rsp:Shell/>"),
            ("Create psrp", "<rsp:Shell><p:creationXml>!</p:creationXml></rsp:Shell>"),
            ("Command", ""),
            ("Command psrp", "<rsp:CommandLine/>"),
            ("Command psrp", "<rsp:CommandLine CommandId='x'><rsp:Arguments>AAAA</rsp:Arguments></rsp:CommandLine>"),
            ("Send", ""),
            ("Send", "<rsp:Send><rsp:Stream CommandId='x'>AAAA</rsp:Stream></rsp:Send>"),
            ("Receive", ""),
            ("Receive", "<rsp:Receive><rsp:DesiredStream/></rsp:Receive>"),
            ("Receive psrp", "<rsp:Receive><rsp:DesiredStream CommandId='x'/></rsp:Receive>"),
        ],
    )
    def test_incomplete_bodies_are_faults_and_no_mistake_of_the_lab(self, wire: Lab, action: str, body: str) -> None:
        name, psrp = action.split()[0], "psrp" in action
        answer = self.post(
            wire, name, body, psrp=psrp, shell=self.new_shell(wire, psrp=psrp) if name != "Create" else ""
        )
        assert (answer.status_code, "Fault>" in answer.text) == (500, True)
        assert wire.server.failures == []

    @pytest.mark.parametrize("name", ["Signal", "Delete", "Get"])
    def test_operations_that_need_no_body(self, wire: Lab, name: str) -> None:
        shell = self.new_shell(wire, psrp=False)
        assert self.post(wire, name, "", shell=shell).status_code == 200
        assert self.post(wire, name, "", shell="00000000-0000-0000-0000-000000000000").status_code == 500

    def test_one_id_for_one_shell(self, wire: Lab) -> None:
        body = "<rsp:Shell ShellId='11111111-2222-3333-4444-555555555555'/>"
        assert self.post(wire, "Create", body).status_code == 200
        again = self.post(wire, "Create", body)
        assert (again.status_code, str(wsman.TARGET_ALREADY_EXISTS) in again.text) == (500, True)

    def test_size_that_is_no_number(self, wire: Lab) -> None:
        header = "<w:MaxEnvelopeSize>large</w:MaxEnvelopeSize>"
        answer = self.post(wire, "Create", "<rsp:Shell/>", header=header)
        assert (answer.status_code, "MaxEnvelopeSize is no number" in answer.text) == (500, True)

    def new_shell(self, wire: Lab, *, psrp: bool) -> str:
        """Open a shell and return its id."""
        if not psrp:
            return str(wire.protocol("ssl", scheme="https").open_shell())
        pool = RunspacePool(
            WSMan(HOST, port=wire.https_port, auth="basic", username="admin", password=USERS["admin"],
                  cert_validation=str(wire.server.ca_file), no_proxy=True)
        )  # fmt: skip
        pool.open()
        return str(pool.id)

    def post(
        self, wire: Lab, name: str, body: str, *, psrp: bool = False, shell: str = "", header: str = ""
    ) -> requests.Response:
        """Send one envelope by Basic over HTTPS."""
        transfer = name in ("Create", "Delete", "Get")
        action = f"{wsman.TRANSFER if transfer else wsman.SHELL}/{name}"
        resource = f"{wsman.POWERSHELL_RESOURCE}Microsoft.PowerShell" if psrp else f"{wsman.SHELL}/cmd"
        selector = f'<w:SelectorSet><w:Selector Name="ShellId">{shell}</w:Selector></w:SelectorSet>' if shell else ""
        envelope = (
            f'<s:Envelope xmlns:s="{wsman.SOAP}" xmlns:a="{wsman.ADDRESSING}" xmlns:w="{wsman.WSMAN}"'
            f' xmlns:rsp="{wsman.SHELL}" xmlns:p="{wsman.POWERSHELL_XML}"><s:Header><a:Action>{action}</a:Action>'
            f"<a:MessageID>uuid:{name}</a:MessageID><w:ResourceURI>{resource}</w:ResourceURI>{selector}{header}"
            f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        return requests.post(
            f"https://{HOST}:{wire.https_port}/wsman", envelope.encode(), auth=("admin", USERS["admin"]),
            verify=str(wire.server.ca_file), timeout=DEADLINE_S,
        )  # fmt: skip

    def test_replayed_ciphertext_gets_401_and_then_400(self, wire: Lab) -> None:
        protocol = wire.protocol()
        shell = protocol.open_shell()
        session = protocol.transport.session
        assert session is not None
        statuses: list[int] = []
        session.hooks["response"].append(lambda response, **dummy: statuses.append(response.status_code))
        session.close()  # the connection breaks; pywinrm does not know
        with pytest.raises(WinRMTransportError, match="Code 400"):
            protocol.run_command(shell, "echo x")
        assert statuses == [400]
        assert wire.handler.calls == []
