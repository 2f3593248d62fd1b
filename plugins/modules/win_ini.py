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
    get them, and values that no quotes can save are refused. With O(reader) it reads as other programs do.
  - A file whose bytes contradict the encoding that its mark or O(encoding) names is not edited; the message says what
    was seen and which option would be right.
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
      - A dictionary of sections, each a dictionary of keys and values. An empty dictionary makes an empty section.
      - The section of the empty name, V(''), is what stands before the first section. Windows' profile functions cannot
        read keys there, which is a finding.
      - A list of values sets a key that stands on several lines, in this order; lines that say so already stay.
        Windows' profile functions read the first of them only, which is a finding.
      - A value in one pair of quotes means the text in them, written in quotes. To have quotes in the value itself,
        double them, as in C('""x""'). What is read already is no change, with or without quotes around it.
      - V(null) is refused. Remove a key with O(absent_keys), leave one alone with C(default(omit\)).
      - B(Quote what YAML reads in its own way.) C(0407) arrives as 263, C(22:30) as 1350, C(yes) as a boolean and
        C(1.10) as a decimal number. Integers are taken as they arrive, but refused where the file spells the same
        integer in another way; booleans, decimal numbers and dates are always refused.
      - Write paths in single quotes or none; in double quotes YAML makes a tab of the C(\\t) in C("C:\\temp"). A
        control character in a value is a finding.
    type: dict
  bare_keys:
    description:
      - Keys that stand alone on their line, without C(=), such as C(skip-networking). A dictionary of sections, each
        a list of keys. A key that is there with a value loses it.
      - Lines that begin with C(;), C(#), C(//) or C(REM ) are comments and never such keys.
    type: dict
  absent_keys:
    description:
      - Keys that must not exist, with and without C(=), whatever their value. A dictionary of sections, each a list
        of keys.
    type: dict
  absent_sections:
    description:
      - Sections that must not exist. Comments after the last key of such a section stay in the file.
      - Names are text, as in O(sections); put in quotes what YAML would read in its own way.
    type: list
    elements: raw
  select:
    description:
      - Chooses one of several sections of one name, for all other options. A dictionary of sections, each with C(key)
        and C(value) of a line that only the section that is meant has.
      - Without it, O(reader) says which section counts.
    type: dict
  exclusive:
    description:
      - V(none) leaves keys and sections alone that are not named.
      - V(sections) removes every other key of the sections in O(sections) and O(bare_keys). With O(reader=last_wins)
        these are keys without C(=), too; Windows' profile functions do not read them, and they stay.
      - V(file) also removes every other section.
      - Comments are never removed, whether they begin with C(;), C(#), C(//) or C(REM ).
        Keys and sections without a name stay, and what stands before the first section unless the section V('') is
        named.
    type: str
    choices: [none, sections, file]
    default: none
  quotes:
    description:
      - Quotes around values that are written. V(keep) leaves them where they are, V(always) quotes every value that is
        written, V(never) none, and refuses values that need quotes to be read back.
      - New keys get quotes with V(keep) only where the value needs them. A value that is given in quotes is written
        so in any case. A value that is read already is not written.
    type: str
    choices: [keep, always, never]
    default: keep
  uncomment:
    description:
      - Whether a key that stands there only in a comment is switched on by turning the comment into its line.
        Otherwise the new line follows the comment.
    type: bool
    default: false
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
        changes nothing and names the line. Keys that are given a list are not concerned.
      - Where a key or a section is to be removed, all that would take its place are removed, with V(keep) too.
      - With O(reader=last_wins) the last key is edited, and sections of one name are no duplicates.
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
      Log:
        Level: warning
    absent_keys:
      Database: [LegacyPort]
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

- name: Set a key only where a variable is defined, and quote what YAML would change
  msexchange.winsock_proxy.win_ini:
    path: C:\Program Files\Backup\backup.ini
    sections:
      Job:
        Start: "22:30"
        Code: "0407"
        Target: '"D:\My backups"'
        Owner: "{{ backup_owner | default(omit) }}"

- name: PHP's extensions, one line each, and an option that is switched off by a comment
  msexchange.winsock_proxy.win_ini:
    path: C:\php\php.ini
    reader: last_wins
    uncomment: true
    sections:
      PHP:
        extension: [curl, mbstring, openssl]
        memory_limit: 256M

- name: A key without a value
  msexchange.winsock_proxy.win_ini:
    path: C:\ProgramData\MySQL\MySQL Server 8.0\my.ini
    reader: last_wins
    bare_keys:
      mysqld: [skip-networking]

- name: One of several sections of a name
  msexchange.winsock_proxy.win_ini:
    path: C:\Program Files\WireGuard\office.conf
    reader: last_wins
    select:
      Peer: {key: PublicKey, value: "{{ office_key }}"}
    sections:
      Peer:
        AllowedIPs: 192.0.2.0/24

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
  description: Every key's and section's line that differs afterwards, one row each. Empty when the task failed.
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
    line:
      description: Line of the file as it was found, from 1; null for a new line.
      type: int
  sample: [{section: Database, key: Timeout, action: changed, before: "15", after: "30", line: 4}]
duplicates:
  description: Keys and sections that stand in the file more than once, as it was found; one row for each that does
    not count.
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
      description: Line of the one that does not count, from 1.
      type: int
findings:
  description:
    - What else is read otherwise than it looks, in the file as it was found and in what was asked for.
    - Those about what the task touches are warnings, too; of many of one kind the count and the first three.
  returned: always
  type: list
  elements: dict
  contains:
    code:
      description: Stable name of the finding.
      type: str
    line:
      description: Line of the file, from 1; null when no line is meant.
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
  description: End of most lines; V(crlf), V(lf), V(cr) or V(crcrlf).
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
