# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks: ratios that are promised to users, measured in one run on one machine."""

from __future__ import annotations

from tests import conftest

__all__ = ["conftest"]  # importing it puts the collection on sys.path
