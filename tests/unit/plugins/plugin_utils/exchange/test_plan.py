# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's parts: records that bind a process to what it holds, ports and their names, findings, warnings."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.installation import (
    Places,
    identify,
    inspection,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.pending import NOTHING
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.plan import Plan, make_plan
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.server import read_server
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.wanted import read_wanted
from tests.support.inspections import BIN, IMC, NOW, Described, File

LDAP_ONLY = b"[DSAMAIN]\r\nServerBindTcpPorts=389\r\nPersistent=1\r\nKillOldSession=1\r\n"


def plan(described: Described, **options: t.Any) -> Plan:
    server = read_server(described.inspect(inspection(Places())))
    return make_plan(read_wanted(options), server, identify(server))


def records(found: Plan) -> dict[str, dict[str, t.Any]]:
    return {row["service"]: row for row in found.records()}


def described(content: bytes | None = None, **more: File) -> Described:
    return Described(files={"bin": File(BIN, content), "imc": File(IMC), "client": File(None), **more})


def test_record_binds_the_running_process_to_what_it_holds() -> None:
    rows = records(plan(described(LDAP_ONLY), listeners=["ldap", "pop3"]))
    assert set(rows) == {"MSExchangeIS", "MSExchangeDS", "MSExchangeMTA"}, "the processes that read this file"
    assert rows["MSExchangeIS"]["loaded"] == NOTHING != rows["MSExchangeIS"]["wanted"]
    assert rows["MSExchangeDS"]["loaded"] == rows["MSExchangeDS"]["wanted"] != NOTHING


def test_record_of_a_pending_service_claims_nothing() -> None:
    server = described(LDAP_ONLY)
    server.files["bin"].modified = NOW
    assert records(plan(server, listeners=["ldap", "pop3"]))["MSExchangeDS"]["loaded"] is None


def test_record_of_a_stopped_service_is_what_it_will_load() -> None:
    server = described(LDAP_ONLY)
    server.services["MSExchangeIS"].update(state="stopped", process=None)
    row = records(plan(server, listeners=["ldap", "pop3"]))["MSExchangeIS"]
    assert row["loaded"] == row["wanted"] != NOTHING


def test_no_record_without_a_write() -> None:
    assert plan(described(LDAP_ONLY), listeners=["ldap"]).records() == []


def test_copied_sections_are_owned_and_owe_nothing() -> None:
    client = File("C:\\m.ini", b"[emsmta]\r\nDisable=1\r\n[mad]\r\nDisable=1\r\n")
    server = described(client=client)
    server.files["bin"].executables = ("emsmta.exe", "mad.exe")
    found = plan(server, listeners=["pop3"])
    row = records(found)["MSExchangeMTA"]
    assert row["owned"] == "emsmta.Disable,mad.Disable" and row["loaded"] == row["wanted"]
    assert [debt.owner.service for debt in found.owed] == ["MSExchangeIS"]


def test_ports_are_named_as_the_user_moved_them() -> None:
    server = described(b"[DSAMAIN]\r\nServerBindTcpPorts=390,1234\r\n[STORE]\r\nServerBindTcpPorts=110\r\n")
    found = plan(server, listeners=["ldap"], ports={"ldap": 390}, proxy_address="192.0.2.1")
    rows = {(port.port, port.protocol): (port.now, port.will) for port in found.ports}
    assert rows == {(390, "ldap"): (True, True), (1234, None): (True, False), (110, "pop3"): (True, False)}
    assert {port.host for port in found.ports} == {"192.0.2.1"}, "a port without a name was on the common address"
    assert {port.port for port in found.ports if port.leaves} == {1234, 110}


STORE = b"[STORE]\r\nPersistent=1\r\nKillOldSession=1\r\nServerBindTcpPorts="


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (
            STORE + b"993\r\nProxyBindIp=993:192.0.2.9\r\n",
            {"listeners": ["imap4s"]},
            {("192.0.2.9", 993): (True, False, True), ("192.0.2.1", 993): (False, True, False)},
        ),
        (
            STORE + b"110\r\nProxyBindIp=110:192.0.2.9\r\n",
            {"listeners": ["pop3"]},
            {("192.0.2.9", 110): (True, False, False), ("192.0.2.1", 110): (False, True, False)},
        ),
        (
            STORE + b"110\r\n",
            {"listeners": ["pop3"], "pin": True},
            {("192.0.2.1", 110): (True, True, False)},
        ),
    ],
    ids=["pinned elsewhere", "no longer pinned", "newly pinned"],
)
def test_a_port_is_in_force_where_its_address_is(
    content: bytes, options: dict[str, t.Any], expected: dict[tuple[str, int], tuple[bool, bool, bool]]
) -> None:
    found = plan(described(content), proxy_address="192.0.2.1", **options)
    assert {(port.host, port.port): (port.now, port.will, port.leaves) for port in found.ports} == expected


def test_a_port_that_another_process_takes_over_need_not_be_closed() -> None:
    options: dict[str, t.Any] = {"listeners": ["ldap"], "ports": {"ldap": 390}, "proxy_address": "192.0.2.1"}
    found = plan(described(STORE + b"390\r\n"), **options)
    assert [(port.protocol, port.now, port.will, port.leaves) for port in found.ports] == [
        (None, True, False, False),
        ("ldap", False, True, False),
    ]


def test_unknown_address_is_no_target() -> None:
    found = plan(described(), listeners=["pop3"])
    assert found.targets == () and [port.host for port in found.ports] == [None]


def test_common_section_and_lookalikes_are_findings() -> None:
    server = described(b"[Common Configuration]\r\nPersistent=1\r\n")
    server.files["bin"].lookalikes = ("Wspcfg.ini.txt",)
    codes = [row["code"] for row in plan(server, listeners=["pop3"]).findings]
    assert "common_section" in codes and "lookalike" in codes


def test_warnings_about_version_and_ldaps() -> None:
    server = described()
    server.registry = {"install_root": "C:\\exchsrvr"}
    assert any("version is unknown" in text for text in plan(server, listeners=["pop3"]).warnings)
    server.registry = {"newest_build": 2448}
    options = {"listeners": ["ldaps"], "ports": {"ldaps": 637}, "proxy_address": "192.0.2.1"}
    assert any("636" in text for text in plan(server, **options).warnings)
    server.registry = {"newest_build": 2650}
    assert plan(server, **options).warnings == ()


def test_request_of_a_file_is_compare_and_swap() -> None:
    server = described(LDAP_ONLY)
    row = plan(server, listeners=["pop3"]).writes[0].as_request()
    assert row["expect_sha256"] and row["content"] and row["from_backup"] is None and row["backup"] == "store"
    row = plan(server, state="absent").writes[0].as_request()
    assert row["expect_sha256"] and row["content"] is None and row["from_backup"] is None
    row = plan(described(), listeners=["pop3"]).writes[0].as_request()
    assert row["expect_sha256"] is None and row["content"]
