# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole wspcfg task against a described server: what it sends, what it reports, and that it comes to rest."""

from __future__ import annotations

import base64
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.listeners import LISTENERS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import wspcfg as task
from tests.support.inspections import BIN, IMC, NOW, Described, File, Replay, error, missing, service, session, sha256
from tests.support.options import options_of

Json = dict[str, t.Any]


def wspcfg(server: Described, *, check: bool = False, **options: t.Any) -> tuple[Json, Replay]:
    replay = Replay(server)
    result = task.run(session(replay), options_of("wspcfg", **options), host="EX1", check=check)
    return result, replay


def owed(result: Json) -> list[str]:
    return [row["service"] for row in result["owed"]]


def test_the_article_as_it_stands() -> None:
    server = Described()
    result, replay = wspcfg(server, listeners=["pop3", "imap4", "nntp"])
    assert (
        server.files["bin"].content
        == b"[STORE]\r\nServerBindTcpPorts=110,119,143\r\nPersistent=1\r\nKillOldSession=1\r\n"
    )
    assert result["changed"] and owed(result) == ["MSExchangeIS"]
    assert replay.ops == ["inspect", "apply"] and result["executions"] == 2


def test_tls_listeners_are_pinned() -> None:
    server = Described()
    result, dummy = wspcfg(server, listeners=["imap4s", "pop3s", "pop3"], proxy_address="192.0.2.10")
    text = (server.files["bin"].content or b"").decode()
    assert "ServerBindTcpPorts=110,993,995\r\nProxyBindIp=993:192.0.2.10,995:192.0.2.10\r\n" in text
    assert {(row["host"], row["port"], row["protocol"]) for row in result["targets"]} == {
        ("192.0.2.10", 110, "pop3"),
        ("192.0.2.10", 995, "pop3s"),
        ("192.0.2.10", 993, "imap4s"),
    }


def test_a_second_run_is_one_execution_and_nothing_else() -> None:
    server = Described()
    wspcfg(server, listeners=["pop3", "ldap", "smtp"])
    server.restarted("MSExchangeDS", "MSExchangeIS", "MSExchangeIMC", "MSExchangeMTA")
    before = (server.files["bin"].content, server.files["imc"].content)
    result, replay = wspcfg(server, listeners=["pop3", "ldap", "smtp"])
    assert not result["changed"] and result["owed"] == [] and replay.ops == ["inspect"]
    assert before == (server.files["bin"].content, server.files["imc"].content)


def test_check_mode_predicts_what_the_run_does() -> None:
    predicted, replay = wspcfg(Described(), listeners=["pop3", "ldap"], check=True)
    done, dummy = wspcfg(Described(), listeners=["pop3", "ldap"])
    assert replay.ops == ["inspect"]
    for key in ("changed", "diff", "owed", "restart", "predicted", "in_force", "targets"):
        assert predicted[key] == done[key], key
    assert [(row["port"], row["now"], row["will"]) for row in predicted["predicted"]] == [
        (110, "not", "in force"),
        (389, "not", "in force"),
    ]


def test_ldap_takes_down_everything_that_depends_on_the_directory() -> None:
    result, dummy = wspcfg(Described(), listeners=["ldap"], check=True)
    assert result["restart"]["roots"] == ["MSExchangeDS"]
    assert set(result["restart"]["takes_down"]) == {
        "MSExchangeIS",
        "MSExchangeMTA",
        "MSExchangeIMC",
        "MSExchangeES",
        "MSExchangeDX",
        "MSExchangeFB",
        "MSExchangeMSMI",
        "MSExchangeATMTA",
    }


@pytest.mark.parametrize("remote", [False, True])
def test_an_edit_of_store_leaves_the_directory_alone(remote: bool) -> None:
    server = Described(
        files={
            "bin": File(BIN, b"[DSAMAIN]\r\nServerBindTcpPorts=389\r\nPersistent=1\r\nKillOldSession=1\r\n"),
            "imc": File(IMC),
            "client": File(None),
        }
    )
    if remote:
        server.remotely()
    result, dummy = wspcfg(server, listeners=["ldap", "pop3"])
    assert owed(result) == ["MSExchangeIS"]
    server.now += 10
    again, dummy = wspcfg(server, listeners=["ldap", "pop3"])
    assert not again["changed"] and owed(again) == ["MSExchangeIS"], "a lost handler heals"


def test_by_hand_in_other_words_is_left_as_it_is() -> None:
    text = (
        b"; by hand\r\n[Store]\r\n      serverbindtcpports = 143, 110\r\n      Persistent=1\r\n"
        b"      KillOldSession=1\r\n[icq]\r\nDisable=1\r\n"
    )
    server = Described(files={"bin": File(BIN, text), "imc": File(IMC), "client": File(None)})
    result, replay = wspcfg(server, listeners=["pop3", "imap4"])
    assert not result["changed"] and result["owed"] == [] and replay.ops == ["inspect"]


ARTICLE = "[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\nKillOldSession=1\r\n"


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        (ARTICLE.encode("utf-16"), "utf-16-le", "encoding_unicode"),
        (b"\xfe\xff" + ARTICLE.encode("utf-16-be"), "utf-16-be", "encoding_unicode"),
        (ARTICLE.encode("utf-16-le"), "utf-16-le", "encoding_unicode"),
        (ARTICLE.encode("utf-8-sig"), "utf-8", "encoding_bom"),
    ],
)
def test_unicode_is_converted_and_the_result_says_so(data: bytes, encoding: str, code: str) -> None:
    server = Described(files={"bin": File(BIN, data), "imc": File(IMC), "client": File(None)})
    for check in (True, False):
        result, dummy = wspcfg(server, listeners=["pop3"], check=check)
        assert result["changed"] and owed(result) == ["MSExchangeIS"]
        assert code in {finding["code"] for finding in result["findings"]}
        (warning,) = result["warnings"]
        assert all(part in warning for part in ("EX1", BIN, encoding, "converted to ANSI", "Q181420"))
    assert server.files["bin"].content == ARTICLE.encode("ascii")
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert not result["changed"] and result["warnings"] == []


def test_a_file_with_another_name_is_found_and_named() -> None:
    names = ("Wspcfg", "Wspcfg.ini.bak", "Wspcfg.ini.txt")
    server = Described(files={"bin": File(BIN, lookalikes=names), "imc": File(IMC), "client": File(None)})
    result, dummy = wspcfg(server, listeners=["pop3"], check=True)
    named = [warning.split()[1] for warning in result["warnings"]]
    assert named == ["Wspcfg", "Wspcfg.ini.txt"], "a copy of somebody's is no reason to warn"
    findings = [row for row in result["findings"] if row["code"] == "lookalike"]
    assert [row["message"].split()[0] for row in findings] == list(names)
    assert all(row["path"] == BIN for row in findings)


@pytest.mark.parametrize("encoding", ["ascii", "utf-16", "utf-8-sig"])
def test_prose_of_the_article_is_refused_and_absent_removes_it(encoding: str) -> None:
    lines = "[DSAMAIN]\r\nServerBindTcpPorts=389 (636 for Secure)\r\nPersistent=1\r\nKillOldSession=1\r\n"
    text = lines.encode(encoding)
    server = Described(files={"bin": File(BIN, text), "imc": File(IMC), "client": File(None)})
    result, replay = wspcfg(server, listeners=["ldap"])
    assert result["failed"] and replay.ops == ["inspect"]
    for part in ("EX1", "ServerBindTcpPorts", "389 (636 for Secure)", "line 2", BIN, "state: absent"):
        assert part in result["msg"], part
    result, dummy = wspcfg(server, state="absent")
    assert result["changed"] and server.files["bin"].content is None


BAD = [
    ({"listeners": ["pop4"]}, "listeners", "pop4"),
    ({"listeners": ["pop3"], "ports": {"pop3": 0}}, "ports.pop3", "0"),
    ({"listeners": ["pop3"], "ports": {"pop3": 65536}}, "ports.pop3", "65536"),
    ({"listeners": ["pop3"], "ports": {"pop3": "one"}}, "ports.pop3", "one"),
    ({"listeners": ["pop3"], "ports": {"pop3": "110\n[x]"}}, "ports.pop3", "110"),
    ({"listeners": ["pop3"], "ports": {"pop3": True}}, "ports.pop3", "True"),
    ({"listeners": ["pop3"], "ports": {"gopher": 70}}, "ports", "gopher"),
    ({"listeners": ["pop3", "pop3"]}, "listeners", "pop3"),
    ({"listeners": ["pop3", "imap4"], "ports": {"imap4": 110}}, "ports", "imap4: 110"),
    ({"listeners": ["pop3s"]}, "proxy_address", "pop3s"),
    ({"listeners": ["pop3"], "pin": True}, "proxy_address", "pop3"),
    ({"listeners": ["pop3s"], "proxy_address": "192.0.2.300"}, "proxy_address", "192.0.2.300"),
    ({"listeners": ["pop3s"], "proxy_address": "2001:db8::1"}, "proxy_address", "2001:db8::1"),
    ({"listeners": ["pop3s"], "proxy_address": "proxy.example.com"}, "proxy_address", "proxy.example.com"),
    ({"listeners": ["pop3s"], "proxy_address": "0.0.0.0"}, "proxy_address", "0.0.0.0"),
    ({"listeners": ["pop3s"], "proxy_addresses": {"pop3s": "1.2.3"}}, "proxy_addresses.pop3s", "1.2.3"),
    ({"listeners": ["pop3"], "bin_dir": "bin"}, "bin_dir", "bin"),
    ({"listeners": ["pop3"], "bin_dir": "C:\\a\nb"}, "bin_dir", "C:"),
    ({"listeners": ["pop3"], "imc_dir": "\\\\server\\c$"}, "imc_dir", "server"),
    ({"listeners": ["pop3"], "exchange_version": "6.0"}, "exchange_version", "6.0"),
    ({"listeners": []}, "listeners", ""),
]


@pytest.mark.parametrize(("options", "option", "value"), BAD)
def test_bad_options_are_refused_before_anything_is_sent(options: Json, option: str, value: str) -> None:
    result, replay = wspcfg(Described(), **options)
    assert result["failed"] and not result["changed"] and replay.ops == []
    assert "EX1" in result["msg"] and f"option {option}" in result["msg"] and value in result["msg"]
    assert all(problem["remedy"] for problem in result["problems"])


def test_success_and_failure_have_the_same_keys() -> None:
    good, dummy = wspcfg(Described(), listeners=["pop3"])
    bad, dummy = wspcfg(Described(), listeners=["pop4"])
    assert set(good) <= set(bad)


def _server(**files: File) -> Described:
    return Described(files={"bin": File(BIN), "imc": File(IMC), "client": File(None), **files})


def _without(*names: str) -> Described:
    server = Described()
    for name in names:
        server.services[name] = missing(name)
    return server


REFUSED: list[tuple[str, Described, Json, tuple[str, ...]]] = [
    (
        "imap before 5.5",
        Described(registry={"newest_build": 1460}),
        {"listeners": ["imap4"]},
        ("5.0", "imap4", "listeners"),
    ),
    ("pop on 4.0", Described(registry={"newest_build": 996}), {"listeners": ["pop3"]}, ("4.0", "pop3")),
    ("override", Described(), {"listeners": ["pop3"], "exchange_version": "4.0"}, ("4.0", "pop3")),
    ("no IMC", _without("MSExchangeIMC"), {"listeners": ["smtp"]}, ("MSExchangeIMC", "smtp", "listeners")),
    ("nowhere", _server(bin=File(None)), {"listeners": ["pop3"]}, ("installation", "bin_dir")),
    ("no folder", _server(bin=File(BIN, directory_exists=False)), {"listeners": ["pop3"]}, (BIN, "bin_dir")),
    ("read only", _server(bin=File(BIN, b"[x]\r\n", read_only=True)), {"listeners": ["pop3"]}, (BIN, "attrib -r")),
    (
        "too large",
        _server(
            bin=File(BIN, b"x", error={"code": "too_large", "message": "", "detail": {"path": BIN, "size": 70000}})
        ),
        {"listeners": ["pop3"]},
        (BIN, "70000", "65536"),
    ),
    (
        "odd header",
        _server(bin=File(BIN, b"[STORE] x\r\nServerBindTcpPorts=1\r\n")),
        {"listeners": ["pop3"]},
        ("STORE", BIN),
    ),
    (
        "cr only",
        _server(bin=File(BIN, b"[STORE]\rServerBindTcpPorts=110\r")),
        {"listeners": ["pop3"]},
        ("STORE", "CRLF"),
    ),
    ("cjk", _server(bin=File(BIN, "; \u90f5\u4fbf\r\n[STORE]\r\n".encode("utf-16"))), {"listeners": ["pop3"]}, (BIN,)),
    (
        "range",
        _server(bin=File(BIN, b"[STORE]\r\nServerBindTcpPorts=100-120\r\n")),
        {"listeners": ["pop3"], "state": "absent"},
        ("100-120", "one by one"),
    ),
]


@pytest.mark.parametrize(("name", "server", "options", "parts"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_the_server_forbids_is_refused_before_writing(
    name: str, server: Described, options: Json, parts: tuple[str, ...]
) -> None:
    before = {key: file.content for key, file in server.files.items()}
    for check in (True, False):
        result, replay = wspcfg(server, check=check, **options)
        assert result["failed"] and replay.ops == ["inspect"], name
        for part in ("EX1", *parts):
            assert part in result["msg"], (part, result["msg"])
    assert before == {key: file.content for key, file in server.files.items()}


def test_proxy_on_the_server_is_left_alone() -> None:
    server = _server(bin=File(BIN, b"[STORE]\r\nServerBindTcpPorts=110\r\n"))
    server.services["wspsrv"] = service("wspsrv")
    for options in ({"listeners": ["imap4"], "proxy_address": "192.0.2.1"}, {"state": "absent"}):
        result, replay = wspcfg(server, **options)
        assert (
            not result["changed"] and result["owed"] == [] and result["proxy_on_server"] and replay.ops == ["inspect"]
        )
        assert "file_on_proxy" in [finding["code"] for finding in result["findings"]]
        (warning,) = result["warnings"]
        assert all(part in warning for part in ("EX1", BIN, "no use", "Q178532", "remove it"))
    result, dummy = wspcfg(server, listeners=["imap4"], proxy_address="192.0.2.1")
    assert result["targets"] == [{"host": "192.0.2.1", "port": 143, "protocol": "imap4"}]


def test_disabled_proxy_is_a_warning() -> None:
    server = Described()
    server.services["wspsrv"] = service("wspsrv", state="stopped", start_type="disabled")
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert result["changed"] and any("disabled" in warning for warning in result["warnings"])


def test_stopped_service_is_owed_a_start_and_no_restart() -> None:
    server = Described()
    server.services["MSExchangeIS"]["state"] = "stopped"
    server.services["MSExchangeIS"]["process"] = None
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert [(row["service"], row["running"]) for row in result["owed"]] == [("MSExchangeIS", False)]
    assert result["restart"]["stopped"] == ["MSExchangeIS"] and result["restart"]["roots"] == []
    assert [row["will"] for row in result["predicted"]] == ["not"]


def test_listeners_that_are_not_named_leave() -> None:
    server = Described()
    wspcfg(server, listeners=["pop3", "ldap", "imap4s"], proxy_address="192.0.2.1")
    server.restarted("MSExchangeIS", "MSExchangeDS", "MSExchangeMTA")
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert server.files["bin"].content == b"[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\nKillOldSession=1\r\n"
    assert owed(result) == ["MSExchangeIS", "MSExchangeDS"]
    assert [row["port"] for row in result["closed_targets"]] == [993]


MSPCLNT = b"[emsmta]\r\nDisable=1\r\n[mad]\r\nDisable=1\r\n[outlook]\r\nDisable=0\r\n[store]\r\nDisable=1\r\n"


def test_creating_the_file_copies_what_it_would_hide() -> None:
    server = _server(
        bin=File(BIN, executables=("emsmta.exe", "mad.exe", "store.exe")), client=File("C:\\m.ini", MSPCLNT)
    )
    result, dummy = wspcfg(server, listeners=["pop3"])
    text = (server.files["bin"].content or b"").decode()
    assert text.endswith("[emsmta]\r\nDisable=1\r\n[mad]\r\nDisable=1\r\n") and "outlook" not in text
    assert owed(result) == ["MSExchangeIS"], "the MTA had the same from Mspclnt.ini"
    wspcfg(server, state="absent")
    assert server.files["bin"].content is None, "what was copied leaves with the rest"


def test_mta_direct() -> None:
    server = _server(bin=File(BIN, executables=("emsmta.exe",)))
    result, dummy = wspcfg(server, listeners=["pop3"], mta_direct="true")
    assert b"[EMSMTA]\r\nDisable=1\r\n" in (server.files["bin"].content or b"")
    assert owed(result) == ["MSExchangeIS", "MSExchangeMTA"]
    server.restarted("MSExchangeIS", "MSExchangeMTA")
    result, dummy = wspcfg(server, listeners=["pop3"], mta_direct="false")
    assert b"EMSMTA" not in (server.files["bin"].content or b"") and owed(result) == ["MSExchangeMTA"]
    assert any("9301" in warning for warning in result["warnings"])


MTA_AND_MAD = b"[emsmta]\r\nDisable=1\r\nForceCredentials=1\r\n[mad]\r\nDisable=1\r\n"


def _client() -> Described:
    return _server(bin=File(BIN, executables=("emsmta.exe", "mad.exe")), client=File("C:\\m.ini", MTA_AND_MAD))


@pytest.mark.parametrize(
    ("mta_direct", "mta"),
    [
        ("auto", "[emsmta]\r\nDisable=1\r\nForceCredentials=1\r\n"),
        ("true", "[EMSMTA]\r\nDisable=1\r\n"),
        ("false", ""),
    ],
)
def test_a_new_file_hides_no_section_whatever_the_mta_does(mta_direct: str, mta: str) -> None:
    server = _client()
    result, dummy = wspcfg(server, listeners=["pop3"], mta_direct=mta_direct)
    assert (server.files["bin"].content or b"").decode() == ARTICLE + mta + "[mad]\r\nDisable=1\r\n"
    assert any("9301" in warning for warning in result["warnings"]) == (mta_direct == "false")
    wspcfg(server, state="absent")
    assert server.files["bin"].content is None


def test_mta_direct_false_takes_away_what_was_copied_in_any_case_of_letters() -> None:
    server = _client()
    wspcfg(server, listeners=["pop3"])
    result, dummy = wspcfg(server, listeners=["pop3"], mta_direct="false")
    assert (server.files["bin"].content or b"").decode() == ARTICLE + "[mad]\r\nDisable=1\r\n"
    assert any("9301" in warning for warning in result["warnings"])


@pytest.mark.parametrize("mta_direct", ["auto", "true"])
def test_what_was_copied_leaves_although_there_is_no_mta(mta_direct: str) -> None:
    server = _client()
    server.services["MSExchangeMTA"] = missing("MSExchangeMTA")
    wspcfg(server, listeners=["pop3", "smtp"], mta_direct=mta_direct)
    assert b"[mad]" in (server.files["bin"].content or b"")
    wspcfg(server, listeners=["pop3"], mta_direct=mta_direct)  # writes the other file only
    wspcfg(server, listeners=["pop3", "imap4"], mta_direct=mta_direct)
    wspcfg(server, state="absent")
    assert server.files["bin"].content is None


def test_a_copied_disable_leaves_when_the_process_is_published() -> None:
    client = File("C:\\m.ini", b"[store]\r\nDisable=1\r\nNameResolution=L\r\n")
    server = _server(bin=File(BIN, executables=("store.exe",)), client=client)
    wspcfg(server, listeners=["ldap"])
    assert b"[store]\r\nDisable=1\r\n" in (server.files["bin"].content or b"")
    again, dummy = wspcfg(server, listeners=["ldap"])
    assert not again["changed"], "what was copied stays while nothing of the process is published"
    result, dummy = wspcfg(server, listeners=["ldap", "pop3"])
    text = server.files["bin"].content or b""
    assert b"Disable" not in text and b"[store]\r\nNameResolution=L\r\nServerBindTcpPorts=110\r\n" in text
    assert result["warnings"] == []


def test_somebody_s_disable_stays_and_is_named() -> None:
    server = _server(bin=File(BIN, b"[STORE]\r\nDisable=1\r\n"))
    result, dummy = wspcfg(server, listeners=["pop3"])
    (warning,) = result["warnings"]
    assert all(
        part in warning for part in ("EX1", BIN, "[STORE] Disable=1", "store.exe", "Q231878", "delete that line")
    )
    assert b"Disable=1" in (server.files["bin"].content or b"")
    assert wspcfg(server, listeners=["ldap"])[0]["warnings"] == []


def test_foreign_mta_section_is_not_ours() -> None:
    server = _server(bin=File(BIN, b"[EMSMTA]\r\nDisable=1\r\n"))
    wspcfg(server, listeners=["pop3"], mta_direct="true")
    wspcfg(server, state="absent")
    assert server.files["bin"].content == b"[EMSMTA]\r\nDisable=1\r\n"


def test_force_credentials() -> None:
    server = Described()
    wspcfg(server, listeners=["pop3"], force_credentials=True)
    assert b"ForceCredentials=1\r\n" in (server.files["bin"].content or b"")
    wspcfg(server, listeners=["pop3"])
    assert b"ForceCredentials=1\r\n" in (server.files["bin"].content or b"")
    wspcfg(server, state="absent")
    assert server.files["bin"].content is None


def test_absent_takes_only_the_named_ports() -> None:
    rest = b"Persistent=1\r\nKillOldSession=1\r\n"
    text = b"[STORE]\r\nServerBindTcpPorts=110,993,995,8110\r\nProxyBindIp=993:1.2.3.4,995:1.2.3.4\r\n" + rest
    server = _server(bin=File(BIN, text))
    wspcfg(server, state="absent", listeners=["pop3", "pop3s"])
    want = b"[STORE]\r\nServerBindTcpPorts=993,8110\r\nProxyBindIp=993:1.2.3.4\r\n" + rest
    assert server.files["bin"].content == want


def test_what_leaves_must_be_closed_although_nobody_knows_whether_it_is_open() -> None:
    server = Described()
    server.files["bin"] = File(BIN, ARTICLE.encode("ascii"), modified=server.now)
    result, dummy = wspcfg(server, state="absent", proxy_address="192.0.2.10", check=True)
    assert result["in_force"] == []
    assert result["closed_targets"] == [{"host": "192.0.2.10", "port": 110, "protocol": "pop3"}]


def test_absent_says_that_a_named_listener_may_be_on_another_port() -> None:
    text = b"[DSAMAIN]\r\nServerBindTcpPorts=390\r\nPersistent=1\r\nKillOldSession=1\r\n"
    server = _server(bin=File(BIN, text))
    result, dummy = wspcfg(server, state="absent", listeners=["ldap"])
    (warning,) = result["warnings"]
    assert not result["changed"] and all(part in warning for part in ("EX1", BIN, "ldap", "389", "390", "ports.ldap"))
    result, dummy = wspcfg(server, state="absent", listeners=["ldap"], ports={"ldap": 390})
    assert result["changed"] and result["warnings"] == []
    result, dummy = wspcfg(server, state="absent", listeners=["ldap"])
    assert not result["changed"] and result["warnings"] == [], "it has left already"


def test_what_has_no_address_is_named_because_nothing_proves_it() -> None:
    server = _server(bin=File(BIN, ARTICLE.replace("110", "119,8110").encode("ascii")))
    result, dummy = wspcfg(server, listeners=["pop3", "imap4"], proxy_addresses={"imap4": "192.0.2.1"}, check=True)
    assert [row["port"] for row in result["targets"]] == [143]
    assert result["unproven"] == [
        {"port": 110, "protocol": "pop3", "expect": "open"},
        {"port": 119, "protocol": "nntp", "expect": "closed"},
        {"port": 8110, "protocol": None, "expect": "closed"},
    ]
    result, dummy = wspcfg(server, listeners=["pop3"], proxy_address="192.0.2.1", check=True)
    assert result["unproven"] == []
    server.services["wspsrv"] = service("wspsrv")
    result, dummy = wspcfg(server, listeners=["pop3"], check=True)
    assert result["unproven"] == [{"port": 110, "protocol": "pop3", "expect": "open"}]


def test_absent_keeps_what_is_not_ours() -> None:
    text = b"; mine\r\n[STORE]\r\nServerBindTcpPorts=110\r\nControlChannel=Wsp.udp\r\nPersistent=1\r\n"
    text += b"[icq]\r\nDisable=1\r\n"
    server = _server(bin=File(BIN, text))
    wspcfg(server, state="absent")
    assert server.files["bin"].content == b"; mine\r\n[STORE]\r\nControlChannel=Wsp.udp\r\n[icq]\r\nDisable=1\r\n"


@pytest.mark.parametrize("remote", [False, True])
def test_deleted_file_is_pending_until_restart(remote: bool) -> None:
    server = Described().remotely() if remote else Described()
    wspcfg(server, listeners=["pop3"])
    _loaded(server, "MSExchangeIS")
    result, dummy = wspcfg(server, state="absent")
    assert owed(result) == ["MSExchangeIS"]
    again, dummy = wspcfg(server, state="absent")
    assert not again["changed"] and owed(again) == ["MSExchangeIS"]


def _loaded(server: Described, name: str) -> None:
    """Write what the worker records after a start."""
    server.restarted(name)
    record = server.records[name]
    record.update(loaded=record["wanted"], process=server.services[name]["process"])


def test_comment_makes_nothing_pending() -> None:
    server = Described()
    wspcfg(server, listeners=["pop3", "ldap"])
    _loaded(server, "MSExchangeIS")
    _loaded(server, "MSExchangeDS")
    file = server.files["bin"]
    file.content, file.modified = b"; hello\r\n" + (file.content or b""), server.now + 50
    result, dummy = wspcfg(server, listeners=["pop3", "ldap"])
    assert result["owed"] == [] and not result["changed"]


def test_restored_with_an_old_time_is_pending() -> None:
    server = Described()
    wspcfg(server, listeners=["pop3"])
    _loaded(server, "MSExchangeIS")
    file = server.files["bin"]
    file.content, file.modified = (file.content or b"").replace(b"110", b"143"), NOW - 1_000_000
    result, dummy = wspcfg(server, listeners=["imap4"], check=True)
    assert not result["changed"] and owed(result) == ["MSExchangeIS"]


def test_back_to_what_is_loaded_owes_nothing() -> None:
    server = Described()
    wspcfg(server, listeners=["pop3"])
    _loaded(server, "MSExchangeIS")
    file = server.files["bin"]
    good = file.content
    file.content, file.modified = b"[STORE]\r\nServerBindTcpPorts=1\r\n", server.now + 10
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert (
        result["changed"] and result["owed"] == [] and set((good or b"").split()) == set((file.content or b"").split())
    )


def test_restore_and_undo() -> None:
    original = b"; old\r\n[STORE]\r\nServerBindTcpPorts=110\r\n"
    server = _server(bin=File(BIN, original))
    first, dummy = wspcfg(server, listeners=["imap4"])
    second, dummy = wspcfg(server, listeners=["nntp"])
    result, replay = wspcfg(server, undo=second["files"])
    assert b"143" in (server.files["bin"].content or b"") and replay.ops == ["inspect", "inspect", "apply"]
    result, dummy = wspcfg(server, restore="original")
    assert server.files["bin"].content == original and result["changed"] and owed(result) == []
    result, replay = wspcfg(server, restore="original")
    assert not result["changed"] and replay.ops == ["inspect"]
    result, dummy = wspcfg(server, undo=first["files"])
    assert not result.get("failed") and not result["changed"], "it is already undone"
    result, dummy = wspcfg(server, restore="0" * 64)
    assert result["failed"] and "restore" in result["msg"]


def test_what_leaves_and_comes_with_a_backup_has_the_address_that_the_user_gives() -> None:
    server = _server(bin=File(BIN, ARTICLE.replace("110", "390").replace("STORE", "DSAMAIN").encode("ascii")))
    wspcfg(server, listeners=["nntp"])
    where: Json = {"proxy_address": "192.0.2.1", "ports": {"ldap": 390}}
    result, dummy = wspcfg(server, restore="original", check=True, **where)
    assert result["closed_targets"] == [{"host": "192.0.2.1", "port": 119, "protocol": "nntp"}]
    assert {(row["host"], row["port"], row["protocol"]) for row in result["predicted"]} == {
        ("192.0.2.1", 119, "nntp"),
        ("192.0.2.1", 390, "ldap"),
    }
    assert result["targets"] == [] and result["unproven"] == []
    result, dummy = wspcfg(server, restore="original", check=True)
    assert result["unproven"] == [{"port": 119, "protocol": "nntp", "expect": "closed"}]


def test_undo_of_a_created_file_and_of_somebody_elses_work() -> None:
    server = Described()
    first, dummy = wspcfg(server, listeners=["pop3"])
    file = server.files["bin"]
    kept, file.content = file.content, b"[STORE]\r\n; changed\r\n"
    result, dummy = wspcfg(server, undo=first["files"])
    assert result["failed"] and "changed by somebody else" in result["msg"]
    file.content = kept
    result, dummy = wspcfg(server, undo=first["files"])
    assert result["changed"] and file.content is None


def test_error_of_apply_carries_the_same_payload() -> None:
    replay = Replay(
        Described(), steps={"apply": [{**error("disk_full", path=BIN), "applied": [], "restored": [], "left": []}]}
    )
    result = task.run(session(replay), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    assert result["failed"] and not result["changed"]
    assert "EX1" in result["msg"] and BIN in result["msg"] and "disk" in result["msg"]
    assert result["files"] and result["restored"] == [] and result["problems"][0]["code"] == "disk_full"


def test_a_file_that_a_dead_run_had_taken_away_comes_back_before_anything_is_planned() -> None:
    server = Described()
    file = server.files["bin"]
    foreign = b"[SOMETHING]\r\nElse=1\r\n"
    file.content = None

    def heal(_request: Json) -> Json:
        file.content = foreign
        return {**error("changed", path=BIN), "applied": [], "restored": [], "left": [], "healed": [BIN]}

    replay = Replay(server, steps={"apply": [heal]})
    result = task.run(session(replay), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    assert result["changed"] and not result.get("failed") and replay.ops == ["inspect", "apply"] * 2
    assert file.content is not None and file.content.startswith(foreign)
    server.files["bin"].content = None
    replay = Replay(server, steps={"apply": [heal, heal]})
    result = task.run(session(replay), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    assert result["failed"] and replay.ops == ["inspect", "apply"] * 2, "once more, not for ever"


@pytest.mark.parametrize("torn", [None, b"[STORE]\r\nServerBindTc\0\0\0"], ids=["without its name", "half written"])
def test_a_file_that_a_dead_run_left_is_planned_from_what_it_was(torn: bytes | None) -> None:
    old, leftover = b"[SOMETHING]\r\nElse=1\r\n", f"{BIN}.0f3c1a52-0000.{'tmp~' if torn is None else 'was'}"
    told = f"{sha256(old)}|{len(old)}|{'0' * 64}|{len(torn or b'')}|{base64.b64encode(old).decode()}".encode()
    server = Described()
    server.files["bin"] = File(BIN, torn, lookalikes=(leftover.rpartition("\\")[2],))
    second = File(leftover, old if torn is None else told).row("bin")

    def look(request: Json) -> Json:
        assert [row["path"] for row in request["files"]] == [leftover]
        return {**server.inspect({**request, "files": []}), "files": [second]}

    replay = Replay(server, steps={"inspect": [server.inspect, look]})
    wish = options_of("wspcfg", listeners=["pop3"])
    result = task.run(session(replay), wish, host="EX1", check=True)
    assert replay.ops == ["inspect", "inspect"] and not result.get("failed")
    assert (result["changed"], result["healed"], result["left"]) == (True, [BIN], [])
    assert result["files"][0]["sha256_before"] == sha256(old)
    assert result["diff"][0]["before"] == old.decode().replace("\r\n", "\n")
    assert any("a run died while it wrote this file" in text for text in result["warnings"])
    assert {"cut_write", "leftover"} <= {row["code"] for row in result["findings"]}


@pytest.mark.parametrize("failed", [False, True])
def test_what_others_may_write_is_a_finding(failed: bool) -> None:
    store = "C:\\WINNT\\msexchange.winsock_proxy\\backup"
    exposed = {"exposed": [{"machine": "EX1", "path": store, "key": None}]}
    server = Described()

    def apply(request: Json) -> Json:
        return {**(error("disk_full", path=BIN) if failed else server.apply(request)), **exposed}

    replay = Replay(server, steps={"apply": [apply]})
    result = task.run(session(replay), options_of("wspcfg", listeners=["pop3"]), host="EX1", check=False)
    assert [row["path"] for row in result["findings"] if row["code"] == "exposed"] == [store]
    assert any(text.startswith(f"EX1: {store}: on EX1 others than SYSTEM") for text in result["warnings"])


def test_unfinished_journal_is_owed() -> None:
    server = Described()
    server.services["MSExchangeES"]["state"] = "stopped"
    rows = [
        {"name": "MSExchangeIS", "role": "root", "step": "running", "before": "running"},
        {"name": "MSExchangeES", "role": "dependent", "step": "stopped", "before": "running"},
    ]
    server.journal = {
        "run": "r",
        "who": "w",
        "boot": "boot-1",
        "began": NOW - 60,
        "phase": "starting",
        "services": rows,
    }
    result, dummy = wspcfg(server, listeners=["pop3"])
    debt = result["owed"][-1]
    assert (debt["service"], debt["topic"], debt["unfinished"]) == ("MSExchangeES", "Restart MSExchangeIS", True)
    assert result["restart"]["unfinished"] and result["unfinished"]["down"] == ["MSExchangeES"]
    server.boot = "boot-2"
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert not result["restart"]["unfinished"] and any("boot" in warning for warning in result["warnings"])


def test_service_that_a_completion_starts_is_owed_once_and_not_bounced() -> None:
    server = Described()
    server.services["MSExchangeIS"].update(state="stopped", process=None)
    rows = [{"name": "MSExchangeIS", "role": "root", "before": "running", "step": "stopped"}]
    server.journal = {
        "run": "r",
        "who": "w",
        "boot": "boot-1",
        "began": NOW - 60,
        "phase": "starting",
        "services": rows,
    }
    result, dummy = wspcfg(server, listeners=["pop3"])
    assert [(row["service"], row.get("unfinished")) for row in result["owed"]] == [("MSExchangeIS", True)]
    assert result["restart"]["services"] == [] and result["restart"]["unfinished"]
    assert [row["will"] for row in result["predicted"]] == ["in force"]


LINES = st.lists(
    st.sampled_from(
        [
            "[STORE]",
            "[Store]",
            "[DSAMAIN]",
            "[MSEXCIMC]",
            "[EMSMTA]",
            "[icq]",
            "[ STORE ]",
            "ServerBindTcpPorts=110",
            "  serverbindtcpports = 143, 110",
            "ServerBindTCPPorts=993,995",
            "ProxyBindIp=993:1.2.3.4",
            "Persistent=1",
            "Persistent=0",
            "KillOldSession=1",
            "Disable=1",
            "ForceCredentials=1",
            "; comment",
            "",
            "junk",
        ]
    ),
    max_size=14,
)
WISHES = st.fixed_dictionaries(
    {
        "listeners": st.lists(st.sampled_from(sorted(LISTENERS)), min_size=1, unique=True),
        "proxy_address": st.just("192.0.2.1"),
        "pin": st.booleans(),
        "mta_direct": st.sampled_from(["auto", "true", "false"]),
        "force_credentials": st.sampled_from([None, True, False]),
        "state": st.sampled_from(["present", "absent"]),
    }
)


@settings(max_examples=300, deadline=None)
@given(lines=st.none() | LINES, encoding=st.sampled_from(["cp1252", "utf-16", "utf-8-sig"]), wish=WISHES, again=WISHES)
def test_applied_plan_plans_nothing(lines: list[str] | None, encoding: str, wish: Json, again: Json) -> None:
    content = None if lines is None else "".join(line + "\r\n" for line in lines).encode(encoding)
    programs = ("emsmta.exe", "mad.exe", "store.exe")
    server = _server(bin=File(BIN, content, executables=programs), client=File("C:\\m.ini", MSPCLNT))
    for options in (wish, again):
        result, dummy = wspcfg(server, **options)
        if result.get("failed"):
            assert result["problems"] and not result["changed"]
            continue
        before = {key: file.content for key, file in server.files.items()}
        second, replay = wspcfg(server, **options)
        assert not second["changed"] and replay.ops == ["inspect"], (before, second["diff"])
        assert owed(second) == owed(result), "writing nothing neither adds nor settles a debt"


@settings(max_examples=200, deadline=None)
@given(
    foreign=st.lists(st.sampled_from(["[icq]", "[awhost32]", "Disable=1", "; c", "x=y", ""]), max_size=8), wish=WISHES
)
def test_absent_undoes_present(foreign: list[str], wish: Json) -> None:
    content = "".join(line + "\r\n" for line in foreign).encode()
    programs = ("emsmta.exe", "store.exe")
    server = _server(bin=File(BIN, content or None, executables=programs), client=File("C:\\m.ini", MSPCLNT))
    result, dummy = wspcfg(server, **{**wish, "state": "present"})
    if result.get("failed"):
        return
    wspcfg(server, state="absent")
    assert (server.files["bin"].content or b"").strip() == content.strip()
    assert server.files["imc"].content is None
