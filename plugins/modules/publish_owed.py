# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what one server owes right now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_owed
short_description: Say what one server owes right now
version_added: 1.0.0
description:
  - Divides what a plan found on one server into what is done now and what waits, once more, just before it is
    written, after it was written, and after it was restarted.
  - Fails when the ports, asked again just before, forbid to write, or when the write gave no usable result.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options:
  found:
    description: Newest result of M(msexchange.winsock_proxy.wspcfg); without it that of the look counts.
    type: dict
  ports:
    description: Result of M(msexchange.winsock_proxy.port_probe) from just before.
    type: dict
  restarted:
    description: Result of M(msexchange.winsock_proxy.service_restart), once it has run.
    type: dict
  again:
    description: Whether this is after a rollback; then the task never fails.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See what is owed now
  msexchange.winsock_proxy.publish_owed:
    found: "{{ __publish_applied }}"
  register: __publish_owed
"""

RETURN = r"""
refused:
  description: Why nothing may be done, one sentence each.
  returned: always
  type: list
  elements: str
restarts:
  description: Services that restart now, each with C(service), C(topic), C(reason) and C(running).
  returned: always
  type: list
  elements: dict
deferred:
  description: Services whose restart waits, each with C(because) besides.
  returned: always
  type: list
  elements: dict
topics:
  description: Handlers to notify.
  returned: always
  type: list
  elements: str
service_restart:
  description: Arguments of M(msexchange.winsock_proxy.service_restart), but for the account of the second hop.
  returned: when a plan was found
  type: dict
prove:
  description: Targets of M(msexchange.winsock_proxy.port_probe) that must be as expected once that is done.
  returned: always
  type: list
  elements: dict
probe_deadline:
  description: For how many seconds waiting for them makes sense.
  returned: always
  type: float
readable:
  description: Whether O(found) tells anything.
  returned: always
  type: bool
written:
  description: Whether O(found) is newer than the look.
  returned: always
  type: bool
owes:
  description: Whether anything has to be done now.
  returned: when a plan was found
  type: bool
writes:
  description: Whether a file differs from what is wanted.
  returned: when a plan was found
  type: bool
restart:
  description: The plan for M(msexchange.winsock_proxy.service_restart).
  returned: when a plan was found
  type: dict
window:
  description: In which window the restart must begin, empty for always.
  returned: when a plan was found
  type: str
wanted:
  description: Targets of M(msexchange.winsock_proxy.port_probe) before anything is written.
  returned: when a plan was found
  type: list
  elements: dict
refusals:
  description: Risks of the restart that no option accepts, one sentence each.
  returned: when a plan was found
  type: list
  elements: str
plan:
  description: Which plan of M(msexchange.winsock_proxy.publish_plan) this belongs to.
  returned: always
  type: str
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
