# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback of the tests: writes every task result as one line of JSON to ``RECORDER_PATH``."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: recorder
type: notification
short_description: Record every task result as JSON lines
description: [For the tests of the collection.]
requirements: [The environment variable RECORDER_PATH]
options: {}
"""


def plain(value: t.Any) -> t.Any:
    """Reduce Ansible's own string and container types to JSON's."""
    return json.loads(json.dumps(value, default=str))


class CallbackModule(CallbackBase):
    """Appends to a file; says nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "recorder"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, entry: dict[str, t.Any]) -> None:
        with Path(os.environ["RECORDER_PATH"]).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry, default=str) + "\n")

    def _record(self, outcome: str, result: t.Any) -> None:
        host, task = result._host.get_name(), result._task
        body = dict(result._result)
        self._write(
            {
                "kind": "task",
                "outcome": outcome,
                "host": host,
                "task": task.get_name(),
                "action": task.action,
                "once": bool(task.run_once),
                "result": plain(body),
            }
        )

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._record("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._record("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._record("skipped", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._record("unreachable", result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._write(
            {"kind": "stats", "hosts": {host: plain(stats.summarize(host)) for host in sorted(stats.processed)}}
        )
