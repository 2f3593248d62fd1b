# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the report of a run to a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_report
short_description: Write the report of a run to a file
version_added: 1.0.0
description:
  - Writes what the tasks of the role P(msexchange.winsock_proxy.publish#role) registered on every server to one file
    on the controller, as a page for people, as JSON, or as JUnit's XML. Use it with C(run_once).
  - It changes nothing on any server and is never C(changed). It writes in check mode, too.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.fleet
options:
  path:
    description:
      - The file. C(.html) is one page that needs nothing else, C(.json) is what C(docs/report.schema.json) describes,
        C(.xml) is JUnit. It is replaced whole. An empty text writes nothing.
      - A path that is not absolute begins where ansible-playbook was started.
    type: str
    default: ""
  verify:
    description:
      - Whether the ports were checked from outside and no plan was made.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Write a page for people
  msexchange.winsock_proxy.publish_report:
    path: /srv/www/exchange.html
  run_once: true
"""

RETURN = r"""
path:
  description: The file that was written.
  returned: when one was written
  type: str
complete:
  description: Whether the run had come to its end.
  returned: when one was written
  type: bool
unwritten:
  description: Why it could not be written. The task does not fail, so that it ends no play.
  returned: when it could not be written
  type: str
told_by:
  description: The server that fails because of RV(unwritten); empty as long as the report will be written again.
  returned: when it could not be written
  type: str
"""
