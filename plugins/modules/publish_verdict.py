# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what came of one server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_verdict
short_description: Judge what came of one server
version_added: 1.0.0
description:
  - Decides, from everything that the tasks of one server returned, whether its ports and services are as expected,
    whether the file of before is put back, and what the summary says. A pure function; it never fails.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options:
  before:
    description: Result of M(msexchange.winsock_proxy.port_probe) before anything was written.
    type: dict
  written:
    description: Result of M(msexchange.winsock_proxy.wspcfg).
    type: dict
  owed:
    description: Result of M(msexchange.winsock_proxy.publish_owed) after that.
    type: dict
  restarted:
    description: Result of M(msexchange.winsock_proxy.service_restart).
    type: dict
  after:
    description: Result of M(msexchange.winsock_proxy.port_probe) afterwards.
    type: dict
  inside:
    description: Result of M(msexchange.winsock_proxy.wspcfg_info).
    type: dict
  undone:
    description: Result of the M(msexchange.winsock_proxy.wspcfg) task that put the file of before back.
    type: dict
  owed_again:
    description: Result of M(msexchange.winsock_proxy.publish_owed) after that.
    type: dict
  restarted_again:
    description: Result of the restart after that.
    type: dict
  back:
    description: Result of M(msexchange.winsock_proxy.port_probe) after that.
    type: dict
  failure:
    description: Result of a task that broke the run of this server; it is added to what was done and judged before.
    type: dict
  judged:
    description: Result of this module before that.
    type: dict
"""

EXAMPLES = r"""
- name: Judge
  msexchange.winsock_proxy.publish_verdict:
    before: "{{ __publish_before }}"
    written: "{{ __publish_applied }}"
    owed: "{{ __publish_owed }}"
    after: "{{ __publish_after }}"
  register: __publish_verdict
"""

RETURN = r"""
ok:
  description: Whether every port is as expected and every service that was restarted runs.
  returned: always
  type: bool
action:
  description: V(none), V(rollback), or V(keep), which means that the file stays and the server fails.
  returned: always
  type: str
because:
  description: Why it is put back, or why it is not.
  returned: always
  type: list
  elements: str
msg:
  description: What is wrong, on which side, and what became of the file; empty when nothing is.
  returned: always
  type: str
restarted:
  description: The restart that was judged.
  returned: always
  type: dict
answered:
  description: Targets of the ports that were open before.
  returned: always
  type: list
  elements: dict
events_since:
  description: From when on events of the server tell about this run, in seconds since 1970.
  returned: always
  type: float
at:
  description: When it was judged, in seconds since 1970.
  returned: always
  type: float
summary:
  description: What was written, restarted and proven, what waits and what failed.
  returned: always
  type: dict
plan:
  description: Which plan of M(msexchange.winsock_proxy.publish_plan) this belongs to.
  returned: always
  type: str
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
