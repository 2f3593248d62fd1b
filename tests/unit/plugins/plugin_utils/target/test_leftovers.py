# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that a run left half written, as the next run has to plan for it; the script's side is a conformance case."""

from __future__ import annotations

import base64
import hashlib
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.leftovers import (
    mended,
    set_apart,
    telling,
)

Json = dict[str, t.Any]
PATH = "C:\\exchsrvr\\bin\\Wspcfg.ini"
OLD = b"[STORE]\r\nServerBindTcpPorts=110\r\n"
NEW = b"[STORE]\r\nServerBindTcpPorts=110,143\r\n"
TORN = NEW[:20] + b"\0" * (len(NEW) - 20)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def row(data: bytes | None, *lookalikes: str, path: str | None = PATH) -> Json:
    about: Json = dict.fromkeys(("size", "sha256", "content", "modified", "read_only", "error"))
    if data is not None:
        content = base64.b64encode(data).decode()
        about |= {"size": len(data), "sha256": sha256(data), "content": content, "modified": 1.0, "read_only": False}
    return {"path": path, "exists": data is not None, "lookalikes": list(lookalikes), **about}


def undo(old: bytes | None = OLD, new: bytes = NEW) -> bytes:
    text = base64.b64encode(old or b"").decode()
    was = "" if old is None else sha256(old)
    return f"{was}|{len(old or b'')}|{sha256(new)}|{len(new)}|{text}".encode()


def test_leftovers_are_no_lookalikes() -> None:
    names = ("Wspcfg.ini.0f3c1a52-0000.tmp", "wspcfg.INI.0f3c1a52.was", "Wspcfg.ini.mine.tmp", "Wspcfg.txt")
    apart = set_apart(row(OLD, *names))
    assert (apart["leftovers"], apart["lookalikes"]) == (list(names[:2]), list(names[2:]))
    assert set_apart(row(None, path=None))["leftovers"] == []


@pytest.mark.parametrize(
    ("data", "name", "tells"),
    [
        (None, "Wspcfg.ini.0f3c1a52.tmp~", True),
        (OLD, "Wspcfg.ini.0f3c1a52.tmp~", False),
        (OLD, "Wspcfg.ini.0f3c1a52.was", True),
        (None, "Wspcfg.ini.0f3c1a52.was", False),
        (None, "Wspcfg.ini.0f3c1a52.tmp", False),
    ],
)
def test_what_tells_of_an_old_text(data: bytes | None, name: str, tells: bool) -> None:
    assert telling(set_apart(row(data, name))) == (f"C:\\exchsrvr\\bin\\{name}" if tells else None)


def test_a_file_that_could_not_be_read_tells_nothing() -> None:
    assert telling({**set_apart(row(OLD, "Wspcfg.ini.0f3c1a52.was")), "error": {"code": "locked"}}) is None


def test_a_file_without_its_name_is_the_old_one() -> None:
    healed = mended(row(None), row(OLD), content=True)
    assert (healed["exists"], healed["sha256"], healed["healing"]) == (True, sha256(OLD), True)
    assert base64.b64decode(healed["content"]) == OLD
    assert mended(row(None), row(OLD), content=False)["content"] is None


@pytest.mark.parametrize("torn", [TORN, OLD[:-2] + b"xx"], ids=["as long as the new", "as long as the old"])
def test_a_torn_file_is_the_old_one(torn: bytes) -> None:
    healed = mended(row(torn), row(undo()), content=True)
    assert (healed["sha256"], healed["size"], healed["healing"]) == (sha256(OLD), len(OLD), True)


def test_a_torn_file_that_was_not_there_is_none() -> None:
    healed = mended(row(TORN), row(undo(None)), content=True)
    assert (healed["exists"], healed["sha256"], healed["content"], healed["healing"]) == (False, None, None, True)


@pytest.mark.parametrize(
    ("data", "recorded"),
    [
        (OLD, undo()),
        (NEW, undo()),
        (b"[MTA]\r\n", undo()),
        (TORN, undo()[:40]),
        (TORN, undo()[:-8]),
        (TORN, b"||||"),
        (TORN, b"a|b|c|d|e"),
        (TORN, undo()[:-1] + b"\xff"),
    ],
)
def test_what_is_not_known_to_be_torn_or_to_be_whole_again_stays_as_it_is(data: bytes, recorded: bytes) -> None:
    before = row(data)
    assert mended(before, row(recorded), content=True) == before
    assert mended(before, {**row(recorded), "content": None}, content=True) == before
