# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole wspcfg_info task: one inspection, told in full, and it agrees with wspcfg."""

from __future__ import annotations

import base64
import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import wspcfg, wspcfg_info
from tests.support.inspections import BIN, NOW, Described, File, Replay, error, service, session
from tests.support.options import options_of

Json = dict[str, t.Any]


def info(server: Described, **options: t.Any) -> tuple[Json, Replay]:
    replay = Replay(server)
    return wspcfg_info.run(session(replay), options_of("wspcfg_info", **options), host="EX1"), replay


def test_one_execution_tells_everything() -> None:
    server = Described()
    server.files["bin"] = File(BIN, b"[STORE]\r\nServerBindTcpPorts=110,995\r\nProxyBindIp=995:192.0.2.7\r\n")
    result, replay = info(server, inside_ports=[])
    assert replay.ops == ["inspect"] and not result["changed"] and result["executions"] == 1
    assert result["exchange"]["version"] == "5.5" and result["exchange"]["root"] == r"C:\exchsrvr"
    assert result["listeners"] == [
        {"host": None, "port": 110, "protocol": "pop3", "in_force": True},
        {"host": "192.0.2.7", "port": 995, "protocol": "pop3s", "in_force": True},
    ]
    assert not any(row["pending"] for row in result["pending"])
    assert result["files"][0]["text"].startswith("[STORE]")
    assert replay.requests[0]["events"] is None and replay.requests[0]["ports"] == []


def test_unicode_publishes_nothing_and_is_a_finding() -> None:
    server = Described()
    server.files["bin"] = File(
        BIN, "[STORE]\r\nServerBindTcpPorts=110\r\n".encode("utf-16"), lookalikes=("Wspcfg.ini.txt",)
    )
    result, dummy = info(server)
    assert result["listeners"] == []
    assert {"encoding_unicode", "lookalike"} <= {finding["code"] for finding in result["findings"]}


def test_pending_agrees_with_wspcfg() -> None:
    server = Described()
    wspcfg.run(session(Replay(server)), options_of("wspcfg", listeners=["pop3", "ldap"]), host="EX1", check=False)
    result, dummy = info(server)
    pending = {row["service"] for row in result["pending"] if row["pending"]}
    again = wspcfg.run(
        session(Replay(server)), options_of("wspcfg", listeners=["pop3", "ldap"]), host="EX1", check=True
    )
    assert pending == {row["service"] for row in again["owed"]} == {"MSExchangeIS", "MSExchangeDS"}
    assert [row["in_force"] for row in result["listeners"]] == [False, False]


def test_events_and_ports_are_asked_for_and_decoded() -> None:
    server = Described()
    server.events = [
        {
            "log": "Application",
            "at": NOW,
            "source": "MSExchangeDS",
            "id": 1306,
            "type": "error",
            "message": "10048",
            "strings": [],
        }
    ]
    result, replay = info(server, events_since=NOW - 60, inside_ports=[110, 389])
    request = replay.requests[0]
    assert request["events"]["since"] == NOW - 60 and request["events"]["logs"] == ["System", "Application"]
    assert [(row["port"], row["send"] is None) for row in request["ports"]] == [(110, True), (389, False)]
    assert base64.b64decode(request["ports"][1]["send"]).startswith(b"\x30\x0c\x02\x01\x01\x60")
    assert result["causes"] and "389" in result["events"][0]["cause"]


def test_what_the_files_publish_is_looked_at_from_inside() -> None:
    server = Described()
    text = (
        b"[DSAMAIN]\r\nServerBindTcpPorts=389\r\n[STORE]\r\nServerBindTcpPorts=995,110\r\nProxyBindIp=995:192.0.2.7\r\n"
    )
    server.files["bin"] = File(BIN, text)
    dummy, replay = info(server)
    first, second = replay.requests
    assert first["ports"] == [] and not second["state"] and second["files"] == second["services"] == []
    assert [(row["port"], row["send"] is not None) for row in second["ports"]] == [
        (110, False),
        (389, True),
        (995, False),
    ]


def test_a_server_that_publishes_nothing_is_asked_once() -> None:
    dummy, replay = info(Described())
    assert replay.ops == ["inspect"]


@pytest.mark.parametrize(
    ("ports", "asked", "binds"),
    [
        ({}, [110, 389, 390, 995], [389]),
        ({"ldap": 390}, [110, 389, 390], [390]),
        ({"ldap": 390, "pop3": 389}, [389, 390], [390]),
        ({"pop3": 389}, [389], []),
        ({"pop3s": 389}, [389], []),
    ],
)
def test_ldap_is_asked_where_it_is(ports: Json, asked: list[int], binds: list[int]) -> None:
    dummy, replay = info(Described(), inside_ports=asked, ports=ports)
    sent = replay.requests[0]["ports"]
    assert [row["port"] for row in sent] == asked
    assert [row["port"] for row in sent if row["send"] is not None] == binds


def test_ports_have_time_to_greet_and_tls_is_not_waited_for() -> None:
    dummy, replay = info(Described(), inside_ports=[110, 995, 1995, 389], ports={"imap4s": 1995})
    clear, tls, moved, ldap = (row["read_ms"] for row in replay.requests[0]["ports"])
    assert (clear, ldap, tls) == (20000, 20000, moved)
    assert tls < clear


def test_moved_ports_are_checked() -> None:
    result, replay = info(Described(), inside_ports=[110], ports={"gopher": 70, "ldap": 0})
    assert {problem["value"] for problem in result["problems"]} == {"gopher", "0"} and replay.ops == []


@pytest.mark.parametrize(
    ("heard", "speaks"),
    [
        (b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n", "pop3"),
        (bytes.fromhex("300c02010161070a010004000400"), "ldap"),
        (bytes.fromhex("300c02010161070a013104000400"), "ldap"),  # a refused bind is an answer too
        (bytes.fromhex("300c0201016107"), None),
        (b"0\x00\x01", None),
        (b"hello\r\n", None),
        (b"", None),
    ],
)
def test_who_speaks_inside_is_recognised(heard: bytes, speaks: str | None) -> None:
    replay = Replay(server := Described())
    row = {"port": 1, "listening": True, "connected": True, "error": None}
    ports = [{**row, "greeting": base64.b64encode(heard).decode()}]
    replay.steps["inspect"] = [lambda request: {**server.inspect(request), "ports": ports}]
    result = wspcfg_info.run(session(replay), options_of("wspcfg_info", inside_ports=[1]), host="EX1")
    assert result["inside"][0]["speaks"] == speaks


def test_greetings_are_printable() -> None:
    server = Described()
    replay = Replay(server)
    greeting = base64.b64encode(b"+OK \xe9\x00 ready\r\nmore").decode()
    ports = [{"port": 110, "listening": True, "connected": True, "greeting": greeting, "error": None}]
    asked: Json = {}

    def answer(request: Json) -> Json:
        asked.update(request)
        return {**server.inspect(request), "ports": ports}

    replay.steps["inspect"] = [answer]
    result = wspcfg_info.run(session(replay), options_of("wspcfg_info", inside_ports=[110]), host="EX1")
    assert result["inside"][0]["greeting"] == r"+OK \xe9\x00 ready"


def test_bad_options_and_errors_name_the_host() -> None:
    result, replay = info(Described(), inside_ports=[0])
    assert result["failed"] and "EX1" in result["msg"] and "inside_ports" in result["msg"] and replay.ops == []
    result, replay = info(Described(), events_since=-1.0)
    assert result["failed"] and "events_since" in result["msg"]
    replay = Replay(steps={"inspect": [error("second_hop_denied")]})
    result = wspcfg_info.run(session(replay, computer="EXCH1"), options_of("wspcfg_info"), host="EX1")
    assert result["failed"] and "EXCH1" in result["msg"] and "CredSSP" in result["msg"]


def test_wrong_shape_is_an_error_of_its_own() -> None:
    replay = Replay(steps={"inspect": [{"clock": {}}]})
    result = wspcfg_info.run(session(replay), options_of("wspcfg_info"), host="EX1")
    assert result["failed"] and result["problems"][0]["code"] == "wrong_answer"


def test_proxy_on_the_server_is_never_pending() -> None:
    server = Described()
    server.files["bin"] = File(BIN, b"[STORE]\r\nServerBindTcpPorts=110\r\n", modified=NOW)
    server.services["wspsrv"] = service("wspsrv")
    result, dummy = info(server)
    assert result["proxy_on_server"] and not any(row["pending"] for row in result["pending"])
