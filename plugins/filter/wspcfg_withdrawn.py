# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_withdrawn``: what must be closed although the file does not tell it any more."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.rollout import with_withdrawn

DOCUMENTATION = r"""
name: wspcfg_withdrawn
short_description: Add to a plan what must be closed although the file does not tell it any more
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - A listener that leaves C(Wspcfg.ini) stays open until its service has restarted. When that waits, the run that
    restarts the service finds nothing in the file that would have to be closed. What the variables say is added here,
    for the services that owe a restart.
positional: _input, targets
options:
  _input:
    description: Result of M(msexchange.winsock_proxy.wspcfg), of state V(absent).
    type: dict
    required: true
  targets:
    description: Where the listeners were, from P(msexchange.winsock_proxy.wspcfg_targets#filter).
    type: list
    elements: dict
    required: true
seealso:
  - plugin: msexchange.winsock_proxy.wspcfg_targets
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what must be closed
  ansible.builtin.debug:
    msg: "{{ (plan | msexchange.winsock_proxy.wspcfg_withdrawn(targets)).closed_targets }}"
  vars:
    targets: "{{ hostvars[inventory_hostname] | msexchange.winsock_proxy.wspcfg_targets(expect='closed') }}"
"""

RETURN = r"""
_value:
  description: The result with more under RV(msexchange.winsock_proxy.wspcfg#module:closed_targets).
  type: dict
"""


def wspcfg_withdrawn(plan: Mapping[str, t.Any], targets: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Return the plan with the targets that are no longer in the file."""
    return with_withdrawn(plan, targets)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_withdrawn": wspcfg_withdrawn}
