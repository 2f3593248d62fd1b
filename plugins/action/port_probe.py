# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the port probe in this process when the vantage point is the controller, else as a module on the probe host."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ..module_utils.probe.engine import probe
from ..module_utils.probe.options import ARGUMENT_SPEC, OptionError, read_options, summary

_WINDOWS_TRANSPORTS = ("winrm", "psrp")


class ActionModule(ActionBase):
    """Adapter of M(msexchange.winsock_proxy.port_probe)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        dummy, params = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        transport = self._connection.transport
        if transport == "local":
            result.update(_probe_here(params, check_mode=bool(self._task.check_mode)))
        elif self._is_windows(transport):
            result.update(_refusal(self._leak(transport)))
        else:
            result.update(self._execute_module(task_vars=task_vars))
        result["check_mode"] = bool(self._task.check_mode)
        return result

    def _is_windows(self, transport: str) -> bool:
        shell = getattr(self._connection, "_shell", None)
        return transport in _WINDOWS_TRANSPORTS or getattr(shell, "SHELL_FAMILY", "") in ("powershell", "cmd")

    def _leak(self, transport: str) -> str:
        """Say which host has a Windows connection and what to do about it."""
        remedy = (
            "The probe runs in Python on the vantage point, which is not a Windows host. Delegate the task to one "
            "(delegate_to: localhost for the controller)"
        )
        delegate = self._task.delegate_to
        if not delegate:
            return f"port_probe would run over {transport} on the Exchange side. {remedy}."
        return (
            f"The probe host {delegate} would be reached over {transport}: connection variables of Windows hosts, "
            f"such as ansible_connection in group_vars/all or in the play, have leaked to it. {remedy}, and give it a "
            "connection of its own in the inventory (for the controller: ansible_connection: local), or move the "
            "variables to the group of the Windows hosts."
        )


def _probe_here(params: t.Mapping[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    try:
        targets, options = read_options(params, check_mode=check_mode)
    except OptionError as error:
        return _refusal(str(error))
    return summary(probe(targets, options), fail_on_mismatch=params["fail_on_mismatch"])


def _refusal(message: str) -> dict[str, t.Any]:
    return {"failed": True, "changed": False, "msg": message, "ok": False, "results": [], "failed_targets": []}
