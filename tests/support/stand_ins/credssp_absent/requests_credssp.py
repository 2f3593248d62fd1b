# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes requests-credssp look as if it were not installed."""

from __future__ import annotations

raise ImportError("No module named 'requests_credssp'")
