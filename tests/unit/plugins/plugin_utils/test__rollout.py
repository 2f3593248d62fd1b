# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role decides between its tasks, as tables."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils._rollout import (
    Case,
    Policy,
    RolloutError,
    audit,
    conflicts_of,
    is_blind,
    refusals,
    report,
    unloaded,
    what_is_owed,
    with_withdrawn,
    within_window,
)

Json = dict[str, t.Any]


def at(clock_time: str, *, offset: int = 0) -> Json:
    """Clock of a machine whose own wall shows ``clock_time`` on some day."""
    hours, minutes = (int(part) for part in clock_time.split(":"))
    local = datetime.datetime(2026, 3, 1, hours, minutes, tzinfo=datetime.timezone.utc).timestamp()
    return {"now": local - offset * 60, "utc_offset_minutes": offset}


@pytest.mark.parametrize(
    ("window", "clock_time", "expected"),
    [
        ("", "12:00", True),
        ("22:00-05:00", "22:00", True),
        ("22:00-05:00", "23:59", True),
        ("22:00-05:00", "00:00", True),
        ("22:00-05:00", "04:59", True),
        ("22:00-05:00", "05:00", False),
        ("22:00-05:00", "21:59", False),
        ("08:00-09:30", "08:00", True),
        ("08:00-09:30", "09:30", False),
        ("08:00-09:30", "07:59", False),
    ],
)
@pytest.mark.parametrize("offset", [0, 60, -300, 330, 765])
def test_a_window_is_read_on_the_machine_s_own_clock(window: str, clock_time: str, expected: bool, offset: int) -> None:
    assert within_window(window, at(clock_time, offset=offset)) is expected


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_and_its_reverse_divide_the_day(begin: int, end: int, now: int) -> None:
    def text(minutes: int) -> str:
        return f"{minutes // 60:02}:{minutes % 60:02}"

    if begin == end:
        return
    one = within_window(f"{text(begin)}-{text(end)}", at(text(now)))
    other = within_window(f"{text(end)}-{text(begin)}", at(text(now)))
    assert one is not other


@pytest.mark.parametrize("window", ["22-5", "22:00", "24:00-05:00", "22:60-05:00", "nights", "22:00-05:00-06:00"])
def test_an_unreadable_window_names_option_value_and_example(window: str) -> None:
    with pytest.raises(RolloutError, match="publish_restart_window") as caught:
        within_window(window, at("12:00"))
    assert window in str(caught.value)
    assert "22:00-05:00" in str(caught.value)


PATH = "C:\\exchsrvr\\bin\\Wspcfg.ini"


def plan(*, files: t.Sequence[str] = (), owed: t.Sequence[Json] = (), **more: t.Any) -> Json:
    """A result of ``wspcfg`` with these file actions and owed restarts."""
    return {
        "files": [{"path": PATH, "action": action} for action in files],
        "owed": list(owed),
        "clock": at("12:00"),
        "restart": {"refusals": []},
        "targets": [],
        "closed_targets": [],
        "in_force": [],
        "predicted": [],
        "findings": [],
        **more,
    }


def owed(service: str, *, running: bool = True, unfinished: bool = False) -> Json:
    return {
        "service": service,
        "topic": f"Restart {service}",
        "reason": "its section differs",
        "running": running,
        "unfinished": unfinished,
    }


def port(number: int, protocol: str | None) -> Json:
    return {"host": "192.0.2.1", "port": number, "protocol": protocol}


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
    assert {entry["because"] for entry in later.deferred} == {"outside publish_restart_window '22:00-05:00'"}
    deferred = what_is_owed(both, Policy("defer", start_stopped=True))
    assert not deferred.owes
    assert {entry["because"] for entry in deferred.deferred} == {"publish_restart is 'defer'"}


def test_what_an_interrupted_restart_left_stopped_is_started_without_being_asked() -> None:
    left = plan(owed=[owed("MSExchangeIMC", running=False, unfinished=True)])
    assert what_is_owed(left, Policy()).topics == ("Restart MSExchangeIMC",)


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
    assert {target["expect"] for target in known.wanted} == {"any"}
    assert [target["port"] for target in what_is_owed(partly, Policy()).wanted] == [993]


def test_a_stopped_service_does_not_excuse_its_ports() -> None:
    stopped = plan(owed=[owed("MSExchangeIS", running=False)], targets=[port(110, "pop3")])
    assert [target["port"] for target in what_is_owed(stopped, Policy()).prove] == [110]


def test_a_risk_is_refused_unless_its_option_accepts_it_or_nothing_restarts() -> None:
    kms = {"option": "allow_kms", "cause": "the Key Management Server would stop", "remedy": "Set allow_kms."}
    risky = plan(owed=[owed("MSExchangeDS")], restart={"refusals": [kms]})
    assert what_is_owed(risky, Policy()).refusals == ("the Key Management Server would stop. Set allow_kms.",)
    assert what_is_owed(risky, Policy(accepted=["allow_kms"])).refusals == ()
    assert what_is_owed(risky, Policy("defer")).refusals == ()


def result(number: int, status: str, *, greeting: str | None = None, expect: str = "open") -> Json:
    return {**port(number, "pop3"), "status": status, "ok": status == expect, "greeting": greeting, "expect": expect}


OWING = {"owes": True, "refusals": []}
IN_ORDER = {"owes": False, "refusals": []}


@pytest.mark.parametrize("status", ["foreign", "no_tls"])
def test_a_stranger_on_a_wanted_port_is_refused_with_what_it_says(status: str) -> None:
    results = [result(110, status, greeting="+OK Dovecot ready."), result(995, "refused")]
    reason = "192.0.2.1:110 (pop3) is taken by another program on the proxy: it answers '+OK Dovecot ready.'"
    assert refusals("a", OWING, results=results) == (reason,)
    assert refusals("a", IN_ORDER, results=results) == ()
    leaving = [result(110, status, greeting="+OK Dovecot ready.", expect="closed")]
    assert refusals("a", OWING, results=leaving) == ()


def test_blind_means_that_nothing_of_the_proxy_was_seen() -> None:
    assert is_blind([result(110, "timeout"), result(143, "unreachable")])
    assert not is_blind([result(110, "timeout"), result(143, "refused")])
    assert not is_blind([])


def test_a_blind_vantage_is_refused_unless_told_to_proceed() -> None:
    silent = [result(110, "timeout"), result(143, "unresolved")]
    (refusal,) = refusals("a", OWING, results=silent)
    assert "publish_blind: proceed" in refusal
    assert "192.0.2.1:110 (pop3) timeout" in refusal
    assert refusals("a", OWING, results=silent, blind="proceed") == ()


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
            undone={"files": []},
            afterwards=[result(110, "open")],
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


@pytest.mark.parametrize("undone", [None, {"failed": False, "msg": "the server is gone", "unreachable": True}])
def test_a_rollback_that_did_not_happen_is_not_told_as_one(undone: Json | None) -> None:
    verdict = {"action": "rollback", "because": ["110 answered before"]}
    text = report(Case("ex1", [result(110, "refused")], verdict=verdict, undone=undone))
    assert "Rolling back failed" in text
    assert "put back, because" not in text


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
    (row,) = audit({"a": {"__publish_plan": turned, "__publish_checked": probe}})["rows"]
    assert "192.0.2.1:143 (pop3) answers '* OK hello'" in row["findings"]


def test_the_audit_has_one_line_per_host_and_totals() -> None:
    probe = {"results": [result(110, "refused"), result(143, "foreign", greeting="* OK hello")]}
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
    table = audit(
        {
            "in-order": {"__publish_plan": plan(), "__publish_checked": {"results": [result(110, "open")]}},
            "drifted": {"__publish_plan": drifted},
            "ports": {"__publish_plan": plan(), "__publish_checked": probe},
            "away": {"__publish_plan": {"unreachable": True, "msg": "no route"}},
            "broken": {"__publish_plan": {"failed": True, "msg": "broken: no Exchange here"}},
            "bad": {"publish_audit_error": "publish_listeners: no match for pop4"},
            "lost": {},
        }
    )
    assert table["lines"] == [
        "in-order  ok",
        (
            f"drifted   drift: {PATH} has to be replaced; +ServerBindTcpPorts=143; saved as Unicode;"
            " not in force: 192.0.2.1:143 (imap4);"
            " in force and not wanted: 192.0.2.1:119 (nntp); MSExchangeIS: its section differs"
        ),
        "ports     drift: 192.0.2.1:110 (pop3) refused; 192.0.2.1:143 (pop3) answers '* OK hello'",
        "away      UNKNOWN: unreachable",
        "broken    ERROR: broken: no Exchange here",
        "bad       ERROR: publish_listeners: no match for pop4",
        "lost      ERROR: no plan was made; the messages above say why",
        "7 servers: 1 ok, 2 drift, 3 error, 1 unknown",
    ]
    assert [row["state"] for row in table["rows"]] == ["ok", "drift", "drift", "unknown", "error", "error", "error"]


def test_a_port_check_that_could_not_be_made_is_drift_not_ok() -> None:
    checked = {"unreachable": True, "msg": "probe host is down"}
    (row,) = audit({"a": {"__publish_plan": plan(), "__publish_checked": checked}})["rows"]
    assert row["state"] == "drift"
    assert row["findings"] == ["ports not checked: probe host is down"]


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


def row_of(**variables: t.Any) -> Json:
    (row,) = audit({"a": variables})["rows"]
    return t.cast(Json, row)


def test_an_error_of_several_lines_stays_on_one() -> None:
    table = audit({"a": {"publish_audit_error": "a: option listeners='pop4': none\n  a: option ports='x': none\r\n"}})
    assert table["lines"] == [
        "a  ERROR: a: option listeners='pop4': none; a: option ports='x': none",
        table["lines"][-1],
    ]
    assert table["rows"][0]["findings"] == ["a: option listeners='pop4': none; a: option ports='x': none"]
    two = result(110, "foreign", greeting="220 a\r\n220 b")
    line = row_of(__publish_plan=plan(), __publish_checked={"results": [two]})["line"]
    assert len(line.splitlines()) == 1


NEVER = {"probe": True, "restart": "never"}
LOADED_ANOTHER = {
    "owed": [owed("MSExchangeIS")],
    "predicted": [{**port(110, "pop3"), "now": "not", "will": "in force"}],
}


def test_restarts_that_are_never_wanted_are_no_news() -> None:
    assert row_of(__publish_plan=plan(files=["none"], **LOADED_ANOTHER), __publish_audited=NEVER)["line"] == "a  ok"
    later = row_of(
        __publish_plan=plan(files=["none"], **LOADED_ANOTHER), __publish_audited={**NEVER, "restart": "defer"}
    )
    assert later["findings"] == ["not in force: 192.0.2.1:110 (pop3)", "MSExchangeIS: its section differs"]
    differs = row_of(__publish_plan=plan(files=["replace"], **LOADED_ANOTHER), __publish_audited=NEVER)
    assert differs["findings"] == [f"{PATH} has to be replaced", "not in force: 192.0.2.1:110 (pop3)"]


def test_a_service_that_does_not_run_is_news_even_then() -> None:
    stopped = plan(owed=[owed("MSExchangeIS", running=False)])
    assert row_of(__publish_plan=stopped, __publish_audited=NEVER)["findings"] == ["MSExchangeIS: its section differs"]


def test_an_audit_without_port_check_says_that_nothing_is_proven() -> None:
    unproven = plan(unproven=[{"port": 110, "protocol": "pop3", "expect": "open"}])
    row = row_of(__publish_plan=unproven, __publish_audited={"probe": False, "restart": "now"})
    assert row["state"] == "ok"
    assert row["line"] == "a  ok: note: publish_probe is false, so no port was checked and nothing is proven"


def test_a_listener_without_address_is_not_called_good() -> None:
    rows = [{"port": 110, "protocol": "pop3", "expect": "open"}, {"port": 143, "protocol": "imap4", "expect": "closed"}]
    row = row_of(__publish_plan=plan(unproven=rows))
    assert (row["state"], row["findings"]) == (
        "drift",
        ["ports not checked, because publish_proxy_address is not given: 110 (pop3)"],
    )


def test_findings_of_files_that_stay_are_notes_unless_they_mean_nothing() -> None:
    found = [
        {"code": code, "path": PATH, "line": None, "message": code}
        for code in ("file_on_proxy", "common_section", "ambiguous_text", "blank_line", "lookalike")
    ]
    row = row_of(__publish_plan=plan(files=["none"], findings=found))
    assert row["state"] == "ok"
    assert row["notes"] == [f"{PATH}: {code}" for code in ("file_on_proxy", "common_section", "ambiguous_text")]
    assert row_of(__publish_plan=plan(files=[], findings=found))["notes"] == row["notes"]
    assert row_of(__publish_plan=plan(files=["replace"], findings=found))["notes"] == []
