# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every task returns when it fails: the one shape of it."""

from __future__ import annotations

from collections.abc import Iterable

from ..problems.problem import Problem, Refused
from ..shapes import Json
from ..target.errors import TargetError


def failure(caught: Refused | TargetError, host: str, *, further: Iterable[Problem] = ()) -> Json:
    """Return the keys that say why a task failed: ``failed``, ``msg``, ``problems``, and ``error`` of a target.

    Args:
        caught: The refusal, or what the target or the connection to it ended with.
        host: Name for messages.
        further: Problems that followed from it; they are no part of the message.
    """
    problems = caught.problems if isinstance(caught, Refused) else (caught.problem,)
    result: Json = {
        "failed": True,
        "msg": "\n".join(problem.message(host) for problem in problems),
        "problems": [problem.as_result() for problem in (*problems, *further)],
    }
    if isinstance(caught, TargetError):
        result["error"] = {"code": caught.code, "message": caught.text, "detail": caught.detail}
    return result
