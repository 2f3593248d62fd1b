# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a run has done, proven, left and not begun."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_summary
short_description: Say what a run has done, proven, left and not begun
version_added: 1.0.0
description:
  - At the end of every batch of servers it knows whether the run ends here. Then it prints what was done and proven
    on every server, what waits, what failed, and which servers were not started because the run stopped. Use it
    with C(run_once).
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options: {}
"""

EXAMPLES = r"""
- name: Say what was done
  msexchange.winsock_proxy.publish_summary:
  register: __publish_summary
  run_once: true
"""

RETURN = r"""
last:
  description: Whether the run ends with this batch, so that the summary was printed.
  returned: always
  type: bool
headline:
  description: What came of the run, as one sentence.
  returned: always
  type: str
good:
  description: Servers on which everything is as expected.
  returned: always
  type: list
  elements: str
bad:
  description: Servers that failed.
  returned: always
  type: list
  elements: str
not_started:
  description: Servers that were not started because the run stopped.
  returned: always
  type: list
  elements: str
seconds:
  description: Since the plan was made.
  returned: always
  type: float
servers:
  description: What was done and proven, by inventory name.
  returned: always
  type: dict
plan:
  description: RV(msexchange.winsock_proxy.publish_plan#module:id) of the plan.
  returned: always
  type: str
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
