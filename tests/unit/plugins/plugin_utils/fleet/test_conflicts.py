# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who claims which port of which proxy: by hand, and against a slow model of the rule."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet import conflicts as engine
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.conflicts import Conflict, find_conflicts
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Refused

ONE, TWO, THREE = "198.51.100.1", "198.51.100.2", "198.51.100.3"


def conflicts(**hosts: dict[str, t.Any]) -> list[Conflict]:
    claims = [engine.claims_of(host, options) for host, options in hosts.items()]
    return find_conflicts([claim for claim in claims if claim is not None])


def claim(*listeners: str, address: str | None = ONE, **more: t.Any) -> dict[str, t.Any]:
    return {"listeners": list(listeners), "proxy_address": address, **more}


def test_same_port_of_the_same_address() -> None:
    assert conflicts(a=claim("pop3"), b=claim("pop3", "smtp")) == [Conflict(ONE, 110, ("a", "b"), ("pop3",))]


def test_different_ports_are_fine() -> None:
    assert conflicts(a=claim("pop3", "imap4s"), b=claim("smtp", "nntp", "ldaps")) == []


def test_different_proxies_are_fine() -> None:
    assert conflicts(a=claim("pop3"), b=claim("pop3", address=TWO)) == []


def test_unpinned_listeners_claim_every_address_of_their_proxy() -> None:
    """The proxy chooses where to bind them (Q181420)."""
    a, b = claim("pop3", proxy="p"), claim("pop3", address=TWO, proxy="p")
    assert [conflict.address for conflict in conflicts(a=a, b=b)] == [ONE, TWO]


def test_pinned_listeners_share_a_proxy() -> None:
    a, b = claim("pop3", proxy="p", pin=True), claim("pop3", address=TWO, proxy="p", pin=True)
    assert conflicts(a=a, b=b) == []


def test_unpinned_meets_pinned() -> None:
    a, b = claim("pop3", proxy="p"), claim("pop3", address=TWO, proxy="p", pin=True)
    assert conflicts(a=a, b=b) == [Conflict(TWO, 110, ("a", "b"), ("pop3",))]


def test_tls_listeners_are_always_pinned() -> None:
    a, b = claim("imap4s", proxy="p"), claim("imap4s", address=TWO, proxy="p")
    assert conflicts(a=a, b=b) == []
    assert conflicts(a=a, b=claim("imap4s")) == [Conflict(ONE, 993, ("a", "b"), ("imap4s",))]


def test_an_address_in_common_is_the_same_proxy() -> None:
    a = claim("pop3", proxy_addresses={"imap4s": TWO}) | {"listeners": ["pop3", "imap4s"]}
    b = claim("pop3", address=TWO)
    assert conflicts(a=a, b=b) == [Conflict(ONE, 110, ("a", "b"), ("pop3",)), Conflict(TWO, 110, ("a", "b"), ("pop3",))]


def test_proxies_are_joined_by_a_third_host() -> None:
    a, b = claim("pop3"), claim("pop3", address=THREE)
    assert conflicts(a=a, b=b) == []
    joint = {"listeners": ["imap4s", "nntps"], "proxy_addresses": {"imap4s": ONE, "nntps": THREE}}
    assert [conflict.address for conflict in conflicts(a=a, b=b, c=joint)] == [ONE, THREE]


def test_moved_ports_count_where_they_are() -> None:
    a = claim("ldap", ports={"ldap": 390})
    assert conflicts(a=a, b=claim("ldap")) == []
    moved = Conflict(ONE, 390, ("a", "b"), ("ldap", "pop3"))
    assert conflicts(a=a, b=claim("pop3", ports={"pop3": "390"})) == [moved]


def test_no_address_but_a_name() -> None:
    a, b = claim("pop3", address=None, proxy="p"), claim("pop3", address="", proxy="p")
    assert conflicts(a=a, b=b) == [Conflict("p", 110, ("a", "b"), ("pop3",))]
    assert conflicts(a=claim("pop3", address=None), b=claim("pop3", address=None)) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"listeners": ["pop"]},
        {"listeners": ["pop3", "pop3"]},
        {"listeners": ["pop3", "imap4s"], "proxy_address": None},
        {"ports": {"pop3": "389 (636 for Secure)"}},
        {"ports": {"pop3": 0}},
        {"ports": {"pop3": 390.9}},
        {"proxy_address": "mail.example.com"},
        {"proxy_address": "2001:db8::1"},
    ],
)
def test_unreadable_host_does_not_stop_the_others(bad: dict[str, t.Any]) -> None:
    """Its own plan refuses it."""
    hosts = {"a": claim("pop3"), "b": {**claim("pop3"), **bad}, "c": claim("pop3")}
    assert conflicts(**hosts) == [Conflict(ONE, 110, ("a", "c"), ("pop3",))]
    with pytest.raises(Refused):
        engine.wanted_of(hosts["b"])


def test_absent_hosts_claim_nothing() -> None:
    assert conflicts(a=claim("pop3"), b=claim("pop3", state="absent")) == []


def test_one_host_has_no_conflict_with_itself() -> None:
    assert conflicts(a=claim("pop3", "imap4")) == []


def test_blanks_around_a_value_are_none_of_it() -> None:
    found = conflicts(a=claim("ldap", address=f"{ONE} ", ports={"ldap": " 390 "}), b=claim("ldap", ports={"ldap": 390}))
    assert found == [Conflict(ONE, 390, ("a", "b"), ("ldap",))]


def test_three_hosts_and_the_order_of_the_inventory() -> None:
    found = conflicts(z=claim("pop3"), a=claim("pop3"), m=claim("pop3"))
    assert found == [Conflict(ONE, 110, ("z", "a", "m"), ("pop3",))]


# --- claims of others ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "claimed"),
    [
        (claim("pop3"), True),
        (claim("smtp"), False),
        (claim("pop3", address=TWO), False),
        (claim("pop3", address=TWO, proxy="p"), True),
        (claim("pop3", address=TWO, proxy="p", pin=True), False),
        (claim("pop3", address=None, proxy="p"), True),
    ],
)
def test_port_that_another_host_may_have(other: dict[str, t.Any], claimed: bool) -> None:
    claims = [engine.claims_of(host, other) for host in ("a", "b")]
    known = [each for each in claims if each is not None]
    assert engine.is_claimed_by_others(ONE, 110, host="a", proxy="p", claims=known) is claimed
    assert engine.is_claimed_by_others(ONE, 110, host="a", proxy="p", claims=known[:1]) is False


# --- the rule again, slowly ---------------------------------------------------------------------------------------

ADDRESSES = st.sampled_from([ONE, TWO, THREE])
HOSTS = st.lists(
    st.fixed_dictionaries(
        {
            "listeners": st.lists(st.sampled_from(["pop3", "imap4", "pop3s", "imap4s", "smtp"]), unique=True),
            "proxy_address": st.one_of(st.none(), ADDRESSES),
            "proxy_addresses": st.dictionaries(st.sampled_from(["pop3", "pop3s"]), ADDRESSES),
            "ports": st.dictionaries(st.sampled_from(["pop3", "imap4s"]), st.sampled_from([110, 143, 1000])),
            "pin": st.booleans(),
            "proxy": st.sampled_from([None, "p", "q"]),
        }
    ),
    max_size=5,
)
PORTS = {"pop3": 110, "imap4": 143, "pop3s": 995, "imap4s": 993, "smtp": 25}


def model(hosts: list[dict[str, t.Any]]) -> set[tuple[str, int, frozenset[int]]]:
    """Every (address, port) with the hosts that claim it, when they are more than one."""

    def address(host: dict[str, t.Any], name: str) -> str | None:
        found: str | None = host["proxy_addresses"].get(name) or host["proxy_address"]
        return found

    def is_accepted(host: dict[str, t.Any]) -> bool:
        """Whether its own task accepts it: every listener on a port of its own, what is pinned has an address."""
        names = host["listeners"]
        apart = len({host["ports"].get(name, PORTS[name]) for name in names}) == len(names)
        return apart and all(address(host, name) for name in names if host["pin"] or name.endswith("s"))

    active = [index for index, host in enumerate(hosts) if host["listeners"] and is_accepted(host)]
    marks = {
        index: {("address", address(hosts[index], name)) for name in hosts[index]["listeners"]}
        | {("name", hosts[index]["proxy"])}
        for index in active
    }
    marks = {index: {mark for mark in found if mark[1] is not None} for index, found in marks.items()}
    for dummy in hosts:  # enough rounds to spread every mark
        for one in active:
            for other in active:
                if marks[one] & marks[other]:
                    marks[one] = marks[other] = marks[one] | marks[other]
    claims: dict[tuple[str, int], set[int]] = {}
    for index in active:
        host = hosts[index]
        for name in host["listeners"]:
            own = address(host, name)
            everywhere = {mark for kind, mark in marks[index] if kind == "address"} or {
                mark for kind, mark in marks[index] if kind == "name"
            }
            pinned = own is not None and (host["pin"] or name.endswith("s"))
            for place in {own} if pinned else everywhere:
                claims.setdefault((place, host["ports"].get(name, PORTS[name])), set()).add(index)
    return {(*place, frozenset(owners)) for place, owners in claims.items() if len(owners) > 1}


@given(HOSTS)
def test_against_the_model(hosts: list[dict[str, t.Any]]) -> None:
    found = conflicts(**{f"h{index}": host for index, host in enumerate(hosts)})
    got = {(conflict.address, conflict.port, frozenset(int(host[1:]) for host in conflict.hosts)) for conflict in found}
    expected = model(hosts)
    named = {place for place in expected if place[0] in ("p", "q")}
    assert {place for place in got if place[0] not in ("p", "q")} == expected - named
    assert {place[1:] for place in got if place[0] in ("p", "q")} == {place[1:] for place in named}
