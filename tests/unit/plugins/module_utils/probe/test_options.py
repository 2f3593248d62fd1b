# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of port_probe: what is refused, with which words, and the shape of the answer."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import options as probe_options
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import Options, Status, Target

ROOT = Path(__file__).resolve().parents[5]
TARGET = {
    "host": "a",
    "port": None,
    "protocol": "pop3",
    "expect": "open",
    "server_name": None,
    "greeting": None,
    "tls": "protocol",
}
PARAMS: dict[str, t.Any] = {
    "targets": [TARGET],
    "timeout": 75.0,
    "connect_timeout": 10.0,
    "deadline": 300.0,
    "check_mode_deadline": None,
    "delay": 5.0,
    "concurrency": 500,
    "source_address": None,
    "fail_on_mismatch": True,
}


def read(target: dict[str, t.Any] | None = None, **changed: t.Any) -> tuple[list[Target], Options]:
    params = {**PARAMS, "targets": [{**TARGET, **(target or {})}], **changed}
    return probe_options.read_options(params, check_mode=False)


@pytest.mark.parametrize(
    ("protocol", "port"),
    [
        ("pop3", 110),
        ("pop3s", 995),
        ("imap4", 143),
        ("imap4s", 993),
        ("nntp", 119),
        ("nntps", 563),
        ("ldap", 389),
        ("ldaps", 636),
        ("smtp", 25),
    ],
)
def test_protocols_have_ports(protocol: str, port: int) -> None:
    assert read({"protocol": protocol})[0][0].port == port
    assert read({"protocol": protocol, "port": 1234})[0][0].port == 1234


def test_defaults_are_the_engine_s() -> None:
    assert read()[1] == Options()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"protocol": "tcp"}, "targets[0].port: protocol tcp has no port of its own; give one for a"),
        ({"port": 0}, "targets[0].port: 0 for a is outside 1 to 65535"),
        ({"port": 65536}, "targets[0].port: 65536 for a is outside 1 to 65535"),
        ({"host": ""}, "targets[0].host: '' is no host name or address"),
        ({"host": "a b"}, "targets[0].host: 'a b' is no host name or address"),
        ({"host": "a\0b"}, "targets[0].host: 'a\\x00b' is no host name or address"),
        ({"server_name": "a\0b"}, "targets[0].server_name: 'a\\x00b' is no host name"),
        ({"server_name": ""}, "targets[0].server_name: '' is no host name"),
        ({"greeting": "("}, "targets[0].greeting: '(' is no regular expression"),
        ({"host": "127.201.010.001"}, "targets[0].host: '127.201.010.001' is read as different addresses by different"),
        ({"host": "[a.example]"}, "targets[0].host: '[a.example]' is no host name or address"),
        ({"host": "[192.0.2.1]"}, "targets[0].host: '[192.0.2.1]' is no host name or address"),
        ({"host": "[::1"}, "targets[0].host: '[::1' is no host name or address"),
        ({"protocol": "pop3s", "tls": "starttls"}, "targets[0].tls: pop3s begins with TLS (a); leave the option out"),
        ({"protocol": "nntp", "tls": "starttls"}, "targets[0].tls: nntp has no STARTTLS (a); leave the option out"),
        ({"protocol": "tcp", "port": 9, "tls": "starttls"}, "targets[0].tls: tcp has no STARTTLS (a)"),
        ({"protocol": "ldaps", "greeting": "x"}, "targets[0].greeting: LDAP has no greeting (a); leave the option out"),
    ],
)
def test_impossible_target(target: dict[str, t.Any], message: str) -> None:
    with pytest.raises(probe_options.OptionError) as error:
        read(target)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "192.0.2.256",
        "192.0.2.1.",
        "192.0.2",
        "010.0.0.1",
        "a.b.1",
        "1.2.3.4.5",
    ],
)
def test_an_address_that_libraries_read_differently_is_refused(host: str) -> None:
    with pytest.raises(probe_options.OptionError, match=r"^targets\[0\]\.host: .* without leading zeros"):
        read({"host": host})


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("[::1]", "::1"),
        (" [2001:DB8::1] ", "2001:db8::1"),
        ("::1", "::1"),
        ("192.0.2.10", "192.0.2.10"),
        ("0.0.0.0", "0.0.0.0"),
        ("mail1.example.com", "mail1.example.com"),
        ("mail.example.com.", "mail.example.com."),
        ("exch5", "exch5"),
        ("10.example", "10.example"),
    ],
)
def test_host_that_is_meant(given: str, host: str) -> None:
    assert read({"host": given})[0][0].host == host


@pytest.mark.parametrize("protocol", ["smtp", "pop3", "imap4", "ldap"])
def test_starttls(protocol: str) -> None:
    assert read({"protocol": protocol, "tls": "starttls"})[0][0].starttls
    assert not read({"protocol": protocol})[0][0].starttls


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0.0),
        ("timeout", float("nan")),
        ("connect_timeout", -1.0),
        ("deadline", -0.1),
        ("deadline", float("inf")),
        ("check_mode_deadline", -1.0),
        ("delay", 0.0),
        ("concurrency", 0),
        ("concurrency", 70000),
    ],
)
def test_impossible_limit(option: str, value: float) -> None:
    with pytest.raises(probe_options.OptionError, match=f"^{option}: .* is outside"):
        read(**{option: value})


@pytest.mark.parametrize(
    ("given", "check_mode", "deadline"), [(None, True, 300.0), (0.0, True, 0.0), (0.0, False, 300.0)]
)
def test_check_mode_may_wait_less(given: float | None, check_mode: bool, deadline: float) -> None:
    params = {**PARAMS, "check_mode_deadline": given}
    assert probe_options.read_options(params, check_mode=check_mode)[1].deadline == deadline


@pytest.mark.parametrize("address", ["mail.example.com", "", "192.0.2.256", "192.0.2.1:80"])
def test_source_that_is_no_address(address: str) -> None:
    """A name would be looked up for every connection, by a call that all the others wait for."""
    with pytest.raises(probe_options.OptionError, match=r"^source_address: .* is no IP address"):
        read(source_address=address)


@pytest.mark.parametrize(
    ("given", "address"), [("192.0.2.1", "192.0.2.1"), (" 2001:DB8::1 ", "2001:db8::1"), ("[::1]", "::1")]
)
def test_source_address(given: str, address: str) -> None:
    assert read(source_address=given)[1].source_address == address


def result(port: int, *, ok: bool, detail: str = "") -> dict[str, t.Any]:
    status = "open" if ok else "refused"
    common = {"host": "a", "protocol": "pop3", "expect": "open", "ok": ok, "status": status, "detail": detail}
    return {**common, "port": port}


def test_answer_has_the_same_keys_either_way() -> None:
    good = probe_options.summary([result(1, ok=True)], fail_on_mismatch=True)
    bad = probe_options.summary([result(1, ok=True), result(2, ok=False, detail="why")], fail_on_mismatch=True)
    assert bad.pop("failed") is True
    assert good.keys() == bad.keys()
    assert (good["ok"], good["failed_targets"], good["changed"]) == (True, [], False)
    assert bad["failed_targets"] == ["a:2 pop3 is refused, not open (why)"]
    assert bad["msg"] == "1 of 2 targets are not as expected: a:2 pop3 is refused, not open (why)"


def test_mismatch_need_not_fail() -> None:
    answer = probe_options.summary([result(2, ok=False)], fail_on_mismatch=False)
    assert "failed" not in answer
    assert answer["ok"] is False


def test_message_names_the_first_few_only() -> None:
    answer = probe_options.summary([result(port, ok=False) for port in range(1, 2001)], fail_on_mismatch=True)
    assert len(answer["msg"]) < 300
    assert len(answer["failed_targets"]) == 2000


def documentation() -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    scope: dict[str, t.Any] = {}
    text = (ROOT / "plugins" / "modules" / "port_probe.py").read_text(encoding="utf-8")
    exec(text.partition("\nfrom ansible.module_utils")[0], scope)
    return yaml.safe_load(scope["DOCUMENTATION"]), yaml.safe_load(scope["RETURN"])


def test_documentation_agrees_with_the_arguments() -> None:
    options = documentation()[0]["options"]
    assert options.keys() == probe_options.ARGUMENT_SPEC.keys()
    for name, spec in probe_options.ARGUMENT_SPEC.items():
        assert options[name].get("default") == spec.get("default")
    documented = options["targets"]["suboptions"]
    for name, spec in probe_options.ARGUMENT_SPEC["targets"]["options"].items():
        assert documented[name].get("choices") == spec.get("choices")
        assert documented[name].get("default") == spec.get("default")


def test_every_status_and_key_is_documented() -> None:
    documented = documentation()[1]["results"]["contains"]
    text = " ".join(documented["status"]["description"])
    assert [status.value for status in Status if f"V({status.value})" not in text] == []
    from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.engine import result_of
    from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
        Findings,
        LdapFacts,
        TlsFacts,
    )

    ldap, tls = LdapFacts(2, 0, "success", ""), TlsFacts("SSLv3", "x", ("x",), None, None, "ssl2")
    keys = result_of(Target("a", 1), Findings(Status.OPEN, ldap=ldap, tls=tls))
    assert list(keys) == list(documented)
    assert list(keys["ldap"]) == list(documented["ldap"]["contains"])
    assert list(keys["tls"]) == list(documented["tls"]["contains"])
