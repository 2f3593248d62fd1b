# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_targets``: from wanted listeners to targets of the port probe."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import replace

from ansible.errors import AnsibleFilterError

from ..plugin_utils.fleet.conflicts import wanted_of
from ..plugin_utils.fleet.inventory import typed_options
from ..plugin_utils.problems.problem import Refused

DOCUMENTATION = r"""
name: wspcfg_targets
short_description: Make targets for the port probe from the listeners that a host wants
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Turns the options C(listeners), C(ports), C(proxy_address) and C(proxy_addresses), or the variables of the same
    names with the prefix C(publish_), into O(msexchange.winsock_proxy.port_probe#module:targets).
positional: _input
options:
  _input:
    description:
      - Options, or one host's variables. Other keys are ignored.
      - Without a key C(listeners) the keys with the prefix are read.
    type: dict
    required: true
  expect:
    description:
      - What to expect of every port.
      - Without it, V(closed) where C(state) (or C(publish_state)) is V(absent), otherwise V(open).
    type: str
    choices: [open, closed, any]
  skip_unknown:
    description: Leave out a listener that has no address of the proxy, instead of refusing it.
    type: bool
    default: false
seealso:
  - plugin: msexchange.winsock_proxy.port_probe
    plugin_type: module
  - plugin: msexchange.winsock_proxy.wspcfg_unclaimed
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Check every listener that a server publishes, from the controller
  hosts: exchange
  gather_facts: false
  tasks:
    - name: Check the ports
      msexchange.winsock_proxy.port_probe:
        targets: "{{ hostvars[inventory_hostname] | msexchange.winsock_proxy.wspcfg_targets }}"
      delegate_to: localhost
"""

RETURN = r"""
_value:
  description: One target for every listener, in the order given.
  type: list
  elements: dict
  sample: [{"host": "198.51.100.10", "port": 110, "protocol": "pop3", "expect": "open"}]
"""

_PREFIX = "publish_"
_EXPECTATIONS = ("open", "closed", "any")


def wspcfg_targets(options: t.Any, expect: str | None = None, skip_unknown: bool = False) -> list[dict[str, t.Any]]:
    """Return one target per wanted listener.

    Raises:
        AnsibleFilterError: An option cannot be read, or a listener has no address to be probed at.
    """
    if not isinstance(options, Mapping):
        raise AnsibleFilterError(f"wspcfg_targets: {options!r} is neither options nor a host's variables")
    if expect is not None and expect not in _EXPECTATIONS:
        raise AnsibleFilterError(f"wspcfg_targets: expect {expect!r} is none of {', '.join(_EXPECTATIONS)}")
    prefix = "" if "listeners" in options else _PREFIX
    if prefix + "listeners" not in options:
        raise AnsibleFilterError(f"wspcfg_targets: neither listeners nor {_PREFIX}listeners is given")
    if expect is None:
        expect = "closed" if options.get(prefix + "state") == "absent" else "open"
    try:
        wanted = wanted_of(typed_options(options, prefix=prefix))
    except Refused as refused:
        named = [replace(row, option=row.option and prefix + row.option) for row in refused.problems]
        raise AnsibleFilterError(Refused(named).message("wspcfg_targets")) from refused
    for each in wanted:
        if each.address is None and not skip_unknown:
            name = each.listener.name
            remedy = f"give {prefix}proxy_address or {prefix}proxy_addresses.{name}"
            raise AnsibleFilterError(f"wspcfg_targets: listener {name} has no external address of the proxy; {remedy}")
    return [
        {"host": each.address, "port": each.port, "protocol": each.listener.name, "expect": expect}
        for each in wanted
        if each.address is not None
    ]


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_targets": wspcfg_targets}
