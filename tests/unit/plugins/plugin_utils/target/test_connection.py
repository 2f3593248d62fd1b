# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible side of a session, over connections that are stand-ins written here."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from pypsrp import exceptions as psrp_exceptions
from winrm import exceptions as winrm_exceptions

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Refused
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.connection import (
    AnsibleTransport,
    connection_detail,
    open_session,
    target_problems,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.session import ConnectionLost

OPTIONS: dict[str, t.Any] = {
    "computer": None,
    "computer_username": None,
    "computer_password": None,
    "target_deadline": 5,
    "lock_wait": 0,
}


class Shell:
    _IS_WINDOWS = True


class Connection:
    """A connection that remembers and fails on demand."""

    transport = "winrm"
    become: object | None = None

    def __init__(self, *, connecting: Exception | None = None) -> None:
        self._shell = Shell()
        self._connecting = connecting
        self.resets = 0

    def get_option(self, name: str) -> t.Any:
        raise KeyError(name)

    def _connect(self) -> None:
        if self._connecting is not None:
            raise self._connecting

    def reset(self) -> None:
        self.resets += 1


class SshThatEncodes(Connection):
    transport = "ssh"

    def exec_command(self, cmd: str) -> str:
        return str(self._shell._encode_script(cmd))  # type: ignore[attr-defined]


class Ssh(Connection):
    transport = "ssh"

    def exec_command(self, cmd: str) -> str:
        return cmd


class Task:
    become = False


class Action:
    def __init__(self, connection: Connection, *, executing: Exception | None = None) -> None:
        self._connection = connection
        self._task = Task()
        self._executing = executing
        self.calls: list[tuple[str, t.Any]] = []
        self.answer: dict[str, t.Any] = {"rc": 0, "stdout": "out", "stderr": "err"}

    def _low_level_execute_command(self, cmd: str, in_data: str | None = None) -> dict[str, t.Any]:
        self.calls.append((cmd, in_data))
        if self._executing is not None:
            raise self._executing
        return self.answer


def test_text_goes_to_standard_input_and_the_plain_script_to_winrm() -> None:
    action = Action(Connection())
    found = AnsibleTransport(action).execute("$script", '{"a": 1}')
    assert (found.rc, found.stdout, found.stderr) == (0, "out", "err")
    assert action.calls == [("$script", '{"a": 1}')] and isinstance(action.calls[0][1], str)


def test_ssh_gets_an_encoded_command_unless_the_plugin_encodes_itself() -> None:
    action = Action(Ssh())
    AnsibleTransport(action).execute("$script", "x")
    command = action.calls[0][0]
    assert command.startswith("powershell -NoProfile -NonInteractive ")
    assert base64.b64decode(command.rpartition(" ")[2]).decode("utf-16-le") == "$script"
    action = Action(SshThatEncodes())
    AnsibleTransport(action).execute("$script", "x")
    assert action.calls[0][0] == "$script"


@pytest.mark.parametrize(
    ("connection", "executing", "sent", "quota"),
    [
        (
            Connection(connecting=AnsibleConnectionFailure("ntlm: the specified credentials were rejected")),
            None,
            False,
            False,
        ),
        (Connection(connecting=ConnectionRefusedError(111, "refused")), None, False, False),
        (Connection(), AnsibleConnectionFailure("winrm connection error: read timed out"), True, False),
        (Connection(), ConnectionResetError(104, "reset by peer"), True, False),
        (
            Connection(connecting=AnsibleConnectionFailure("code 2150859174, maximum number of concurrent shells")),
            None,
            False,
            True,
        ),
        (Connection(), AnsibleConnectionFailure("{'wsmanfault_code': '2150859174'}"), False, True),
        (Ssh(), AnsibleConnectionFailure("ssh: connect to host EX1 port 22: Connection refused"), False, False),
        (Ssh(), AnsibleConnectionFailure("me@EX1: Permission denied (publickey,password)."), False, False),
        (Ssh(), AnsibleConnectionFailure("client_loop: send disconnect: Broken pipe"), True, False),
    ],
)
def test_what_was_sent_is_told_apart(
    connection: Connection, executing: Exception | None, sent: bool, quota: bool
) -> None:
    with pytest.raises(ConnectionLost) as caught:
        AnsibleTransport(Action(connection, executing=executing)).execute("c", "i")
    assert (caught.value.sent, caught.value.quota) == (sent, quota)


LIBRARY_ERRORS = [
    winrm_exceptions.WinRMError("code 170"),
    winrm_exceptions.WinRMTransportError("http", 400, "Bad Request"),
    winrm_exceptions.WinRMOperationTimeoutError(),
    psrp_exceptions.WinRMTransportError("http", 500, "Fault"),
]


@pytest.mark.parametrize("error", LIBRARY_ERRORS, ids=[type(error).__name__ for error in LIBRARY_ERRORS])
def test_errors_of_the_libraries_are_lost_connections(error: Exception) -> None:
    with pytest.raises(ConnectionLost) as caught:
        AnsibleTransport(Action(Connection(), executing=error)).execute("c", "i")
    assert caught.value.sent


def test_programming_errors_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        AnsibleTransport(Action(Connection(), executing=ZeroDivisionError())).execute("c", "i")


def test_become_is_refused_with_the_three_answers() -> None:
    action = Action(Connection())
    action._connection.become = object()
    with pytest.raises(Refused) as caught:
        open_session(action, OPTIONS, host="EX1")
    text = caught.value.message("EX1")
    assert all(word in text for word in ("EX1", "become", "CredSSP", "Kerberos", "computer_username"))
    assert action.calls == []


def test_become_that_the_inventory_takes_back_is_none() -> None:
    action = Action(Connection())
    action._task.become = True  # what a play says of all its servers
    open_session(action, OPTIONS, host="EX1")


def test_host_that_is_no_windows_host_is_named() -> None:
    connection = Connection()
    connection._shell._IS_WINDOWS = False
    with pytest.raises(Refused) as caught:
        open_session(Action(connection), OPTIONS, host="EX1")
    assert "EX1: option ansible_connection='winrm': this is no Windows host" in caught.value.message("EX1")


BAD: list[tuple[dict[str, t.Any], str]] = [
    ({"computer": "\\\\EX1"}, "computer"),
    ({"computer": "EX 1"}, "computer"),
    ({"computer": "a" * 300}, "computer"),
    ({"computer": "EX1", "computer_username": "a"}, "computer_username"),
    ({"computer": "EX1", "computer_password": "a"}, "computer_username"),
    ({"computer_username": "a", "computer_password": "b"}, "computer_username"),
    ({"target_deadline": -1}, "target_deadline"),
    ({"lock_wait": -1}, "lock_wait"),
]


@pytest.mark.parametrize(("changes", "option"), BAD)
def test_bad_options(changes: dict[str, t.Any], option: str) -> None:
    problems = target_problems({**OPTIONS, **changes})
    assert [problem.option for problem in problems] == [option] and problems[0].remedy
    assert not any(problem.value == "b" for problem in problems)


@pytest.mark.parametrize("computer", ["EX1", "ex-1_b", "exch1.corp.example.com", "192.0.2.1", None])
def test_good_names(computer: str | None) -> None:
    assert target_problems({**OPTIONS, "computer": computer}) == []


def test_session_knows_who_asks_and_the_password_is_not_shown() -> None:
    options = {**OPTIONS, "computer": "EX1", "computer_username": "LAB\\a", "computer_password": "s3cret"}
    opened = open_session(Action(Connection()), options, host="EX1")
    assert "@" in opened.identity.who and len(opened.identity.run) == 36 and opened.identity.computer == "EX1"
    assert "s3cret" not in repr(opened.identity)


class Winrm(Connection):
    """Forgets its shell when it is reset, as Ansible's winrm does."""

    def __init__(self) -> None:
        super().__init__()
        self.shell_id = "shell-1"
        self.protocol = self
        self.deleted: list[str] = []

    def reset(self) -> None:
        super().reset()
        self.shell_id = f"shell-{self.resets + 1}"

    def close_shell(self, shell: str) -> None:
        self.deleted.append(shell)
        if shell == "shell-1":
            raise ConnectionResetError(104, "reset by peer")


def test_shells_of_lost_connections_are_deleted_at_the_end_and_not_before() -> None:
    connection = Winrm()
    transport = AnsibleTransport(Action(connection))
    transport.reset()
    transport.reset()
    assert connection.deleted == []
    transport.release()
    assert sorted(connection.deleted) == ["shell-1", "shell-2"], "one that cannot be deleted stops nothing"
    transport.release()
    assert len(connection.deleted) == 2


class Optioned(Connection):
    """A connection that has some options."""

    def __init__(self, kind: str = "winrm", /, **options: t.Any) -> None:
        super().__init__()
        self.transport = kind
        self._options = options

    def get_option(self, name: str) -> t.Any:
        return self._options[name]


def test_options_of_the_connection_are_named_as_far_as_it_has_them() -> None:
    detail = connection_detail(Action(Optioned("ssh", host="192.0.2.1", remote_user="me")))
    assert detail == {"address": "192.0.2.1", "user": "me"}


@pytest.mark.parametrize(
    ("connection", "scheme", "auth"),
    [
        (Optioned(remote_addr="a", port=5985, scheme=None, transport=["ntlm"]), "http", "ntlm"),
        (Optioned(remote_addr="a", port=80, transport=["ntlm", "basic"]), "https", "ntlm, basic"),
        (Optioned("psrp", remote_addr="a", port=80, protocol=None, auth="negotiate"), "http", "negotiate"),
        (Optioned("psrp", remote_addr="a", port=5986, protocol="http", auth="ntlm"), "http", "ntlm"),
        (Optioned("psrp", remote_addr="a", port=5986, auth="ntlm"), "https", "ntlm"),
    ],
)
def test_scheme_and_login_are_the_plugin_s(connection: Optioned, scheme: str, auth: str) -> None:
    detail = connection_detail(Action(connection))
    assert (detail["scheme"], detail["auth"]) == (scheme, auth)
    names = [value for name, value in detail.items() if name.endswith("_option")]
    assert names and all(name.startswith(f"ansible_{connection.transport}_") for name in names)


@pytest.mark.parametrize(
    ("options", "environment", "proxy"),
    [
        ({}, {}, None),
        ({}, {"http_proxy": "http://me:s3cret@gate:3128"}, "http://gate:3128"),
        ({}, {"https_proxy": "http://gate:3128"}, None),
        ({}, {"all_proxy": "http://gate:3128"}, "http://gate:3128"),
        ({}, {"http_proxy": "http://gate:3128", "no_proxy": "ex401.example.com"}, None),
        ({}, {"http_proxy": "http://gate:3128", "no_proxy": "*"}, None),
        ({"proxy": "http://own:8080"}, {"http_proxy": "http://gate:3128"}, "http://own:8080"),
        ({"_extras": {"ansible_winrm_proxy": "http://own:8080"}}, {}, "http://own:8080"),
        ({"ignore_proxy": True}, {"http_proxy": "http://gate:3128"}, None),
    ],
)
def test_the_proxy_that_is_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any], environment: dict[str, str], proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connection = Optioned(remote_addr="ex401.example.com", port=5985, **options)
    assert connection_detail(Action(connection)).get("proxy") == proxy


@pytest.mark.parametrize("error", [ImportError("no gssapi"), ValueError("basic in clear"), KeyError("192.0.2.1")])
def test_whatever_a_library_raises_while_it_connects_nothing_was_sent(error: Exception) -> None:
    """psrp's plugin lets out what its libraries raise, in types of theirs."""
    with pytest.raises(ConnectionLost) as caught:
        AnsibleTransport(Action(Connection(connecting=error))).execute("c", "i")
    assert not caught.value.sent and caught.value.cause


def test_a_host_without_powershell_was_not_reached() -> None:
    action = Action(Connection())
    said = 'Der Befehl "powershell" ist entweder falsch geschrieben oder konnte nicht gefunden werden.'
    action.answer = {"rc": 1, "stdout": "", "stderr": said}
    with pytest.raises(ConnectionLost) as caught:
        AnsibleTransport(action).execute("c", "i")
    assert (caught.value.sent, caught.value.cause) == (False, "powershell_missing")


def test_a_worker_finds_the_script_ready_for_sending() -> None:
    """Ansible forks for every host of every task, after it has imported the action plugin."""
    code = "from ansible_collections.msexchange.winsock_proxy.plugins.action import wspcfg\n"
    code += "from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script\n"
    code += "print(script.regions.cache_info().currsize, script.loader.cache_info().currsize)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
