# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which edits of Wspcfg.ini make which service owe a restart, whoever made them and whatever the clocks say."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.pairs import BIN, Pair, name, plain
from tests.support.playbook import Run

Servers = Callable[..., Pair]
HOUR_S = 3600.0


def owed(run: Run, pair: Pair, label: str = "") -> list[list[str]]:
    """Services that owe a restart on each server."""
    return [[row["service"] for row in run.last(name(server), "wspcfg", label)["owed"]] for server in pair]


def test_an_edit_for_the_store_leaves_the_directory_its_process(servers: Servers) -> None:
    pair = servers()
    pair.play(*plain(listeners=["imap4", "ldap"]))
    pair.remember()
    run = pair.play(*plain(listeners=["imap4", "ldap", "pop3"]))
    assert owed(run, pair) == [["MSExchangeIS"], ["MSExchangeIS"]]
    for server in pair:
        assert server.in_force() == {"DSAMAIN": (389,), "STORE": (110, 143)}
        assert server.process_id("MSExchangeDS") == pair.before(server)["MSExchangeDS"]
        assert server.process_id("MSExchangeIS") != pair.before(server)["MSExchangeIS"]
    pair.converge(listeners=["imap4", "ldap", "pop3"])


def test_a_comment_makes_nothing_pending(servers: Servers) -> None:
    pair = servers()
    pair.play(*plain())
    pair.remember()
    for server in pair:
        server.write(BIN, b"; changed on a Friday\r\n[Other]\r\nA=1\r\n" + (server.file(BIN) or b""))
    run = pair.converge()
    assert owed(run, pair, "first") == [[], []]
    for server in pair:
        assert not run.last(name(server), "wspcfg", "first")["changed"]
        assert server.process_ids() == pair.before(server)


def test_a_deleted_file_is_pending_until_its_process_has_noticed(servers: Servers) -> None:
    pair = servers()
    pair.play(*plain())
    pair.remember()
    pair.inject("delete_file")
    run = pair.converge(state="absent", listeners=[])
    assert owed(run, pair, "first") == [["MSExchangeIS"], ["MSExchangeIS"]]
    for server in pair:
        assert not run.last(name(server), "wspcfg", "first")["changed"]
        assert server.process_id("MSExchangeIS") != pair.before(server)["MSExchangeIS"]
        assert server.in_force().get("STORE", ()) == ()


def test_a_file_restored_with_its_old_time_is_pending(servers: Servers) -> None:
    pair = servers()
    old = [server.file(BIN) or b"" for server in pair]
    pair.play(*plain())
    pair.remember()
    for server, content in zip(pair, old, strict=True):
        server.write(BIN, content)
    pair.inject("age_file", hours=48.0)
    run = pair.converge(listeners=["imap4"])
    assert owed(run, pair, "first") == [["MSExchangeIS"], ["MSExchangeIS"]]
    for server in pair:
        assert server.file(BIN) == old[0]
        assert server.process_id("MSExchangeIS") != pair.before(server)["MSExchangeIS"]
        assert server.in_force()["STORE"] == (143,)


def test_a_clock_that_is_set_an_hour_off_makes_nothing_pending(servers: Servers) -> None:
    pair = servers()
    pair.inject("clock", skew_s=HOUR_S)
    pair.play(*plain())
    pair.remember()
    pair.lab.clear()
    pair.inject("clock", skew_s=-HOUR_S)
    run = pair.converge()
    assert owed(run, pair, "first") == [[], []]
    for server in pair:
        assert server.process_ids() == pair.before(server)
    run = pair.converge(listeners=["pop3"])
    assert owed(run, pair, "first") == [["MSExchangeIS"], ["MSExchangeIS"]]


def test_daylight_saving_time_on_fat_makes_nothing_pending(servers: Servers) -> None:
    pair = servers()
    pair.inject("fat")
    pair.play(*plain())
    for server in pair:
        server.forward(2 * HOUR_S)
        server.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    pair.remember()
    for minutes in (60, -60):
        pair.inject("clock", utc_offset_minutes=minutes)
        run = pair.converge()
        assert owed(run, pair, "first") == [[], []]
        for server in pair:
            assert server.process_ids() == pair.before(server)
