# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils import _task_wspcfg
from ..plugin_utils._action import TargetAction
from ..plugin_utils._target import Session
from ..plugin_utils._wspcfg import LISTENER_OPTIONS


class ActionModule(TargetAction):
    """Adapter of the module wspcfg."""

    OPTIONS = {
        **LISTENER_OPTIONS,
        "mta_direct": {"type": "str", "choices": ["auto", "true", "false"], "default": "auto"},
        "force_credentials": {"type": "bool"},
        "restore": {"type": "str"},
        "undo": {"type": "list", "elements": "dict"},
        "bin_dir": {"type": "str"},
        "imc_dir": {"type": "str"},
        "exchange_version": {"type": "str"},
    }
    RULES = {"mutually_exclusive": [["restore", "undo", "listeners"]]}

    def work(self, session: Session, options: dict[str, t.Any], *, host: str, check: bool) -> dict[str, t.Any]:
        return _task_wspcfg.run(session, options, host=host, check=check)
