# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read INI files on Windows, as Windows reads them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: win_ini_info
short_description: Read INI files on Windows, as Windows reads them
version_added: 1.0.0
description:
  - Returns the keys and values of any INI file on a Windows host, in one remote execution. It changes nothing.
  - Of several sections or keys of one name the first counts, as for Windows' own profile functions, or what O(reader)
    says; the others are listed in RV(duplicates).
  - A file that does not exist is no failure, see RV(exists).
author:
  - the msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.target
  - msexchange.winsock_proxy.ini
options:
  sections:
    description:
      - Names of the sections to return. All of them by default.
      - Names are text; put in quotes what YAML would read in its own way, such as V(yes) or V(1.10).
    type: list
    elements: raw
attributes:
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
seealso:
  - module: msexchange.winsock_proxy.win_ini
"""

EXAMPLES = r"""
- name: Read the settings
  msexchange.winsock_proxy.win_ini_info:
    path: C:\Program Files\Billing\billing.ini
    redact: ["*password*"]
  register: billing

- name: Use one
  ansible.builtin.debug:
    msg: "{{ billing.content.Database.Server }}"
  when: billing.exists
"""

RETURN = r"""
path:
  description: Path of the file, with variables expanded.
  returned: always
  type: str
exists:
  description: Whether the file exists.
  returned: always
  type: bool
content:
  description: Values in force by section and key, names as they are written in the file. Keys before the first
    section are in the section V('').
  returned: always
  type: dict
  sample: {Database: {Server: db1.example.com, Timeout: "30"}}
sections:
  description: Every section's line, in the file's order, also of sections that do not count.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the section.
      type: str
    line:
      description: Line of its header, from 1; null for what stands before the first.
      type: int
    in_force:
      description: Whether the reader sees it.
      type: bool
    entries:
      description: Its keys, one row for each line, with C(name), C(value), C(line) and C(in_force). The value of a
        key without C(=) is null.
      type: list
      elements: dict
duplicates:
  description: Keys and sections that stand in the file more than once; one row for each that does not count.
  returned: always
  type: list
  elements: dict
  sample: [{section: Database, key: timeout, line: 17}]
findings:
  description:
    - What else is read otherwise than it looks, each with C(code), C(line), C(section), C(key) and C(message).
  returned: always
  type: list
  elements: dict
size:
  description: Bytes of the file, null if it does not exist.
  returned: always
  type: int
sha256:
  description: Hash of the file, null if it does not exist.
  returned: always
  type: str
encoding:
  description: The file's encoding, null if it does not exist.
  returned: always
  type: str
bom:
  description: Whether it begins with a byte order mark.
  returned: always
  type: bool
newline:
  description: End of most lines; V(crlf), V(lf), V(cr) or V(crcrlf).
  returned: always
  type: str
problems:
  description: Why nothing could be read, each with C(code), C(option), C(value), C(cause) and C(remedy).
  returned: always
  type: list
  elements: dict
error:
  description: The target's error, with C(code), C(message) and C(detail).
  returned: on errors of the target
  type: dict
executions:
  description: Remote executions of this task.
  returned: always
  type: int
"""
