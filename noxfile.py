# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions for those who use nox: those of antsibull-nox.toml, and the Makefile's own tests."""

from __future__ import annotations

import antsibull_nox
import nox

antsibull_nox.load_antsibull_nox_toml()


@nox.session(venv_backend="none", default=True)
def test(session: nox.Session) -> None:
    """Every gate and every test of the Makefile, with the interpreter that runs nox."""
    session.run("make", "test", external=True)
