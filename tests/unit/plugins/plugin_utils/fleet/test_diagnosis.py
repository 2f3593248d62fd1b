# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which side is broken: every outside verdict against every inside view."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.listeners import LISTENERS
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import TAKEN, Status
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.diagnosis import EXPLANATIONS, broken_side

POP3 = "+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready"


def outside(
    status: str, protocol: str = "pop3", *, ok: bool = False, greeting: str | None = None, expect: str = "open"
) -> dict[str, t.Any]:
    port = LISTENERS[protocol].port
    return {
        "host": "198.51.100.1",
        "port": port,
        "protocol": protocol,
        "expect": expect,
        "ok": ok,
        "status": status,
        "greeting": greeting,
    }


def inside(port: int = 110, **view: t.Any) -> dict[str, t.Any]:
    return {"port": port, "listening": True, "connected": True, "greeting": POP3, **view}


@pytest.mark.parametrize(
    ("result", "view", "side"),
    [
        (outside("open", ok=True), None, "none"),
        (outside("refused"), inside(listening=False, connected=False, greeting=None), "server"),
        (outside("refused"), inside(listening=None, connected=False, error="in any language", native=10061), "server"),
        (outside("refused"), inside(listening=None, connected=False, error="connection refused"), "unknown"),
        (outside("refused"), inside(listening=None, connected=False, native=10060), "unknown"),
        (outside("refused"), inside(listening=None, connected=False, error="timeout"), "unknown"),
        (outside("refused"), inside(listening=None, connected=False, greeting=None), "unknown"),
        (outside("refused"), inside(listening=True, connected=False, error="timeout"), "unknown"),
        (outside("refused"), inside(listening=True, connected=False, native=10061), "unknown"),
        (outside("refused"), inside(), "proxy"),
        (outside("timeout"), inside(), "proxy"),
        (outside("silent"), inside(), "proxy"),
        (outside("refused"), inside(greeting="+OK PoProxy ready"), "server_foreign"),
        (outside("silent"), inside(greeting=None), "server_mute"),
        (outside("reset"), inside(greeting=None), "server_mute"),
        (outside("refused"), inside(greeting=None), "proxy_unheard"),
        (outside("timeout"), inside(greeting=None), "proxy_unheard"),
        (outside("foreign", greeting="+OK Dovecot ready."), inside(), "proxy_foreign"),
        (outside("foreign", greeting="+OK Dovecot ready."), None, "proxy_foreign"),
        (outside("unreachable"), inside(), "vantage"),
        (outside("unresolved"), None, "vantage"),
        (outside("refused", expect="closed", ok=True), inside(), "none"),
        (outside("open", expect="closed", greeting=POP3), inside(), "still_there"),
        (outside("silent", expect="closed"), None, "still_there"),
        (outside("no_certificate", "imap4s", expect="closed"), inside(993), "still_there"),
        (outside("unreachable", expect="closed"), inside(), "vantage"),
        (outside("no_certificate", "imap4s"), inside(993, greeting=None), "certificate"),
        (outside("no_tls", "imap4s", greeting="* OK Dovecot ready."), inside(993, greeting=None), "proxy_foreign"),
        (outside("no_tls", "imap4s", greeting="* OK Dovecot ready.", expect="closed"), None, "still_there"),
        (outside("refused", "ldap"), inside(389, greeting="0\\x0c", speaks="ldap"), "proxy"),
        (outside("refused", "ldap"), inside(389, greeting=None, speaks=None), "proxy_unheard"),
        (outside("silent", "ldap"), inside(389, greeting=None, speaks=None), "server_mute"),
        (outside("refused", "ldap"), inside(389, greeting="+OK ready", speaks="pop3"), "server_foreign"),
        (outside("refused", "imap4s"), inside(993, greeting=None), "proxy"),
        (outside("refused"), None, "unknown"),
        (outside("refused"), inside(25), "unknown"),
        (outside("refused"), {"port": 110, "listening": None, "connected": None, "greeting": None}, "unknown"),
    ],
)
def test_side(result: dict[str, t.Any], view: dict[str, t.Any] | None, side: str) -> None:
    found = broken_side(result, [] if view is None else [inside(9999), view])
    assert found.side == side
    assert str(result["port"]) in found.explanation


def test_service_and_stranger_are_named() -> None:
    assert "MSExchangeDS does not listen on port 389" in (
        broken_side(outside("refused", "ldap"), [inside(389, listening=False, connected=False)]).explanation
    )
    found = broken_side(outside("foreign", greeting="+OK Dovecot ready."), [])
    assert (
        found.explanation == "198.51.100.1:110 is taken by someone else on the proxy: it answers '+OK Dovecot ready.'"
    )


def test_only_what_was_heard_answers() -> None:
    heard = broken_side(outside("refused"), [inside()])
    assert heard.explanation.startswith(
        "MSExchangeIS answers on port 110 of the Exchange server but 198.51.100.1:110 is refused: see its Wspcfg.ini"
    )
    connected = broken_side(outside("refused", "imap4s"), [inside(993, greeting=None)])
    assert connected.explanation.startswith("MSExchangeIS listens on port 993 of the Exchange server but")


def test_a_port_that_should_be_closed_is_told_with_who_answers() -> None:
    found = broken_side(outside("open", expect="closed", greeting=POP3), [inside()])
    assert found.explanation.startswith(
        f"198.51.100.1:110 should be closed and is open ('{POP3}'): MSExchangeIS has not"
    )


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("protocol", list(LISTENERS))
def test_every_status_has_a_side(status: Status, protocol: str) -> None:
    for views in ([], [inside(LISTENERS[protocol].port)]):
        side = broken_side(outside(status.value, protocol), views).side
        assert side in EXPLANATIONS
        assert (side == "proxy_foreign") == (status in TAKEN)
