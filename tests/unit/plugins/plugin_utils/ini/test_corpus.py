# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configurations that the articles print, byte for byte, under both readers."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.readers import (
    Reading,
    read_profile,
    read_strict,
    read_text,
)

DATA = Path(__file__).resolve().parents[4] / "data" / "ini"
CORPUS: dict[str, dict[str, t.Any]] = yaml.safe_load((DATA / "corpus.yml").read_text(encoding="ascii"))


def values(reading: Reading) -> dict[str, dict[str, str]]:
    return {section.name: {key.name: key.value for key in section.keys} for section in reading.sections}


def codes(reading: Reading) -> list[str]:
    return [f"{finding.code}@{finding.line}" for finding in reading.findings]


def document(name: str) -> Document:
    return Document.parse((DATA / f"{name}.bin").read_bytes())


def test_every_file_has_an_expectation() -> None:
    assert {path.stem for path in DATA.glob("*.bin")} == set(CORPUS)
    assert {f"C{number:02}" for number in range(1, 23)} <= set(CORPUS)


@pytest.mark.parametrize("name", CORPUS)
def test_round_trip(name: str) -> None:
    assert bytes(document(name)) == (DATA / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", CORPUS)
def test_profile_reading(name: str) -> None:
    reading = read_profile(document(name))
    assert values(reading) == CORPUS[name]["profile"]
    assert codes(reading) == CORPUS[name].get("profile_findings", [])


@pytest.mark.parametrize("name", CORPUS)
def test_strict_reading(name: str) -> None:
    reading = read_strict(document(name))
    assert values(reading) == CORPUS[name].get("strict", CORPUS[name]["profile"])
    assert codes(reading) == CORPUS[name].get("findings", [])
    assert reading.in_force == CORPUS[name].get("in_force", True)


def test_text_reading_sees_what_the_utf_8_mark_hides_from_windows() -> None:
    assert values(read_text(document("S05"))) == CORPUS["S02"]["profile"]


@pytest.mark.parametrize("name", ["S04", "S05", "S08"])
def test_converted_to_ansi_the_strict_reader_holds_it_in_force(name: str) -> None:
    original = "S02" if name == "S05" else "C03"
    converted = document(name).convert(newline="crlf")
    assert bytes(converted) == bytes(document(original))
