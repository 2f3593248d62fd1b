# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrived is run only when it is, byte for byte, the repository's own script.

The lab executes no PowerShell. It compares the text, and then answers with code of its own.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t
from pathlib import Path

from .failures import Json

BEGIN: t.Final = "---msexchange.winsock_proxy begin---"
END: t.Final = "---msexchange.winsock_proxy end---"
SOURCE: t.Final = Path(__file__).resolve().parents[3] / "plugins" / "plugin_utils"
# Ansible's psrp connection appends this line to every script that it runs (winrm.md: "psrp").
PSRP_SUFFIX: t.Final = "exit $LASTEXITCODE"
_REGION = re.compile(r"^#region (\w+)\n(.*?)^#endregion\n", re.MULTILINE | re.DOTALL)
_REGIONS_OF: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "inspect": ("common", "inspect", "main"),
    "apply": ("common", "apply", "main"),
    "restart": ("common", "restart", "main"),
    "restart_status": ("common", "restart", "main"),
}


@functools.cache
def _loader() -> str:
    return (SOURCE / "loader.ps1").read_text(encoding="ascii")


@functools.cache
def _script(op: str) -> str:
    regions = dict(_REGION.findall((SOURCE / "target.ps1").read_text(encoding="ascii")))
    return "".join(regions[name] for name in _REGIONS_OF[op])


def is_loader(text: str | None) -> bool:
    """Whether a PowerShell text is the loader, as it stands or with what psrp appends."""
    if text is None:
        return False
    return text.rstrip().removesuffix(PSRP_SUFFIX).rstrip() == _loader().rstrip()


def request_of(stdin: bytes) -> t.Any:
    """The request in an envelope whose script is the repository's; None when anything differs.

    Args:
        stdin: what the client sent: one line ``{"script", "request"}``.
    """
    try:
        envelope = json.loads(stdin.decode("ascii"))
        request = envelope["request"]
        known = envelope["script"] == _script(request["op"])
    except (ValueError, KeyError, TypeError):
        return None
    return request if known and set(envelope) == {"script", "request"} else None


def envelope(answer: Json) -> bytes:
    """The answer as the script prints it: one line of ASCII JSON between the marker lines."""
    return f"{BEGIN}\r\n{json.dumps(answer, separators=(',', ':'))}\r\n{END}\r\n".encode("ascii")
