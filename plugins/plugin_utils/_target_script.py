# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of the target script, and the envelope in which it and its request travel.

Private to the collection: it may change in any release.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t
from pathlib import Path

PROTOCOL_VERSION = 1
BEGIN = "---msexchange.winsock_proxy begin---"
END = "---msexchange.winsock_proxy end---"

#: Regions of target.ps1 that an operation needs: a drift check must not pay for code that it never runs.
REGIONS: t.Mapping[str, tuple[str, ...]] = {
    "inspect": ("common", "inspect", "main"),
    "apply": ("common", "apply", "main"),
    "restart": ("common", "restart", "main"),
    "restart_status": ("common", "restart", "main"),
}

_DIRECTORY = Path(__file__).parent
_REGION = re.compile(r"^#region (\w+)\n(.*?)^#endregion\n", re.MULTILINE | re.DOTALL)


class NoAnswer(ValueError):
    """The output holds no whole answer of the target script.

    Args:
        output: everything that came on standard output.
    """

    def __init__(self, output: str) -> None:
        super().__init__("the output holds no answer of the target script")
        self.output = output


@functools.lru_cache(maxsize=None)
def loader() -> str:
    """Return the command that is executed on the target: the same text for every operation."""
    return (_DIRECTORY / "loader.ps1").read_text(encoding="ascii")


@functools.lru_cache(maxsize=None)
def regions() -> t.Mapping[str, str]:
    """Return the target script's regions by name, in file order, each without its two region lines."""
    text = (_DIRECTORY / "target.ps1").read_text(encoding="ascii")
    return dict(_REGION.findall(text))


@functools.lru_cache(maxsize=None)
def script_for(op: str) -> str:
    """Return the part of the target script that runs one operation.

    Args:
        op: name of the operation, a key of :data:`REGIONS`.

    Raises:
        KeyError: there is no such operation.
    """
    return "".join(regions()[name] for name in REGIONS[op])


def payload(request: t.Mapping[str, t.Any]) -> str:
    """Return what goes to the loader's standard input: one line of ASCII JSON with script and request.

    ASCII, because Windows PowerShell decodes standard input with the console's OEM code page.

    Args:
        request: the whole request, ``op`` included.
    """
    envelope = {"script": script_for(request["op"]), "request": request}
    return json.dumps(envelope, ensure_ascii=True, separators=(",", ":")) + "\n"


def parse_answer(stdout: str) -> dict[str, t.Any]:
    """Return the answer that stands between the two marker lines.

    The last pair of markers counts; what surrounds it (a profile's greeting, progress, warnings) is ignored.

    Args:
        stdout: everything that came on standard output.

    Raises:
        NoAnswer: a marker is missing, or what stands between them is no JSON object.
    """
    dummy, begin, rest = stdout.rpartition(BEGIN)
    body, end, dummy = rest.partition(END)
    if not begin or not end:
        raise NoAnswer(stdout)
    try:
        answer = json.loads(body.strip())
    except ValueError as exc:
        raise NoAnswer(stdout) from exc
    if not isinstance(answer, dict):
        raise NoAnswer(stdout)
    return answer
