# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the port probe in this process when the vantage point is the controller, else as a module on the probe host."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.probe.options import ARGUMENT_SPEC, OptionError, read_options
from ..plugin_utils.tasks.arguments import validated
from ..plugin_utils.tasks.port_probe import probe_here, probe_there, unreached_result, windows_vantage

display = Display()

_WINDOWS_TRANSPORTS = ("winrm", "psrp")


class ActionModule(ActionBase):
    """Adapter of M(msexchange.winsock_proxy.port_probe)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        params = validated(self, ARGUMENT_SPEC)
        check = bool(self._task.check_mode)
        try:
            result = self._probe(params, task_vars or {}, check)
        except OptionError as error:
            result = _refusal(str(error))
        except AnsibleError as error:
            if params["fail_on_unreachable"]:
                raise
            result = unreached_result(str(error))
        return {"reached": True, **result, "check_mode": check}

    def _probe(self, params: dict[str, t.Any], task_vars: dict[str, t.Any], check: bool) -> dict[str, t.Any]:
        targets, options = read_options(params, check_mode=check)
        asker = self._task.delegate_to or task_vars.get("inventory_hostname")
        how = {"fail_on_mismatch": params["fail_on_mismatch"], "say": lambda line: display.display(f"{asker}: {line}")}
        transport = self._connection.transport
        if transport == "local":
            return probe_here(targets, options, **how)
        if self._is_windows(transport):
            return self._could_not(_refusal(windows_vantage(transport, self._task.delegate_to)), params)

        def ask(pending: t.Sequence[int], deadline: float) -> dict[str, t.Any]:
            some = {"targets": [params["targets"][index] for index in pending], "deadline": deadline}
            arguments = {**params, **some, "check_mode_deadline": None, "fail_on_mismatch": False}
            answer: dict[str, t.Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
            return answer

        return self._could_not(probe_there(targets, options, ask, **how), params)

    def _could_not(self, result: dict[str, t.Any], params: dict[str, t.Any]) -> dict[str, t.Any]:
        """A check that could not be made is data where the task wants it so."""
        if result.get("results") or params["fail_on_unreachable"] or not result.get("failed"):
            return result
        return unreached_result(str(result.get("msg") or result.get("module_stderr") or "no answer").strip())

    def _is_windows(self, transport: str) -> bool:
        shell = getattr(self._connection, "_shell", None)
        return transport in _WINDOWS_TRANSPORTS or getattr(shell, "SHELL_FAMILY", "") in ("powershell", "cmd")


def _refusal(message: str) -> dict[str, t.Any]:
    return {"failed": True, "changed": False, "msg": message, "ok": False, "results": [], "failed_targets": []}
