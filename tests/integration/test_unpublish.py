# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports after ``unpublish``: closed, or rightly held by another server of the inventory."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

VERIFY_ABSENT = """
- name: Check what was taken off
  hosts: old
  gather_facts: false
  tasks:
    - name: Check from outside
      ansible.builtin.include_role:
        name: msexchange.winsock_proxy.publish
        tasks_from: verify
      vars:
        publish_state: absent
"""
OLD_LISTENERS = ["pop3", "imap4"]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    """An old server and its successor, which share one external address."""
    wishes = [
        Wish("OLD", DIRECT, {"listeners": OLD_LISTENERS}),
        Wish("NEXT", COMPUTER, {"listeners": ["pop3"]}, share="OLD"),
    ]
    with site(tmp_path, wishes) as here:
        yield here


def handed_over(here: Site) -> None:
    """The successor has the port POP3; the old server, whose file still names it, was started later."""
    alone = here.play.run("publish", "-l", "next", extra={"publish_conflict_hosts": ["next"]})
    assert alone.status == 0, alone.output
    ports = ",".join(str(here.port(protocol)) for protocol in OLD_LISTENERS)
    old = here.host("OLD")
    old.write(BIN, f"[STORE]\r\nServerBindTcpPorts={ports}\r\nPersistent=1\r\nKillOldSession=1\r\n".encode("ascii"))
    old.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")


def test_a_port_that_another_server_rightly_has_is_no_failure(fleet: Site) -> None:
    handed_over(fleet)
    run = fleet.play.run("unpublish", "-l", "old")
    assert run.status == 0, run.output
    assert fleet.host("OLD").file(BIN) is None
    proven = {port["protocol"]: port for port in run.last("old", "port_probe", "Check the ports until")["results"]}
    assert (proven["pop3"]["expect"], proven["pop3"]["status"]) == ("any", "open")
    assert (proven["imap4"]["expect"], proven["imap4"]["status"]) == ("closed", "refused")
    verified = fleet.play.run(fleet.play.write("verify.yml", VERIFY_ABSENT), extra={"publish_probe_deadline": 0})
    assert verified.status == 0, verified.output


def test_a_port_that_nobody_should_have_is_a_failure(fleet: Site) -> None:
    """The same ports, but what is open belongs to no server that is compared."""
    handed_over(fleet)
    alone = {"publish_conflict_hosts": ["old"], "publish_probe_deadline": 0}
    run = fleet.play.run("unpublish", "-l", "old", extra=alone)
    assert run.status == 2
    where = f"{fleet.address('OLD')}:{fleet.port('pop3')}"
    verified = fleet.play.run(fleet.play.write("verify.yml", VERIFY_ABSENT), extra=alone)
    assert verified.status == 2
    for messages in (run.messages("old"), verified.messages("old")):
        assert f"{where} should be closed and is open ('+OK Microsoft Exchange POP3 server" in messages


def test_what_a_deferred_restart_leaves_open_is_proven_closed_later(fleet: Site) -> None:
    alone = {"publish_conflict_hosts": ["old"]}
    assert fleet.play.run("publish", "-l", "old", extra=alone).status == 0
    waiting = fleet.play.run("unpublish", "-l", "old", extra={**alone, "publish_restart": "defer"})
    assert waiting.status == 0, waiting.output
    assert fleet.host("OLD").file(BIN) is None
    assert fleet.host("OLD").in_force()["STORE"], "the process still holds the ports"
    later = fleet.play.run("unpublish", "-l", "old", extra=alone)
    assert later.status == 0, later.output
    proven = later.last("old", "port_probe", "Check the ports until")["results"]
    assert {(port["protocol"], port["expect"], port["status"]) for port in proven} == {
        ("pop3", "closed", "refused"),
        ("imap4", "closed", "refused"),
    }
    assert fleet.host("OLD").in_force().get("STORE", ()) == ()
