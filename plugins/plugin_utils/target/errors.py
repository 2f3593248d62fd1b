# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the target answered instead of a result, and why a host was never reached."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ..problems.advice import problem_of
from ..problems.problem import Problem
from .script import printable


class TargetError(Exception):
    """The target answered with an error, or did not answer.

    Attributes:
        code: One of the codes of docs/target_protocol.md, section 1.
        text: What the target said; for people only, codes decide.
        detail: The error's detail.
        answer: Everything else that the answer carried.
    """

    def __init__(
        self,
        code: str,
        text: str = "",
        detail: Mapping[str, t.Any] | None = None,
        answer: Mapping[str, t.Any] | None = None,
    ) -> None:
        self.code = code
        self.text = printable(text)
        self.detail = dict(detail or {})
        self.answer = dict(answer or {})
        super().__init__(f"{code}: {self.text}")

    @property
    def problem(self) -> Problem:
        """What it means for the user."""
        return problem_of(self.code, self.detail, text=self.text)

    @property
    def ends_restart(self) -> bool:
        """Whether it is a restart's own end, and not the fate of a question about it."""
        return bool(self.answer.get("done")) and self.answer.get("outcome") in ("failed", "interrupted")


# What the connection plugins say, in the order in which it is looked for.
_CONNECTION_TEXTS: tuple[tuple[str, str], ...] = (
    (
        r"credentials were rejected|failed to authenticate|\b401\b|Kerberos auth failure|permission denied",
        "login_refused",
    ),
    (r"Bad HTTP response|BadStatusLine|wrong version number|Code [345]\d\d|Expected content type", "not_winrm"),
)


def unreached(text: str, detail: Mapping[str, t.Any] | None = None, *, quota: bool = False) -> Problem:
    """Say why a host was never reached.

    Args:
        text: What the connection plugin said.
        detail: ``address``, ``port`` and ``user`` of the connection, where known.
        quota: Whether the account's WinRM quota is used up.
    """
    codes = (code for pattern, code in _CONNECTION_TEXTS if re.search(pattern, text, re.IGNORECASE))
    return problem_of("quota_reached" if quota else next(codes, "host_unreachable"), detail, text=printable(text))


def explain(error: TargetError, host: str) -> str:
    """Say what happened on which host, why, and what to do."""
    return error.problem.message(host)
