# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit INI files on Windows, byte for byte."""

from __future__ import annotations

DOCUMENTATION = r"""
module: win_ini
short_description: Edit INI files on Windows, byte for byte
version_added: 1.0.0
description:
  - Sets and removes keys and sections of any INI file on a Windows host, several of them in one task, and changes only
    the lines it must.
  - Every other byte stays, whatever it is. Byte order mark, code page, CRLF or LF of each line, blank lines, comments,
    spelling, indentation, the blanks around C(=), a missing end of the last line and stray bytes are all kept.
  - Reads the file as Windows' own profile functions do. The first section of a name and its first key count, names are
    compared without case, quotes around a value are not part of it. Values that need quotes to be read back as they are
    get them, and values that no quotes can save are refused.
  - The file is replaced in one step and only if nobody changed it since it was read. When something goes wrong the old
    file is intact, and the message says which of the possible causes it was.
  - A task is one remote execution when nothing changes and two when something does, however many keys there are.
author:
  - the msexchange.winsock_proxy authors (@msexchange)
extends_documentation_fragment:
  - msexchange.winsock_proxy.target
  - msexchange.winsock_proxy.ini
options:
  sections:
    description:
      - A dictionary of sections, each a dictionary of keys and values. A key with the value V(null) is removed.
      - An empty dictionary makes an empty section.
      - Values are text. Numbers without a decimal point are taken as they are; put everything else in quotes, because
        YAML would read V(yes), V(1.10) and dates in its own way.
    type: dict
  absent_sections:
    description:
      - Sections that must not exist. Comments after the last key of such a section stay in the file.
      - Names are text, as in O(sections); put in quotes what YAML would read in its own way.
    type: list
    elements: raw
  exclusive:
    description:
      - V(none) leaves keys and sections alone that are not named.
      - V(sections) removes every other key of the sections in O(sections).
      - V(file) also removes every other section.
      - Comments, text without C(=), keys and sections without a name, and what stands before the first section stay.
    type: str
    choices: [none, sections, file]
    default: none
  newline:
    description:
      - End of new lines. V(auto) takes that of the line before, and CRLF in a new file.
    type: str
    choices: [auto, crlf, lf]
    default: auto
  duplicates:
    description:
      - What happens to further keys and sections of a name that O(sections) or O(absent_sections) edits; Windows does
        not see them.
      - The one that Windows reads is edited in any case. V(keep) leaves the others, V(remove) takes them away, V(fail)
        changes nothing and names the line.
      - Where a key or a section is to be removed, all that would take its place are removed, with V(keep) too.
    type: str
    choices: [keep, remove, fail]
    default: keep
  create:
    description:
      - Whether to make a file that does not exist. Its directory must exist.
    type: bool
    default: true
  backup:
    description:
      - Whether to keep a copy beside the file, with a time stamp in its name, before it is changed.
    type: bool
    default: false
  expect_sha256:
    description:
      - SHA-256 that the file must have before it is changed, such as RV(sha256) of an earlier task.
      - Without it, the file must still be what this task has read.
    type: str
attributes:
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
notes:
  - O(encoding) is that of a new file, too. A new file in C(utf-16-le) or C(utf-16-be) gets its byte order mark, one
    in C(utf-8) does not. Lines that are not edited keep their bytes, whatever O(encoding) says.
  - Ansible's own modules for INI files do not run on Windows hosts.
seealso:
  - module: msexchange.winsock_proxy.win_ini_info
  - module: community.general.ini_file
"""

EXAMPLES = r"""
- name: Set three keys, remove one, and drop a section
  msexchange.winsock_proxy.win_ini:
    path: C:\Program Files\Billing\billing.ini
    sections:
      Database:
        Server: db1.example.com
        Timeout: 30
        LegacyPort: null
      Log:
        Level: warning
    absent_sections: [Trace]
    backup: true

- name: Show the diff, but not the passwords in it
  msexchange.winsock_proxy.win_ini:
    path: C:\Program Files\Billing\billing.ini
    sections:
      Database:
        Password: "{{ billing_password }}"
    redact: ["*password*"]
  diff: true

- name: Make a section hold these keys and no others
  msexchange.winsock_proxy.win_ini:
    path: '%SystemRoot%\app.ini'
    exclusive: sections
    sections:
      Ports:
        http: "8080"

- name: Edit a Japanese file
  msexchange.winsock_proxy.win_ini:
    path: C:\app\settings.ini
    encoding: cp932
    sections:
      Main:
        Title: "{{ title }}"

- name: Edit a file of a server that is reached through a management host
  msexchange.winsock_proxy.win_ini:
    computer: EXCH01
    path: C:\WINNT\system.ini
    sections:
      Microsoft Proxy Service:
        Configuration Location: C:\mspclnt\
"""

RETURN = r"""
path:
  description: Path of the file, with variables expanded.
  returned: always
  type: str
created:
  description: Whether the file did not exist and was made, or would be in check mode.
  returned: always
  type: bool
changes:
  description: Every key and section that differs afterwards, as Windows reads them. Empty when the task failed.
  returned: always
  type: list
  elements: dict
  contains:
    section:
      description: Name of the section.
      type: str
    key:
      description: Name of the key; null when the section itself was added or removed.
      type: str
    action:
      description: V(added), V(changed) or V(removed).
      type: str
    before:
      description: Value before, null if there was none.
      type: str
    after:
      description: Value afterwards, null if there is none.
      type: str
  sample: [{section: Database, key: Timeout, action: changed, before: "15", after: "30"}]
duplicates:
  description: Keys and sections that stand in the file again after the one that Windows reads, as the file was found.
  returned: always
  type: list
  elements: dict
  contains:
    section:
      description: Name of the section.
      type: str
    key:
      description: Name of the key; null when the section itself is meant.
      type: str
    line:
      description: Line of the later one, from 1.
      type: int
findings:
  description: What else Windows reads otherwise than it looks, as the file was found.
  returned: always
  type: list
  elements: dict
  contains:
    code:
      description: Stable name of the finding.
      type: str
    line:
      description: Line of the file, from 1.
      type: int
    message:
      description: What is there and what it means.
      type: str
    section:
      description: Name of the section, if one is meant.
      type: str
    key:
      description: Name of the key, if one is meant.
      type: str
backup_file:
  description: Path of the copy that was made, null when none was.
  returned: always
  type: str
  sample: C:\Program Files\Billing\billing.ini.4f1c20aa.20261122-221500.bak
healed:
  description:
    - The file's path, where a run had left it half written, or without its name, when it died. Its old text came back
      before anything else, and was what the task began with, also in check mode.
  returned: always
  type: list
  elements: str
  sample: []
left:
  description: Files that an error left behind, and what a run that died had left and that could not be removed.
  returned: always
  type: list
  elements: str
  sample: []
sha256_before:
  description: Hash of the file as it was found, null if it did not exist.
  returned: always
  type: str
sha256:
  description:
    - Hash of the file afterwards, also in check mode. That of the file as it was found when the task failed.
    - Null if there is no file, or if it is not known what a failure left.
  returned: always
  type: str
encoding:
  description: The file's encoding.
  returned: always
  type: str
  sample: utf-16-le
newline:
  description: End of most lines; V(crlf), V(lf) or V(cr).
  returned: always
  type: str
problems:
  description: Why nothing was done, each with C(code), C(option), C(value), C(cause) and C(remedy).
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
