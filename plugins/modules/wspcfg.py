# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish Exchange listeners through Microsoft Proxy Server 2.0."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wspcfg
short_description: Publish Exchange listeners through Microsoft Proxy Server 2.0
version_added: 1.0.0
description:
  - Brings C(Wspcfg.ini) of an Exchange 4.0, 5.0 or 5.5 server to the wanted state, in the directory of C(Store.exe) and
    C(Dsamain.exe) and in the directory of C(Msexcimc.exe) (Q178532, Q181420).
  - Finds the installation, refuses what the version does not have, keeps comments, foreign sections and every byte that
    need not change, and backs the file up on the server before it is written.
  - Warns when C(Disable=1) in a section would keep its process off the proxy all the same (Q231878).
  - Leaves a server that runs Proxy Server itself alone, and warns of a file there, which has no use (Q178532).
  - Converts a file that was saved as UTF-16, or as UTF-8 with a byte order mark, to ANSI, because Exchange cannot read
    it otherwise (Q181420), and warns of that and of a C(Wspcfg.ini.txt) beside the place where it is read.
  - Restarts nothing. It reports which services owe a restart, decided per service by the content that its process
    loaded, and hands RV(restart) to M(msexchange.winsock_proxy.service_restart).
  - Without changes a task is one remote execution, with changes two.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.target
  - msexchange.winsock_proxy.exchange
  - msexchange.winsock_proxy.exchange.version
options:
  listeners:
    description:
      - What the server publishes, all of it. A listener that is not named is taken out of the file.
      - With O(state=absent) only the named ones leave; without this option all of them do. A name whose port is not in
        the file is a warning when a port stays that may be a moved one, see O(ports).
      - One or more of V(pop3), V(pop3s), V(imap4), V(imap4s), V(nntp), V(nntps), V(ldap), V(ldaps), V(smtp).
      - Needed with O(state=present), unless O(restore) or O(undo) is given.
    type: list
    elements: str
  ports:
    description:
      - Port of a listener that was moved, by the listener's name; LDAP on 390 for example (Q224447). Exchange itself
        must listen there.
    type: dict
  proxy_address:
    description:
      - The proxy's external IPv4 address. It goes into C(ProxyBindIp) for every TLS listener, and is where the ports
        are to be proven. Plain listeners can do without, but then nothing tells where to look, see RV(unproven).
    type: str
  proxy_addresses:
    description:
      - IPv4 address by the listener's name, where it differs from O(proxy_address).
    type: dict
  pin:
    description:
      - Write C(ProxyBindIp) for plain listeners too. Needed when one proxy offers the same port for several servers.
    type: bool
    default: false
  mta_direct:
    description:
      - Whether the message transfer agent bypasses the proxy (C([EMSMTA] Disable=1), Q254909).
      - Whatever it is, sections of C(Mspclnt.ini) for programs of the directory of C(Store.exe) are copied when
        C(Wspcfg.ini) is created there, because creating it may hide them.
      - With V(auto), C([EMSMTA]) is one of them, if it is there. V(true) always writes C(Disable=1). V(false) never
        copies or writes that section, takes away what this module wrote there, and warns.
    type: str
    choices: ['auto', 'true', 'false']
    default: auto
  force_credentials:
    description:
      - V(true) writes C(ForceCredentials=1), for proxies with access control and accounts stored by C(credtool)
        (Q254367); V(false) removes the key. Without this option it stays as it is.
    type: bool
  state:
    description:
      - V(absent) removes the keys that this module writes, then the empty section, then the empty file. It also works
        where V(present) is refused because of what the file says.
    type: str
    choices: [present, absent]
    default: present
  restore:
    description:
      - Put a backup back instead, V(original) (the first one that was ever saved), V(latest) (what the last change
        replaced) or the sha256 of one, for the files that have it. Mutually exclusive with O(listeners) and O(undo).
        O(ports), O(proxy_address) and O(proxy_addresses) then tell where what leaves and what comes is to be proven.
    type: str
  undo:
    description:
      - The value RV(files) of an earlier run; each file becomes again what it was before that run, also if it did not
        exist. Refused when a file was changed since. Mutually exclusive with O(listeners) and O(restore).
    type: list
    elements: dict
attributes:
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
seealso:
  - module: msexchange.winsock_proxy.wspcfg_info
  - module: msexchange.winsock_proxy.service_restart
  - module: msexchange.winsock_proxy.port_probe
"""

EXAMPLES = r"""
- name: Publish POP3 and IMAP4, each in clear and over TLS
  msexchange.winsock_proxy.wspcfg:
    computer: "{{ inventory_hostname }}"
    listeners: [pop3, pop3s, imap4, imap4s]
    proxy_address: 192.0.2.10
  register: published

- name: Restart what owes it, at once
  msexchange.winsock_proxy.service_restart:
    computer: "{{ inventory_hostname }}"
    plan: "{{ published.restart }}"
  when: published.owed | length > 0

- name: Publish LDAP on the port it was moved to
  msexchange.winsock_proxy.wspcfg:
    listeners: [pop3, ldap]
    ports:
      ldap: 390

- name: Take everything back
  msexchange.winsock_proxy.wspcfg:
    state: absent

- name: Put the file back as it was before this collection came
  msexchange.winsock_proxy.wspcfg:
    restore: original
"""

RETURN = r"""
files:
  description: The candidate files, also those that need no change.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: Path on the Exchange server.
      type: str
    action:
      description: What was done, or would be in check mode; V(none), V(create), V(replace) or V(delete).
      type: str
    sha256_before:
      description: Hash before, null if the file did not exist.
      type: str
    sha256:
      description: Hash afterwards, null if the file does not exist then.
      type: str
    backup:
      description: Path of the backup on the server, null when none was made.
      type: str
owed:
  description: Services that owe a restart now, or that do not run although listeners of theirs are published.
  returned: always
  type: list
  elements: dict
  contains:
    service:
      description: Name of the service.
      type: str
    topic:
      description: Handler topic, such as C(Restart MSExchangeIS).
      type: str
    reason:
      description: Why.
      type: str
    running:
      description: Whether it runs; a stopped service is started only on request.
      type: bool
    unfinished:
      description:
        - Set when an interrupted restart left the service stopped; the next restart starts it without being asked.
      type: bool
restart:
  description:
    - What M(msexchange.winsock_proxy.service_restart) takes as
      O(msexchange.winsock_proxy.service_restart#module:plan).
  returned: always
  type: dict
  contains:
    services:
      description: Services concerned, in start order.
      type: list
      elements: dict
    roots:
      description: Services that restart for their own sake.
      type: list
      elements: str
    takes_down:
      description: Running dependents that are restarted with them.
      type: list
      elements: str
    stopped:
      description: Services that owe a start and are not running.
      type: list
      elements: str
    refusals:
      description: Reasons against the restart, each with the option that accepts the risk.
      type: list
      elements: dict
    refusals_if_started:
      description: The same for a restart that starts what is stopped, too.
      type: list
      elements: dict
    unfinished:
      description: Whether an interrupted restart is to be completed.
      type: bool
    left_down:
      description: Services that an interrupted restart, of whatever age, has left stopped.
      type: list
      elements: str
    machine:
      description: The machine that runs the script, by whose clock windows are kept.
      type: str
targets:
  description: What has to answer on the proxy once everything is done; input of M(msexchange.winsock_proxy.port_probe).
  returned: always
  type: list
  elements: dict
  sample: [{host: 192.0.2.10, port: 995, protocol: pop3s}]
closed_targets:
  description: What leaves the files, and must be closed once everything is done.
  returned: always
  type: list
  elements: dict
unproven:
  description:
    - What RV(targets) and RV(closed_targets) lack because neither O(proxy_address), O(proxy_addresses) nor the file
      tells the address, with C(port), C(protocol), and C(open) or C(closed) under C(expect).
  returned: always
  type: list
  elements: dict
  sample: [{port: 110, protocol: pop3, expect: open}]
in_force:
  description: What the running processes surely offer now.
  returned: always
  type: list
  elements: dict
predicted:
  description: Every port concerned, each with V(in force) or V(not) under C(now) and C(will).
  returned: always
  type: list
  elements: dict
  sample: [{host: 192.0.2.10, port: 110, protocol: pop3, now: not, will: in force}]
exchange:
  description: Version, build, root and directories of the installation; null when the server was not reached.
  returned: always
  type: dict
proxy_on_server:
  description: Proxy Server runs on the Exchange server itself; nothing is written then (Q178532).
  returned: always
  type: bool
findings:
  description: What is odd about the files, with C(code), C(path), C(line) and C(message).
  returned: always
  type: list
  elements: dict
problems:
  description: Why nothing was done, each with C(code), C(option), C(value), C(cause) and C(remedy).
  returned: always
  type: list
  elements: dict
unfinished:
  description:
    - What an interrupted restart left behind, null when there is none. C(down) names the services, C(owed) has a row
      for each as RV(owed) has them.
  returned: always
  type: dict
applied:
  description: Files that were written before an error.
  returned: on errors of the target
  type: list
  elements: dict
restored:
  description: Files that were put back after an error.
  returned: on errors of the target
  type: list
  elements: str
left:
  description:
    - Files that were written before an error and could not be put back.
    - Also what a run that died had left beside a file, and that could not be removed.
  returned: always
  type: list
  elements: str
healed:
  description:
    - Files that a run had left half written, or without their names, when it died. Their old text came back before
      anything else, and was what the task began with. In check mode those that would.
  returned: always
  type: list
  elements: str
  sample: []
executions:
  description: Remote executions of this task.
  returned: always
  type: int
clock:
  description: Time, UTC offset and name of the machine that ran the script.
  returned: always
  type: dict
"""
