# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that died while it wrote a file has left beside it, and what the next one begins with therefore.

``apply`` puts the old text back before it compares anything (docs/target_protocol.md, section 3), so a plan has to be
made from that, also one that is only looked at.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ..shapes import Json

_SUFFIX = re.compile(r"\.[0-9a-f-]{8,36}\.(tmp~?|was)", re.IGNORECASE)
_ABSENT: t.Final = dict.fromkeys(("size", "sha256", "content", "modified", "read_only"))


def _is_leftover(name: str, of: str) -> bool:
    return name.lower().startswith(of.lower()) and _SUFFIX.fullmatch(name[len(of) :]) is not None


def set_apart(row: Mapping[str, t.Any]) -> Json:
    """Return a file of an answer of ``inspect`` with its leftovers in a list of their own, no longer lookalikes."""
    name = (row["path"] or "").rpartition("\\")[2]
    leftovers = [other for other in row["lookalikes"] if _is_leftover(other, name)]
    return {
        **row,
        "lookalikes": [other for other in row["lookalikes"] if other not in leftovers],
        "leftovers": leftovers,
    }


def telling(row: Mapping[str, t.Any]) -> str | None:
    """Return the path of the leftover that tells what a file was, None where nothing has to come back.

    Args:
        row: A file, its leftovers set apart.
    """
    wanted = ".was" if row["exists"] else ".tmp~"
    names = [name for name in row["leftovers"] if name.lower().endswith(wanted)]
    return row["path"].rpartition("\\")[0] + f"\\{names[0]}" if names and not row["error"] else None


@dataclass(frozen=True)
class _Undo:
    """What an in-place write recorded before its first byte; hashes are empty where there is no file."""

    was: str
    old_size: int
    new: str
    new_size: int
    content: str


def _read_undo(data: bytes) -> _Undo | None:
    """None: it was cut itself, before the file was touched."""
    fields = data.decode("ascii", "replace").split("|")
    if len(fields) != 5 or not (fields[1].isdigit() and fields[3].isdigit()):
        return None
    return _Undo(fields[0], int(fields[1]), fields[2], int(fields[3]), fields[4])


def mended(row: Mapping[str, t.Any], leftover: Mapping[str, t.Any], *, content: bool) -> Json:
    """Return a file as it will be once its old text is back, with ``healing`` true; as it is where that is not known.

    Args:
        row: The file, its leftovers set apart.
        leftover: The file that ``telling`` named, read with its content.
        content: Whether the file's content was asked for.
    """
    if leftover.get("content") is None:
        return dict(row)
    data = base64.b64decode(leftover["content"])
    if not row["exists"]:
        about = {key: leftover[key] for key in ("size", "sha256", "content", "modified", "read_only")}
        return _as_healed(row, {**about, "exists": True}, content=content)
    undo = _read_undo(data)
    if undo is None or row["sha256"] in (undo.was, undo.new) or row["size"] not in (undo.old_size, undo.new_size):
        return dict(row)
    if not undo.was:
        return _as_healed(row, {**_ABSENT, "exists": False}, content=content)
    try:
        old = base64.b64decode(undo.content, validate=True)
    except ValueError:
        return dict(row)  # the server has it in its store; whoever applies is told that it came back
    if hashlib.sha256(old).hexdigest() != undo.was:
        return dict(row)
    return _as_healed(row, {"size": len(old), "sha256": undo.was, "content": undo.content}, content=content)


def _as_healed(row: Mapping[str, t.Any], about: Mapping[str, t.Any], *, content: bool) -> Json:
    return {**row, **about, "content": about["content"] if content else None, "healing": True}
