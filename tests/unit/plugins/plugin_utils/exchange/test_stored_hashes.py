# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of sections that servers have stored stay what they are, whatever win_ini learns about INI files.

The numbers were taken before win_ini compared names by Windows' table and looked for other encodings.
"""

from __future__ import annotations

import hashlib
import json
import random
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.content import Content, section_hash
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.text import IniError, codec_for, fold
from tests.conftest import ROOT

DATA: t.Final = ROOT / "tests" / "data" / "ini"
STORED: dict[str, dict[str, str]] = json.loads((DATA / "section_hashes.json").read_text(encoding="ascii"))
OF_GENERATED: t.Final = "03722508ce61f5005b08b1fe32f108ae37019267c796a3ce265855d5a167c7c0"


def as_ansi(content: Content) -> Content | None:
    try:
        return Content(bytes(content.as_ansi))
    except IniError:
        return None


@pytest.mark.parametrize("name", STORED)
def test_hashes_of_the_articles_files(name: str) -> None:
    content = Content((DATA / f"{name}.bin").read_bytes())
    for place, stored in STORED[name].items():
        side = as_ansi(content) if place.startswith("ansi ") else content
        assert section_hash(side, place.removeprefix("ansi ")).startswith(stored)


def generated(chance: random.Random) -> bytes:
    """A file with odd names, values, marks and encodings, the same ones in every run."""
    odd = chance.random() < 0.3
    letters = "aA\xe9\xc9\xff\u0178\xb5\xdf\u0192\xa0" + "=[];# \t'\"\n\0\x1a" * odd
    rows = []
    for _number in range(chance.randrange(12)):
        name = "".join(chance.choice(letters) for _letter in range(chance.randrange(4)))
        section = f"[{chance.choice(('STORE', 'store', 'S' + name))}]"
        equals, value = chance.choice(("=", " = ", "=")), chance.choice(("1", name))
        key = f"{chance.choice(('ServerBindTcpPorts', 'a', 'k' + name))}{equals}{value}"
        end = chance.choice(("\r\n", "\n", "\r", "\r\r\n")) if odd else "\r\n"
        rows.append(chance.choice((section, key, key)) + end)
    marked = (("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-le", b""), ("utf-16-be", b""))
    encoding, mark = chance.choice((*marked, *[("cp1252", b"")] * 4, ("utf-8", b"")))
    return mark + "".join(rows).encode(encoding)


def test_hashes_of_generated_files() -> None:
    chance = random.Random(20261201)
    told = hashlib.sha256()
    seen = 0
    for _number in range(1500):
        content = Content(generated(chance))
        for side in (content, as_ansi(content)):
            for section in side.strict.sections if side else ():
                told.update(section_hash(side, section.name).encode("ascii"))
                seen += bool(section.keys)
    assert seen > 200
    assert told.hexdigest() == OF_GENERATED


def test_the_letters_of_a_file_that_is_read_are_compared_as_ever() -> None:
    """Only ANSI files are in force; of its letters the table joins those that the rule before it joined."""

    def before(character: str) -> str:
        upper = character.upper()
        if len(upper) != 1 or (upper.isascii() and not character.isascii()) or character == "\xb5":
            return character
        return upper

    letters = codec_for("ansi").decode(bytes(range(256)))
    assert len(letters) == 256
    pairs = {(before(letter), fold(letter)) for letter in letters}
    assert len(pairs) == len({one for one, dummy in pairs}) == len({other for dummy, other in pairs})
