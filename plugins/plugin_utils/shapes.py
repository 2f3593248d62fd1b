# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two shapes in which data comes from Ansible and from a server, and goes back."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

Json = dict[str, t.Any]
JsonObject = Mapping[str, t.Any]
