# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report's states, its JSON and its JUnit."""

from __future__ import annotations

import json
import typing as t
from xml.etree import ElementTree

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.data import as_json
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.gather import KINDS
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.junit import as_junit
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.model import (
    PORT_STATES,
    SERVER_STATES,
    port_state,
    server_of_check,
    server_of_plan,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.reports.page import as_page, view_of
from tests.conftest import ROOT
from tests.support.looks import look, result
from tests.support.reports import HOSTILE, few, many

Json = dict[str, t.Any]
SCHEMA: Json = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("wanted", "status", "pending", "state"),
    [
        ("open", "open", "", "proven"),
        ("open", "open", "predicted", "proven"),
        ("open", "refused", "predicted", "predicted"),
        ("open", "refused", "waiting", "waiting"),
        ("open", "refused", "", "refused"),
        ("open", "timeout", "", "silent"),
        ("open", "silent", "", "silent"),
        ("open", "reset", "", "wrong"),
        ("open", "tls_alert", "", "wrong"),
        ("open", "foreign", "predicted", "foreign"),
        ("open", "no_tls", "", "foreign"),
        ("open", None, "predicted", "predicted"),
        ("open", None, "", "not asked"),
        ("closed", "refused", "", "closed"),
        ("closed", "timeout", "predicted", "closed"),
        ("closed", "foreign", "", "closed"),
        ("closed", "open", "predicted", "closing"),
        ("closed", "open", "waiting", "waiting"),
        ("closed", "open", "", "still open"),
        ("closed", None, "predicted", "closing"),
        ("any", "open", "predicted", "elsewhere"),
        ("any", None, "", "elsewhere"),
    ],
)
def test_what_a_port_is_called(wanted: str, status: str | None, pending: str, state: str) -> None:
    assert port_state(wanted, status, pending) == state


def row(state: str, **more: t.Any) -> Json:
    return {"state": state, "because": [], "notes": [], "drift": [], "ports": [], **more}


@pytest.mark.parametrize(
    ("found", "audit", "acting", "state"),
    [
        (row("in order"), False, True, "in order"),
        (row("owes"), False, False, "planned"),
        (row("owes"), False, True, "not started"),
        (row("owes", drift=["x"]), True, False, "drift"),
        (row("in order", drift=["x"]), True, False, "drift"),
        (row("broken", drift=["x"]), True, False, "drift"),
        (row("refused", drift=["x"]), True, False, "refused"),
        (row("not reached"), True, False, "not reached"),
        (row("broken"), False, False, "broken"),
    ],
)
def test_what_a_server_is_called(found: Json, audit: bool, acting: bool, state: str) -> None:
    assert server_of_plan(look(), found, at=0.0, audit=audit, acting=acting).state == state


def test_the_last_answer_of_a_port_counts_and_says_when() -> None:
    before, after = result(110, "refused"), result(110, "open", greeting="+OK hello")
    target = {name: before[name] for name in ("host", "port", "protocol", "expect")}
    found = row("owes", ports=[before], wanted=[target], prove=[target])
    told: Json = {"proven": [after], "wrong": [], "wrote": [], "restarted": [], "waits": [], "failed": ""}
    done = server_of_plan(look(), found, at=5.0, outcome={"ok": True, "summary": told, "at": 9.0})
    assert [(port.state, port.greeting, port.asked_at) for port in done.ports] == [("proven", "+OK hello", 9.0)]
    planned = server_of_plan(look(), found, at=5.0)
    assert [(port.state, port.asked_at) for port in planned.ports] == [("predicted", 5.0)]


def test_a_check_that_could_not_be_made_says_why_and_names_the_server_once() -> None:
    server = server_of_check(look("a"), {"ok": False, "results": [], "msg": "a: no Python there"}, {}, at=0.0)
    assert (server.state, server.reasons) == ("not reached", ("no Python there",))


def test_the_schema_has_the_same_words() -> None:
    assert SCHEMA["$defs"]["port_state"]["enum"] == list(PORT_STATES)
    assert SCHEMA["$defs"]["server_state"]["enum"] == list(SERVER_STATES)
    assert set(SCHEMA["properties"]["kind"]["enum"]) == {*KINDS.values(), "audit", "verify"}


def test_what_the_network_says_is_text_in_json_and_xml() -> None:
    assert json.loads(as_json(few()))["servers"][1]["ports"][0]["greeting"] == HOSTILE
    assert as_json(few()).isascii()
    root = ElementTree.fromstring(as_junit(few()))
    failed = [case for case in root.iter("failure") if "onerror" in (case.text or "")]
    assert failed and not list(root.iter("script"))


def test_every_suite_of_a_junit_report_counts_its_cases() -> None:
    root = ElementTree.fromstring(as_junit(few()))
    kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for suite in root:
        assert int(suite.get("tests") or -1) == len(suite)
        for count, kind in kinds.items():
            assert int(suite.get(count) or 0) == len(suite.findall(f"testcase/{kind}")), (suite.get("name"), kind)
    for count in ("tests", *kinds):
        assert int(root.get(count) or 0) == sum(int(suite.get(count) or 0) for suite in root)


def test_a_page_needs_nothing_from_anywhere_and_runs_nothing() -> None:
    page = as_page(few())
    assert "default-src 'none'" in page
    for part in ("<script", "<img", "<link", "src=", "href=", "url(", "@import", "http:", "https:"):
        assert part not in page.replace(HOSTILE, "").replace("&lt;script", "").replace("&lt;img src=x", "")


def test_a_fleet_in_order_is_folded_and_servers_alike_are_one_entry() -> None:
    view = view_of(many(300))
    assert (view["fold"], len(view["shown"]), len(view["quiet"])) == (True, 9, 291)
    assert [len(hosts) for _server, hosts in view["alike"]] == [3, 6]
    assert len(as_page(many(300)).encode()) < 2_000_000


def test_a_bar_lies_where_its_service_was_down() -> None:
    view = view_of(few())
    information, mail, open_ended = sorted(view["bars"], key=lambda bar: (bar.host, bar.service != "MSExchangeIS"))
    assert mail.left == 0.0 and information.left > 0.0
    assert mail.width > information.width
    assert open_ended.open_ended and open_ended.left + open_ended.width == pytest.approx(100.0)
