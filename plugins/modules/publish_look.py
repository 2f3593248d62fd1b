# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at one server for a plan over many."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_look
short_description: Look at one server for a plan over many
version_added: 1.0.0
description:
  - Checks the options of the role P(msexchange.winsock_proxy.publish#role), compares the server with what is wanted
    as M(msexchange.winsock_proxy.wspcfg) does in check mode, and returns both. One remote execution; nothing is
    changed.
  - It never fails and is never unreachable. What stands in the way, wrong options and lost connections included, is
    data, so that one plan can be made for all servers, with M(msexchange.winsock_proxy.publish_plan).
  - Every option is the role's of the same name with C(publish_) before it, and the role's documentation explains
    it. An empty text, list or mapping is an option that is not given.
author:
  - The msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.target
options:
  offline:
    description:
      - Only check the options, and return RV(targets). Nothing is sent to the server.
    type: bool
    default: false
  restoring:
    description:
      - Whether O(restore) must be given.
    type: bool
    default: false
  serial:
    description: The variable C(publish_serial) of the playbook C(publish), a number, a percentage or a list of these.
    type: raw
    default: 1
  max_fail_percentage:
    description: The variable C(publish_max_fail_percentage) of the playbook C(publish).
    type: raw
    default: 0
  ports:
    description: The role's option C(publish_ports).
    type: dict
  proxy_address:
    description: The role's option C(publish_proxy_address).
    type: str
  proxy_addresses:
    description: The role's option C(publish_proxy_addresses).
    type: dict
  pin:
    description: The role's option C(publish_pin).
    type: bool
    default: false
  state:
    description: The role's option C(publish_state).
    type: str
    choices: [present, absent]
    default: present
  listeners:
    description: The role's option C(publish_listeners).
    type: list
    elements: str
    choices: [pop3, pop3s, imap4, imap4s, nntp, nntps, ldap, ldaps, smtp]
  withdraw:
    description: The role's option C(publish_withdraw).
    type: list
    elements: str
    choices: [pop3, pop3s, imap4, imap4s, nntp, nntps, ldap, ldaps, smtp]
  mta_direct:
    description: The role's option C(publish_mta_direct).
    type: str
    choices: [auto, "true", "false"]
    default: auto
  force_credentials:
    description: The role's option C(publish_force_credentials).
    type: bool
  restore:
    description: The role's option C(publish_restore).
    type: str
  bin_dir:
    description: The role's option C(publish_bin_dir).
    type: str
  imc_dir:
    description: The role's option C(publish_imc_dir).
    type: str
  exchange_version:
    description: The role's option C(publish_exchange_version).
    type: str
    choices: ["4.0", "5.0", "5.5"]
  throttle:
    description: The role's option C(publish_throttle).
    type: int
    default: 10
  restart:
    description: The role's option C(publish_restart).
    type: str
    choices: [now, defer, never]
    default: now
  restart_window:
    description: The role's option C(publish_restart_window).
    type: str
  before_restart_tasks:
    description: The role's option C(publish_before_restart_tasks).
    type: str
  after_restart_tasks:
    description: The role's option C(publish_after_restart_tasks).
    type: str
  start_stopped:
    description: The role's option C(publish_start_stopped).
    type: bool
    default: false
  start_dependencies:
    description: The role's option C(publish_start_dependencies).
    type: bool
    default: false
  stop_timeout:
    description: The role's option C(publish_stop_timeout).
    type: int
    default: 900
  start_timeout:
    description: The role's option C(publish_start_timeout).
    type: int
    default: 1800
  restart_deadline:
    description: The role's option C(publish_restart_deadline).
    type: int
    default: 3600
  finish:
    description: The role's option C(publish_finish).
    type: str
    choices: [same_boot, any]
    default: same_boot
  allow_kms:
    description: The role's option C(publish_allow_kms).
    type: bool
    default: false
  allow_cluster:
    description: The role's option C(publish_allow_cluster).
    type: bool
    default: false
  allow_disabled:
    description: The role's option C(publish_allow_disabled).
    type: bool
    default: false
  probe:
    description: The role's option C(publish_probe).
    type: bool
    default: true
  probe_host:
    description: The role's option C(publish_probe_host).
    type: str
    default: localhost
  probe_timeout:
    description: The role's option C(publish_probe_timeout).
    type: float
    default: 75.0
  probe_deadline:
    description: The role's option C(publish_probe_deadline).
    type: float
    default: 300.0
  probe_delay:
    description: The role's option C(publish_probe_delay).
    type: float
    default: 5.0
  blind:
    description: The role's option C(publish_blind).
    type: str
    choices: [refuse, proceed]
    default: refuse
  rollback:
    description: The role's option C(publish_rollback).
    type: str
    choices: [regression, always, never]
    default: regression
  conflict_hosts:
    description: The role's option C(publish_conflict_hosts).
    type: raw
    default: all
  proxy:
    description: The role's option C(publish_proxy).
    type: str
  report:
    description: The role's option C(publish_report).
    type: str
"""

EXAMPLES = r"""
- name: Look at every server
  msexchange.winsock_proxy.publish_look:
    listeners: [pop3, imap4]
    proxy_address: 192.0.2.10
    computer: EX1
  register: __publish_look
"""

RETURN = r"""
reached:
  description: Whether the server could be reached; true also when its options are wrong, so that nothing was sent.
  returned: always
  type: bool
messages:
  description: Why nothing can be planned, one sentence each; empty when a plan can be made.
  returned: always
  type: list
  elements: str
problems:
  description: The same as data, each with C(code), C(cause), C(remedy), C(option), C(value), C(path) and C(service).
  returned: always
  type: list
  elements: dict
wishes:
  description:
    - The options with their types and defaults, without the account for the second hop.
    - C(arguments) has the arguments of every module that the role runs later, C(hooks) the files of tasks as found.
  returned: always
  type: dict
found:
  description: Result of M(msexchange.winsock_proxy.wspcfg) in check mode; empty when there is none.
  returned: always
  type: dict
targets:
  description: With O(offline), targets for M(msexchange.winsock_proxy.port_probe).
  returned: when O(offline) and the options can be used
  type: list
  elements: dict
host:
  description: Inventory name.
  returned: always
  type: str
check_mode:
  description: Whether the task ran in check mode, by its own keyword or the command line.
  returned: always
  type: bool
"""
