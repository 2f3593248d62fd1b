# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_unclaimed``: expect a port to be closed only where nobody else may answer."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.conflicts import is_claimed_by_others
from ..plugin_utils.fleet.inventory import claims_in, proxy_name

DOCUMENTATION = r"""
name: wspcfg_unclaimed
short_description: Expect a port to be closed only where no other host claims it
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - After a server was taken off its proxy, another server of the inventory may rightly answer on the same address
    and port. Targets with O(msexchange.winsock_proxy.port_probe#module:targets[].expect=closed) that another host
    claims become V(any); everything else stays as it is.
  - What counts as a claim stands in P(msexchange.winsock_proxy.wspcfg_conflicts#filter).
positional: _input, hostvars, host
options:
  _input:
    description: Targets of the port probe.
    type: list
    elements: dict
    required: true
  hostvars:
    description: The variable RV(ignore:hostvars).
    type: dict
    required: true
  host:
    description: Inventory name of the host that the targets belong to.
    type: str
    required: true
  hosts:
    description: Inventory names to compare with. A single name, or V(all), is taken as well.
    type: raw
    default: all
  prefix:
    description: What the variables' names begin with.
    type: str
    default: publish_
seealso:
  - plugin: msexchange.winsock_proxy.wspcfg_conflicts
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Prove that servers are off their proxy, but for ports that another server has now
  hosts: retired
  gather_facts: false
  tasks:
    - name: Check the ports
      msexchange.winsock_proxy.port_probe:
        targets: "{{ hostvars[inventory_hostname]
          | msexchange.winsock_proxy.wspcfg_targets(expect='closed')
          | msexchange.winsock_proxy.wspcfg_unclaimed(hostvars, inventory_hostname) }}"
      delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The targets.
  type: list
  elements: dict
  sample: [{"host": "198.51.100.10", "port": 110, "protocol": "pop3", "expect": "any"}]
"""


def wspcfg_unclaimed(
    targets: Sequence[Mapping[str, t.Any]],
    hostvars: Mapping[str, t.Any],
    host: str,
    hosts: str | Sequence[str] = "all",
    prefix: str = "publish_",
) -> list[dict[str, t.Any]]:
    """Return the targets, those that another host claims with ``expect`` any instead of closed."""
    if all(target.get("expect") != "closed" for target in targets):
        return [dict(target) for target in targets]  # nobody has to be asked: the variables of a fleet cost time
    claims = claims_in(hostvars, hosts, prefix=prefix)
    proxy = proxy_name(hostvars, host, prefix=prefix)
    changed = []
    for target in targets:
        claimed = target.get("expect") == "closed" and is_claimed_by_others(
            target["host"], target["port"], host=host, proxy=proxy, claims=claims
        )
        changed.append({**target, "expect": "any"} if claimed else dict(target))
    return changed


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_unclaimed": wspcfg_unclaimed}
