# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_audit``: the table of an audit."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.audit import audit

DOCUMENTATION = r"""
name: wspcfg_audit
short_description: Make the table of an audit from what the role left in the hosts' variables
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Judges every host by what the entry point C(audit) or C(plan) of the role P(msexchange.winsock_proxy.publish#role)
    found out about it.
positional: _input, hosts
options:
  _input:
    description: The variable RV(ignore:hostvars).
    type: dict
    required: true
  hosts:
    description: Inventory names of the hosts to judge.
    type: list
    elements: str
    required: true
seealso:
  - plugin: msexchange.winsock_proxy.wspcfg_owes
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what was found
  ansible.builtin.debug:
    msg: "{{ (hostvars | msexchange.winsock_proxy.wspcfg_audit(groups['exchange'])).lines }}"
"""

RETURN = r"""
_value:
  description: The table, as text and as data.
  type: dict
  contains:
    lines:
      description: One line per host, then a line of totals.
      type: list
      elements: str
    rows:
      description: One entry per host.
      type: list
      elements: dict
      contains:
        host:
          description: Inventory name.
          type: str
        state:
          description: V(ok), V(drift), V(error), or V(unknown) when the host could not be reached.
          type: str
        findings:
          description: What differs from what is wanted, or the error.
          type: list
          elements: str
        notes:
          description:
            - What somebody should know although it is as wanted, such as a file on a server that runs Proxy Server
              itself, or that no port was checked.
          type: list
          elements: str
        line:
          description: The host's line of the table.
          type: str
"""


def wspcfg_audit(hostvars: Mapping[str, t.Any], hosts: Sequence[str]) -> dict[str, t.Any]:
    """Judge ``hosts`` by their variables."""
    return audit({host: hostvars[host] for host in hosts})


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_audit": wspcfg_audit}
