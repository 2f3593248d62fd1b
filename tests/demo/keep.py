# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaves a fleet like the demo's running for two hours, and says what can be done with it.

The demo has a network of its own, in which nobody else can reach anything; this fleet is started on the machine's.
"""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT, link_collection

HOURS = 2
TEXT = """\
A fleet like the one above runs for {hours} hours, on loopback addresses of this machine. In this folder:

   export ANSIBLE_COLLECTIONS_PATH={collections}
   .venv/bin/ansible-playbook -i build/lab/inventory.yml msexchange.winsock_proxy.publish --check
   .venv/bin/ansible-playbook -i build/lab/inventory.yml msexchange.winsock_proxy.publish
   .venv/bin/python -m tests.lab inject take_port address=PROXY1 port=110   # somebody else takes a port
   .venv/bin/ansible-playbook -i build/lab/inventory.yml msexchange.winsock_proxy.audit -e publish_report=audit.html
   .venv/bin/python -m tests.lab status
   .venv/bin/python -m tests.lab down                                       # stops it\
"""


def main() -> int:
    """Start it, unless one runs already."""
    collections = link_collection(ROOT)
    command = [sys.executable, "-m", "tests.lab"]
    if subprocess.run([*command, "status"], cwd=ROOT, capture_output=True, check=False).returncode:
        status = subprocess.run(
            [*command, "up", "--background", "--hours", str(HOURS)], cwd=ROOT, check=False
        ).returncode
        if status:
            return status
    print(TEXT.format(hours=HOURS, collections=collections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
