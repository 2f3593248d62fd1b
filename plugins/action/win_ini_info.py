# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ..plugin_utils.ini.text import ENCODINGS
from ..plugin_utils.target.session import Session
from ..plugin_utils.tasks import win_ini
from ..plugin_utils.tasks.action import TargetAction


class ActionModule(TargetAction):
    """Adapter of the module win_ini_info."""

    OPTIONS = {
        "path": {"type": "str", "required": True},
        "sections": {"type": "list", "elements": "raw"},
        "encoding": {"type": "str", "choices": ["auto", *ENCODINGS], "default": "auto"},
        "reader": {"type": "str", "choices": ["windows", "last_wins"], "default": "windows"},
        "redact": {"type": "list", "elements": "str", "no_log": False},
    }

    def work(self, session: Session, options: dict[str, t.Any], *, host: str, check: bool) -> dict[str, t.Any]:
        del check
        return win_ini.read(session, options, host=host)
