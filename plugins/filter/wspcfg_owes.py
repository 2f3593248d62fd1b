# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_owes``: what of a plan is done now, and what waits."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ..plugin_utils.fleet.rollout import Policy, RolloutError, what_is_owed

DOCUMENTATION = r"""
name: wspcfg_owes
short_description: Divide what a server owes into what is done now and what waits
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Applies the restart policy of the role P(msexchange.winsock_proxy.publish#role) to a result of
    M(msexchange.winsock_proxy.wspcfg).
positional: _input
options:
  _input:
    description: Result of M(msexchange.winsock_proxy.wspcfg), of check mode or of a real run.
    type: dict
    required: true
  restart:
    description: Whether restarts are wanted now.
    type: str
    choices: [now, defer, never]
    default: now
  window:
    description:
      - When a restart may begin, as V(22:00-05:00), over midnight when the end is not after the begin.
      - Read on the clock that the result of M(msexchange.winsock_proxy.wspcfg) reports. Empty for always.
    type: str
    default: ""
  start_stopped:
    description: Whether a publishing service that is stopped is started.
    type: bool
    default: false
  accepted:
    description:
      - Names of the options of M(msexchange.winsock_proxy.service_restart) that accept a risk, as far as they are set,
        such as C(allow_kms).
    type: list
    elements: str
    default: []
  finish:
    description:
      - With V(any), what an interrupted restart from before a boot, or older than a day, has left stopped is started
        too.
    type: str
    choices: [same_boot, any]
    default: same_boot
  more:
    description: What P(msexchange.winsock_proxy.wspcfg_unloaded#filter) found.
    type: list
    elements: dict
    default: []
  address:
    description: The proxy's external address, for ports of which the result knows none.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Say what waits for the night
  ansible.builtin.debug:
    msg: "{{ (plan | msexchange.winsock_proxy.wspcfg_owes(window='22:00-05:00')).deferred }}"
"""

RETURN = r"""
_value:
  description: What is owed, divided.
  type: dict
  contains:
    owes:
      description: Whether anything has to be done now.
      type: bool
    writes:
      description: Whether a file differs from what is wanted.
      type: bool
    restarts:
      description: Entries of the plan's C(owed) that are acted on now.
      type: list
      elements: dict
    deferred:
      description: Entries that wait, each with C(because).
      type: list
      elements: dict
    topics:
      description: Handler topics of RV(_value.restarts).
      type: list
      elements: str
    restart:
      description:
        - What M(msexchange.winsock_proxy.service_restart) takes as
          O(msexchange.winsock_proxy.service_restart#module:plan) to act on RV(_value.restarts).
      type: dict
    window:
      description:
        - O(window), empty where only an interrupted restart is completed; that stops nothing and never waits.
      type: str
    wanted:
      description:
        - Targets of M(msexchange.winsock_proxy.port_probe) for everything that shall be open or closed when nothing
          waits any more.
      type: list
      elements: dict
    prove:
      description:
        - Targets that must be as expected once what is done now is done. Ports of a running service whose restart
          waits are among them only where they are in force already.
      type: list
      elements: dict
    refusals:
      description: Risks of the restart that no option in O(accepted) accepts.
      type: list
      elements: str
"""


def wspcfg_owes(
    plan: Mapping[str, t.Any],
    restart: str = "now",
    window: str = "",
    start_stopped: bool = False,
    accepted: Sequence[str] = (),
    more: Sequence[Mapping[str, t.Any]] = (),
    address: str = "",
    finish: str = "same_boot",
) -> dict[str, t.Any]:
    """Divide what ``plan`` says is owed."""
    try:
        policy = Policy(restart, window, start_stopped, accepted, finish)
        return what_is_owed(plan, policy, more=more, address=address).as_result()
    except RolloutError as error:
        raise AnsibleFilterError(f"wspcfg_owes: {error}") from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_owes": wspcfg_owes}
