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
    """Adapter of the module win_ini."""

    OPTIONS = {
        "path": {"type": "str", "required": True},
        "sections": {"type": "dict"},
        "bare_keys": {"type": "dict"},
        "absent_keys": {"type": "dict"},
        "absent_sections": {"type": "list", "elements": "raw"},
        "select": {"type": "dict"},
        "exclusive": {"type": "str", "choices": ["none", "sections", "file"], "default": "none"},
        "encoding": {"type": "str", "choices": ["auto", *ENCODINGS], "default": "auto"},
        "newline": {"type": "str", "choices": ["auto", "crlf", "lf"], "default": "auto"},
        "quotes": {"type": "str", "choices": ["keep", "always", "never"], "default": "keep"},
        "reader": {"type": "str", "choices": ["windows", "last_wins"], "default": "windows"},
        "uncomment": {"type": "bool", "default": False},
        "duplicates": {"type": "str", "choices": ["keep", "remove", "fail"], "default": "keep"},
        "create": {"type": "bool", "default": True},
        "backup": {"type": "bool", "default": False},
        "redact": {"type": "list", "elements": "str", "no_log": False},
        "expect_sha256": {"type": "str"},
    }
    RULES = {"required_one_of": [["sections", "bare_keys", "absent_keys", "absent_sections"]]}

    def work(self, session: Session, options: dict[str, t.Any], *, host: str, check: bool) -> dict[str, t.Any]:
        return win_ini.run(session, options, host=host, check=check)
