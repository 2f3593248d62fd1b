# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_unloaded``: services of which only their ports tell that they must restart."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.rollout import unloaded

DOCUMENTATION = r"""
name: wspcfg_unloaded
short_description: Find services of which only their ports tell that they must restart
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Through a management host the start of a process cannot be known, and before the first restart by this collection
    there is no record of what it loaded. Then the ports decide. A service that runs, whose ports answer on the server
    and are refused on the proxy, has not loaded its file.
  - After one restart there is a record, so this is never found twice for a service.
positional: _input, info
options:
  _input:
    description: RV(msexchange.winsock_proxy.port_probe#module:results).
    type: list
    elements: dict
    required: true
  info:
    description: Result of M(msexchange.winsock_proxy.wspcfg_info) with the inside view of the ports that failed.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show which services have not loaded their file
  ansible.builtin.debug:
    msg: "{{ probe.results | msexchange.winsock_proxy.wspcfg_unloaded(info) | map(attribute='service') }}"
"""

RETURN = r"""
_value:
  description: Entries of the same shape as C(owed) of M(msexchange.winsock_proxy.wspcfg).
  type: list
  elements: dict
"""


def wspcfg_unloaded(results: Sequence[Mapping[str, t.Any]], info: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the debts."""
    return [dict(entry) for entry in unloaded(results, info)]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_unloaded": wspcfg_unloaded}
