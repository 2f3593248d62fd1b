# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to the text of one file, against the articles' own texts."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.edits import (
    client_sections,
    shape,
    unreadable_encoding,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.section import (
    bind_addresses,
    same_value,
    single_ports,
    tokens,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.wanted import (
    Wanted,
    read_wanted,
    version_problems,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.readers import read_strict
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.text import IniError
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Refused

ADDRESS = "192.0.2.10"


def wanted(*listeners: str, **options: t.Any) -> Wanted:
    return read_wanted({"listeners": list(listeners), **options})


TLS_STORE = f"[Store]\r\nProxyBindIp=993:{ADDRESS},995:{ADDRESS}\r\nServerBindTCPPorts=993,995\r\n"
TLS_STORE += "KillOldSession=1\r\nPersistent=1\r\n"

# What the articles print, with the address filled in where they leave a gap.
ARTICLES = [
    ("Q181420 SMTP", "imc", ("smtp",), "[MSEXCIMC]\r\nServerBindTcpPorts=25\r\nPersistent=1\r\nKillOldSession=1\r\n"),
    (
        "Q181420 store",
        "bin",
        ("pop3", "nntp", "imap4"),
        "[STORE]\r\nServerBindTcpPorts=110,119,143\r\nPersistent=1\r\nKillOldSession=1\r\n",
    ),
    (
        "Q181847 store, indented",
        "bin",
        ("pop3", "nntp", "imap4"),
        "[Store]\r\n      ServerBindTcpPorts=110,119,143\r\n      Persistent=1\r\n      KillOldSession=1\r\n",
    ),
    (
        "Q181420 store over TLS",
        "bin",
        ("pop3s", "imap4s"),
        TLS_STORE,
    ),
    (
        "Q178532 LDAP, the prose taken out",
        "bin",
        ("ldap",),
        "[DSAMAIN]\r\nServerBindTcpPorts=389\r\nPersistent=1\r\nKillOldSession=1\r\n",
    ),
]


@pytest.mark.parametrize(("name", "file_id", "listeners", "text"), ARTICLES, ids=[row[0] for row in ARTICLES])
def test_text_of_the_article_is_what_is_wanted(name: str, file_id: str, listeners: tuple[str, ...], text: str) -> None:
    data = text.encode("ascii")
    assert shape(file_id, data, wanted(*listeners, proxy_address=ADDRESS)).after == data, name


@pytest.mark.parametrize(("name", "file_id", "listeners", "text"), ARTICLES, ids=[row[0] for row in ARTICLES])
def test_new_file_says_the_same(name: str, file_id: str, listeners: tuple[str, ...], text: str) -> None:
    after = shape(file_id, None, wanted(*listeners, proxy_address=ADDRESS)).after or b""
    assert after[:1] == b"[" and b"\n\r\n" not in after and after.replace(b"\r\n", b"").isascii(), name
    section = read_strict(Document.parse(text.encode())).sections[0]
    reading = read_strict(Document.parse(after))
    for key in section.keys:
        assert same_value("ServerBindTcpPorts", reading.get(section.name, key.name), key.value)


def test_only_the_edited_line_changes() -> None:
    text = b"; top\r\n[Store]\r\n  serverbindtcpports = 110\r\n  Persistent=1\r\n  KillOldSession=1 \r\n\r\n"
    text += b"[icq]\nDisable=1"
    after = shape("bin", text, wanted("pop3", "imap4")).after
    assert after == text.replace(b"= 110", b"= 110,143")


def test_moved_ports_and_own_addresses() -> None:
    found = wanted(
        "ldap", "imap4s", ports={"ldap": "390"}, proxy_address=ADDRESS, proxy_addresses={"imap4s": "192.0.2.11"}
    )
    after = (shape("bin", None, found).after or b"").decode()
    assert "[DSAMAIN]\r\nServerBindTcpPorts=390\r\n" in after
    assert "ProxyBindIp=993:192.0.2.11\r\n" in after and ADDRESS not in after


def test_pin_writes_pairs_for_plain_listeners() -> None:
    after = shape("bin", None, wanted("pop3", proxy_address=ADDRESS, pin=True)).after or b""
    assert f"ProxyBindIp=110:{ADDRESS}".encode() in after
    unpinned = shape("bin", after, wanted("pop3", proxy_address=ADDRESS)).after or b""
    assert b"ProxyBindIp" not in unpinned


def test_the_other_file_is_left_alone() -> None:
    assert shape("imc", None, wanted("pop3")).after is None
    assert shape("imc", b"; mine\r\n", wanted("pop3")).after == b"; mine\r\n"


def test_doubled_sections_become_one() -> None:
    text = b"[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\nKillOldSession=1\r\n"
    text += b"[STORE]\r\nProxyBindIp=110:1.2.3.4\r\n"
    after = shape("bin", text, wanted("pop3")).after or b""
    assert after.count(b"[STORE]") == 1 and b"ProxyBindIp" not in after
    assert shape("bin", after, wanted("pop3")).after == after


def test_nothing_unicode_stays() -> None:
    text = "[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\nKillOldSession=1\r\n; \u00e9\r\n"
    assert shape("bin", text.encode("utf-16"), wanted("pop3")).after == text.encode("cp1252")


def test_a_text_that_ansi_cannot_hold_is_told_with_a_remedy_that_exists() -> None:
    text = "[STORE]\r\n; \u043f\u043e\u0447\u0442\u0430\r\n"
    for encoding in ("utf-16", "utf-16-le", "utf-8-sig"):
        with pytest.raises(IniError) as caught:
            shape("bin", text.encode(encoding), wanted("pop3"))
        assert (caught.value.code, caught.value.line) == ("encoding_cannot", 2)
        assert "Q181420" in caught.value.message and "line 2" in caught.value.message
        assert "option" not in caught.value.remedy and "ANSI" in caught.value.remedy


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("[STORE]\r\n".encode("utf-16-le"), "utf-16-le"),
        ("\r\n[STORE]\r\n".encode("utf-16-be"), "utf-16-be"),
        ("[STORE]\r\n".encode("utf-16-be"), "utf-16-be"),
        (b"[STORE]\r\n" + b"\0" * 100, None),
        (b"[STORE]\r\n" + b"\0" * 101, None),
        (b"\0" * 8, None),
        (b"[STORE]\r\n\0", None),
        (b"", None),
        (b"\0", None),
    ],
)
def test_unicode_without_its_mark_is_told_from_a_file_filled_up_with_nuls(data: bytes, encoding: str | None) -> None:
    assert unreadable_encoding(data) == encoding
    codes = {finding.code for finding in read_strict(Document.parse(data)).findings} & {
        "encoding_unicode",
        "ambiguous_control",
    }
    assert codes == ({"encoding_unicode"} if encoding else {"ambiguous_control"} if b"\0" in data else set())


def test_absent_leaves_a_unicode_file_of_somebody_else_alone() -> None:
    data = "[icq]\r\nDisable=1\r\n".encode("utf-16")
    assert shape("bin", data, read_wanted({"state": "absent"})).after == data


def test_client_sections_of_the_directory_only() -> None:
    client = b"[emsmta]\r\nDisable=1\r\n[icq]\r\nDisable=1\r\n[mad]\r\n[store]\r\nDisable=1\r\n"
    found = client_sections(client, ["emsmta.exe", "mad.exe", "store.exe"], ["STORE"])
    assert found == {"emsmta": {"Disable": "1"}}
    assert client_sections(None, ["emsmta.exe"], []) == {}


def test_lists() -> None:
    assert tokens(" 110, 143 ,,6970-7170") == ["110", "143", "6970-7170"]
    assert single_ports("0,110, 1025-5000,x") == [0, 110]
    reading = read_strict(Document.parse(b"[S]\r\nProxyBindIp=993:1.2.3.4, 995:1.2.3.5\r\n"))
    assert bind_addresses(reading, "s") == {993: "1.2.3.4", 995: "1.2.3.5"}
    assert same_value("ServerBindTcpPorts", "143, 110", "110,143") and not same_value("Persistent", "01", "1")


@pytest.mark.parametrize(
    ("listener", "version", "refused"),
    [
        ("imap4", (5, 0), True),
        ("imap4s", (5, 0), True),
        ("imap4", (5, 5), False),
        ("pop3", (4, 0), True),
        ("ldap", (5, 0), False),
        ("smtp", (4, 0), False),
        ("imap4", None, False),
    ],
)
def test_versions(listener: str, version: tuple[int, int] | None, refused: bool) -> None:
    problems = list(version_problems(wanted(listener, proxy_address=ADDRESS), version))
    assert bool(problems) == refused
    assert list(version_problems(read_wanted({"state": "absent", "listeners": [listener]}), version)) == []


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(Refused) as caught:
        wanted("pop4", "pop3", "pop3", ports={"pop3": 0}, proxy_address="x")
    assert {problem.option for problem in caught.value.problems} >= {"listeners", "ports.pop3", "proxy_address"}
