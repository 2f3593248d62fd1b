# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrived is run only when it is, byte for byte, the repository's own script.

The lab executes no PowerShell. It compares the text, and then answers with code of its own.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import re
import typing as t
from pathlib import Path

from .failures import Json

SOURCE: t.Final = Path(__file__).resolve().parents[3] / "plugins" / "plugin_utils" / "target"
# Ansible's psrp connection appends this line to every script that it runs.
PSRP_SUFFIX: t.Final = "exit $LASTEXITCODE"
_REGION = re.compile(r"^#region (\w+)\n(.*?)^#endregion\n", re.MULTILINE | re.DOTALL)
_OPERATOR = re.compile(
    "-(?:eq|ne|lt|gt|le|ge|not|and|or|is|isnot|in|notin|match|notmatch|cmatch|cnotmatch|contains|notcontains"
    "|ccontains|cnotcontains|like|join|replace|band|f)"
)
_VALUE_END = re.compile(r"[)\]]$|\$\w+(?:\.\w+)*$")
_QUOTED = re.compile(r"""'[^'\n]*'|"[^"\n]*"|[^'"\n]+|.""")


@functools.lru_cache(maxsize=8)
def _text(name: str, _changed: int) -> str:
    return (SOURCE / name).read_text(encoding="ascii")


def _source(name: str) -> str:
    """A file's text; read again when it changed, because labs outlive the edits of whoever works on the script."""
    return _text(name, (SOURCE / name).stat().st_mtime_ns)


def _tight(line: str) -> str:
    """One line as it travels: outside of strings no blank after ``{ ; ,``, before ``}`` and around ``=``."""
    pieces = _QUOTED.findall(line)
    return "".join(piece if piece[0] in "'\"" else _without_air(piece) for piece in pieces)


def _without_air(piece: str) -> str:
    piece = re.sub(r" +}", "}", re.sub(r"([{;,]) +", r"\1", piece))
    piece = re.sub(r" (\+?=|\|) ", r"\1", piece).replace(") {", "){")
    piece = re.sub(r"(?<=^function )(\S+) {", r"\1{", piece)
    piece = re.sub(r"(?<=}) (?=(?:else|elseif|catch|finally)\b)", "", piece)
    piece = re.sub(r"\b(?:(if|elseif|foreach|while|for|catch) (?=\()|(else|try|catch|finally) (?={))", r"\1\2", piece)
    words = piece.split(" ")
    # Word by word: an operator needs no blank after ``)``, ``]``, a variable or its member, and none before a mark or a
    # string.
    text = words[0]
    for before, word in itertools.pairwise(words):
        after_value = _VALUE_END.search(text) and _operator_in(word)
        before_mark = _OPERATOR.fullmatch(re.split(r"[(!{;,=|]", before)[-1]) and (word == "" or word[0] in "$(@[")
        text += word if after_value or before_mark else " " + word
    return text


def _operator_in(word: str) -> bool:
    found = re.match(r"-\w+", word)
    return found is not None and _OPERATOR.fullmatch(found[0]) is not None


def _region_names(request: Json) -> list[str]:
    """Regions that travel with a request, in the order of the file."""
    poll = request["op"] == "restart_status"
    names = ["common"] if poll else ["common", "look"]
    names += ["direct" if request["computer"] is None else "computer"]
    names += ["credential"] if request["credential"] else []
    if request["op"] == "inspect":
        names += ["inspect", "outlook"] if request["events"] or request["ports"] else ["inspect"]
    elif poll:
        names += ["outcome"]
    else:
        names += ["change"] + (["apply"] if request["op"] == "apply" else ["outcome", "restart"])
    return [*names, "main"]


@functools.lru_cache(maxsize=2)
def _regions(text: str) -> dict[str, str]:
    found = _REGION.findall(text)
    return {
        name: _joined(_tight(line.strip()) for line in body.splitlines() if line.strip() and line.strip()[0] != "#")
        for name, body in found
    }


def _joined(lines: t.Iterable[str]) -> str:
    """Lines as they travel: a line end before each function, a semicolon between statements.

    There is nothing after ``{``, before ``}``, and between ``}`` and what goes on with it.
    """
    text = ""
    for line in lines:
        goes_on = re.match(r"(?:else|elseif|catch|finally)\b", line) and text.endswith("}")
        if text and not (text.endswith("{") or line[0] == "}" or goes_on):
            text += "\n" if line.startswith("function ") else ";"
        text += line
    return text + "\n"


def _script(request: Json) -> str:
    regions = _regions(_source("target.ps1"))
    return "".join(regions[name] for name in _region_names(request))


def is_loader(text: str | None) -> bool:
    """Whether a PowerShell text is the loader, as it stands or with what psrp appends."""
    if text is None:
        return False
    return text.rstrip().removesuffix(PSRP_SUFFIX).rstrip() == _source("loader.ps1").rstrip()


def nonce_of(stdin: bytes) -> str:
    """What marks the answer: the first line of standard input."""
    return stdin.decode("ascii", "replace").partition("\n")[0]


def request_of(stdin: bytes) -> t.Any:
    """The request in an envelope whose script is the repository's; None when anything differs.

    Args:
        stdin: what the client sent: a nonce, one line ``{"script", "request"}``, and the password in base64 if any.
    """
    try:
        dummy, line, secret = (stdin.decode("ascii").rstrip("\n") + "\n").split("\n", 2)
        envelope = json.loads(line)
        request = envelope["request"]
        known = envelope["script"] == _script(request)
        if secret and "password" not in request["credential"]:
            request["credential"]["password"] = base64.b64decode(secret.strip(), validate=True).decode()
    except (ValueError, KeyError, TypeError):
        return None
    return request if known and set(envelope) == {"script", "request"} else None


def envelope(answer: Json, nonce: str) -> bytes:
    """The answer as the script prints it: one line of ASCII JSON between the marker lines of its request."""
    begin, end = (f"---msexchange.winsock_proxy {word} {nonce}---" for word in ("begin", "end"))
    return f"{begin}\r\n{json.dumps(answer, separators=(',', ':'))}\r\n{end}\r\n".encode("ascii")


def answer_in(output: str) -> t.Any:
    """The answer in what a client received, whatever its nonce was; for tests that speak the wire themselves."""
    found = re.search(
        r"---msexchange\.winsock_proxy begin (\w*)---(.*?)---msexchange\.winsock_proxy end \1---", output, re.S
    )
    if found is None:
        raise ValueError(f"no answer in {output[-500:]!r}")
    return json.loads(found[2])
