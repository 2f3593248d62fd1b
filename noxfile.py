# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions for those who use nox; each is the target of the Makefile with the same name."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "test"]


def make(session: nox.Session, target: str) -> None:
    """Run a target of the Makefile with the interpreter that runs nox."""
    session.run("make", target, f"PYTHON={session.python or 'python3'}", external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Every static check."""
    make(session, "lint")


@nox.session(venv_backend="none")
def test(session: nox.Session) -> None:
    """Every gate and every test."""
    make(session, "test")
