# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target script's own text in a simulated Windows: every cut times every behaviour."""

from __future__ import annotations

from tests.tools.isolate import BUILD as _BUILD

BUILD = _BUILD / "simulation"
