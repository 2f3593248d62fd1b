# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks publish, unpublish, verify and restore against the lab: what they do, and what they cost."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.demo.outside import Port, look
from tests.support.playbook import COLLECTION, Run
from tests.support.site import BIN, COMPUTER, DIRECT, IMC, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = ("NEW", "VIA", "PSRP")


def published(here: Site, name: str, protocol: str) -> str:
    """What a plain socket hears on a published port."""
    return look(Port(name, protocol, here.address(name), here.port(protocol)))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    wishes = [
        Wish("NEW", DIRECT, {"listeners": ["pop3", "imap4s"]}),
        Wish("VIA", COMPUTER, {"listeners": ["imap4", "smtp"]}),
        Wish("PSRP", DIRECT, {"listeners": ["smtp"]}, {"connection": "psrp"}),
    ]
    with site(tmp_path, wishes) as here:
        yield here


def test_a_change_costs_four_executions_and_a_drift_check_one(fleet: Site) -> None:
    first = fleet.play.run("publish")
    assert first.status == 0, first.output
    assert {name: fleet.executions(name) for name in SERVERS} == dict.fromkeys(SERVERS, 4)
    assert published(fleet, "NEW", "pop3").startswith("+OK Microsoft Exchange POP3")
    assert published(fleet, "NEW", "imap4s").startswith("* OK Microsoft Exchange IMAP4")
    assert published(fleet, "VIA", "imap4").startswith("* OK Microsoft Exchange IMAP4")
    assert "Microsoft Exchange Internet Mail Service" in published(fleet, "VIA", "smtp")
    assert "Microsoft Exchange Internet Mail Service" in published(fleet, "PSRP", "smtp")

    files = {name: [fleet.host(name).file(path) for path in (BIN, IMC)] for name in SERVERS}
    processes = {name: fleet.host(name).process_ids() for name in SERVERS}
    fleet.lab.reset_counters()
    second = fleet.play.run("publish")
    assert second.status == 0, second.output
    assert [second.changed(name.lower()) for name in SERVERS] == [0, 0, 0]
    assert {name: [fleet.host(name).file(path) for path in (BIN, IMC)] for name in SERVERS} == files
    assert {name: fleet.host(name).process_ids() for name in SERVERS} == processes
    assert {name: fleet.executions(name) for name in SERVERS} == dict.fromkeys(SERVERS, 1)
    for name in ("NEW", "VIA"):
        counters = fleet.wire(name).counters
        assert counters.requests <= 9
        assert counters.bytes_in <= 40_000


def test_check_mode_predicts_file_services_and_ports_and_touches_nothing(fleet: Site) -> None:
    processes = {name: fleet.host(name).process_ids() for name in SERVERS}
    run = fleet.play.run("publish", "--check", "--diff")
    assert run.status == 0, run.output
    assert all(fleet.host(name).file(path) is None for name in SERVERS for path in (BIN, IMC))
    assert {name: fleet.host(name).process_ids() for name in SERVERS} == processes
    written = run.last("new", "wspcfg", "Write the file")
    assert written["changed"] is True
    assert {(port["protocol"], port["now"], port["will"]) for port in written["predicted"]} == {
        ("pop3", "not", "in force"),
        ("imap4s", "not", "in force"),
    }
    restart = run.last("new", "service_restart")
    assert restart["outcome"] == "predicted"
    assert restart["roots"] == ["MSExchangeIS"]
    assert set(restart["takes_down"]) == {"MSExchangeES", "MSExchangeIMC"}
    new = [port for port in run.answers() if port["host"] == fleet.address("NEW")]
    assert [(port["attempts"], port["ok"]) for port in new] == [(1, False)] * 2
    asked = [entry.task for entry in run.of("new", "port_probe", outcome="ok")]
    assert asked == [f"{COLLECTION}.publish : ports | Check the ports once"]
    for line in (
        f"+ServerBindTcpPorts={fleet.port('pop3')},{fleet.port('imap4s')}",
        "MSExchangeIS: running, restarted",
    ):
        assert line in run.output
    plan = " ".join(run.plan().split())
    for part in (
        f"new write {BIN} (new) [STORE] + ServerBindTcpPorts {fleet.port('pop3')},{fleet.port('imap4s')}",
        "restart MSExchangeIS, because ",
        f"open {fleet.address('NEW')}: {fleet.port('pop3')} POP3, {fleet.port('imap4s')} IMAP4S (predicted)",
        "Nothing was changed.",
    ):
        assert part in plan
    assert run.summary() == ""
    assert published(fleet, "NEW", "pop3") == "-"


def test_unpublish_takes_off_what_is_named_and_then_everything(fleet: Site) -> None:
    assert fleet.play.run("publish", "-l", "new").status == 0
    partly = fleet.play.run("unpublish", "-l", "new", extra={"publish_withdraw": ["pop3"]})
    assert partly.status == 0, partly.output
    assert published(fleet, "NEW", "pop3") == "-"
    assert published(fleet, "NEW", "imap4s").startswith("* OK Microsoft Exchange IMAP4")
    whole = fleet.play.run("unpublish", "-l", "new")
    assert whole.status == 0, whole.output
    assert fleet.host("NEW").file(BIN) is None
    assert published(fleet, "NEW", "imap4s") == "-"
    again = fleet.play.run("unpublish", "-l", "new")
    assert (again.status, again.changed("new")) == (0, 0)


def test_verify_looks_from_outside_only_and_says_which_side_is_broken(fleet: Site) -> None:
    assert fleet.play.run("publish", "-l", "new,via").status == 0
    fleet.lab.reset_counters()
    good = fleet.play.run("verify", "-l", "new,via")
    assert good.status == 0, good.output
    assert fleet.executions("NEW") == fleet.executions("VIA") == 0
    fleet.host("NEW").restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    fleet.host("NEW").write(BIN, b"[STORE]\r\n")
    fleet.host("NEW").restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    fleet.lab.inject("stop_service", "VIA", name="MSExchangeIMC")
    fleet.host("VIA").until_service("MSExchangeIMC", "stopped")
    bad = fleet.play.run("verify", "-l", "new,via", extra={"publish_probe_deadline": 0})
    assert bad.status == 2
    assert "MSExchangeIS answers on port" in bad.messages("new")
    assert "MSExchangeIMC does not listen on port" in bad.messages("via")
    closed = fleet.play.run("verify", "-l", "new", extra={"publish_state": "absent", "publish_probe_deadline": 0})
    assert closed.status == 0, closed.output


def test_without_record_and_process_the_ports_decide_once(fleet: Site) -> None:
    host = fleet.host("VIA")
    imap, smtp = fleet.port("imap4"), fleet.port("smtp")
    host.write(BIN, b"[STORE]\r\nServerBindTcpPorts=%d\r\nPersistent=1\r\nKillOldSession=1\r\n" % imap)
    host.write(IMC, b"[MSEXCIMC]\r\nServerBindTcpPorts=%d\r\nPersistent=1\r\nKillOldSession=1\r\n" % smtp)
    host.restart("MSExchangeIMC")
    adopted = fleet.play.run("publish", "-l", "via", extra={"publish_mta_direct": "false"})
    assert adopted.status == 0, adopted.output
    assert [
        row["name"] for row in adopted.last("via", "service_restart")["services"] if row["role"] == "requested"
    ] == ["MSExchangeIS"]
    assert published(fleet, "VIA", "imap4").startswith("* OK Microsoft Exchange IMAP4")
    again = fleet.play.run("publish", "-l", "via", extra={"publish_mta_direct": "false"})
    assert (again.status, again.changed("via")) == (0, 0), again.output
    fleet.lab.inject("take_port", address=fleet.address("VIA"), port=imap)
    fleet.lab.clear()
    processes = host.process_ids()
    refused = fleet.play.run("publish", "-l", "via", extra={"publish_mta_direct": "false"})
    assert refused.status == 2
    assert "MSExchangeIS answers on port" in refused.messages("via")
    assert host.process_ids() == processes


def test_a_port_that_another_server_of_the_inventory_claims_is_no_failure_of_unpublish(tmp_path: Path) -> None:
    wishes = [
        Wish("FIRST", DIRECT, {"listeners": ["pop3"]}),
        Wish("SECOND", COMPUTER, {"listeners": ["pop3"], "state": "absent"}, share="FIRST"),
    ]
    with site(tmp_path, wishes) as here:
        assert here.play.run("publish", "-l", "first").status == 0
        moved_on = here.play.run("publish", extra={"publish_max_fail_percentage": 100})
        assert moved_on.status == 0, moved_on.output
        gone = here.play.run("verify", "-l", "second", extra={"publish_probe_deadline": 0})
        assert gone.status == 0, gone.output
        assert published(here, "FIRST", "pop3").startswith("+OK Microsoft Exchange POP3")
        foreign = here.play.run(
            "verify", "-l", "second", extra={"publish_probe_deadline": 0, "publish_conflict_hosts": ["second"]}
        )
        assert foreign.status == 2
        assert f"{here.address('FIRST')}:{here.port('pop3')}" in foreign.messages("second")


CHECKED = """
- name: A play that only predicts, whatever the command line says
  hosts: new
  gather_facts: false
  check_mode: true
  vars: {publish_pin: true}
  roles: [msexchange.winsock_proxy.publish]
"""


def test_the_task_s_own_check_mode_counts_and_not_the_command_line_s(fleet: Site) -> None:
    processes = fleet.host("NEW").process_ids()
    hook = fleet.play.write("hook.yml", "- name: Hook\n  ansible.builtin.debug: {msg: never}\n")
    run = fleet.play.run(fleet.play.write("checked.yml", CHECKED), extra={"publish_before_restart_tasks": str(hook)})
    assert run.status == 0, run.output
    assert run.last("new", "service_restart")["outcome"] == "predicted"
    assert not run.of("new", task="Hook")
    assert f"ProxyBindIp={fleet.port('pop3')}:{fleet.address('NEW')}" in str(run.last("new", "wspcfg", "Write")["diff"])
    assert "note publish_pin: set outside of the inventory" in " ".join(run.plan().split())
    assert fleet.host("NEW").file(BIN) is None
    assert fleet.host("NEW").process_ids() == processes


def backup(run: Run, host: str) -> str:
    return str(run.last(host, "wspcfg", "Write the file")["files"][0]["sha256_before"])


def test_restore_puts_a_chosen_backup_back_and_restarts(fleet: Site) -> None:
    hosts, listeners = ("NEW", "VIA"), {"publish_listeners": ["pop3", "imap4s"]}
    old = b"[STORE]\r\nServerBindTcpPorts=%d\r\nPersistent=1\r\nKillOldSession=1\r\n" % fleet.port("pop3")
    for host in map(fleet.host, hosts):
        host.write(BIN, old)
        host.restart("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
    both = "new,via"
    first = fleet.play.run("publish", "-l", both, extra={**listeners, **moved(fleet, "pop3", "imap4s")})
    assert first.status == 0, first.output
    unnamed = fleet.play.run("restore", "-l", both)
    assert unnamed.status == 2
    unknown = fleet.play.run("restore", "-l", both, extra={"publish_restore": "0" * 64})
    assert unknown.status == 2
    for name in hosts:
        fleet.lab.inject("proxy", name=fleet.proxy(name), condition="gone")
    chosen = {"publish_restore": backup(first, "new"), "publish_serial": 2}
    blind = fleet.play.run("restore", "-l", both, extra={**chosen, "publish_probe_timeout": 2.0})
    assert blind.failed() == ["new", "via"], blind.output
    for name in hosts:
        assert "-e publish_restore=latest" in unnamed.messages(name.lower())
        assert "0" * 64 in unknown.messages(name.lower())
        assert "publish_blind: proceed" in blind.messages(name.lower())
        assert fleet.host(name).file(BIN) != old
        fleet.lab.inject("proxy", name=fleet.proxy(name), condition="up")
    back = fleet.play.run("restore", "-l", both, extra=chosen)
    assert back.status == 0, back.output
    for name in hosts:
        rows = back.last(name.lower(), "port_probe", "until")["results"]
        assert (fleet.port("pop3"), "open", "open") in {(row["port"], row["expect"], row["status"]) for row in rows}
        assert fleet.host(name).file(BIN) == old
        assert published(fleet, name, "imap4s") == "-"
        assert published(fleet, name, "pop3").startswith("+OK Microsoft Exchange POP3")
    again = fleet.play.run("restore", "-l", both, extra={"publish_restore": "original"})
    assert (again.status, again.changed("new"), again.changed("via")) == (0, 0, 0), again.output


def moved(here: Site, *protocols: str) -> dict[str, t.Any]:
    """Where the ports are, for listeners that the inventory does not name."""
    return {"publish_ports": {protocol: here.port(protocol) for protocol in protocols}}


ROLE = """
- name: A play of one's own
  hosts: new
  gather_facts: false
  roles: [msexchange.winsock_proxy.publish]
  handlers:
    - name: Tell the help desk
      ansible.builtin.debug: {msg: the information store restarts}
      listen: Restart MSExchangeIS
    - name: Tell the directory people
      ansible.builtin.debug: {msg: the directory restarts}
      listen: Restart MSExchangeDS
"""


def test_the_role_in_a_play_of_one_s_own_notifies_the_topics_of_what_restarts(fleet: Site) -> None:
    playbook = fleet.play.write("own.yml", ROLE)
    run = fleet.play.run(playbook)
    assert run.status == 0, run.output
    assert run.of("new", "debug", "Tell the help desk")
    assert not run.of("new", "debug", "Tell the directory people")
    assert len(run.of("new", "service_restart")) == 1
    assert fleet.executions("NEW") == 4
    again = fleet.play.run(playbook)
    assert (again.status, again.changed("new")) == (0, 0)
    assert fleet.executions("NEW") == 5
