# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One plan for all servers: who owes what, who is refused, and what is asked of whom."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.conflicts import Claims, claims_of
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.look import NO_LOOK, Look, read_look
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.plan import (
    Answers,
    Inventory,
    plan_fleet,
    ports_to_ask,
    vantage_of,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.refuse import refusal_of
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.port_probe import unreached_result
from tests.support.looks import ADDRESS, answers, look, owed, plan, port, result, wishes

Json = dict[str, t.Any]
OPEN = result(110, "open", product="Microsoft Exchange", version="5.5.2653.23")


def claims(**hosts: Json) -> tuple[Claims, ...]:
    found = [
        claims_of(host, {"proxy_address": ADDRESS, "listeners": ["pop3"], **options}) for host, options in hosts.items()
    ]
    return tuple(claim for claim in found if claim is not None)


def test_every_server_has_a_row_in_one_of_the_lists() -> None:
    looks = [
        look("good", results=[OPEN]),
        look("drift", plan(files=["replace"]), results=[OPEN]),
        look("silent", results=[result(143, "refused", protocol="imap4")]),
        Look("away", False, ("away: no route",), {}, {}),
        Look("wrong", True, ("wrong: option x",), {}, {}),
        read_look("lost", None),
    ]
    plan_of = plan_fleet(looks, answers(OPEN, result(143, "refused", protocol="imap4")), Inventory()).as_result()
    assert {name: plan_of[name] for name in ("in_order", "owing", "broken", "refused", "unreached")} == {
        "in_order": ["good"],
        "owing": ["drift"],
        "broken": ["silent"],
        "refused": ["wrong", "lost"],
        "unreached": ["away"],
    }
    assert plan_of["settled"] == ["good", "drift"]
    assert set(plan_of["servers"]) == {each.host for each in looks}


def test_a_look_that_broke_before_it_could_look_is_refused_with_its_message() -> None:
    failed = read_look("a", {"failed": True, "msg": "Task failed: 'publish_nonsense' is undefined"})
    assert failed.messages == ("a: 'publish_nonsense' is undefined",)
    assert failed.reached
    assert read_look("a", {"unreachable": True, "msg": "no plugin"}).reached is False
    assert read_look("a", {}).messages == (f"a: {NO_LOOK}",)


def test_each_vantage_is_asked_once_for_every_target() -> None:
    same = [result(110, "open")]
    looks = [
        look("a", results=same),
        look("b", results=same),
        look("c", results=same, probe_host="outside"),
        look("d", results=same, probe_timeout=5),
        look("e", results=same, probe=False),
    ]
    asked = ports_to_ask(looks, Inventory())
    assert [(row["probe_host"], row["timeout"], len(row["targets"])) for row in asked] == [
        ("localhost", 75.0, 1),
        ("outside", 75.0, 1),
        ("localhost", 5.0, 1),
    ]
    assert asked[0]["targets"] == [{**port(110, "pop3"), "expect": "open"}]


def test_a_vantage_that_answered_nothing_refuses_its_servers_only() -> None:
    looks = [look("a", results=[OPEN]), look("b", results=[OPEN], probe_host="outside")]
    rows = plan_fleet(looks, answers(OPEN), Inventory()).rows
    assert (rows["a"].state, rows["b"].state) == ("in order", "refused")
    assert "publish_probe_host 'outside' could not check the ports" in rows["b"].because[0]


@pytest.mark.parametrize("files", [["none"], ["replace"]])
def test_a_vantage_that_could_not_be_reached_is_no_proof(files: list[str]) -> None:
    """That is what port_probe returns where it must not fail."""
    seen = look("a", plan(files=files), results=[OPEN])
    lost = Answers({vantage_of(seen): unreached_result("no route to localhost")})
    row = plan_fleet([seen], lost, Inventory()).rows["a"]
    assert row.state == "refused"
    assert "no route to localhost" in row.because[0]
    audited = plan_fleet([seen], lost, Inventory(), audit=True).rows["a"]
    assert "ports not checked, see publish_probe_host: no route to localhost" in audited.drift


def test_only_the_servers_in_conflict_are_refused() -> None:
    inventory = Inventory(claims(a={}, b={}, c={"listeners": ["imap4"]}))
    looks = [look(host, results=[OPEN]) for host in "abc"]
    fleet = plan_fleet(looks, answers(OPEN), inventory)
    assert fleet.named("refused") == ["a", "b"]
    assert "is claimed by b as well" in fleet.rows["a"].because[0]
    assert [(row.address, row.port, row.hosts) for row in fleet.conflicts] == [(ADDRESS, 110, ("a", "b"))]
    apart = [look("a", results=[OPEN], conflict_hosts=["a", "c"]), look("c", results=[OPEN], conflict_hosts=["c"])]
    assert plan_fleet(apart, answers(OPEN), inventory).named("refused") == []


def test_what_leaves_may_stay_open_where_another_server_claims_it() -> None:
    leaving = plan(files=["delete"], owed=[owed("MSExchangeIS")], closed_targets=[port(110, "pop3")])
    seen = look("a", leaving, state="absent")
    alone = ports_to_ask([seen], Inventory(claims(a={})))
    assert [target["expect"] for target in alone[0]["targets"]] == ["closed"]
    shared = Inventory(claims(a={}, b={}))
    (asked,) = ports_to_ask([seen], shared)
    assert [target["expect"] for target in asked["targets"]] == ["any"]
    row = plan_fleet([seen], answers(result(110, "open", expect="any", ok=True)), shared).rows["a"]
    assert (row.state, row.elsewhere[0]) == ("owes", [ADDRESS, 110])


def test_ports_decide_once_who_has_not_loaded_its_file() -> None:
    refused = result(110, "refused")
    seen = look("a", plan(), results=[refused])
    assert plan_fleet([seen], answers(refused), Inventory()).named("broken") == ["a"]
    inside = {
        "pending": [{"service": "MSExchangeIS", "known_by": "unknown", "running": True}],
        "inside": [
            {
                "port": 110,
                "listening": True,
                "connected": True,
                "greeting": "+OK Microsoft Exchange POP3",
                "speaks": "pop3",
            }
        ],
        "events": [],
    }
    fleet = plan_fleet([seen], answers(refused), Inventory(), insides={"a": inside})
    assert fleet.named("owes") == ["a"]
    assert [entry["service"] for entry in fleet.rows["a"].more] == ["MSExchangeIS"]
    known = {**inside, "pending": []}
    broken = plan_fleet([seen], answers(refused), Inventory(), insides={"a": known}).rows["a"]
    assert broken.state == "broken"
    assert "MSExchangeIS answers on port 110" in broken.because[0]


def test_a_listener_that_nothing_could_prove_is_refused_and_in_an_audit_a_finding() -> None:
    unproven = plan(unproven=[{"port": 110, "protocol": "pop3", "expect": "open"}])
    seen = look("a", unproven)
    assert (
        "publish_proxy_address is not given for pop3" in plan_fleet([seen], Answers(), Inventory()).rows["a"].because[0]
    )
    audited = plan_fleet([seen], answers(), Inventory(), audit=True).rows["a"]
    assert audited.state != "refused"
    assert audited.drift


@pytest.mark.parametrize(
    ("state", "because", "says", "unreachable"),
    [
        ("refused", ["a: why"], "a: why", False),
        ("broken", ["a: what"], "a: what", False),
        ("not reached", ["a: no route"], "a: no route", True),
        ("in order", [], "", False),
    ],
)
def test_a_server_stops_for_what_its_row_says(state: str, because: list[str], says: str, unreachable: bool) -> None:
    refusal = refusal_of("a", {"servers": {"a": {"state": state, "because": because, "drift": []}}})
    assert (refusal.message, refusal.unreachable) == (says, unreachable)


@pytest.mark.parametrize("made", [None, {}, {"skipped": True}, {"failed": True, "msg": "Task failed: strategy free"}])
def test_a_server_without_a_row_is_never_in_order(made: Json | None) -> None:
    refusal = refusal_of("a", made)
    assert refusal.message.startswith("a: no plan was made for this server")
    assert ("strategy free" in refusal.message) is bool(made and made.get("failed"))


def test_variables_that_other_servers_do_not_see_and_a_slice_are_said() -> None:
    inventory = Inventory(outside={"a": ["publish_pin"]}, partial="This job is one slice")
    fleet = plan_fleet([look("a", results=[OPEN])], answers(OPEN), inventory)
    assert any(note.startswith("publish_pin: set outside of the inventory") for note in fleet.rows["a"].notes)
    assert fleet.partial == "This job is one slice"


def test_wishes_of_a_restore_expect_nothing_of_the_variables() -> None:
    assert wishes(restore="latest")["restore"] == "latest"
    row = plan_fleet([look("a", plan(files=["replace"]), restore="latest")], answers(), Inventory()).rows["a"]
    assert row.state == "owes"
