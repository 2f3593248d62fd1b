# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of the articles, and what is made of them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.events import (
    TABLE,
    causes,
    decode,
    known,
)

Json = dict[str, t.Any]


def event(number: int, source: str, message: str = "", strings: tuple[str, ...] = ()) -> Json:
    return {
        "log": "Application",
        "at": 1.0,
        "source": source,
        "id": number,
        "type": "error",
        "message": message,
        "strings": list(strings),
    }


ROWS = [
    (event(4007, "MSExchangeIMC", "could not bind. Error 10048"), "port 25 is already in use on the proxy", "Q222553"),
    (event(4007, "MSExchangeIMC", "", ("10050",)), "cannot reach its proxy", "Q193928"),
    (event(4007, "MSExchangeIMC", "no code"), "could not bind", "Q222553"),
    (event(4020, "MSExchangeIMC"), "WinSock was not initialised", "Q222553"),
    (event(4003, "MSExchangeIMC", "11004"), "wrong order", "Q268643"),
    (event(11508, "MSExchange Pop3 Interface", "error 0x2740"), "POP3 port is already in use", "Q271275"),
    (event(11508, "MSExchangePOP3", "0x2741"), "not available", "Q250926"),
    (event(11506, "MSExchange NNTP Interface", "0x2740"), "already in use", "Q271275"),
    (event(11506, "MSExchange IMAP4", "0x2741"), "not available", "Q250926"),
    (event(1194, "MSExchangeIS", "0x80004005"), "external interface", "Q271275"),
    (event(1306, "MSExchangeDS", "10048"), "389 is already in use", "Q224447"),
    (event(1309, "MSExchangeDS", "10048"), "636 is already in use", "Q232606"),
    (event(13002, "MSExchange IMAP4 Interface"), "no valid certificate", "Q251097"),
    (event(9301, "MSExchangeMTA"), "proxy's address", "Q254909"),
]


@pytest.mark.parametrize(("row", "cause", "article"), ROWS, ids=[f"{row[0]['id']} {row[0]['source']}" for row in ROWS])
def test_documented_events(row: Json, cause: str, article: str) -> None:
    found = known(row)
    assert found is not None and cause in found.cause and article in found.article and found.remedy


def test_foreign_events_are_not_explained() -> None:
    assert known(event(4007, "SomethingElse", "10048")) is None
    assert decode([event(1, "X")])[0]["cause"] is None


def test_address_in_use_needs_the_whole_number() -> None:
    found = known(event(11508, "MSExchangePOP3", "connection 110480 ended"))
    assert found is not None and not found.text


def test_causes_are_said_once() -> None:
    rows = [event(4020, "MSExchangeIMC"), event(4007, "MSExchangeIMC", "10048"), event(4007, "MSExchangeIMC", "10048")]
    assert len(causes(rows)) == 2 and causes(rows)[1].startswith("event 4007: port 25")


def test_catch_all_rows_come_last() -> None:
    for number, row in enumerate(TABLE):
        assert row.text or not any(other.id == row.id and other.source == row.source for other in TABLE[number + 1 :])
