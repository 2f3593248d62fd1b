# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that reads an INI file."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - Absolute path of the file, as the server has it. Variables such as C(%SystemRoot%) are expanded there.
      - A share, V(\\\\server\\share\\file.ini), works where the account may reach it; a network drive of a user does
        not exist in a remote session. With O(computer), only C(%SystemRoot%), C(%windir%) and C(%SystemDrive%) are
        known.
      - Files of more than 1 MiB are refused, so that what is no INI file is not read whole into one answer.
    type: str
    required: true
  encoding:
    description:
      - Encoding of a file that has no byte order mark. A byte order mark always wins.
      - V(auto) takes such a file for code page 1252, or for UTF-8 where several characters of more than one byte
        leave no doubt. Name the machine's ANSI code page where that is another one.
      - Windows' profile functions read UTF-8 as ANSI, with or without a byte order mark; use it only for programs that
        bring their own reader. Text beyond ASCII is written into UTF-8 without a mark only with V(utf-8).
      - What the file's bytes contradict is a finding, and a reason not to edit the file.
    type: str
    choices:
      - auto
      - cp437
      - cp850
      - cp852
      - cp855
      - cp857
      - cp866
      - cp874
      - cp1250
      - cp1251
      - cp1252
      - cp1253
      - cp1254
      - cp1255
      - cp1256
      - cp1257
      - cp1258
      - cp932
      - cp936
      - cp949
      - cp950
      - utf-8
      - utf-16-le
      - utf-16-be
    default: auto
  reader:
    description:
      - Which program reads the file. V(windows) is Windows' profile functions, to which the first section and the
        first key of a name count.
      - V(last_wins) is for programs with a reader of their own, to which sections of one name are one and the last
        key of a name counts, such as PHP, MySQL and Python's configparser.
    type: str
    choices: [windows, last_wins]
    default: windows
  redact:
    description:
      - Keys whose values are shown nowhere, neither in the result nor in a diff nor in messages. Shell patterns without
        regard to case, for the key's name (V(*password*)) or C(section/key) (V(database/*)).
      - Commented-out keys of these names are hidden too, and such settings within comments, beside section names and
        on lines with a colon or blanks in the place of the C(=). Values without a name (C(=value)) are always hidden
        then.
      - This does not hide the task's own arguments from callbacks that print them; keep secrets in vaulted variables.
    type: list
    elements: str
"""
