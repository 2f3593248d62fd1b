# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather which ports a plan over many servers asks, and from where."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_ports
short_description: Gather which ports a plan over many servers asks, and from where
version_added: 1.0.0
description:
  - Reads what M(msexchange.winsock_proxy.publish_look) registered as C(__publish_look) on every server of the play,
    and returns the arguments of one M(msexchange.winsock_proxy.port_probe) for each probe host and timeout. Use it
    with C(run_once).
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options: {}
"""

EXAMPLES = r"""
- name: Gather which ports are asked
  msexchange.winsock_proxy.publish_ports:
  register: __publish_asked
  run_once: true
"""

RETURN = r"""
asked:
  description: One entry for every probe host and timeout, with C(probe_host), C(timeout) and C(targets).
  returned: always
  type: list
  elements: dict
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
