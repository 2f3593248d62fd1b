# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what an Exchange server publishes through Proxy Server 2.0."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wspcfg_info
short_description: Tell what an Exchange server publishes through Proxy Server 2.0, and what is odd about it
version_added: 1.0.0
description:
  - Reads both C(Wspcfg.ini) files, the services, the records and backups of this collection, the journal of restarts,
    and on request the event log and what listens inside. One remote execution; nothing is changed.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.target
  - msexchange.winsock_proxy.exchange
  - msexchange.winsock_proxy.exchange.version
options:
  events_since:
    description:
      - Also read the System and Application logs since then, in seconds since 1970 UTC by the server's clock, such as
        C(clock.now) of an earlier result. The newest 200 of the events whose meaning for a port is documented are
        returned, from the newest 5,000 entries of each log.
    type: float
  inside_ports:
    description:
      - Ports to look at on the Exchange server's own network, where Exchange must answer before the proxy can.
      - Without this option those that the files publish, which costs a second remote execution; an empty list looks at
        none.
      - Each is given 20 seconds to accept and to greet, LDAP to answer an anonymous bind; a TLS port is only connected
        to.
    type: list
    elements: int
  ports:
    description:
      - Port of a listener that was moved, by the listener's name, as for M(msexchange.winsock_proxy.wspcfg); it says
        which of O(inside_ports) are asked for LDAP, and which for TLS.
    type: dict
attributes:
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
seealso:
  - module: msexchange.winsock_proxy.wspcfg
"""

EXAMPLES = r"""
- name: See what is there
  msexchange.winsock_proxy.wspcfg_info:
    computer: EXCH1
  register: seen

- name: Look for events since a restart, and at the ports from inside
  msexchange.winsock_proxy.wspcfg_info:
    events_since: "{{ restarted.clock.now - 3600 }}"
    inside_ports: [110, 143, 389]
"""

RETURN = r"""
exchange:
  description: Version, build, root and directories of the installation.
  returned: success
  type: dict
  sample:
    version: "5.5"
    build: 2653
    root: C:\exchsrvr
    directories: {bin: 'C:\exchsrvr\bin', imc: 'C:\exchsrvr\connect\msexcimc\bin'}
proxy_on_server:
  description: Whether Proxy Server is in use on the Exchange server itself.
  returned: success
  type: bool
files:
  description: Both candidate files, with path, existence, size, sha256, time, attributes, look-alikes, text and error.
  returned: success
  type: list
  elements: dict
listeners:
  description: Ports that the files surely publish, and whether the running process has loaded them.
  returned: success
  type: list
  elements: dict
  sample: [{host: 192.0.2.10, port: 995, protocol: pop3s, in_force: true}]
pending:
  description: Per service whether it must restart to hold what its section says now, with the reason.
  returned: success
  type: list
  elements: dict
findings:
  description: What is odd about the files, with C(code), C(path), C(line) and C(message).
  returned: success
  type: list
  elements: dict
services:
  description: The services of Exchange and everything that they depend on or that depends on them.
  returned: success
  type: list
  elements: dict
backups:
  description: Backups on the server, oldest first, with C(saved), C(sha256) and C(path).
  returned: success
  type: list
  elements: dict
unfinished:
  description: What an interrupted restart left behind, null when there is none.
  returned: success
  type: dict
lock:
  description: Who is at work on the server now, null when nobody is.
  returned: success
  type: dict
inside:
  description:
    - What O(inside_ports) show, in their order.
    - C(listening) says whether anything listens, null from a management host, which can only connect; C(connected)
      whether it accepted; C(greeting) its first line, printable; C(speaks) the protocol of this line, or of the answer
      to LDAP's bind; C(error) why nothing more was heard, and C(native) the code of WinSock for it, 10061 where the
      connection was refused.
  returned: success
  type: list
  elements: dict
  sample:
    - port: 110
      listening: true
      connected: true
      greeting: +OK Microsoft Exchange POP3 server version 5.5.2655.20 ready
      speaks: pop3
      error: null
      native: null
events:
  description: Events with C(cause), C(remedy) and C(article) where they are known; null when not asked for.
  returned: success
  type: list
  elements: dict
events_error:
  description: Why a log could not be read, null otherwise.
  returned: success
  type: str
causes:
  description: One sentence per distinct known cause among the events.
  returned: success
  type: list
  elements: str
machine:
  description: Name, PowerShell version and system of the machine that ran the script.
  returned: success
  type: dict
clock:
  description: Time, UTC offset and name of the machine that ran the script.
  returned: success
  type: dict
executions:
  description: Remote executions of this task.
  returned: success
  type: int
problems:
  description: Why the task failed, each with C(code), C(option), C(value), C(cause) and C(remedy).
  returned: failure
  type: list
  elements: dict
error:
  description: The target's error, with C(code), C(message) and C(detail).
  returned: on errors of the target
  type: dict
"""
