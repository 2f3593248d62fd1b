# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the target answered instead of a result, and why a host was never reached."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ..problems.advice import problem_of
from ..problems.problem import Problem
from .script import printable
from .unreached import cause_of, signs_of_text


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


def unreached(
    text: str, detail: Mapping[str, t.Any] | None = None, *, quota: bool = False, cause: str | None = None
) -> Problem:
    """Say why a host was never reached.

    Args:
        text: What the connection plugin said.
        detail: How the host was connected to, as ``connection_detail`` tells it.
        quota: Whether the account's WinRM quota is used up.
        cause: Code of the cause, where the error itself was seen; None: the text is all there is.
    """
    found = "quota_reached" if quota else cause or cause_of(signs_of_text(text, detail), detail)
    return problem_of(found, detail, text=printable(text))


def explain(error: TargetError, host: str) -> str:
    """Say what happened on which host, why, and what to do."""
    return error.problem.message(host)
