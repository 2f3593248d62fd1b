# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which side is broken, in the message of ``verify``: somebody else on the proxy, or the server itself."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = ("NEAR", "FAR")
ONCE = {"publish_probe_deadline": 0}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    listeners = {"listeners": ["smtp"]}
    with site(tmp_path, [Wish("NEAR", DIRECT, listeners), Wish("FAR", COMPUTER, listeners)]) as here:
        assert here.play.run("publish").status == 0
        yield here


def test_a_port_that_somebody_else_took_is_told_with_his_greeting(fleet: Site) -> None:
    port = fleet.port("smtp")
    for name in SERVERS:
        fleet.lab.inject("stop_service", name, name="MSExchangeIMC")
        fleet.host(name).until_service("MSExchangeIMC", "stopped")
        fleet.lab.inject("take_port", address=fleet.address(name), port=port, line="220 another mail server ready")
    run = fleet.play.run("verify", extra=ONCE)
    assert run.failed() == ["far", "near"], run.output
    for name in SERVERS:
        who = "is taken by someone else on the proxy: it answers '220 another mail server ready'"
        assert f"{fleet.address(name)}:{port} {who}" in run.messages(name.lower())


def test_a_port_that_nobody_listens_on_is_the_servers(fleet: Site) -> None:
    for name in SERVERS:
        fleet.lab.inject("stop_service", name, name="MSExchangeIMC")
        fleet.host(name).until_service("MSExchangeIMC", "stopped")
    run = fleet.play.run("verify", extra=ONCE)
    assert run.failed() == ["far", "near"], run.output
    for name in SERVERS:
        assert f"MSExchangeIMC does not listen on port {fleet.port('smtp')}" in run.messages(name.lower())


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Site]:
    """One server without a certificate, whose TLS port is wanted and not yet published."""
    with site(tmp_path, [Wish("BARE", DIRECT, {"listeners": ["imap4s"]}, {"certificate": False})]) as here:
        yield here


def test_a_server_without_a_certificate_is_told(bare: Site) -> None:
    run = bare.play.run("publish")
    assert run.failed() == ["bare"], run.output
    where = f"MSExchangeIS listens on {bare.address('BARE')}:{bare.port('imap4s')}"
    assert f"{where} without a usable certificate (event 13002, Q251097)" in run.messages("bare")


def test_check_mode_looks_once(bare: Site) -> None:
    """Nothing has been published, and nothing will be while it looks: a day of waiting would change nothing."""
    run = bare.play.run("verify", "--check", extra={"publish_probe_deadline": 86400})
    (result,) = run.last("bare", "port_probe")["results"]
    assert (result["status"], result["attempts"]) == ("refused", 1)


def test_who_answers_in_clear_on_a_tls_port_is_somebody_else(bare: Site) -> None:
    """He is told as such, and nothing is written that his port would make useless."""
    port, line = bare.port("imap4s"), "* OK another mail server ready"
    bare.lab.inject("take_port", address=bare.address("BARE"), port=port, line=line)
    told = bare.play.run("verify", extra=ONCE)
    who = f"{bare.address('BARE')}:{port} is taken by someone else on the proxy: it answers '{line}'"
    assert who in told.messages("bare"), told.output
    refused = bare.play.run("publish")
    assert f"is taken by another program on the proxy: it answers '{line}'" in refused.messages("bare"), refused.output
    assert bare.host("BARE").file(BIN) is None
