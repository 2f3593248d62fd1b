# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a server that a plan refuses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_refuse
short_description: Stop a server that a plan refuses
version_added: 1.0.0
description:
  - Fails with cause and remedy on a server that the plan (C(__publish_plan)) refuses or finds broken; ends as
    unreachable on one that could not be reached, with the reason that the look found; fails on a server that no
    plan knows. The server that a report names which could not be written (C(__publish_reported)) fails, too.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options: {}
"""

EXAMPLES = r"""
- name: Stop what the plan refuses
  msexchange.winsock_proxy.publish_refuse:
  when: inventory_hostname not in __publish_plan.settled | default([])
"""

RETURN = r"""
msg:
  description: Cause and remedy, one sentence a line.
  returned: always
  type: str
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
