# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``publish_report``: what every playbook writes, as a page, as JSON and as JUnit, and what it never does."""

from __future__ import annotations

import json
import typing as t
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from tests.conftest import ROOT
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, t.Any]
POP = {"listeners": ["pop3", "imap4"]}
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    wishes = [
        Wish("ONE", DIRECT, POP),
        Wish("TWO", COMPUTER, POP),
        Wish("AWAY", DIRECT, POP),
        Wish("WRONG", DIRECT, {"listeners": ["pop4"]}),
        Wish("LATER", DIRECT, {**POP, "restart": "defer"}),
    ]
    with site(tmp_path_factory.mktemp("report"), wishes) as running:
        running.lab.inject("network_down", "AWAY")
        yield running


def reported(here: Site, playbook: str, *arguments: str, ending: str = "json", **extra: t.Any) -> tuple[t.Any, Path]:
    """Run a playbook with a report; the run, and the report's file."""
    target = here.lab.directory / f"{playbook}.{ending}"
    target.unlink(missing_ok=True)
    run = here.play.run(playbook, *arguments, extra={"publish_report": str(target), **extra})
    assert target.exists(), run.output
    return run, target


def data(path: Path) -> Json:
    """A JSON report that keeps its schema."""
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found


def states(found: Json) -> dict[str, str]:
    return {server["host"]: server["state"] for server in found["servers"]}


def ports(found: Json, host: str) -> dict[str, str]:
    (server,) = (server for server in found["servers"] if server["host"] == host)
    return {port["protocol"]: port["state"] for port in server["ports"]}


class Text(HTMLParser):
    """The text of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _value in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_a_fleet_from_check_mode_to_its_end(here: Site) -> None:
    planned, path = reported(here, "publish", "--check")
    found = data(path)
    assert (found["kind"], found["check_mode"], found["complete"]) == ("publish", True, True)
    expected = {"one": "planned", "two": "planned", "away": "not reached", "wrong": "refused", "later": "planned"}
    assert states(found) == expected
    assert ports(found, "one") == {"pop3": "predicted", "imap4": "predicted"}
    assert ports(found, "later") == {"pop3": "waiting", "imap4": "waiting"}
    assert found["headline"] in " ".join(planned.plan().split())
    written = [entry for entry in planned.entries if entry.action.endswith("publish_report") and entry.outcome == "ok"]
    assert [entry.result["changed"] for entry in written] == [False]
    assert here.host("ONE").file(BIN) is None

    done, path = reported(here, "publish", extra_wish=True)
    found = data(path)
    assert (found["check_mode"], found["complete"]) == (False, True)
    expected |= {"one": "done", "two": "done", "later": "done"}
    assert states(found) == expected
    assert found["headline"] == done.summary().splitlines()[0]
    assert ports(found, "one") == {"pop3": "proven", "imap4": "proven"}
    assert ports(found, "later") == {"pop3": "waiting", "imap4": "waiting"}
    one, two, away, wrong, later = found["servers"]
    assert (
        one["files"][0]["done"]
        and f"+ServerBindTcpPorts={here.port('pop3')},{here.port('imap4')}" in one["files"][0]["diff"]
    )
    assert {row["service"]: row["state"] for row in one["downtimes"]}["MSExchangeIS"] == "running"
    assert all(row["begin"] <= row["end"] for row in two["downtimes"])
    assert "ansible_host" in away["reasons"][0] and "pop4" in wrong["reasons"][0]
    assert later["restarts"][0]["because"]
    assert one["ports"][0]["greeting"].startswith("+OK Microsoft Exchange") and one["ports"][0]["asked_at"]

    _run, path = reported(here, "audit")
    found = data(path)
    assert found["kind"] == "audit"
    assert states(found) == {
        "one": "in order",
        "two": "in order",
        "away": "not reached",
        "wrong": "refused",
        "later": "drift",
    }
    assert found["counts"]["ports"] == {"proven": 4, "waiting": 2}

    run, path = reported(here, "verify", ending="xml", publish_probe_deadline=0)
    assert run.status == 2
    suites = {suite.get("name"): suite for suite in ElementTree.parse(path).getroot()}
    assert list(suites) == ["one", "two", "away", "wrong", "later"]
    assert (suites["one"].get("tests"), suites["one"].get("failures")) == ("3", "0")
    assert [case.get("name") for case in suites["later"] if case.find("failure") is not None] == [
        "server is as wanted",
        *(f"port {here.port(name)} {name.upper()} on {here.address('LATER')} is open" for name in ("pop3", "imap4")),
    ]
    assert suites["wrong"].find("testcase/error") is not None

    _run, path = reported(here, "audit", ending="html")
    page = Text(path.read_text(encoding="utf-8"))
    for part in ("Audit", "5 servers: 2 in order, 1 drift, 1 refused, 1 unknown", "one", "not reached", "later"):
        assert part in page.text
    assert "script" not in page.tags

    _run, path = reported(here, "unpublish", "-l", "one,two", publish_serial=2)
    found = data(path)
    assert (found["kind"], states(found)) == ("unpublish", {"one": "done", "two": "done"})
    assert ports(found, "one") == {"pop3": "closed", "imap4": "closed"}
    assert {file["action"] for server in found["servers"] for file in server["files"]} == {"delete"}

    _run, path = reported(here, "restore", "-l", "one", "--check", publish_restore="latest")
    found = data(path)
    assert (found["kind"], states(found)) == ("restore", {"one": "planned"})


@pytest.mark.parametrize("path", ["report.txt", "/nowhere/report.html"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_done(here: Site, path: str) -> None:
    run = here.play.run("audit", "-l", "one", extra={"publish_report": path})
    assert run.status == 2
    assert f"publish_report='{path}'" in run.plan() and "Give a file" in run.plan()


def test_batches_of_a_play_of_ones_own_come_together_in_one_report(here: Site) -> None:
    target, play = here.lab.directory / "batches.json", here.lab.directory / "own.yml"
    play.write_text(
        "- hosts: one,two,later\n  gather_facts: false\n  serial: 1\n  tasks:\n    - ansible.builtin.import_role:\n"
        "        name: msexchange.winsock_proxy.publish\n        rolespec_validate: false\n",
        encoding="utf-8",
    )
    run = here.play.run(play, "--check", extra={"publish_report": str(target)})
    assert run.status == 0, run.output
    assert list(states(data(target))) == ["one", "two", "later"]


def test_a_report_that_turns_out_to_be_unwritable_is_one_more_error_and_hides_none(here: Site) -> None:
    target = here.lab.directory / "taken.json"
    target.mkdir()
    run = here.play.run("audit", extra={"publish_report": str(target)})
    # "later" waits for its restart or has nothing published yet; either way it is not in order.
    assert (run.status, run.unreachable()) == (4, ["away"]), run.output
    assert {"wrong", "later"} <= set(run.failed())
    assert "audit" in run.fleet("publish_plan")
    said = [host for host in run.stats if f"{target} could not be written" in run.messages(host)]
    assert said == ["one"], run.output
    alone = here.play.run("audit", "-l", "wrong", extra={"publish_report": str(target)})
    assert alone.status == 2
    assert "could not be written" in alone.messages("wrong") and "pop4" in alone.messages("wrong")
    outside = here.play.run("verify", "-l", "one", extra={"publish_report": str(target)})
    assert (outside.status, outside.failed()) == (2, ["one"]), outside.output
    assert f"{target} could not be written" in outside.messages("one")
    assert "ports are not as expected" in outside.messages("one")
    target.rmdir()
