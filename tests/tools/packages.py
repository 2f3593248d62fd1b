# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the Debian packages that bindep.txt lists for some profiles, one a line; needs nothing but Python.

Of bindep's language it knows what the file uses: ``name [platform:dpkg test]``, alternatives in separate lines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

BINDEP = Path(__file__).resolve().parent.parent.parent / "bindep.txt"
LINE = re.compile(r"(?P<name>[a-z0-9][a-z0-9.+-]*)\s*(?:\[(?P<marks>[^]]*)\])?\s*(?:#.*)?")


def packages(text: str, profiles: frozenset[str]) -> Iterator[str]:
    """Names of the packages that Debian needs for these profiles.

    Raises:
        ValueError: A line in a form that this reader does not know.
    """
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(f"bindep.txt: cannot read {line!r}")
        marks = (found["marks"] or "").split()
        platforms = [mark for mark in marks if mark.startswith("platform:")]
        wanted = [mark for mark in marks if not mark.startswith("platform:")]
        if (not platforms or "platform:dpkg" in platforms) and (not wanted or profiles & set(wanted)):
            yield found["name"]


if __name__ == "__main__":
    print("\n".join(packages(BINDEP.read_text(encoding="utf-8"), frozenset(sys.argv[1:]))))
