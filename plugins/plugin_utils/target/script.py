# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of the target script, and the envelope in which it and its request travel.

Private to the collection: it may change in any release.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import typing as t
from pathlib import Path

PROTOCOL_VERSION = 1
#: What the longest answer with its texts, contents and noise stays far below.
LONGEST_OUTPUT = 64 * 1024 * 1024

_DIRECTORY = Path(__file__).parent
_REGION = re.compile(r"^#region (\w+)\n(.*?)^#endregion\n", re.MULTILINE | re.DOTALL)
#: Blanks between two tokens that PowerShell tells apart without them; applied in this order, outside of strings.
_OPERATOR = (
    "-(?:eq|ne|lt|gt|le|ge|not|and|or|is|isnot|(?:not)?in|c?(?:not)?match|c?(?:not)?contains|like|join|replace|band|f)"
)
_AIR = (
    (re.compile(r"([{;,]) +"), r"\1"),
    (re.compile(r" +}"), "}"),
    (re.compile(r" (=|\+=|\|) "), r"\1"),
    (re.compile(r"\) \{"), "){"),
    (re.compile(r"^(function \S+) \{"), r"\1{"),
    (re.compile(r"\b(if|elseif|foreach|while|for|catch) \("), r"\1("),
    (re.compile(r"\b(else|try|catch|finally) \{"), r"\1{"),
    (re.compile(r"\} (else|elseif|catch|finally)\b"), r"}\1"),
    # An operator's name ends by itself before a variable, a bracket or, at the end of a piece, a string.
    (re.compile(rf"(?<![\w-])({_OPERATOR}) (?=[$(@\[]|$)"), r"\1"),
    (re.compile(rf"(?<=[)\]]) (?={_OPERATOR}\b)"), ""),
    # A variable's or a member's name ends before the operator's dash.
    (re.compile(rf"(\$\w+(?:\.\w+)*) (?={_OPERATOR}\b)"), r"\1"),
)
#: Line ends that mean nothing: inside of braces, and before what belongs to the block above.
_LINE_END = re.compile(r"(?<=\{)\n|\n(?=\})|(?<=\})\n(?=(?:else|elseif|catch|finally)\b)")
#: Line ends between statements are longer in JSON than their other mark. One stays before each function, so that the
#: line of an error tells where it happened.
_STATEMENT_END = re.compile(r"\n(?!function |$)")
_STRING = re.compile(r"""('[^'\n]*'|"[^"\n]*")""")


#: Terminals take orders from these: everything below blank but tab and line feed, DEL, and the second set from 0x80.
_CONTROL = re.compile(r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class NoAnswer(ValueError):
    """The output holds no whole answer of the target script to this request.

    Args:
        output: everything that came on standard output.
        reason: what is wrong with it.
    """

    def __init__(self, output: str, reason: str = "the output holds no answer of the target script") -> None:
        super().__init__(reason)
        self.output = output


@functools.cache
def loader() -> str:
    """Return the command that is executed on the target: the same text for every operation."""
    return (_DIRECTORY / "loader.ps1").read_text(encoding="ascii")


def wire_form(text: str) -> str:
    """Return PowerShell text as it is sent: without comment lines, indentation, blanks and line ends that mean nothing.

    A drift check has a budget of bytes, and a fifth of the readable text is air. The target script keeps to a style for
    which these few rules are safe: no here-strings, no quotation mark of a string's own kind inside it.

    Args:
        text: lines of the target script.
    """
    lines = (line.strip() for line in text.splitlines())
    text = "".join(_tight(line) + "\n" for line in lines if line and not line.startswith("#"))
    return _STATEMENT_END.sub(";", _LINE_END.sub("", text))


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
    return regions_of(source())


@functools.cache
def source() -> str:
    """Return the target script as it is read."""
    return (_DIRECTORY / "target.ps1").read_text(encoding="ascii")


def regions_of(text: str) -> t.Mapping[str, str]:
    """Return the regions of a script by name, in file order, in wire form.

    Args:
        text: the target script, or one that somebody changed.
    """
    return {name: wire_form(body) for name, body in _REGION.findall(text)}


def regions_for(request: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return the names of the regions that a request needs: a drift check or a poll does not pay for code that
    it never runs.

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
        "restart": ("change", "outcome", "restart"),
        "restart_status": ("outcome",),
    }[request["op"]]
    look: tuple[str, ...] = () if request["op"] == "restart_status" else ("look",)
    return ("common", *look, *place, *own, "main")


def script_for(request: t.Mapping[str, t.Any]) -> str:
    """Return the script that runs a request: the regions that it needs, joined in file order.

    Args:
        request: the whole request, ``op`` and ``computer`` included.

    Raises:
        KeyError: there is no such operation.
    """
    return "".join(regions()[name] for name in regions_for(request))


def payload(request: t.Mapping[str, t.Any], nonce: str) -> str:
    """Return what goes to the loader's standard input for a request.

    Args:
        request: the whole request, ``op`` included.
        nonce: what marks the answer to this request and to no other: hexadecimal digits.
    """
    return lines(script_for(request), request, nonce)


def lines(script: str, request: t.Mapping[str, t.Any], nonce: str) -> str:
    """Return the lines of standard input: nonce, script and request as JSON, and the password where there is one.

    The password is in no JSON: what a cmdlet gets is written to the log where Module Logging is on. All is ASCII,
    because Windows PowerShell decodes standard input with the console's OEM code page.

    Args:
        script: text of the target script.
        request: the request; a ``credential`` in it has both ``username`` and ``password``.
        nonce: see :func:`payload`.
    """
    secret = ""
    credential = request.get("credential")
    if isinstance(credential, dict):
        credential = dict(credential)
        password = credential.pop("password", None)
        secret = base64.b64encode(password.encode()).decode("ascii") if isinstance(password, str) else ""
        request = {**request, "credential": credential}
    envelope = json.dumps({"script": script, "request": request}, ensure_ascii=True, separators=(",", ":"))
    return f"{nonce}\n{envelope}\n" + (f"{secret}\n" if secret else "")


def begin_marker(nonce: str) -> str:
    """Return the line that stands before the answer to the request with this nonce."""
    return f"---msexchange.winsock_proxy begin {nonce}---"


def end_marker(nonce: str) -> str:
    """Return the line that stands after the answer to the request with this nonce."""
    return f"---msexchange.winsock_proxy end {nonce}---"


def parse_answer(stdout: str, nonce: str) -> dict[str, t.Any]:
    """Return the answer that stands between the two marker lines of a request.

    The last pair of them counts; what surrounds it (a profile's greeting, progress, warnings, another request's answer)
    is ignored. Control characters in its texts are replaced, see :func:`printable`.

    Args:
        stdout: everything that came on standard output.
        nonce: the request's.

    Raises:
        NoAnswer: a marker is missing, or what stands between them is too long, too deep or no JSON object.
    """
    if len(stdout) > LONGEST_OUTPUT:
        raise NoAnswer(stdout, f"the output is too long: {len(stdout)} characters")
    dummy, begin, rest = stdout.rpartition(begin_marker(nonce))
    body, end, dummy = rest.partition(end_marker(nonce))
    if not begin or not end:
        raise NoAnswer(stdout)
    try:
        answer = _printable_values(json.loads(body.strip()))
    except RecursionError as exc:
        raise NoAnswer(stdout, "the answer of the target script is nested too deeply") from exc
    except ValueError as exc:
        raise NoAnswer(stdout, "the answer of the target script is no JSON") from exc
    if not isinstance(answer, dict):
        raise NoAnswer(stdout, "the answer of the target script is no JSON object")
    return answer


def printable(text: str) -> str:
    """Return a text with U+FFFD for every character that a terminal would take for an order.

    Tabs, and line ends as Windows or Unix writes them, stay: texts of the event log have several lines.

    Args:
        text: whatever a machine said.
    """
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _printable_values(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable_values(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _printable_values(item) for key, item in value.items()}
    return value
