# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One plan for all servers, whatever the play around it: serial, tags, other roles, several plays, fatal errors."""

from __future__ import annotations

import importlib
import json
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.support.playbook import COLLECTION, Run
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = ("ANN", "BEN", "CAT")
POP: t.Final = {"listeners": ["pop3"]}
ROLE = f"{COLLECTION}.publish"
Play = dict[str, t.Any]
# What Ansible itself puts into every result.
OF_EVERY_TASK = {"changed", "failed", "msg", "invocation", "warnings", "exception", "skip_reason", "failed_when_result"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    """Three servers, each with a proxy of its own, and nothing published."""
    with site(tmp_path, [Wish("ANN", DIRECT, POP), Wish("BEN", COMPUTER, POP), Wish("CAT", DIRECT, POP)]) as here:
        yield here


def play(here: Site, *plays: Play, arguments: t.Sequence[str] = (), **extra: t.Any) -> Run:
    """Run plays of one's own, each over the group exchange unless it says otherwise."""
    rows = [
        {"name": f"Play {number}", "hosts": "exchange", "gather_facts": False} | one for number, one in enumerate(plays)
    ]
    return here.play.run(here.play.write("own.yml", yaml.safe_dump(rows, sort_keys=False)), *arguments, extra=extra)


def more_hosts(here: Site, *names: str) -> tuple[str, str]:
    """Arguments for further hosts of the inventory, which are this machine."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = here.play.write("more.yml", yaml.safe_dump({"all": {"hosts": dict.fromkeys(names, local)}}))
    return "-i", str(path)


def written(here: Site) -> list[str]:
    return [name for name in SERVERS if here.host(name).file(BIN) is not None]


def in_force(here: Site, name: str) -> tuple[int, ...]:
    return here.host(name).in_force().get("STORE", ())


def headlines(run: Run, word: str = "Plan for") -> list[str]:
    return [line for line in run.output.splitlines() if line.startswith(word)]


# -- the play around the role ---------------------------------------------------------------------------------------
def test_under_serial_each_batch_has_its_plan_and_its_summary(fleet: Site) -> None:
    run = play(fleet, {"roles": [ROLE], "serial": 2})
    assert run.status == 0, run.output
    assert headlines(run) == [
        "Plan for 2 of the 3 servers of this play; ports asked from localhost",
        "Plan for 1 of the 3 servers of this play; ports asked from localhost",
    ]
    assert [line.partition(" in ")[0] for line in headlines(run, "Published")] == [
        "Published 2 of 2 servers",
        "Published 1 of 1 server",
    ]
    assert written(fleet) == list(SERVERS)


def test_the_limit_leaves_servers_out_and_their_claims_in(tmp_path: Path) -> None:
    wishes = [Wish("ANN", DIRECT, POP), Wish("BEN", COMPUTER, POP, share="ANN"), Wish("CAT", DIRECT, POP)]
    with site(tmp_path, wishes) as here:
        run = here.play.run("publish", "-l", "ann,cat")
        assert (run.status, run.failed()) == (2, ["ann"]), run.output
        assert headlines(run) == ["Plan for 2 servers; ports asked from localhost"]
        assert "refuse" in run.server("ann", run.plan())
        assert "is claimed by ben as well" in run.server("ann", run.plan())
        assert written(here) == ["CAT"]


def test_tags_choose_the_whole_role_or_nothing_of_it(fleet: Site) -> None:
    tagged: Play = {
        "roles": [{"role": ROLE, "tags": ["mail"]}],
        "post_tasks": [{"name": "Else", "ansible.builtin.debug": {"msg": "x"}, "tags": ["other"]}],
    }
    without = play(fleet, tagged, arguments=("--tags", "other"))
    assert (without.status, headlines(without), written(fleet)) == (0, [], []), without.output
    assert without.of("ann", task="Else")
    run = play(fleet, tagged, arguments=("--tags", "mail"))
    assert run.status == 0, run.output
    assert not run.of("ann", task="Else")
    assert [in_force(fleet, name) for name in SERVERS] == [(fleet.port("pop3"),)] * 3
    assert headlines(run, "Published 3 of 3 servers")


def test_several_plays_and_the_role_twice_in_one_each_plan_anew(fleet: Site) -> None:
    both = ["pop3", "imap4"]
    run = play(
        fleet,
        {"roles": [ROLE]},
        {"roles": [{"role": ROLE, "publish_listeners": both}, {"role": ROLE, "publish_listeners": ["imap4"]}]},
        {"roles": [{"role": ROLE, "publish_listeners": ["imap4"]}]},
    )
    assert run.status == 0, run.output
    assert [in_force(fleet, name) for name in SERVERS] == [(fleet.port("imap4"),)] * 3
    assert len(headlines(run, "Published 3 of 3 servers")) == 3
    assert [line for line in run.output.splitlines() if line.startswith("Plan: ")][-1].startswith(
        "Plan: 0 files to write, 0 restarts now"
    )
    assert len(run.of("ann", "service_restart", outcome="ok")) == 3
    restarted = [
        entry.result["names"] for entry in run.of("ann", "service_restart", outcome="ok") if "names" in entry.result
    ]
    assert not restarted


def test_the_role_twice_in_one_play_restarts_the_server_that_it_wrote(tmp_path: Path) -> None:
    """A handler's variables are those of the last import, and that one publishes another server."""
    wishes = [Wish("BEN", COMPUTER, POP), Wish("DAN", COMPUTER, POP, {"via": "MBEN"})]
    with site(tmp_path, wishes) as here:
        place = {"publish_computer": "DAN", "publish_proxy_address": here.address("DAN"), "publish_proxy": "PROXY2"}
        other = {**place, "publish_listeners": ["imap4"]}
        run = play(here, {"hosts": "ben", "roles": [ROLE, {"role": ROLE, **other}]})
        assert run.status == 0, run.output
        assert in_force(here, "BEN") == (here.port("pop3"),)
        assert in_force(here, "DAN") == (here.port("imap4"),)


def test_among_other_tasks_and_roles_of_a_play(fleet: Site) -> None:
    """A server that failed before is out of the plan; what comes after runs on those that are published."""
    run = play(
        fleet,
        {
            "pre_tasks": [
                {"name": "Before", "ansible.builtin.fail": {"msg": "no"}, "when": "inventory_hostname == 'ann'"}
            ],
            "roles": [ROLE],
            "tasks": [{"name": "After", "ansible.builtin.debug": {"msg": "{{ publish_state | default('not set') }}"}}],
            "handlers": [
                {"name": "Tell", "ansible.builtin.debug": {"msg": "restarts"}, "listen": "Restart MSExchangeIS"}
            ],
        },
    )
    assert (run.status, run.failed()) == (2, ["ann"]), run.output
    assert headlines(run) == ["Plan for 2 of the 3 servers of this play; ports asked from localhost"]
    assert written(fleet) == ["BEN", "CAT"]
    for name in ("ben", "cat"):
        assert run.of(name, task="After", outcome="ok")
        assert run.of(name, task="Tell", outcome="ok")


def test_an_error_that_is_fatal_for_all_comes_after_the_plan_and_before_any_change(fleet: Site) -> None:
    run = play(fleet, {"roles": [ROLE], "any_errors_fatal": True, "vars": {"publish_restart_window": BROKEN_ON_BEN}})
    assert run.status == 2, run.output
    plan = run.plan()
    assert "publish_restart_window is 'tonight'" in run.server("ben", plan)
    assert "1 refused" in plan
    assert written(fleet) == []


BROKEN_ON_BEN = "{{ 'tonight' if inventory_hostname == 'ben' else '' }}"


def test_an_error_that_is_fatal_for_all_while_servers_are_changed_has_its_summary(fleet: Site) -> None:
    fleet.lab.inject("fill_disk", "ANN")
    run = play(fleet, {"roles": [ROLE], "any_errors_fatal": True})
    assert run.status == 2 and "ann" in run.failed(), run.output
    assert "is undefined" not in run.output
    summary = run.summary()
    assert summary.startswith(f"Published {3 - len(run.failed())} of 3 servers in ")
    assert "disk" in run.server("ann", summary)
    for name in ("ben", "cat"):
        told = run.server(name, summary)
        assert f"wrote {BIN}" in told
        if name in run.failed():
            assert "failed another server failed, and any_errors_fatal ends the play for all" in told
            assert "restart MS" not in told
        else:  # ansible-core 2.16 does not count what a rescue has caught
            assert "proven" in told
    fleet.lab.clear()
    again = play(fleet, {"roles": [ROLE]})
    assert again.status == 0, again.output
    assert [in_force(fleet, name) for name in SERVERS] == [(fleet.port("pop3"),)] * 3


def test_a_batch_that_ends_the_play_names_the_servers_of_later_batches(fleet: Site) -> None:
    fleet.lab.inject("fill_disk", "ANN")
    run = play(fleet, {"roles": [ROLE], "serial": 1})
    assert (run.status, run.failed(), written(fleet)) == (2, ["ann"], []), run.output
    summary = " ".join(run.summary().split())
    assert "; this batch has 1 of the 3 servers of this play." in summary
    assert "not started, because ann failed: ben cat; run again after mending it" in summary
    assert run.fleet("publish_summary")["not_started"] == ["ben", "cat"]


# -- where no plan can be made ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_other_strategies_are_refused_and_nothing_is_written(fleet: Site, strategy: str) -> None:
    run = play(fleet, {"roles": [ROLE], "strategy": strategy})
    assert run.status == 2, run.output
    assert run.failed() == ["ann", "ben", "cat"]
    for name in SERVERS:
        (said,) = run.messages(name.lower()).splitlines()
        assert f"strategy {strategy} does not honour run_once" in said
        assert "set strategy: linear" in said
    assert written(fleet) == []
    assert all(fleet.executions(name) <= 1 for name in SERVERS)


def test_a_condition_on_the_role_that_the_first_host_does_not_meet_is_no_silent_success(fleet: Site) -> None:
    condition = "inventory_hostname in groups['exchange']"
    mixed: Play = {"hosts": "linux,exchange", "roles": [{"role": ROLE, "when": condition}]}
    run = play(fleet, mixed, arguments=more_hosts(fleet, "linux"))
    assert (run.status, run.failed()) == (2, ["ann", "ben", "cat"]), run.output
    for name in SERVERS:
        assert "no plan was made for this server" in run.messages(name.lower())
        assert "give the Exchange servers a play of their own with hosts:" in run.messages(name.lower())
    assert written(fleet) == []


@pytest.mark.parametrize("playbook", ["publish", "unpublish", "restore", "audit", "verify", "conflicts"])
def test_a_pattern_that_matches_no_server_is_an_error(fleet: Site, playbook: str) -> None:
    for arguments, hosts, words in (
        ((), "exchnage", "exchnage;"),
        (("-l", "ann"), "exchnage", "exchnage within --limit ann;"),
        (("-l", "ann"), "cat", "cat within --limit ann;"),
    ):
        run = fleet.play.run(playbook, *arguments, extra={"publish_hosts": hosts, "publish_restore": "latest"})
        assert run.status == 2, run.output
        assert f"No server of the inventory matches publish_hosts={words}" in run.output
    assert written(fleet) == []


def test_a_host_that_does_not_meet_the_roles_condition_is_no_part_of_the_plan(fleet: Site) -> None:
    report = fleet.lab.directory / "report.json"
    mixed: Play = {"hosts": "exchange,linux", "roles": [{"role": ROLE, "when": "inventory_hostname != 'linux'"}]}
    run = play(fleet, mixed, arguments=more_hosts(fleet, "linux"), publish_report=str(report))
    assert (run.status, run.failed()) == (0, []), run.output
    assert headlines(run) == ["Plan for 3 of the 4 servers of this play; ports asked from localhost"]
    assert "linux" not in run.plan() and "refuse" not in run.plan()
    assert "linux" not in run.fleet("publish_plan")["servers"]
    assert written(fleet) == list(SERVERS)
    servers = json.loads(report.read_text(encoding="utf-8"))["servers"]
    assert [server["host"] for server in servers] == ["ann", "ben", "cat"]


def test_batches_that_no_play_could_read_are_refused_before_anything_is_sent(fleet: Site) -> None:
    run = fleet.play.run("publish", extra={"publish_serial": "ten", "publish_max_fail_percentage": "few"})
    assert (run.status, run.failed()) == (2, ["ann", "ben", "cat"]), run.output
    assert "Traceback" not in run.output
    plan = " ".join(run.plan().split())
    assert "publish_serial is 'ten'. Give a number of servers" in plan
    assert "publish_max_fail_percentage is 'few'. Give a percentage" in plan
    assert [fleet.executions(name) for name in SERVERS] == [0, 0, 0]


# -- check mode, and the form that the README gives ------------------------------------------------------------------
def test_check_mode_is_changed_per_server_runs_the_handler_and_changes_nothing(fleet: Site) -> None:
    run = fleet.play.run("publish", "--check", "--diff")
    assert run.status == 0, run.output
    for name in ("ann", "ben", "cat"):
        assert run.changed(name) > 0
        assert run.last(name, "wspcfg", "Write the file")["changed"]
        assert run.last(name, "service_restart")["outcome"] == "predicted"
    assert written(fleet) == []


def test_the_form_of_the_readme_publishes(fleet: Site) -> None:
    text = (Path(__file__).parents[2] / "roles" / "publish" / "README.md").read_text(encoding="utf-8")
    (example,) = [
        block for block in text.split("```yaml\n") if block.startswith("- name: Publish the Exchange servers")
    ]
    playbook = fleet.play.write("readme.yml", example.partition("```")[0])
    assert "rolespec_validate: false" in playbook.read_text(encoding="utf-8")
    run = fleet.play.run(playbook)
    assert run.status == 0, run.output
    assert [in_force(fleet, name) for name in SERVERS] == [(fleet.port("pop3"),)] * 3
    assert headlines(run, "Published 3 of 3 servers")


# -- who cannot be asked --------------------------------------------------------------------------------------------
@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Site]:
    """Three servers, each out of reach for a reason of its own."""
    wishes = [
        Wish("ANN", DIRECT, POP, {"variables": {"ansible_password": "not-the-password"}}),
        Wish("BEN", COMPUTER, {**POP, "target_deadline": 5}),  # a used-up quota is waited for
        Wish("CAT", DIRECT, POP),
    ]
    with site(tmp_path, wishes) as here:
        here.lab.inject("quota", here.wire("BEN").machine.name, times=-1)
        here.lab.inject("network_down", "CAT")
        yield here


WHY: t.Final = {
    "ann": "Check ansible_user and ansible_password",
    "ben": "quota",
    "cat": "cannot be reached",
}


@pytest.mark.parametrize("playbook", ["publish", "audit"])
def test_a_fleet_that_is_altogether_out_of_reach_has_its_plan_with_every_reason(lost: Site, playbook: str) -> None:
    run = lost.play.run(playbook)
    assert (run.status, run.unreachable(), run.failed()) == (4, ["ann", "ben", "cat"], []), run.output
    plan = " ".join(run.plan().split())
    for name, reason in WHY.items():
        assert reason in plan
        assert reason in run.messages(name)
    assert ("3 not reached" if playbook == "publish" else "3 servers: 0 in order, 3 unknown") in plan
    assert run.output.count("not-the-password") == 0
    assert written(lost) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"ansible_password": "{{ vault_missing }}"},
        {"ansible_connection": "winrn"},
        {"ansible_become_password": "{{ vault_missing }}", "ansible_port": "{{ vault_missing }}"},
    ],
    ids=["undefined", "plugin", "become"],
)
def test_a_first_server_whose_connection_is_nonsense_stops_no_other(
    tmp_path: Path, variables: dict[str, t.Any]
) -> None:
    wishes = [Wish("ANN", DIRECT, POP, {"variables": variables}), Wish("BEN", COMPUTER, POP), Wish("CAT", DIRECT, POP)]
    with site(tmp_path, wishes) as here:
        run = here.play.run("publish", extra={"publish_serial": 3, "publish_report": str(tmp_path / "report.json")})
        assert (run.status, run.failed()) == (2, ["ann"]), run.output
        word = next(iter(variables.values())).strip("{} ")
        assert "refuse" in run.server("ann", run.plan()) and word in run.server("ann", run.plan())
        assert run.summary().startswith("Published 2 of 2 servers in ")
        assert written(here) == ["BEN", "CAT"]
        assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["complete"] is True
        audit = here.play.run("audit")
        assert (audit.status, audit.failed()) == (2, ["ann"]), audit.output
        assert "3 servers: 2 in order, 1 refused" in audit.plan()


def test_each_server_has_its_own_probe_host_and_one_that_is_lost_stops_its_own_only(tmp_path: Path) -> None:
    wishes = [
        Wish("ANN", DIRECT, {**POP, "probe_host": "outside1"}),
        Wish("BEN", COMPUTER, {**POP, "probe_host": "outside2"}),
        Wish("CAT", DIRECT, {**POP, "probe_host": "outside.invalid"}),
    ]
    with site(tmp_path, wishes) as here:
        ssh = here.play.write("ssh", "#!/bin/sh\necho 'ssh: Could not resolve hostname' >&2\nexit 255\n")
        ssh.chmod(0o755)
        extra = {"ansible_ssh_executable": str(ssh), "publish_serial": 3}
        run = here.play.run("publish", *more_hosts(here, "outside1", "outside2"), extra=extra)
        assert (run.status, run.failed()) == (2, ["cat"]), run.output
        assert headlines(run) == ["Plan for 3 servers; ports asked from outside1, outside2"]
        assert "refuse publish_probe_host 'outside.invalid' could not check the ports" in run.server("cat", run.plan())
        for name, vantage in (("ann", "outside1"), ("ben", "outside2")):
            assert f"asked from {vantage}" in run.server(name, run.summary())
        assert written(here) == ["ANN", "BEN"]
        nowhere = here.play.run("audit", "-l", "cat", extra=extra)
        assert (nowhere.status, nowhere.failed()) == (2, ["cat"]), nowhere.output
        assert "ports not checked, see publish_probe_host" in nowhere.plan()


# -- what is said ---------------------------------------------------------------------------------------------------
def test_a_slice_of_an_inventory_says_that_it_is_one(fleet: Site) -> None:
    slices = {"awx_workflow_job_name": "Publish mail", "awx_job_template_name": "Publish mail"}
    for playbook in ("publish", "audit"):
        run = fleet.play.run(playbook, "--check", extra=slices)
        text = " ".join(run.plan().split())
        assert "This job is one slice of 'Publish mail': servers of the other slices are not seen" in text
        assert "msexchange.winsock_proxy.conflicts" in text
    workflow = fleet.play.run("publish", "--check", extra={**slices, "awx_workflow_job_name": "Nightly"})
    assert "slice" not in workflow.plan()


def test_a_fleet_in_order_costs_at_most_three_tasks_per_server_and_a_line_of_proof(fleet: Site) -> None:
    first = fleet.play.run("publish", extra={"publish_serial": 3})
    assert first.status == 0, first.output
    summary = first.summary()
    assert summary.startswith("Published 3 of 3 servers in ")
    for name in SERVERS:
        about = first.server(name.lower(), summary)
        assert f"wrote {BIN}" in about
        assert "restart MSExchangeIS (down " in about
        assert f"proven {fleet.port('pop3')} POP3: answers as Exchange 5.5." in about
    # verify has one more: it says what is wrong only after the report, which needs every server's verdict.
    for playbook, most in (("verify", 4), ("publish", 3), ("audit", 3)):
        run = fleet.play.run(playbook)
        assert run.status == 0, run.output
        for name in SERVERS:
            tasks = [entry.task for entry in run.of(name.lower()) if not entry.once]
            assert len(tasks) <= most, tasks
    assert headlines(run, "3 servers: 3 in order; 3 of 3 ports as wanted")


def test_no_password_is_in_any_result_or_line(fleet: Site) -> None:
    password = fleet.lab.fleet.password
    fleet.lab.inject("bind_fails", "BEN", protocol="pop3")
    impatient = {"publish_probe_deadline": 1.0, "publish_max_fail_percentage": 100, "publish_serial": 3}
    for playbook in ("publish", "audit", "verify"):
        run = fleet.play.run(playbook, "-vvv", extra=impatient)
        assert "ben" in run.failed(), "the server that is looked into"
        assert password not in run.output
        assert password not in json.dumps([vars(entry) for entry in run.entries])


def test_what_the_steps_return_is_documented(fleet: Site) -> None:
    fleet.lab.inject("bind_fails", "BEN", protocol="pop3")
    runs = [fleet.play.run("publish", extra={"publish_probe_deadline": 1.0}), fleet.play.run("verify")]
    seen = set()
    for entry in [entry for run in runs for entry in run.entries]:
        module = entry.action.rpartition(".")[2]
        if not module.startswith("publish_") or entry.outcome == "skipped":
            continue
        seen.add(module)
        documentation = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{module}").RETURN
        told = {key for key in entry.result if not key.startswith("_")}
        assert told - OF_EVERY_TASK <= set(yaml.safe_load(documentation)), module
    assert seen >= {"publish_look", "publish_plan", "publish_owed", "publish_verdict", "publish_summary"}
