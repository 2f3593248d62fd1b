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

_DIRECTORY = Path(__file__).parent
_REGION = re.compile(r"^#region (\w+)\n(.*?)^#endregion\n", re.MULTILINE | re.DOTALL)
#: Blanks between two tokens that PowerShell tells apart without them; applied in this order, outside of strings.
_AIR = (
    (re.compile(r"([{;,]) +"), r"\1"),
    (re.compile(r" +}"), "}"),
    (re.compile(r" (=|\+=|\|) "), r"\1"),
    (re.compile(r"\) \{"), "){"),
    (re.compile(r"\b(if|elseif|foreach|while|for|catch) \("), r"\1("),
    (re.compile(r"\b(else|try|catch|finally) \{"), r"\1{"),
    (re.compile(r"\} (else|elseif|catch|finally)\b"), r"}\1"),
)
_STRING = re.compile(r"""('[^'\n]*'|"[^"\n]*")""")


class NoAnswer(ValueError):
    """The output holds no whole answer of the target script.

    Args:
        output: everything that came on standard output.
    """

    def __init__(self, output: str) -> None:
        super().__init__("the output holds no answer of the target script")
        self.output = output


@functools.cache
def loader() -> str:
    """Return the command that is executed on the target: the same text for every operation."""
    return (_DIRECTORY / "loader.ps1").read_text(encoding="ascii")


def wire_form(text: str) -> str:
    """Return PowerShell text as it is sent: without comment lines, indentation and blanks that mean nothing.

    A drift check has a budget of bytes, and a fifth of the readable text is air. The target script keeps to a style for
    which these few rules are safe: no here-strings, no quotation mark of a string's own kind inside it.

    Args:
        text: lines of the target script.
    """
    lines = (line.strip() for line in text.splitlines())
    return "".join(_tight(line) + "\n" for line in lines if line and not line.startswith("#"))


def _tight(line: str) -> str:
    pieces = _STRING.split(line)
    for index in range(0, len(pieces), 2):
        piece = pieces[index]
        for pattern, replacement in _AIR:
            piece = pattern.sub(replacement, piece)
        pieces[index] = piece
    return "".join(pieces)


@functools.cache
def regions() -> t.Mapping[str, str]:
    """Return the target script's regions by name, in file order, in wire form."""
    text = (_DIRECTORY / "target.ps1").read_text(encoding="ascii")
    return {name: wire_form(body) for name, body in _REGION.findall(text)}


def regions_for(request: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return the names of the regions that a request needs: a drift check does not pay for code that it never runs.

    Args:
        request: the whole request, ``op`` and ``computer`` included.

    Raises:
        KeyError: there is no such operation.
    """
    place: tuple[str, ...] = ("direct",) if request.get("computer") is None else ("computer",)
    if request.get("credential"):
        place = (*place, "credential")
    own = {
        "inspect": ("inspect", "outlook") if request.get("events") or request.get("ports") else ("inspect",),
        "apply": ("change", "apply"),
        "restart": ("change", "restart"),
        "restart_status": ("change", "restart"),
    }[request["op"]]
    return ("common", *place, *own, "main")


def script_for(request: t.Mapping[str, t.Any]) -> str:
    """Return the script that runs a request: the regions that it needs, joined in file order.

    Args:
        request: the whole request, ``op`` and ``computer`` included.

    Raises:
        KeyError: there is no such operation.
    """
    return "".join(regions()[name] for name in regions_for(request))


def payload(request: t.Mapping[str, t.Any]) -> str:
    """Return what goes to the loader's standard input: one line of ASCII JSON with script and request.

    ASCII, because Windows PowerShell decodes standard input with the console's OEM code page.

    Args:
        request: the whole request, ``op`` included.
    """
    envelope = {"script": script_for(request), "request": request}
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
