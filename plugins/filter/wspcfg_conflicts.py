# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_conflicts``: ports of a proxy that two hosts of the inventory claim."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.conflicts import find_conflicts
from ..plugin_utils.fleet.inventory import claims_in

DOCUMENTATION = r"""
name: wspcfg_conflicts
short_description: Find every proxy address and port that two hosts claim
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Compares what the hosts of an inventory want published. A WinSock proxy grants an address and port to one server
    at a time.
  - Reads C(publish_listeners), C(publish_ports), C(publish_proxy_address), C(publish_proxy_addresses),
    C(publish_pin), C(publish_state) and C(publish_proxy) of every host. These are inventory variables; what a play,
    a role or the command line sets for a task is not among the variables of another host, and does not count.
  - A host with C(publish_state=absent), without C(publish_listeners), or with values that
    M(msexchange.winsock_proxy.wspcfg) refuses counts for nothing. Values may have any form that the module takes, such
    as V(pop3) for a list of one.
  - A listener with TLS, or any listener with C(publish_pin), claims its port on its address. A plain listener without
    C(publish_pin) is bound wherever its proxy likes, and claims its port on every address of that proxy.
  - Two hosts have the same proxy when C(publish_proxy), a name of your choice, is the same, or when they name the
    same external address. The addresses of a proxy are all those that its hosts name.
  - O(_input) holds all hosts whatever C(--limit) or C(serial) select, so that a host that is not in the play counts
    too.
positional: _input, hosts
options:
  _input:
    description: The variable RV(ignore:hostvars).
    type: dict
    required: true
  hosts:
    description: Inventory names to compare. A single name, or V(all), is taken as well.
    type: raw
    default: all
  prefix:
    description: What the variables' names begin with.
    type: str
    default: publish_
seealso:
  - plugin: msexchange.winsock_proxy.wspcfg_targets
    plugin_type: filter
  - plugin: msexchange.winsock_proxy.wspcfg_unclaimed
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Refuse an inventory in which two servers claim the same port
  hosts: exchange
  gather_facts: false
  tasks:
    - name: No port is claimed twice
      ansible.builtin.assert:
        that: conflicts | length == 0
        fail_msg: "{{ conflicts }}"
      vars:
        conflicts: "{{ hostvars | msexchange.winsock_proxy.wspcfg_conflicts(groups['exchange']) }}"
      run_once: true
"""

RETURN = r"""
_value:
  description: One entry for every address and port that is claimed more than once, by address and port.
  type: list
  elements: dict
  contains:
    address:
      description: External address, or the proxy's name when none of its addresses is known.
      type: str
      sample: 198.51.100.10
    port:
      description: TCP port.
      type: int
      sample: 110
    hosts:
      description: The hosts that claim it.
      type: list
      elements: str
      sample: [exch1, exch2]
    listeners:
      description: What they would bind there.
      type: list
      elements: str
      sample: [pop3]
"""


def wspcfg_conflicts(
    hostvars: Mapping[str, t.Any], hosts: str | Sequence[str] = "all", prefix: str = "publish_"
) -> list[dict[str, t.Any]]:
    """Return the conflicts as plain data."""
    found = [dataclasses.asdict(conflict) for conflict in find_conflicts(claims_in(hostvars, hosts, prefix=prefix))]
    return [{**each, "hosts": list(each["hosts"]), "listeners": list(each["listeners"])} for each in found]


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_conflicts": wspcfg_conflicts}
