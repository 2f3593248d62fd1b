# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_refusals``: why nothing is done on a server."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.rollout import refusals

DOCUMENTATION = r"""
name: wspcfg_refusals
short_description: Say why nothing may be done on a server
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Names conflicts, restarts whose risk nobody accepted, and, when something is owed, programs that answer on a wanted
    port and a probe host that sees nothing of the proxy. A probe host that cannot be reached is named always.
positional: _input, host
options:
  _input:
    description: What P(msexchange.winsock_proxy.wspcfg_owes#filter) returned.
    type: dict
    required: true
  host:
    description: Inventory name of the server.
    type: str
    required: true
  conflicts:
    description: What P(msexchange.winsock_proxy.wspcfg_conflicts#filter) returned.
    type: list
    elements: dict
    default: []
  probed:
    description: Result of M(msexchange.winsock_proxy.port_probe), taken before anything is written.
    type: dict
    default: {}
  probe_host:
    description: Host that checked the ports.
    type: str
    default: localhost
  blind:
    description: What to do when nothing of the proxy can be seen.
    type: str
    choices: [refuse, proceed]
    default: refuse
"""

EXAMPLES = r"""
- name: Show why nothing would be done
  ansible.builtin.debug:
    msg: "{{ plan | msexchange.winsock_proxy.wspcfg_owes
      | msexchange.winsock_proxy.wspcfg_refusals(inventory_hostname, probed=probe) }}"
"""

RETURN = r"""
_value:
  description: One sentence per reason; empty when nothing is in the way.
  type: list
  elements: str
"""


def wspcfg_refusals(
    owes: Mapping[str, t.Any],
    host: str,
    conflicts: Sequence[Mapping[str, t.Any]] = (),
    probed: Mapping[str, t.Any] | None = None,
    probe_host: str = "localhost",
    blind: str = "refuse",
) -> list[str]:
    """Return the reasons."""
    return list(refusals(host, owes, conflicts=conflicts, probed=probed, probe_host=probe_host, blind=blind))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_refusals": wspcfg_refusals}
