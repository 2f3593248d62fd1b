# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One reason why nothing is done, as a user reads it: host, option, value, cause, remedy."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One reason why nothing is done.

    Attributes:
        code: Stable name, for callers that decide on it.
        cause: What is wrong, without the host and without the option.
        remedy: What the user can do about it.
        option: Option concerned, None when it is none's fault.
        value: Its value, as the user wrote it.
        path: File concerned, on the Exchange server.
        service: Service concerned.
    """

    code: str
    cause: str
    remedy: str
    option: str | None = None
    value: str | None = None
    path: str | None = None
    service: str | None = None

    def message(self, host: str) -> str:
        """Say it in one line, host first."""
        where = f" ({self.path})" if self.path else ""
        option = "" if self.option is None else f"option {self.option}"
        if option and self.value is not None:
            option += f"={self.value!r}"
        return f"{host}: {option + ': ' if option else ''}{self.cause}{where}. {self.remedy}"

    def as_result(self) -> dict[str, t.Any]:
        """Return it as Ansible's results carry it."""
        fields = ("code", "cause", "remedy", "option", "value", "path", "service")
        return {name: getattr(self, name) for name in fields}


class Refused(Exception):
    """Nothing was written and nothing restarted, for these reasons."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.cause for problem in self.problems))

    def message(self, host: str) -> str:
        return "\n".join(problem.message(host) for problem in self.problems)
