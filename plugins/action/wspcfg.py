# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.exchange.wanted import LISTENER_OPTIONS
from ..plugin_utils.target.session import Session
from ..plugin_utils.tasks import wspcfg
from ..plugin_utils.tasks.action import TargetAction


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
        return wspcfg.run(session, options, host=host, check=check)
