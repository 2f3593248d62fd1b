# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as a person reads it: whole texts, so that a change of wording is seen."""

from __future__ import annotations

import typing as t

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.changes import changes_of
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.look import Look
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.plan import Inventory, plan_fleet
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.show import WIDTH, audit_text, plan_text
from tests.support.looks import PATH, answers, look, owed, plan, port, result

Json = dict[str, t.Any]
EXCHANGE = {"product": "Microsoft Exchange", "version": "5.5.2653.23"}
BEFORE = "[STORE]\nServerBindTcpPorts=110\nPersistent=1\n; mine\n"
AFTER = "[STORE]\nServerBindTcpPorts=110,143\nPersistent=1\n; mine\n"


def drifted(*down: str, **more: t.Any) -> Json:
    return plan(
        files=["replace"],
        owed=[owed("MSExchangeIS")],
        diff=[{"before": BEFORE, "after": AFTER, "before_header": PATH, "after_header": PATH}],
        restart={
            "refusals": [],
            "refusals_if_started": [],
            "warnings": ["A Server Monitor may restart the computer."],
            "takes_down": ["MSExchangeIMC"],
            "services": [{"name": name} for name in down],
        },
        **more,
    )


def test_a_batch_says_of_how_many_servers_it_is() -> None:
    fleet = plan_fleet([look("a"), look("b")], answers(), Inventory())
    heads = [plan_text(fleet, acting=True, meant=meant)[0].partition(";")[0] for meant in (0, 2, 5)]
    assert heads == ["Plan for 2 servers", "Plan for 2 servers", "Plan for 2 of the 5 servers of this play"]


def test_the_plan_of_a_fleet() -> None:
    good, new = result(110, "open", **EXCHANGE), result(143, "refused", protocol="imap4")
    looks = [
        look("ex1", drifted("MSExchangeIMC", "MSExchangeIS"), results=[good, new], listeners=["pop3", "imap4"]),
        *(look(f"ok{number}", results=[good]) for number in range(56)),
        look("ex7", drifted(), results=[good, new], restart="defer"),
        Look("ex9", True, ("ex9: 203.0.113.10:110 is wanted by ex1 too",), {}, {}),
        Look("ex12", False, ("ex12: mgmt1 refused the login. Check ansible_password.",), {}, {}),
    ]
    fleet = plan_fleet(looks, answers(good, new), Inventory())
    assert plan_text(fleet, acting=False) == [
        "Plan for 60 servers; ports asked from localhost",
        "",
        "  ex1         write    C:\\exchsrvr\\bin\\Wspcfg.ini",
        "                [STORE]",
        "                ~ ServerBindTcpPorts  110 -> 110,143",
        "              restart  MSExchangeIS, because its section differs; takes down MSExchangeIMC (runs",
        "                       again after)",
        "              open     192.0.2.1: 143 IMAP4 (predicted)",
        "              keep     192.0.2.1: 110 POP3, answers as Exchange 5.5.2653.23",
        "",
        "  ex7         write    C:\\exchsrvr\\bin\\Wspcfg.ini",
        "                [STORE]",
        "                ~ ServerBindTcpPorts  110 -> 110,143",
        "              wait     MSExchangeIS: its section differs; not done: publish_restart is 'defer'",
        "              open     192.0.2.1: 143 IMAP4 (predicted after the restart that waits)",
        "              keep     192.0.2.1: 110 POP3, answers as Exchange 5.5.2653.23",
        "",
        "  ex9         refuse   203.0.113.10:110 is wanted by ex1 too",
        "",
        "  ex12        not reached: mgmt1 refused the login. Check ansible_password.",
        "",
        "  A Server Monitor that watches MSExchangeIS may restart the whole computer while it is down; pause",
        "  it before (Q245838, Q156063).",
        "",
        "Plan: 2 files to write, 1 restart now (1 more service down), 1 waits, 2 ports to open, 0 to close;",
        "      56 servers in order (56 ports answer as Exchange), 1 refused, 1 not reached. Nothing was",
        "      changed.",
    ]


def test_servers_of_which_the_same_is_said_are_one_entry() -> None:
    good, new = result(110, "open", **EXCHANGE), result(143, "refused", protocol="imap4")
    looks = [look(f"ex{number}", drifted(), results=[good, new]) for number in range(20, 37)]
    text = plan_text(plan_fleet(looks, answers(good, new), Inventory()), acting=True)
    assert text[2].startswith("  17 servers alike: ex20 ex21 ex22")
    assert sum("ServerBindTcpPorts" in line for line in text) == 1
    assert not any("Nothing was changed" in line for line in text)


def test_the_text_follows_what_differs_and_not_the_size_of_the_fleet() -> None:
    good = result(110, "open", **EXCHANGE)

    def lines(count: int) -> int:
        looks = [look("ex1", drifted(), results=[good]), *(look(f"ok{n}", results=[good]) for n in range(count))]
        return len(plan_text(plan_fleet(looks, answers(good), Inventory()), acting=True))

    assert lines(1) == lines(1000)


def test_every_line_is_ascii_and_not_wide_and_takes_no_control_characters() -> None:
    text = "caf\xe9 \x1b[31m red " + "word " * 60
    evil = Look("ex1", True, (f"ex1: {text}",), {}, {})
    long = [Look(f"a-server-with-a-long-name-{number}", True, ("x: why",), {}, {}) for number in range(9)]
    shown = plan_text(plan_fleet([evil, *long], answers(), Inventory()), acting=True)
    assert all(line.isascii() and len(line) <= WIDTH and "\x1b" not in line for line in shown)


def test_what_was_not_asked_is_not_called_closed() -> None:
    unasked = plan(files=["create"], targets=[port(110, "pop3")], diff=[{"before": "", "after": AFTER}])
    text = "\n".join(plan_text(plan_fleet([look("ex1", unasked, probe=False)], answers(), Inventory()), acting=False))
    assert "open     192.0.2.1: 110 POP3 (predicted; was not asked)" in text
    assert "no port was asked" in text
    assert "publish_probe is false, so no port is checked and nothing is proven" in text


def test_keys_that_come_go_and_change() -> None:
    before = "[STORE]\nA=1\nB=2\n[OLD]\nX=1\n"
    after = "[STORE]\nA=1\nB=3\nC=4\n"
    assert [
        (row.mark, row.section, row.key, row.before, row.after)
        for row in changes_of({"before": before, "after": after})
    ] == [
        ("~", "STORE", "B", "2", "3"),
        ("+", "STORE", "C", None, "4"),
        ("-", "OLD", "X", "1", None),
    ]


def test_a_reason_of_several_sentences_has_a_line_for_each() -> None:
    stranger = result(110, "foreign", greeting="220 a")
    seen = look("a", plan(), results=[stranger])
    fleet = plan_fleet([seen], answers(stranger), Inventory(), insides={"a": {"inside": [], "events": []}})
    text = plan_text(fleet, acting=True)
    assert text[2] == "  a           broken   1 of 1 ports are not as expected."
    assert text[3].startswith(f"{'':<23}192.0.2.1:110 (pop3): ")
    assert not any("?" in line for line in text)


def test_what_only_answers_is_not_called_exchange() -> None:
    answering = result(389, "open", protocol="ldap")
    fleet = plan_fleet([look("a", results=[answering])], answers(answering), Inventory())
    assert "1 server in order (1 port answers). Nothing was changed." in " ".join(
        " ".join(plan_text(fleet, acting=False)).split()
    )


def test_verbose_shows_what_the_ports_said_of_servers_that_have_an_entry() -> None:
    said = result(110, "open", greeting="+OK Microsoft Exchange POP3 server ready", attempts=1, elapsed_ms=12)
    looks = [look("ex1", drifted(), results=[said]), look("ok1", results=[said])]
    fleet = plan_fleet(looks, answers(said), Inventory())
    quiet, verbose = (plan_text(fleet, acting=True, evidence=evidence) for evidence in (False, True))
    told = "192.0.2.1: 110 POP3 open, said '+OK Microsoft Exchange POP3 server ready'; 1 attempt, 12 ms"
    assert " ".join(" ".join(verbose).split()).count(told) == 1
    assert "said '" not in "".join(quiet)


def test_a_server_monitor_is_warned_of_once_for_the_fleet() -> None:
    looks = [look("ex1", drifted("MSExchangeIS")), look("ex2", drifted("MSExchangeDS", "MSExchangeIS"))]
    text = " ".join(" ".join(plan_text(plan_fleet(looks, answers(), Inventory()), acting=True)).split())
    assert text.count("Server Monitor") == 1
    assert "watches MSExchangeDS, MSExchangeIS may restart" in text


def test_a_port_that_leaves_is_closed_by_nobody_where_a_stranger_has_it_or_it_is_closed_already() -> None:
    stranger = result(110, "foreign", expect="closed", greeting="+OK Qpopper")
    closed = result(143, "refused", expect="closed", protocol="imap4", ok=True)
    ours = result(119, "open", expect="closed", protocol="nntp", **EXCHANGE)
    leaving = [{**port(row["port"], row["protocol"]), "expect": "closed"} for row in (stranger, closed, ours)]
    found = plan(files=["delete"], closed_targets=leaving, diff=[{"before": BEFORE, "after": ""}])
    fleet = plan_fleet([look("ex1", found, state="absent")], answers(stranger, closed, ours), Inventory())
    text = plan_text(fleet, acting=True)
    assert [line.split(None, 1) for line in text if "192.0.2.1: " in line] == [
        ["close", "192.0.2.1: 119 NNTP (predicted)"],
        ["foreign", "192.0.2.1: 110 POP3, answers '+OK Qpopper'"],
    ]
    assert " 1 to close" in " ".join(text)


def test_an_audit_says_a_note_of_many_servers_in_order_once() -> None:
    looks = [look(f"ex{number}", probe=False) for number in range(300)]
    fleet = plan_fleet(looks, answers(), Inventory())
    lines = audit_text(fleet)
    assert [line for line in lines if "note" in line] == [
        "ok       300 servers  note: publish_probe is false, so no port is checked and nothing is proven"
    ]
    assert len([line for line in audit_text(fleet, everything=True) if line.startswith("ok ")]) == 300
