# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters around the port probe: values in, values out, and errors that name the option."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from jinja2 import UndefinedError

from ansible_collections.msexchange.winsock_proxy.plugins.filter.wspcfg_conflicts import (
    wspcfg_conflicts,
)
from ansible_collections.msexchange.winsock_proxy.plugins.filter.wspcfg_targets import wspcfg_targets
from ansible_collections.msexchange.winsock_proxy.plugins.filter.wspcfg_unclaimed import (
    wspcfg_unclaimed,
)

ONE, TWO = "198.51.100.1", "198.51.100.2"


def test_targets_of_options() -> None:
    options = {
        "listeners": ["pop3", "imap4s", "ldap"],
        "ports": {"ldap": 390},
        "proxy_address": ONE,
        "proxy_addresses": {"imap4s": TWO},
        "state": "present",
    }
    assert wspcfg_targets(options) == [
        {"host": ONE, "port": 110, "protocol": "pop3", "expect": "open"},
        {"host": TWO, "port": 993, "protocol": "imap4s", "expect": "open"},
        {"host": ONE, "port": 390, "protocol": "ldap", "expect": "open"},
    ]


def test_targets_of_variables() -> None:
    variables = {"publish_listeners": ["smtp"], "publish_proxy_address": ONE, "inventory_hostname": "a"}
    assert wspcfg_targets(variables, expect="any") == [{"host": ONE, "port": 25, "protocol": "smtp", "expect": "any"}]


@pytest.mark.parametrize("prefix", ["", "publish_"])
def test_what_leaves_the_proxy_is_expected_closed(prefix: str) -> None:
    options = {f"{prefix}listeners": ["pop3"], f"{prefix}proxy_address": ONE, f"{prefix}state": "absent"}
    assert [target["expect"] for target in wspcfg_targets(options)] == ["closed"]
    assert [target["expect"] for target in wspcfg_targets(options, expect="open")] == ["open"]
    assert [target["expect"] for target in wspcfg_targets({**options, f"{prefix}state": "present"})] == ["open"]


def test_listeners_without_address_are_left_out_on_request() -> None:
    options = {"listeners": ["pop3", "imap4"], "proxy_addresses": {"imap4": ONE}}
    assert [target["port"] for target in wspcfg_targets(options, skip_unknown=True)] == [143]


def test_no_listeners_no_targets() -> None:
    assert wspcfg_targets({"listeners": []}) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"listeners": ["pop3"]},
            "pop3 has no external address of the proxy; give proxy_address or proxy_addresses.pop3",
        ),
        ({"publish_listeners": ["pop3"]}, "give publish_proxy_address or publish_proxy_addresses.pop3"),
        ({"listeners": ["pop"], "proxy_address": ONE}, "option listeners='pop': there is no such listener."),
        ({"listeners": ["pop3"], "proxy_address": "x"}, "option proxy_address='x': this is no IPv4 address."),
        (
            {"publish_listeners": ["ldap"], "publish_ports": {"ldap": "389 (636 for Secure)"}},
            "option publish_ports.ldap='389 (636 for Secure)': this is no TCP port. Give one whole number",
        ),
        ({"publish_listeners": ["ldap"], "publish_ports": [390]}, "publish_"),
        ({}, "neither listeners nor publish_listeners is given"),
        ([], "neither options nor a host's variables"),
    ],
)
def test_unreadable_options(options: t.Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        wspcfg_targets(options)
    assert message in str(error.value)


def test_unknown_expectation() -> None:
    with pytest.raises(AnsibleFilterError, match="expect 'shut' is none of open, closed, any"):
        wspcfg_targets({"listeners": []}, expect="shut")


class Undefined(dict[str, t.Any]):
    """A host's variables, one of which cannot be templated."""

    def __getitem__(self, name: str) -> t.Any:
        if name == "publish_ports":
            raise UndefinedError("'moved' is undefined")
        return super().__getitem__(name)


HOSTVARS: dict[str, dict[str, t.Any]] = {
    "a": {"publish_listeners": ["pop3", "imap4s"], "publish_proxy_address": ONE},
    "b": {"publish_listeners": ["pop3"], "publish_proxy_address": ONE},
    "broken": Undefined(publish_listeners=["pop3"], publish_ports=None, publish_proxy_address=ONE),
    "gone": {"publish_listeners": ["pop3"], "publish_proxy_address": ONE, "publish_state": "absent"},
    "other": {"ansible_host": "192.0.2.1"},
}
CONFLICT = {"address": ONE, "port": 110, "hosts": ["a", "b"], "listeners": ["pop3"]}


@pytest.mark.parametrize("hosts", ["all", ["a", "b"], ["a", "b", "broken", "gone", "other"]])
def test_conflicts(hosts: t.Any) -> None:
    assert wspcfg_conflicts(HOSTVARS, hosts) == [CONFLICT]


def test_no_conflict_among_the_named() -> None:
    assert wspcfg_conflicts(HOSTVARS, ["a", "gone"]) == []
    assert wspcfg_conflicts(HOSTVARS, "a") == []


def test_conflicts_of_variables_with_another_prefix() -> None:
    hostvars = {
        host: {name.replace("publish_", "wsp_"): value for name, value in dict(variables).items()}
        for host, variables in HOSTVARS.items()
        if host in ("a", "b")
    }
    assert wspcfg_conflicts(hostvars, prefix="wsp_") == [CONFLICT]
    assert wspcfg_conflicts(hostvars) == []


class Counting(dict[str, t.Any]):
    """Variables that count how often a host is asked for."""

    asked = 0

    def __getitem__(self, name: str) -> t.Any:
        self.asked += 1
        return super().__getitem__(name)


def test_nobody_is_asked_who_else_claims_a_port_that_shall_be_open() -> None:
    hostvars = Counting(HOSTVARS)
    targets = [{"host": ONE, "port": 110, "protocol": "pop3", "expect": "open"}]
    assert wspcfg_unclaimed(targets, hostvars, "a") == targets
    assert hostvars.asked == 0


def test_host_that_is_none() -> None:
    with pytest.raises(AnsibleFilterError, match=r"'nobody' is no host of the inventory.*publish_conflict_hosts"):
        wspcfg_conflicts(HOSTVARS, ["nobody"])


def test_unclaimed() -> None:
    targets = [
        {"host": ONE, "port": port, "protocol": "pop3", "expect": expect}
        for port, expect in ((110, "closed"), (993, "closed"), (110, "open"))
    ]
    changed = wspcfg_unclaimed(targets, HOSTVARS, "gone")
    assert [target["expect"] for target in changed] == ["any", "any", "open"]
    assert [target["expect"] for target in wspcfg_unclaimed(targets, HOSTVARS, "a")] == ["any", "closed", "open"]
    alone = {"a": HOSTVARS["a"]}
    assert wspcfg_unclaimed(targets, alone, "a") == targets
    assert targets[0]["expect"] == "closed"
