# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.target.session import Session
from ..plugin_utils.tasks import service_restart
from ..plugin_utils.tasks.action import TargetAction


class ActionModule(TargetAction):
    """Adapter of the module service_restart."""

    OPTIONS = {
        "names": {"type": "list", "elements": "str"},
        "plan": {"type": "dict"},
        "only_if_pending": {"type": "bool", "default": False},
        "dependents": {"type": "str", "choices": ["restore", "leave_stopped", "fail"], "default": "restore"},
        "start": {"type": "bool", "default": False},
        "start_dependencies": {"type": "bool", "default": False},
        "stop_timeout": {"type": "int", "default": 900},
        "start_timeout": {"type": "int", "default": 1800},
        "deadline": {"type": "int", "default": 3600},
        "settle": {"type": "int", "default": 10},
        "finish": {"type": "str", "choices": ["same_boot", "any"], "default": "same_boot"},
        "window": {"type": "str"},
        "allow_kms": {"type": "bool", "default": False},
        "allow_cluster": {"type": "bool", "default": False},
        "allow_disabled": {"type": "bool", "default": False},
        "bin_dir": {"type": "str"},
        "imc_dir": {"type": "str"},
    }
    RULES = {"mutually_exclusive": [["names", "plan"], ["only_if_pending", "plan"]]}

    def work(self, session: Session, options: dict[str, t.Any], *, host: str, check: bool) -> dict[str, t.Any]:
        return service_restart.run(session, options, host=host, check=check)
