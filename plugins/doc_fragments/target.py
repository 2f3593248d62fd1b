# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options, attributes and notes of every module that works on a Windows host."""

    DOCUMENTATION = r"""
options:
  computer:
    description:
      - Name of the Exchange server, when the connection of this inventory host leads to a management host instead.
      - The management host reaches the server over SMB, the service control manager and the remote registry, so the
        server needs neither WinRM nor PowerShell. Without this option the host of the connection itself is meant.
    type: str
  computer_username:
    description:
      - Account for the second hop from the management host to O(computer), such as V(DOMAIN\\administrator).
      - Needed when the connection cannot hand on its own credentials; CredSSP and Kerberos delegation can.
    type: str
  computer_password:
    description:
      - Password of O(computer_username). It travels on standard input only and is never logged.
    type: str
  target_deadline:
    description:
      - Seconds that a lost connection may take to come back before the task gives up.
      - Also the time to wait while the WinRM quota of the account on that host is used up.
    type: int
    default: 300
  lock_wait:
    description:
      - Seconds to wait for another run that is at work on the same server. V(0) fails at once with the name of its holder.
    type: int
    default: 0
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
  platform:
    description: Target OS or families that can be operated against.
    platforms: windows
    support: full
notes:
  - The host of the connection needs Windows PowerShell 3.0 or newer; connections are P(ansible.builtin.winrm#connection),
    P(ansible.builtin.psrp#connection), or P(ansible.builtin.ssh#connection) with C(ansible_shell_type=powershell).
  - C(become) is refused, because it cannot give the second hop. Use CredSSP, Kerberos delegation, or
    O(computer_username) with O(computer_password).
  - Nothing is copied to the host; one operation is one remote execution.
"""
