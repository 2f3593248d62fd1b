# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ..plugin_utils.fleet.batches import OPTIONS as BATCHES
from ..plugin_utils.fleet.inventory import FleetVariables, inventory_of, validate
from ..plugin_utils.fleet.wishes import OPTIONS as WISHES
from ..plugin_utils.fleet.wishes import PREFIX, Site
from ..plugin_utils.target.connection import connection_detail, open_session
from ..plugin_utils.tasks.look import look


class ActionModule(ActionBase):
    """Adapter of the module publish_look."""

    _supports_check_mode = True
    _supports_async = False

    OPTIONS = {
        "offline": {"type": "bool", "default": False},
        "restoring": {"type": "bool", "default": False},
        **BATCHES,
        **WISHES,
    }

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(None, task_vars)
        del tmp
        variables = task_vars or {}
        host = str(variables["inventory_hostname"])
        given = dict(self._task.args)
        result = look(
            {name: value for name, value in given.items() if name not in ("offline", "restoring")},
            host=host,
            site=Site(
                playbook_dir=str(variables.get("playbook_dir") or "."),
                groups=variables.get("groups") or {},
                is_file=lambda path: Path(path).is_file(),
                named=[name for name in variables if str(name).startswith(PREFIX)],
                can_write=lambda path: os.access(Path(path).expanduser().parent, os.W_OK | os.X_OK),
            ),
            validate=validate,
            connect=lambda options: open_session(self, options, host=host),
            where=lambda: connection_detail(self),
            offline=boolean(given.get("offline", False)),
            restoring=boolean(given.get("restoring", False)),
            claimed=lambda seen: inventory_of(FleetVariables(variables["hostvars"]), [], {}).claimed_by_others(seen),
        )
        secret = self._task.args.get("computer_password")
        return t.cast("dict[str, t.Any]", remove_values(result, {str(secret)} if secret else set()))
