# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``wspcfg_judge``: whether a change is taken back."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ..plugin_utils.fleet.verdict import Evidence, judge
from ..plugin_utils.fleet.wording import unprobed

DOCUMENTATION = r"""
name: wspcfg_judge
short_description: Decide whether a change is taken back
version_added: 1.0.0
description:
  - Compares the ports before and after a change with what was restarted, and says whether the change is to be rolled
    back, or kept although something is wrong, and why.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
positional: _input
options:
  _input:
    description: Value C(results) of M(msexchange.winsock_proxy.port_probe) after the change.
    type: list
    elements: dict
    required: true
  before:
    description: Value C(results) of M(msexchange.winsock_proxy.port_probe) before anything was written.
    type: list
    elements: dict
    default: []
  wrote:
    description: Whether this run wrote a file.
    type: bool
    required: true
  restarted:
    description: Result of M(msexchange.winsock_proxy.service_restart), if there was a restart.
    type: dict
  probed:
    description:
      - Whole result of M(msexchange.winsock_proxy.port_probe) after the change, which tells whether there was a check.
        Without one a change is never taken back, and never well.
    type: dict
    default: {}
  policy:
    description:
      - With V(regression) a change is taken back only if this run wrote, a port that answered before no longer does,
        the proxy can be reached now, nobody else answers there, and every restarted service runs anew.
      - With V(always) it is taken back whenever something is wrong and this run wrote; with V(never) it stays.
      - When O(before) shows nothing of the proxy at all, it stays whatever the policy.
    type: str
    choices: [regression, always, never]
    default: regression
  rolled_back:
    description: Whether this run has already taken a change back; it never does so twice.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Judge
  ansible.builtin.set_fact:
    verdict: >-
      {{ probed.results | msexchange.winsock_proxy.wspcfg_judge(
           before=baseline.results, wrote=written is changed, restarted=restarted) }}
"""

RETURN = r"""
_value:
  description: The verdict.
  type: dict
  contains:
    ok:
      description: Every port is as expected and no restart failed.
      type: bool
    action:
      description: V(none), V(rollback) or V(keep).
      type: str
    failed:
      description: Ports that are not as expected.
      type: list
      elements: str
    regressed:
      description: Those of them that answered before.
      type: list
      elements: str
    because:
      description: Why it is taken back, or why it is not.
      type: list
      elements: str
"""


def wspcfg_judge(
    after: Sequence[Mapping[str, t.Any]],
    *,
    wrote: bool,
    before: Sequence[Mapping[str, t.Any]] = (),
    restarted: Mapping[str, t.Any] | None = None,
    probed: Mapping[str, t.Any] | None = None,
    policy: str = "regression",
    rolled_back: bool = False,
) -> dict[str, t.Any]:
    """Filter; see the documentation above."""
    missing = bool(unprobed(probed, ""))
    evidence = Evidence(before, after, bool(wrote), restarted, bool(rolled_back), unproven=missing)
    try:
        verdict = dataclasses.asdict(judge(evidence, policy=policy))
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"wspcfg_judge: {error!r}") from error
    return {key: list(value) if isinstance(value, tuple) else value for key, value in verdict.items()}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"wspcfg_judge": wspcfg_judge}
