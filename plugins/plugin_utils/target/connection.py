# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible side of a session: from an action plugin and its connection to a Transport."""

from __future__ import annotations

import base64
import contextlib
import getpass
import importlib
import re
import socket
import time
import typing as t
import urllib.request
import uuid
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.utils.display import Display

from ..problems.advice import problem_of
from ..problems.problem import Problem, Refused
from .script import loader, regions
from .session import ConnectionLost, Credential, Execution, Identity, Session
from .unreached import cause_of, is_powershell_missing, signs_of

display = Display()

# Ansible imports an action plugin once and then forks for every host of every task: what is prepared here, each of
# those processes has from the start instead of preparing it for itself.
loader()
regions()


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a connection may raise: Ansible wraps some errors, requests' are OSErrors, two libraries have their own.

    pywinrm's transport and timeout errors are no WinRMErrors; pypsrp has no timeout error.
    """
    found: list[type[Exception]] = [AnsibleError, OSError]
    for library in ("winrm.exceptions", "pypsrp.exceptions"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(library)
            names = ("WinRMError", "WinRMTransportError", "WinRMOperationTimeoutError")
            found += [getattr(module, name) for name in names if hasattr(module, name)]
    return tuple(found)


_TRANSPORT_ERRORS = _transport_errors()

# What OpenSSH says while it connects and logs in; every other failure may have come after the request was sent.
_SSH_BEFORE = re.compile(
    r"ssh: connect to host|could not resolve hostname|host key verification failed|permission denied \(|"
    r"no matching (host key|key exchange)|connection timed out during banner exchange",
    re.I,
)

_COMPUTER = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?\Z"
)

TARGET_ARGUMENT_SPEC: t.Mapping[str, t.Mapping[str, t.Any]] = {
    "computer": {"type": "str"},
    "computer_username": {"type": "str"},
    "computer_password": {"type": "str", "no_log": True},
    "target_deadline": {"type": "int", "default": 300},
    "lock_wait": {"type": "int", "default": 0},
}


class Task(t.Protocol):
    """What is needed of an action plugin (``ansible.plugins.action.ActionBase`` has it)."""

    _connection: t.Any
    _task: t.Any

    def _low_level_execute_command(self, cmd: str, in_data: str | None = None) -> Mapping[str, t.Any]: ...


class _SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class AnsibleTransport:
    """Runs commands over the task's own connection: winrm, psrp, or ssh to a Windows host."""

    def __init__(self, action: Task) -> None:
        self._action = action
        self._connection = action._connection
        self._orphans: list[str] = []

    def execute(self, command: str, stdin: str) -> Execution:
        """Run the loader; see Transport.

        winrm and psrp open their shell in ``_connect``: what fails there has sent nothing. ssh connects while it
        executes; what it then says about connecting and logging in has sent nothing either.
        """
        self._connect()
        try:
            # Text, not bytes: psrp hands bytes to the pipeline as one array.
            result = self._action._low_level_execute_command(self._wrapped(command), in_data=stdin)
        except _TRANSPORT_ERRORS as error:
            cause = self._cause(error)
            quota = cause == "quota_reached"
            before = self._name() == "ssh" and bool(_SSH_BEFORE.search(str(error)))
            raise ConnectionLost(_one_line(error), sent=not quota and not before, quota=quota, cause=cause) from error
        execution = Execution(int(result["rc"]), str(result["stdout"]), str(result["stderr"]))
        if is_powershell_missing(execution.rc, execution.stdout, execution.stderr):
            # As over psrp, which does not get a shell without it: the host is no target, and nothing ran there.
            raise ConnectionLost(" ".join(execution.stderr.split())[:300], sent=False, cause="powershell_missing")
        return execution

    def reset(self) -> None:
        """Drop the connection and open another.

        winrm forgets its shell then, and the shell counts against the user's quota until the host finds it idle.
        """
        shell = getattr(self._connection, "shell_id", None)
        if shell:
            self._orphans.append(str(shell))
        try:
            self._connection.reset()
        except _TRANSPORT_ERRORS as error:
            raise ConnectionLost(_one_line(error), sent=True) from error

    def release(self) -> None:
        """Delete the shells that lost connections left behind; not before the end, for that ends what runs in them."""
        protocol = getattr(self._connection, "protocol", None)
        while self._orphans and protocol is not None:
            shell = self._orphans.pop()
            try:
                protocol.close_shell(shell)
            except _TRANSPORT_ERRORS as error:
                display.vvv(f"shell {shell} of a lost connection could not be deleted: {_one_line(error)}")

    def _connect(self) -> None:
        try:
            self._connection._connect()
        except Exception as error:  # winrm's plugin does so itself; psrp's lets its libraries' errors out
            cause = self._cause(error)
            raise ConnectionLost(_one_line(error), sent=False, quota=cause == "quota_reached", cause=cause) from error

    def _cause(self, error: Exception) -> str:
        way = connection_detail(self._action)
        return cause_of(signs_of(error, way), way)

    def _name(self) -> str:
        return str(self._connection.transport)

    def _wrapped(self, command: str) -> str:
        """Return the command as this connection wants it.

        winrm and psrp encode a script themselves. ssh did so up to some release and hands the text to the login shell
        since; whether it does is read off the plugin, not off a version.
        """
        if self._name() != "ssh":
            return command
        execute = getattr(type(self._connection), "exec_command", None)
        if "_encode_script" in getattr(getattr(execute, "__code__", None), "co_names", ()):
            return command
        encoded = base64.b64encode(command.encode("utf-16-le")).decode("ascii")
        return f"powershell -NoProfile -NonInteractive -ExecutionPolicy Unrestricted -EncodedCommand {encoded}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _identity(options: Mapping[str, t.Any]) -> Identity:
    credential = None
    if options.get("computer_username"):
        credential = Credential(options["computer_username"], options["computer_password"])
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    return Identity(str(uuid.uuid4()), who, options.get("computer") or None, credential)


def target_problems(options: Mapping[str, t.Any]) -> list[Problem]:
    """Check the options that every action shares.

    Args:
        options: Validated task arguments with the keys of TARGET_ARGUMENT_SPEC.
    """
    problems = []
    computer = options.get("computer")
    if computer and not (_COMPUTER.match(computer) and len(computer) <= 255):
        remedy = "Give the NetBIOS or DNS name of the Exchange server, without backslashes."
        problems.append(Problem("bad_option", "this is no computer name", remedy, "computer", computer))
    if bool(options.get("computer_username")) != bool(options.get("computer_password")):
        remedy = "Give computer_username and computer_password together, or neither."
        problems.append(Problem("bad_option", "one of the two is missing", remedy, "computer_username"))
    if options.get("computer_username") and not computer:
        remedy = "Set computer; for the connection's own account use ansible_user."
        problems.append(
            Problem("bad_option", "an account for the second hop without computer", remedy, "computer_username")
        )
    for name in ("target_deadline", "lock_wait"):
        if options.get(name, 0) < 0:
            problems.append(
                Problem("bad_option", "seconds cannot be negative", "Use 0 or more.", name, str(options[name]))
            )
    return problems


def _host_problems(action: Task) -> list[Problem]:
    connection = action._connection
    problems = []
    if connection.become is not None:  # the inventory's ansible_become has the last word, not the task
        problems.append(problem_of("become_refused"))
    # The shell is the inventory's word (ansible_shell_type); local is the controller whatever that says.
    if connection.transport == "local" or not getattr(connection._shell, "_IS_WINDOWS", False):
        problems.append(problem_of("not_windows", {"connection": connection.transport}))
    return problems


def connection_detail(action: Task) -> dict[str, t.Any]:
    """Return how the task's host is connected to, as far as its plugin has such options.

    ``address``, ``port``, ``user``, ``scheme``, ``auth``, ``proxy`` (of the options, or of the environment), and the
    names of the plugin's options for advice.
    """
    connection = action._connection
    kind = str(connection.transport)
    found = {name: value for name, options in _WAY.items() if (value := _option(connection, options)) is not None}
    if kind in _OPTION_NAMES:
        # Both plugins take a port for HTTPS' unless it is known for HTTP.
        found.setdefault("scheme", "http" if found.get("port") in _HTTP_PORTS[kind] else "https")
    if isinstance(found.get("auth"), list):
        found["auth"] = ", ".join(map(str, found["auth"]))
    proxy = _proxy(connection, found)
    return {**found, **({"proxy": proxy} if proxy else {}), **_OPTION_NAMES.get(kind, {})}


_WAY: t.Mapping[str, tuple[str, ...]] = {
    "address": ("remote_addr", "host"),
    "port": ("port",),
    "user": ("remote_user",),
    "scheme": ("scheme", "protocol"),
    "auth": ("transport", "auth"),
}
_HTTP_PORTS: t.Mapping[str, tuple[int, ...]] = {"winrm": (5985,), "psrp": (80, 5985)}
_OPTION_NAMES: t.Mapping[str, t.Mapping[str, str]] = {
    "winrm": {
        "auth_option": "ansible_winrm_transport",
        "scheme_option": "ansible_winrm_scheme",
        "ca_option": "ansible_winrm_ca_trust_path",
        "validation_option": "ansible_winrm_server_cert_validation",
    },
    "psrp": {
        "auth_option": "ansible_psrp_auth",
        "scheme_option": "ansible_psrp_protocol",
        "ca_option": "ansible_psrp_ca_cert",
        "validation_option": "ansible_psrp_cert_validation",
    },
}


def _option(connection: t.Any, names: tuple[str, ...]) -> t.Any:
    for name in names:
        # A plugin raises KeyError for an option that it does not have.
        with contextlib.suppress(KeyError):
            return connection.get_option(name)
    return None


def _proxy(connection: t.Any, way: Mapping[str, t.Any]) -> str | None:
    """Return the proxy that requests goes through to this host, without an account that its URL may have."""
    if "scheme" not in way:
        return None
    given = _option(connection, ("proxy",)) or (_option(connection, ("_extras",)) or {}).get("ansible_winrm_proxy")
    if not given:
        if _option(connection, ("ignore_proxy",)) or urllib.request.proxy_bypass(str(way.get("address"))):
            return None
        environment = urllib.request.getproxies_environment()
        given = environment.get(way["scheme"]) or environment.get("all")
    return re.sub(r"//[^/@]*@", "//", str(given)) if given else None


def open_session(action: Task, options: Mapping[str, t.Any], *, host: str) -> Session:
    """Open a session over the task's connection; nothing is sent yet.

    Args:
        action: The action plugin that runs.
        options: Its validated arguments, with those of TARGET_ARGUMENT_SPEC.
        host: Name of the inventory host, for progress lines.

    Raises:
        Refused: become, a connection that is no Windows host's, or bad options.
    """
    problems = target_problems(options) + _host_problems(action)
    if problems:
        raise Refused(problems)
    return Session(
        AnsibleTransport(action),
        _identity(options),
        clock=_SystemClock(),
        deadline=float(options["target_deadline"]),
        say=lambda line: display.display(f"{host}: {line}"),
    )
