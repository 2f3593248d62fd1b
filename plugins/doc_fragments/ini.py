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
      - Files of more than 1 MiB are refused, because Windows PowerShell cannot hand over more in one answer.
    type: str
    required: true
  encoding:
    description:
      - Encoding of a file that has no byte order mark. A byte order mark always wins.
      - V(auto) takes such a file for code page 1252. Name the machine's ANSI code page where that is another one.
      - Windows' profile functions read UTF-8 as ANSI, with or without a byte order mark; use it only for programs that
        bring their own reader.
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
  redact:
    description:
      - Keys whose values are shown nowhere, neither in the result nor in a diff nor in messages. Shell patterns without
        regard to case, for the key's name (V(*password*)) or C(section/key) (V(database/*)).
      - Commented-out keys of these names are hidden too, and such settings within comments and beside section names.
      - This does not hide the task's own arguments from callbacks that print them; keep secrets in vaulted variables.
    type: list
    elements: str
"""
