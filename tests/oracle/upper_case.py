# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of upper case that the collection ships, from what Wine's RtlUpcaseUnicodeChar says.

``python -m tests.oracle.upper_case`` writes it anew; a test compares what is shipped with what Wine says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT
from tests.oracle.oracle import upper_case_table

TARGET = ROOT / "plugins" / "plugin_utils" / "ini" / "upper_case.py"
HEAD = '''# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upper case as Windows' table has it, by which names of sections and keys are compared.

Written by tests/oracle/upper_case.py from RtlUpcaseUnicodeChar of Wine 8.0, which reads it from l_intl.nls; another
Windows may differ, older ones know fewer letters. Do not edit it by hand.
"""

from __future__ import annotations

import typing as t

# First and last character of a run, the step between its members, and the upper case of the first; hexadecimal.
RUNS: t.Final = """
'''
TAIL = '''"""


def upper_cases() -> dict[int, int]:
    """Return every character that has another one as its upper case, with that one, for ``str.translate``."""
    table: dict[int, int] = {}
    for row in RUNS.split("\\n"):
        numbers = [int(number, 16) for number in row.split()]
        if numbers:
            first, last, step, upper = numbers
            table |= {code: code - first + upper for code in range(first, last + 1, step)}
    return table
'''


def runs(table: Mapping[str, str]) -> list[tuple[int, int, int, int]]:
    """Return the table as runs: first, last, step, what to add."""
    found: list[tuple[int, int, int, int]] = []
    for character, upper in sorted(table.items()):
        code, add = ord(character), ord(upper) - ord(character)
        if found:
            first, last, step, before = found[-1]
            gap = code - last
            if before == add and (gap == step or (first == last and gap <= 2)):
                found[-1] = (first, code, gap, add)
                continue
        found.append((code, code, 1, add))
    return found


def text(table: Mapping[str, str]) -> str:
    """Return the module with the table."""
    rows = (f"{first:04X} {last:04X} {step} {first + add:04X}\n" for first, last, step, add in runs(table))
    return HEAD + "".join(rows) + TAIL


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        TARGET.write_text(text(upper_case_table(Path(directory))), encoding="ascii")


if __name__ == "__main__":
    main()
