# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_sides``: which side a failed port check points to."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.diagnosis import broken_side

DOCUMENTATION = r"""
name: wspcfg_sides
short_description: Say which side is broken when a port is not as expected
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Holds what the port probe saw outside against what the Exchange server itself shows inside.
positional: _input, inside
options:
  _input:
    description: RV(msexchange.winsock_proxy.port_probe#module:results).
    type: list
    elements: dict
    required: true
  inside:
    description:
      - The Exchange server's own ports, with C(port), C(listening) (V(null) when it cannot be known), C(connected)
        and C(greeting).
    type: list
    elements: dict
    default: []
seealso:
  - plugin: msexchange.winsock_proxy.port_probe
    plugin_type: module
"""

EXAMPLES = r"""
- name: Say which side is broken
  ansible.builtin.debug:
    msg: "{{ probe.results | msexchange.winsock_proxy.wspcfg_sides(inside) | map(attribute='explanation') }}"
"""

RETURN = r"""
_value:
  description: One entry for every result, in the same order.
  type: list
  elements: dict
  contains:
    host:
      description: Host of the result.
      type: str
    port:
      description: Port of the result.
      type: int
    side:
      description:
        - V(none), the port is as expected.
        - V(server), the service does not listen; V(server_foreign), another program listens in its place on the
          Exchange server; V(server_mute), it listens there and does not answer.
        - V(proxy), it answers on the Exchange server (with TLS, it listens) and not on the proxy; V(proxy_unheard), it
          listens on the Exchange server, was not heard there in time, and nobody listens on the proxy;
          V(proxy_foreign), someone else answers on the proxy, perhaps in clear where TLS was expected.
        - V(still_there), the port should be closed and is not.
        - V(certificate), it listens without a usable certificate.
        - V(vantage), the probe host cannot see the proxy.
        - V(unknown), the inside view is missing, or shows neither that it listens nor that it does not.
      type: str
    explanation:
      description: One sentence.
      type: str
"""


def wspcfg_sides(
    results: Sequence[Mapping[str, t.Any]], inside: Sequence[Mapping[str, t.Any]] = ()
) -> list[dict[str, t.Any]]:
    """Return the side and a sentence for every result."""
    found = []
    for result in results:
        side = broken_side(result, inside)
        found.append(
            {"host": result["host"], "port": result["port"], "side": side.side, "explanation": side.explanation}
        )
    return found


class FilterModule:
    """Offer the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_sides": wspcfg_sides}
