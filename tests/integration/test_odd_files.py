# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What editors make of Wspcfg.ini: saved as Unicode, or under another name (Q181420)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.demo.outside import Port, look
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = {"UTF16": "utf-16", "UTF8": "utf-8-sig", "TEXT": "ascii"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    wishes = [
        Wish("UTF16", DIRECT, {"listeners": ["pop3"]}),
        Wish("UTF8", COMPUTER, {"listeners": ["pop3"]}),
        Wish("TEXT", COMPUTER, {"listeners": ["pop3"]}),
    ]
    with site(tmp_path, wishes) as here:
        yield here


def test_a_file_that_exchange_does_not_read_is_converted_or_named(fleet: Site) -> None:
    text = f"[STORE]\r\nServerBindTcpPorts={fleet.port('pop3')}\r\nPersistent=1\r\nKillOldSession=1\r\n"
    for name, encoding in SERVERS.items():
        host = fleet.host(name)
        host.write(f"{BIN}.txt" if name == "TEXT" else BIN, text.encode(encoding))
        host.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
        assert host.in_force().get("STORE", ()) == (), "the lab's Exchange reads none of these"
    run = fleet.play.run("publish")
    assert run.status == 0, run.output
    for name in SERVERS:
        assert (fleet.host(name).file(BIN) or b"").startswith(text.encode("ascii"))
        port = Port(name, "pop3", fleet.address(name), fleet.port("pop3"))
        assert look(port).startswith("+OK Microsoft Exchange POP3")
    shown = " ".join(run.output.split())
    assert f"utf16: {BIN} is saved as utf-16-le, which Exchange cannot read (Q181420); it is converted to ANSI" in shown
    assert f"utf8: {BIN} is saved as utf-8, which" in shown
    assert f"text: Wspcfg.ini.txt lies beside {BIN} and is read by nobody" in shown
