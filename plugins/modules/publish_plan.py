# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one plan for all servers, and print it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_plan
short_description: Make one plan for all servers, and print it
version_added: 1.0.0
description:
  - A pure function of every server's look (C(__publish_look)), of the ports' answers (C(__publish_ports)), and of
    what the inventory's hosts claim. Use it with C(run_once); its result is registered on every server.
  - Prints only the servers where something differs, then the counts. Under C(--check) that is the answer of the
    run.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options:
  audit:
    description:
      - Whether nothing will be done. Then every server that is not in order has one line, and what is not
        proven is a finding instead of a refusal.
    type: bool
    default: false
  looked_into:
    description:
      - Whether servers whose ports are not as wanted although nothing is owed were looked into
        (M(msexchange.winsock_proxy.wspcfg_info), registered as C(__publish_inside)). Until then a plan with
        such servers is not printed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Plan all servers
  msexchange.winsock_proxy.publish_plan:
  register: __publish_plan
  run_once: true
"""

RETURN = r"""
servers:
  description:
    - A row for every server, by inventory name. C(state) is V(in order), V(owes), V(broken), V(refused) or
      V(not reached), C(because) says why, C(drift) what differs, C(ports) what its ports answered.
    - The row of a server that owes something has what C(publish_owed) returns besides.
  returned: always
  type: dict
in_order:
  description: Servers that are as wanted.
  returned: always
  type: list
  elements: str
owing:
  description: Servers that owe something that is done now.
  returned: always
  type: list
  elements: str
broken:
  description: Servers whose ports are not as wanted although nothing is owed.
  returned: always
  type: list
  elements: str
refused:
  description: Servers on which nothing is done.
  returned: always
  type: list
  elements: str
unreached:
  description: Servers that could not be reached.
  returned: always
  type: list
  elements: str
settled:
  description: RV(in_order) and RV(owing).
  returned: always
  type: list
  elements: str
clean:
  description: Servers of which an audit has nothing to say.
  returned: always
  type: list
  elements: str
audit:
  description: Rows for programs, with C(host), C(state), C(findings), C(notes) and C(line).
  returned: with O(audit)
  type: list
  elements: dict
conflicts:
  description: Ports of an address that two servers claim, with C(address), C(port), C(hosts) and C(listeners).
  returned: always
  type: list
  elements: dict
lines:
  description: What was printed.
  returned: always
  type: list
  elements: str
headline:
  description: The counts that end it, as one sentence.
  returned: always
  type: str
remarks:
  description: What holds for all servers together.
  returned: always
  type: list
  elements: str
play:
  description: Identifies the play, whose batches have a plan each.
  returned: always
  type: str
serial:
  description: C(publish_serial) as a play takes it, by the first server whose options can be used.
  returned: always
  type: raw
max_fail_percentage:
  description: C(publish_max_fail_percentage) as a play takes it, by the same server.
  returned: always
  type: float
id:
  description: Identifies the plan, so that what an earlier one left is not taken for its own.
  returned: always
  type: str
at:
  description: When it was made, in seconds since 1970.
  returned: always
  type: float
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
