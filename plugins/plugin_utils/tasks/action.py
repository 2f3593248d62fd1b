# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action plugin of the collection does around its own work."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase

from ..problems.problem import Refused
from ..shapes import Json
from ..target.connection import TARGET_ARGUMENT_SPEC, connection_detail, open_session
from ..target.errors import TargetError, explain, unreached
from ..target.session import ConnectionLost, Session
from .arguments import validated
from .failure import failure


class TargetAction(ActionBase):  # type: ignore[misc]
    """Validates options, opens the session, turns errors into results, hides the password.

    A subclass gives its options and its work.
    """

    _supports_check_mode = True
    _supports_async = False

    OPTIONS: t.ClassVar[Mapping[str, t.Any]] = {}
    RULES: t.ClassVar[Mapping[str, t.Any]] = {}

    def work(self, session: Session, options: Json, *, host: str, check: bool) -> Json:
        """Do the task; return its result, failures included."""
        raise NotImplementedError

    def run(self, tmp: object = None, task_vars: dict[str, t.Any] | None = None) -> Json:
        super().run(None, task_vars)
        del tmp
        host = str((task_vars or {}).get("inventory_hostname", "host"))
        spec = {**TARGET_ARGUMENT_SPEC, **self.OPTIONS}
        options = validated(self, spec, **self.RULES)
        try:
            result = self._guarded(options, host)
        except ConnectionLost as lost:
            # Without its context, which Ansible would print a second time.
            raise self._raised(lost, host) from None
        secret = options.get("computer_password")
        return t.cast(Json, remove_values(result, {secret} if secret else set()))

    def _guarded(self, options: Json, host: str) -> Json:
        try:
            session = open_session(self, options, host=host)
        except Refused as refused:
            return {"changed": False, **failure(refused, host)}
        check = bool(self._task.check_mode)
        try:
            # Roles decide by it: ansible_check_mode is the command line's, not the task's.
            return {**self.work(session, options, host=host, check=check), "check_mode": check}
        finally:
            session.close()

    def _raised(self, lost: ConnectionLost, host: str) -> Exception:
        """Return what to raise: UNREACHABLE only when nothing was sent."""
        if not lost.sent:
            problem = unreached(lost.text, connection_detail(self), quota=lost.quota, cause=lost.cause)
            return t.cast(Exception, AnsibleConnectionFailure(problem.message(host)))
        return t.cast(Exception, AnsibleActionFail(explain(TargetError("connection_lost", lost.text), host)))
