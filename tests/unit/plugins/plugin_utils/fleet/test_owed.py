# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role decides between its tasks and what it says of it, as tables."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.look import Look, read_look
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.owed import (
    Policy,
    PolicyError,
    conflicts_of,
    outside_window,
    refusals,
    unloaded,
    what_is_owed,
    with_withdrawn,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.plan import (
    Answers,
    Inventory,
    Vantage,
    plan_fleet,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.report import (
    Back,
    Case,
    causes_since,
    report,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.show import audit_rows, audit_text
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.verdict import is_blind
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.wording import role_words, unprobed
from tests.support.clocks import at
from tests.support.looks import PATH, answers, look, owed, plan, port, result

Json = dict[str, t.Any]


@pytest.mark.parametrize("window", ["22-5", "22:00-22:00", "nights"])
def test_a_window_that_cannot_be_read_is_named_as_the_role_has_it(window: str) -> None:
    with pytest.raises(PolicyError, match="publish_restart_window") as caught:
        outside_window(window, at("12:00"))
    assert f"'{window}'" in str(caught.value)
    assert "22:00-05:00" in str(caught.value)


def test_outside_of_the_window_its_clock_is_told_with_machine_and_offset() -> None:
    assert outside_window("22:00-05:00", at("23:00", offset=-300)) == ""
    outside = outside_window("22:00-05:00", at("12:05", offset=-300))
    assert outside == "outside publish_restart_window '22:00-05:00', for it is 12:05 (UTC-05:00) on MGMT1"


def test_in_order_owes_nothing() -> None:
    nothing = what_is_owed(plan(files=["none"]), Policy()).as_result()
    assert nothing["owes"] is False
    assert nothing["writes"] is False
    assert [nothing[name] for name in ("restarts", "deferred", "topics", "wanted", "prove", "refusals")] == [[]] * 6


@pytest.mark.parametrize("action", ["create", "replace", "delete"])
def test_a_file_that_differs_is_owed_whatever_the_restart_policy(action: str) -> None:
    for restart in ("now", "defer", "never"):
        assert what_is_owed(plan(files=["none", action]), Policy(restart)).owes


def test_restarts_are_divided_by_policy_window_and_state() -> None:
    both = plan(owed=[owed("MSExchangeDS"), owed("MSExchangeIS", running=False)])
    now = what_is_owed(both, Policy())
    assert now.topics == ("Restart MSExchangeDS",)
    assert [entry["because"] for entry in now.deferred] == [
        "the service is stopped, and publish_start_stopped is false"
    ]
    starting = Policy(start_stopped=True)
    assert what_is_owed(both, starting).topics == ("Restart MSExchangeDS", "Restart MSExchangeIS")
    later = what_is_owed(both, Policy(window="22:00-05:00", start_stopped=True))
    assert not later.owes
    because = "outside publish_restart_window '22:00-05:00', for it is 12:00 (UTC+00:00) on MGMT1"
    assert {entry["because"] for entry in later.deferred} == {because}
    deferred = what_is_owed(both, Policy("defer", start_stopped=True))
    assert not deferred.owes
    assert {entry["because"] for entry in deferred.deferred} == {"publish_restart is 'defer'"}


RESTART: Json = {
    "services": [{"name": "MSExchangeIS"}],
    "roots": ["MSExchangeIS"],
    "takes_down": ["MSExchangeES"],
    "stopped": [],
    "refusals": [],
    "refusals_if_started": [],
    "warnings": ["A Server Monitor may watch it."],
    "unfinished": True,
    "left_down": ["MSExchangeIMC"],
}
WAITING = [Policy("defer"), Policy("never"), Policy(window="22:00-05:00"), Policy("defer", window="22:00-05:00")]


@pytest.mark.parametrize("policy", [Policy(), *WAITING])
def test_what_an_interrupted_restart_left_stopped_is_started_whatever_waits(policy: Policy) -> None:
    left = plan(owed=[owed("MSExchangeIMC", running=False, unfinished=True)], restart=RESTART)
    found = what_is_owed(left, policy)
    assert found.topics == ("Restart MSExchangeIMC",)
    assert found.owes and not found.deferred
    assert found.window == "" and found.restart["services"] == []


@pytest.mark.parametrize("policy", WAITING)
def test_completing_an_interrupted_restart_takes_nothing_along_that_waits(policy: Policy) -> None:
    kms = {"option": "allow_kms", "cause": "the Key Management Server would stop", "remedy": "Set allow_kms."}
    both = [owed("MSExchangeIMC", running=False, unfinished=True), owed("MSExchangeIS")]
    found = what_is_owed(plan(owed=both, restart={**RESTART, "refusals": [kms]}), policy)
    assert found.topics == ("Restart MSExchangeIMC",)
    assert [entry["service"] for entry in found.deferred] == ["MSExchangeIS"]
    assert [found.restart[key] for key in ("services", "roots", "takes_down", "refusals", "warnings")] == [[]] * 5
    assert found.restart["unfinished"] is True
    assert (found.window, found.refusals) == ("", ())


def test_what_restarts_has_the_whole_plan_and_begins_in_the_window() -> None:
    both = [owed("MSExchangeIMC", running=False, unfinished=True), owed("MSExchangeIS")]
    found = what_is_owed(plan(owed=both, restart=RESTART), Policy(window="11:00-13:00"))
    assert found.restart == RESTART
    assert found.window == "11:00-13:00"


def test_an_older_interrupted_restart_is_completed_on_request_only() -> None:
    row = owed("MSExchangeIS", running=False, unfinished=True)
    left = {"corrupt": False, "same_boot": False, "down": ["MSExchangeIS"], "owed": [row]}
    older = plan(owed=[owed("MSExchangeIS", running=False)], restart=RESTART, unfinished=left)
    (waits,) = what_is_owed(older, Policy()).deferred
    assert "publish_start_stopped" in waits["because"]
    asked = what_is_owed(older, Policy(finish="any"))
    assert [entry["unfinished"] for entry in asked.restarts] == [True]
    assert asked.deferred == ()
    assert asked.topics == ("Restart MSExchangeIS",)


def test_a_journal_that_cannot_be_read_is_refused_before_writing_where_a_restart_is_due() -> None:
    left = {"corrupt": True, "same_boot": None, "down": [], "owed": []}
    due = plan(files=["replace"], owed=[owed("MSExchangeIS")], unfinished=left)
    (reason,) = what_is_owed(due, Policy()).refusals
    assert "the journal of an earlier restart cannot be read" in reason
    assert "delete the value journal" in reason
    assert what_is_owed(due, Policy("defer")).refusals == ()


def test_the_risks_of_starting_what_is_stopped_count_where_it_is_started() -> None:
    disabled = {"option": "allow_disabled", "cause": "MSExchangeIMC is disabled", "remedy": "Set allow_disabled."}
    restart = {**RESTART, "refusals": [], "refusals_if_started": [disabled]}
    stopped = plan(files=["create"], owed=[owed("MSExchangeIMC", running=False)], restart=restart)
    assert what_is_owed(stopped, Policy()).refusals == ()
    reason = "MSExchangeIMC is disabled. Set publish_allow_disabled."
    assert what_is_owed(stopped, Policy(start_stopped=True)).refusals == (reason,)
    assert what_is_owed(stopped, Policy(start_stopped=True, accepted=["allow_disabled"])).refusals == ()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Set allow_kms.", "Set publish_allow_kms."),
        ("Start it first, or set start_dependencies.", "Start it first, or set publish_start_dependencies."),
        ("run again with start: true.", "run again with publish_start_stopped: true."),
        ("change option window; nothing was restarted", "change option publish_restart_window; nothing was restarted"),
        ("outside the restart window", "outside the restart window"),
        (
            "option stop_timeout: raise stop_timeout",
            "option publish_stop_timeout: raise publish_stop_timeout",
        ),
        ("say so in ports.ldap.", "say so in publish_ports.ldap."),
        ("set mta_direct: true there", "set publish_mta_direct: true there"),
        ("set publish_allow_kms", "set publish_allow_kms"),
        ("reports.ldap and restart_timeout", "reports.ldap and restart_timeout"),
    ],
)
def test_options_are_named_as_the_role_has_them(said: str, meant: str) -> None:
    assert role_words(said) == meant


def test_a_topic_is_notified_once() -> None:
    twice = plan(owed=[owed("MSExchangeIS"), {**owed("MSExchangeES"), "topic": "Restart MSExchangeIS"}])
    assert what_is_owed(twice, Policy()).topics == ("Restart MSExchangeIS",)


def test_a_deferred_restart_leaves_only_its_ports_out_that_are_not_in_force_yet() -> None:
    changed = plan(
        files=["replace"],
        owed=[owed("MSExchangeIS")],
        targets=[port(110, "pop3"), port(143, "imap4"), port(389, "ldap")],
        closed_targets=[port(119, "nntp"), port(636, "ldaps"), port(4711, None)],
        in_force=[port(110, "pop3"), port(119, "nntp"), port(389, "ldap")],
    )
    proven = {(target["port"], target["expect"]) for target in what_is_owed(changed, Policy("defer")).prove}
    assert proven == {(110, "open"), (389, "open"), (636, "closed")}
    everything = what_is_owed(changed, Policy()).prove
    assert [(target["port"], target["expect"]) for target in everything] == [
        (110, "open"),
        (143, "open"),
        (389, "open"),
        (119, "closed"),
        (636, "closed"),
        (4711, "closed"),
    ]
    assert everything[-1]["protocol"] == "tcp"


def test_what_nobody_named_but_stays_is_proven_at_the_address_that_is_known() -> None:
    partly = plan(
        closed_targets=[port(110, "pop3")],
        predicted=[
            {**port(110, "pop3"), "now": "in force", "will": "not"},
            {**port(993, "imap4s"), "now": "in force", "will": "in force"},
            {**port(143, "imap4"), "host": None, "now": "not", "will": "in force"},
        ],
    )
    known = what_is_owed(partly, Policy(), address="192.0.2.9")
    assert [(target["host"], target["port"], target["expect"]) for target in known.prove] == [
        ("192.0.2.1", 993, "open"),
        ("192.0.2.9", 143, "open"),
        ("192.0.2.1", 110, "closed"),
    ]
    before = [(target["port"], target["expect"]) for target in known.wanted]
    assert before == [(993, "open"), (143, "open"), (110, "closed")]
    assert [target["port"] for target in what_is_owed(partly, Policy()).wanted] == [993, 110]


def test_a_stopped_service_does_not_excuse_its_ports() -> None:
    stopped = plan(owed=[owed("MSExchangeIS", running=False)], targets=[port(110, "pop3")])
    assert [target["port"] for target in what_is_owed(stopped, Policy()).prove] == [110]


def test_a_risk_is_refused_unless_its_option_accepts_it_or_nothing_restarts() -> None:
    kms = {"option": "allow_kms", "cause": "the Key Management Server would stop", "remedy": "Set allow_kms."}
    risky = plan(owed=[owed("MSExchangeDS")], restart={"refusals": [kms]})
    assert what_is_owed(risky, Policy()).refusals == ("the Key Management Server would stop. Set publish_allow_kms.",)
    assert what_is_owed(risky, Policy(accepted=["allow_kms"])).refusals == ()
    assert what_is_owed(risky, Policy("defer")).refusals == ()


OWING = {"owes": True, "refusals": []}
IN_ORDER = {"owes": False, "refusals": []}


@pytest.mark.parametrize("status", ["foreign", "no_tls"])
def test_a_stranger_on_a_wanted_port_is_refused_with_what_it_says(status: str) -> None:
    results = [result(110, status, greeting="+OK Dovecot ready."), result(995, "refused")]
    reason = (
        "192.0.2.1:110 (pop3) is taken by another program on the proxy: it answers '+OK Dovecot ready.'. "
        "Stop or move that program (Q222553, Q271275), or take pop3 out of publish_listeners"
    )
    assert refusals("a", OWING, probed={"results": results}) == (reason,)
    assert refusals("a", IN_ORDER, probed={"results": results}) == ()
    leaving = [result(110, status, greeting="+OK Dovecot ready.", expect="closed")]
    assert refusals("a", OWING, probed={"results": leaving}) == ()


def test_blind_means_that_nothing_of_the_proxy_was_seen() -> None:
    assert is_blind([result(110, "timeout"), result(143, "unreachable")])
    assert not is_blind([result(110, "timeout"), result(143, "refused")])
    assert not is_blind([])


def test_a_blind_vantage_is_refused_unless_told_to_proceed() -> None:
    silent = [result(110, "timeout"), result(143, "unresolved")]
    (refusal,) = refusals("a", OWING, probed={"results": silent}, probe_host="inside.example.com")
    assert "publish_probe_host 'inside.example.com'" in refusal
    assert "publish_blind: proceed" in refusal
    assert "192.0.2.1:110 (pop3) timeout" in refusal
    assert refusals("a", OWING, probed={"results": silent}, blind="proceed") == ()


def test_a_vantage_is_blind_for_what_leaves_as_well_and_sees_by_what_leaves() -> None:
    leaving = result(110, "timeout", expect="closed")
    (refusal,) = refusals("a", OWING, probed={"results": [leaving]})
    assert "publish_blind: proceed" in refusal
    seen = [result(110, "open", expect="closed"), result(143, "timeout")]
    assert refusals("a", OWING, probed={"results": seen}) == ()


LOST: Json = {"unreachable": True, "msg": "Task failed: Could not resolve hostname outside.example.com."}


@pytest.mark.parametrize("owes", [{"owes": True, "refusals": []}, {"owes": False, "refusals": []}])
@pytest.mark.parametrize("blind", ["refuse", "proceed"])
def test_a_probe_host_that_cannot_be_reached_is_named_with_its_remedy(owes: Json, blind: str) -> None:
    (reason,) = refusals("a", owes, probed=LOST, probe_host="outside.example.com", blind=blind)
    assert reason.startswith("publish_probe_host 'outside.example.com' could not check the ports: Could not resolve")
    assert "localhost is the controller" in reason


@pytest.mark.parametrize(
    ("probed", "missing"),
    [
        (None, False),
        ({}, False),
        ({"skipped": True, "changed": False}, False),
        ({"ok": True, "results": []}, False),
        ({"ok": False, "results": [{"status": "refused"}]}, False),
        (LOST, True),
        ({"ok": False, "results": [], "failed": False, "msg": "would be reached over winrm"}, True),
        ({"failed": False, "module_stderr": "python3: not found"}, True),
    ],
)
def test_whether_there_was_a_port_check(probed: Json | None, missing: bool) -> None:
    assert bool(unprobed(probed, "outside")) is missing


def info(*rows: tuple[str, str, bool], inside: t.Sequence[Json] = ()) -> Json:
    """A result of ``wspcfg_info``: how it is known whether each service is pending, and the inside view."""
    pending = [{"service": service, "known_by": known_by, "running": runs} for service, known_by, runs in rows]
    return {"pending": pending, "inside": list(inside), "causes": []}


GREETS = {"port": 110, "listening": None, "connected": True, "greeting": "+OK Microsoft Exchange POP3 server ready"}
UNDECIDED = ("MSExchangeIS", "unknown", True)


@pytest.mark.parametrize(
    ("view", "status", "found"),
    [
        (info(UNDECIDED, inside=[GREETS]), "refused", ["MSExchangeIS"]),
        (info(("MSExchangeIS", "loaded", True), inside=[GREETS]), "refused", []),
        (info(("MSExchangeIS", "unknown", False), inside=[GREETS]), "refused", []),
        (info(UNDECIDED, inside=[GREETS]), "foreign", []),
        (info(UNDECIDED, inside=[GREETS]), "timeout", []),
        (info(UNDECIDED, inside=[{**GREETS, "connected": False}]), "refused", []),
        (info(UNDECIDED), "refused", []),
        ({"failed": True, "msg": "no answer"}, "refused", []),
    ],
)
def test_ports_decide_only_where_nothing_else_can(view: Json, status: str, found: list[str]) -> None:
    debts = unloaded([result(110, status), result(143, "open")], view)
    assert [debt["service"] for debt in debts] == found
    assert [debt["topic"] for debt in debts] == [f"Restart {service}" for service in found]


def test_one_port_that_is_no_proof_keeps_the_service_running() -> None:
    view = info(UNDECIDED, inside=[GREETS, {**GREETS, "port": 143}])
    assert unloaded([result(110, "refused"), result(143, "timeout")], view) == ()


def test_what_the_ports_decide_is_owed_like_everything_else() -> None:
    (debt,) = unloaded([result(110, "refused")], info(UNDECIDED, inside=[GREETS]))
    assert what_is_owed(plan(), Policy(), more=[debt]).topics == ("Restart MSExchangeIS",)
    assert not what_is_owed(plan(), Policy("defer"), more=[debt]).owes


def test_the_report_names_side_events_restart_and_fate_of_the_file() -> None:
    text = report(
        Case(
            host="ex1",
            results=[result(110, "refused"), result(143, "open")],
            inside=[GREETS],
            causes=["event 11508: the port is taken"],
            deferred=[
                {"service": "MSExchangeDS", "reason": "its section differs", "because": "publish_restart is 'defer'"}
            ],
            restarted={"problems": [{}], "msg": "MSExchangeIS did not start", "advice": ["MSExchangeIS: see Q262041"]},
            verdict={"action": "rollback", "because": ["110 answered before"]},
            back=Back(undone={"files": [], "clock": at("12:00")}, results=[result(110, "open")]),
        )
    )
    lines = text.splitlines()
    assert lines[0] == "ex1: 1 of 2 ports are not as expected."
    assert "MSExchangeIS answers on port 110" in lines[1]
    assert lines[2:] == [
        "Event log: event 11508: the port is taken",
        "MSExchangeDS: its section differs; not done: publish_restart is 'defer'.",
        "Restart: MSExchangeIS did not start",
        "MSExchangeIS: see Q262041",
        "The file of before was put back, because 110 answered before. Now: 192.0.2.1:110 (pop3) open.",
    ]


@pytest.mark.parametrize(
    "undone",
    [
        None,
        {"failed": False, "msg": "the server is gone", "unreachable": True},
        {"failed": False, "msg": "changed by somebody else", "files": [], "problems": [{"code": "changed"}]},
    ],
)
def test_a_rollback_that_did_not_happen_is_not_told_as_one(undone: Json | None) -> None:
    verdict = {"action": "rollback", "because": ["110 answered before"]}
    back = None if undone is None else Back(undone)
    text = report(Case("ex1", [result(110, "refused")], verdict=verdict, back=back))
    assert "Rolling back failed" in text
    assert "put back, because" not in text


def test_what_became_of_the_restart_after_a_rollback_is_told() -> None:
    verdict = {"action": "rollback", "because": ["110 answered before"]}
    undone = {"files": [], "clock": at("12:00")}
    failed = {"problems": [{}], "msg": "MSExchangeIS did not start. Down now: MSExchangeIS.", "advice": ["see Q262041"]}
    text = report(Case("ex1", [result(110, "refused")], verdict=verdict, back=Back(undone, failed)))
    assert text.splitlines()[-2:] == [
        "Restart after that: MSExchangeIS did not start. Down now: MSExchangeIS.",
        "see Q262041",
    ]
    waits = [{"service": "MSExchangeIS", "reason": "its section differs", "because": "outside the window"}]
    text = report(Case("ex1", [result(110, "refused")], verdict=verdict, back=Back(undone, deferred=waits)))
    assert text.splitlines()[-1] == "MSExchangeIS: its section differs; not done: outside the window."


def test_a_check_that_could_not_be_made_is_told_with_its_reason() -> None:
    lines = report(Case("ex1", unprobed=unprobed(LOST, "outside"))).splitlines()
    assert lines[0] == "ex1: ports not checked."
    assert lines[1].startswith("publish_probe_host 'outside' could not check the ports: ")


TAKEN = "the POP3 port is already in use"


@pytest.mark.parametrize(
    ("remote", "skew", "wrote", "told"),
    [
        (False, 0, True, [1000]),
        (False, 0, False, [1000]),
        (True, 0, True, [1000]),
        (True, -3600, True, [1000]),
        (True, 3600, True, [1000]),
        # Nothing tells the server's time: too much is better than nothing.
        (True, -3600, False, [1000, -1000]),
    ],
)
def test_events_are_those_of_this_run_by_the_server_s_own_clock(
    remote: bool, skew: int, wrote: bool, told: list[int]
) -> None:
    """This run wrote at 10 000 by the clock of the machine that runs the script; events 1000 s before and after."""
    now = 10_000.0
    texts = {1000: "0x2740", -1000: "0x2741"}
    events = [
        {"id": 11508, "source": "MSExchange POP3 Interface", "at": now + skew + at, "message": code, "strings": []}
        for at, code in texts.items()
    ]
    info_then = {"events": events, "causes": [], "files": [{"path": PATH, "modified": now + skew + 0.5}]}
    written = {"files": [{"path": PATH.upper(), "action": "replace" if wrote else "none"}], "clock": {"now": now}}
    found = causes_since(info_then, written, remote=remote)
    assert len(found) == len(told)
    assert TAKEN in found[0]


def test_without_events_the_causes_are_what_the_module_says() -> None:
    assert causes_since({"causes": ["event 1306: taken"]}, {}, remote=True) == ["event 1306: taken"]


def test_only_hosts_in_conflict_are_named() -> None:
    conflicts = [{"address": "192.0.2.1", "port": 110, "hosts": ["a", "b"], "listeners": ["pop3"]}]
    (sentence,) = conflicts_of("a", conflicts)
    for part in ("publish_listeners (pop3)", "192.0.2.1:110 is claimed by b as well", "publish_ports", "publish_pin"):
        assert part in sentence
    assert conflicts_of("c", conflicts) == ()
    assert refusals("a", IN_ORDER, conflicts=conflicts) == (sentence,)


@pytest.mark.parametrize("status", ["foreign", "no_tls"])
def test_a_stranger_is_news_in_an_audit_also_where_the_plan_will_open_the_port(status: str) -> None:
    turned = plan(predicted=[{**port(143, "imap4"), "now": "not", "will": "in force"}])
    probe = {"results": [result(143, status, greeting="* OK hello")]}
    row = audited(turned, probe["results"])
    assert "192.0.2.1:143 (pop3) answers '* OK hello'" in row["findings"]


def test_the_audit_has_one_line_per_server_that_is_not_in_order_and_counts() -> None:
    strangers = [result(110, "refused"), result(143, "foreign", greeting="* OK hello")]
    drifted = plan(
        files=["replace"],
        owed=[owed("MSExchangeIS")],
        predicted=[
            {**port(110, "pop3"), "now": "in force", "will": "in force"},
            {**port(119, "nntp"), "now": "in force", "will": "not"},
            {**port(143, "imap4"), "now": "not", "will": "in force"},
        ],
        diff=[{"before": "[STORE]\nPersistent=1\n", "after": "[STORE]\nServerBindTcpPorts=143\nPersistent=1\n"}],
        findings=[{"code": "encoding_unicode", "path": PATH, "line": 1, "message": "saved as Unicode"}],
    )
    good = [result(119, "open")]
    looks = [
        look("in-order", results=good),
        look("drifted", drifted, probe_host="outside"),
        look("ports", results=strangers),
        Look("away", False, ("away: no route",), {}, {}),
        Look("broken", True, ("broken: no Exchange here",), {}, {}),
        Look("bad", True, ("bad: publish_listeners: no match for pop4",), {}, {}),
        read_look("lost", None),
    ]
    turned = [
        result(110, "open"),
        result(143, "refused", protocol="imap4"),
    ]
    asked = Answers({**answers(*strangers, *good).results, **answers(*turned, probe_host="outside").results})
    fleet = plan_fleet(looks, asked, Inventory(), audit=True)
    assert audit_text(fleet) == [
        (
            f"drift    drifted  {PATH} has to be replaced; +ServerBindTcpPorts=143; saved as Unicode;"
            " not in force: 192.0.2.1:143 (imap4);"
            " in force and not wanted: 192.0.2.1:119 (nntp); MSExchangeIS: its section differs"
        ),
        "drift    ports    192.0.2.1:110 (pop3) is refused; 192.0.2.1:143 (pop3) answers '* OK hello'",
        "unknown  away     no route",
        "refused  broken   no Exchange here",
        "refused  bad      publish_listeners: no match for pop4",
        "refused  lost     the server was not looked at; the messages above say why",
        (
            "7 servers: 1 in order, 2 drift, 3 refused, 1 unknown; 2 of 5 ports as wanted; ports asked from localhost,"
            " outside"
        ),
    ]
    assert audit_text(fleet, everything=True)[0] == "ok       in-order"
    states = [row["state"] for row in audit_rows(fleet)]
    assert states == ["ok", "drift", "drift", "unknown", "refused", "refused", "refused"]
    assert fleet.as_result()["clean"] == ["in-order"]


def test_a_port_check_that_could_not_be_made_is_drift_not_ok() -> None:
    checked = Answers({Vantage("localhost", 75.0): {"unreachable": True, "msg": "probe host is down"}})
    (row,) = audit_rows(plan_fleet([look(results=[result(110, "open")])], checked, Inventory(), audit=True))
    assert row["state"] == "drift"
    assert row["findings"] == ["ports not checked, see publish_probe_host: probe host is down"]


def test_what_left_the_file_earlier_is_proven_closed_by_the_run_that_restarts() -> None:
    places = [port(110, "pop3"), port(143, "imap4"), port(389, "ldap"), port(995, "pop3s")]
    targets = [{**place, "expect": "closed"} for place in places]
    staying = {**port(995, "pop3s"), "now": "in force", "will": "in force"}
    gone = [port(143, "imap4")]
    healing = plan(files=["none"], owed=[owed("MSExchangeIS")], closed_targets=gone, predicted=[staying])
    more = with_withdrawn(healing, targets)
    assert more["closed_targets"] == [port(143, "imap4"), port(110, "pop3")]
    assert (110, "closed") in [(row["port"], row["expect"]) for row in what_is_owed(more, Policy()).prove]
    assert not [row for row in what_is_owed(more, Policy("defer")).prove if row["expect"] == "closed"]
    assert with_withdrawn(plan(files=["none"]), targets)["closed_targets"] == []


def audited(found: Json, results: t.Sequence[Json] = (), **options: t.Any) -> Json:
    """The audit's row of one server."""
    seen = look("a", found, results=results, **options)
    (row,) = audit_rows(plan_fleet([seen], answers(*results), Inventory(), audit=True))
    return row


def test_an_error_of_several_lines_stays_on_one() -> None:
    error = Look("a", True, ("a: option listeners='pop4': none\n  a: option ports='x': none\r\n",), {}, {})
    (row,) = audit_rows(plan_fleet([error], Answers(), Inventory(), audit=True))
    assert row["line"] == "refused  a  option listeners='pop4': none a: option ports='x': none"
    two = result(110, "foreign", greeting="220 a\r\n220 b")
    assert len(audited(plan(), [two])["line"].splitlines()) == 1


LOADED_ANOTHER = {
    "owed": [owed("MSExchangeIS")],
    "predicted": [{**port(110, "pop3"), "now": "not", "will": "in force"}],
}


def test_restarts_that_are_never_wanted_are_no_news() -> None:
    closed = [result(110, "refused")]
    assert audited(plan(files=["none"], **LOADED_ANOTHER), closed, restart="never")["line"] == "ok       a"
    later = audited(plan(files=["none"], **LOADED_ANOTHER), closed, restart="defer")
    assert later["findings"] == ["not in force: 192.0.2.1:110 (pop3)", "MSExchangeIS: its section differs"]
    differs = audited(plan(files=["replace"], **LOADED_ANOTHER), closed, restart="never")
    assert differs["findings"] == [f"{PATH} has to be replaced", "not in force: 192.0.2.1:110 (pop3)"]


def test_a_service_that_does_not_run_is_news_even_then() -> None:
    stopped = plan(owed=[owed("MSExchangeIS", running=False)])
    assert audited(stopped, restart="never")["findings"] == ["MSExchangeIS: its section differs"]


def test_an_audit_without_port_check_says_that_nothing_is_proven() -> None:
    unproven = plan(unproven=[{"port": 110, "protocol": "pop3", "expect": "open"}])
    row = audited(unproven, probe=False)
    assert row["state"] == "ok"
    assert row["line"] == "ok       a  note: publish_probe is false, so no port is checked and nothing is proven"


def test_a_listener_without_address_is_not_called_good() -> None:
    rows = [{"port": 110, "protocol": "pop3", "expect": "open"}, {"port": 143, "protocol": "imap4", "expect": "closed"}]
    row = audited(plan(unproven=rows))
    assert (row["state"], row["findings"]) == (
        "drift",
        ["ports not checked, because publish_proxy_address is not given: 110 (pop3)"],
    )


def test_findings_of_files_that_stay_are_notes_unless_they_mean_nothing() -> None:
    found = [
        {"code": code, "path": PATH, "line": None, "message": code}
        for code in ("file_on_proxy", "common_section", "ambiguous_text", "blank_line", "lookalike")
    ]
    row = audited(plan(files=["none"], findings=found))
    assert row["state"] == "ok"
    assert row["notes"] == [f"{PATH}: {code}" for code in ("file_on_proxy", "common_section", "ambiguous_text")]
    assert audited(plan(files=[], findings=found))["notes"] == row["notes"]
    assert audited(plan(files=["replace"], findings=found))["notes"] == []
