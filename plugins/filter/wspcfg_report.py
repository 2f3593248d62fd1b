# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_report``: what is wrong with a server's ports, in words."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..plugin_utils.fleet.report import Back, Case, causes_since, report
from ..plugin_utils.fleet.wording import unprobed

DOCUMENTATION = r"""
name: wspcfg_report
short_description: Say in words what is wrong with a server's ports, and why
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Puts together what the port check saw outside, what the server shows inside, what its event log says, how the
    restart went and what became of the file.
positional: _input, host
options:
  _input:
    description: RV(msexchange.winsock_proxy.port_probe#module:results).
    type: list
    elements: dict
    required: true
  host:
    description: Inventory name of the server.
    type: str
    required: true
  info:
    description: Result of M(msexchange.winsock_proxy.wspcfg_info), with its inside view and events.
    type: dict
    default: {}
  deferred:
    description: Restarts that wait, from P(msexchange.winsock_proxy.wspcfg_owes#filter).
    type: list
    elements: dict
    default: []
  restarted:
    description: Result of M(msexchange.winsock_proxy.service_restart).
    type: dict
  verdict:
    description: What P(msexchange.winsock_proxy.wspcfg_judge#filter) decided.
    type: dict
  written:
    description:
      - Result of the M(msexchange.winsock_proxy.wspcfg) task whose effect is judged. Of the events in O(info), only
        those since then are told, by the server's own clock where the file tells its time there.
    type: dict
    default: {}
  remote:
    description: Whether a management host runs the script, whose clock may differ from the server's.
    type: bool
    default: false
  probed:
    description: Whole result of M(msexchange.winsock_proxy.port_probe), which tells why O(_input) is empty.
    type: dict
    default: {}
  probe_host:
    description: Host that checked the ports.
    type: str
    default: localhost
  undone:
    description: Result of the M(msexchange.winsock_proxy.wspcfg) task that put the file of before back.
    type: dict
  restarted_again:
    description: Result of M(msexchange.winsock_proxy.service_restart) after that.
    type: dict
  deferred_again:
    description: Restarts that wait after that.
    type: list
    elements: dict
    default: []
  afterwards:
    description: RV(msexchange.winsock_proxy.port_probe#module:results) after that.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ probe.results | msexchange.winsock_proxy.wspcfg_report(inventory_hostname, info=info) }}"
"""

RETURN = r"""
_value:
  description: One sentence per line.
  type: str
"""


def wspcfg_report(
    results: Sequence[Mapping[str, t.Any]],
    host: str,
    *,
    info: Mapping[str, t.Any] | None = None,
    deferred: Sequence[Mapping[str, t.Any]] = (),
    restarted: Mapping[str, t.Any] | None = None,
    verdict: Mapping[str, t.Any] | None = None,
    written: Mapping[str, t.Any] | None = None,
    remote: bool = False,
    probed: Mapping[str, t.Any] | None = None,
    probe_host: str = "localhost",
    undone: Mapping[str, t.Any] | None = None,
    restarted_again: Mapping[str, t.Any] | None = None,
    deferred_again: Sequence[Mapping[str, t.Any]] = (),
    afterwards: Sequence[Mapping[str, t.Any]] = (),
) -> str:
    """Return the report."""
    view = info or {}
    return report(
        Case(
            host=host,
            results=results,
            inside=view.get("inside") or (),
            causes=causes_since(view, written or {}, remote=bool(remote)),
            deferred=deferred,
            restarted=restarted or None,
            verdict=verdict or None,
            unprobed=unprobed(probed, probe_host),
            back=Back(undone, restarted_again or None, deferred_again, afterwards) if undone else None,
        )
    )


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_report": wspcfg_report}
