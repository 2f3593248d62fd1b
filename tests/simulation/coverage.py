# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places of the script that have an effect, from its text: each must have been cut at least once."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from tests.simulation import seams

#: What in a function's text has an effect, and how the model calls it.
_EFFECTS: t.Final[Mapping[str, str]] = {
    r"\.SetValue\(": "key.set",
    r"\.DeleteValue\(": "key.delete",
    r"\.DeleteSubKey\(": "key.remove",
    r"\.CreateSubKey\(": "key.create",
    r"\.Write\(": "file.write",
    r"\[Sim\.File\]::Delete\(": "file.delete",
    r"\[Sim\.File\]::Move\(": "file.move",
    r"\[Sim\.File\]::Replace\(": "file.replace",
    r"\[Sim\.Directory\]::CreateDirectory\(": "folder.create",
    r"\.Start\(\)": "service.start",
    r"\.Stop\(\$false\)": "service.stop",
    r"\b(?:Invoke-CimMethod|Start-Process) -": "process.start",
}
_FUNCTION: t.Final = re.compile(r"^function ([\w-]+)(.*?)(?=^function |\Z)", re.MULTILINE | re.DOTALL)
_SITE: t.Final = re.compile(r"\d+ ([\w-]+ [\w.]+)$")


def sites() -> set[str]:
    """Return every effect of the scripts that are played: function and kind."""
    found = set()
    for text in seams.scripts().values():
        for name, body in _FUNCTION.findall(text):
            found |= {f"{name} {kind}" for pattern, kind in _EFFECTS.items() if re.search(pattern, body)}
    return found


def site_of(cut: str) -> str | None:
    """Return the effect after which a cut of a result came, None for no effect.

    Args:
        cut: an item of a result's ``cuts``.
    """
    match = _SITE.search(cut)
    return match[1] if match else None
