# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.target.session import Session
from ..plugin_utils.tasks import wspcfg_info
from ..plugin_utils.tasks.action import TargetAction


class ActionModule(TargetAction):
    """Adapter of the module wspcfg_info."""

    OPTIONS = {
        "events_since": {"type": "float"},
        "inside_ports": {"type": "list", "elements": "int"},
        "ports": {"type": "dict"},
        "bin_dir": {"type": "str"},
        "imc_dir": {"type": "str"},
        "exchange_version": {"type": "str"},
    }

    def work(self, session: Session, options: dict[str, t.Any], *, host: str, check: bool) -> dict[str, t.Any]:
        del check
        return wspcfg_info.run(session, options, host=host)
