# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback of the benchmarks: writes when each task began, and the CPU used until then, to ``STOPWATCH_PATH``."""

from __future__ import annotations

import json
import os
import resource
import time
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: stopwatch
type: notification
short_description: Record the time and CPU at the beginning of every task as JSON lines
description: [For the benchmarks of the collection.]
requirements: [The environment variable STOPWATCH_PATH]
options: {}
"""


class CallbackModule(CallbackBase):
    """Appends to a file; says nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "stopwatch"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
        entry = {"task": task.get_name(), "wall": time.perf_counter(), "cpu": cpu}
        with Path(os.environ["STOPWATCH_PATH"]).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")
