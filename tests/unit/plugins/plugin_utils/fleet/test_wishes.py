# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's options stand once: what the role documents, defaults to and hands on, held against what modules take."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet import batches
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet import wishes as engine
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.look import Look
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.fleet.plan import owed_now, restart_arguments
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.problem import Refused
from tests.conftest import ROOT
from tests.support.looks import look, wishes
from tests.support.options import taken

Json = dict[str, t.Any]
ROLE = ROOT / "roles" / "publish"
MODULES = {"undo": "wspcfg"}  # arguments of a module for another purpose


def read(name: str) -> t.Any:
    return yaml.safe_load((ROLE / name).read_text(encoding="utf-8"))


def documented() -> Json:
    options = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return {name.removeprefix(engine.PREFIX): option for name, option in options.items()}


def task(name: str) -> Json:
    (found,) = read(f"tasks/{name}.yml")
    return t.cast(Json, found)


def test_the_role_documents_every_option_and_no_other() -> None:
    assert set(documented()) == set(engine.OPTIONS)
    assert {name.removeprefix(engine.PREFIX) for name in read("defaults/main.yml")} == set(engine.OPTIONS)


@pytest.mark.parametrize("name", engine.OPTIONS)
def test_the_role_documents_an_option_as_it_is_checked(name: str) -> None:
    said, done = documented()[name], engine.OPTIONS[name]
    assert (said["type"], said.get("elements")) == (done["type"], done.get("elements"))
    # An empty text stands for an option that is not given.
    assert [value for value in said.get("choices", []) if value != ""] == list(done.get("choices") or [])


def test_a_look_gets_every_option_in_one_line_and_the_connection_from_one_place() -> None:
    look = task("look")
    own = {"offline", "restoring", *batches.OPTIONS}
    given = {name: value for name, value in look["msexchange.winsock_proxy.publish_look"].items() if name not in own}
    assert given == {name: f"{{{{ publish_{name} }}}}" for name in given}
    connection = read("vars/main.yml")["__publish_connection"]
    assert connection == {name: f"{{{{ publish_{name} }}}}" for name in engine.CONNECTION}
    assert set(given) | set(connection) == set(engine.OPTIONS)
    assert not set(given) & set(connection)


@pytest.mark.parametrize("module", engine.HANDED_ON)
def test_what_is_handed_on_is_what_the_module_takes(module: str) -> None:
    spec = taken(MODULES.get(module, module))
    for option, own in engine.HANDED_ON[module].items():
        assert option in spec, option
        assert spec[option].get("type", "str") == engine.OPTIONS[own]["type"], option
        assert list(spec[option].get("choices") or []) in ([], list(engine.OPTIONS[own].get("choices") or [])), option


# What the role decides by itself, or gives in the task: never an option of the role.
DECIDED: t.Mapping[str, set[str]] = {
    "wspcfg": {"listeners", "undo"},
    "wspcfg_info": {"events_since", "inside_ports"},
    "service_restart": {"names", "plan", "window", "only_if_pending", "dependents", "settle"},
    "port_probe": {
        *("targets", "connect_timeout", "check_mode_deadline", "concurrency", "source_address", "fail_on_mismatch"),
        "fail_on_unreachable",
    },
}


@pytest.mark.parametrize("module", DECIDED)
def test_every_option_of_a_module_is_the_roles_or_the_roles_decision(module: str) -> None:
    handed = set(engine.HANDED_ON[module])
    assert handed | DECIDED[module] | set(engine.CONNECTION) == set(taken(module)) | set(engine.CONNECTION)
    assert not handed & DECIDED[module]


def test_options_that_are_not_given_have_their_defaults_and_no_task_gets_an_empty_one() -> None:
    read_back = wishes(bin_dir="", ports={}, force_credentials=None, restart_window="", conflict_hosts="")
    assert read_back["arguments"]["wspcfg"] == {
        "state": "present",
        "proxy_address": "192.0.2.1",
        "pin": False,
        "mta_direct": "auto",
        "listeners": ["pop3"],
    }
    assert read_back["arguments"]["port_probe"] == {"timeout": 75.0, "deadline": 300.0, "delay": 5.0}
    assert read_back["arguments"]["service_restart"]["deadline"] == 3600
    assert read_back["compared"] == "all"


@pytest.mark.parametrize("computer", ["", "EX1"])
def test_a_restart_names_its_server_in_every_mode_and_never_an_account(computer: str) -> None:
    account = {"computer_username": "D\\u", "computer_password": "geheim"} if computer else {}
    told = look(computer=computer, lock_wait=0, target_deadline=7, **account)
    arguments = restart_arguments(told, owed_now(told, claimed=lambda _host, _port: False))
    place = {name: value for name, value in arguments.items() if name in engine.CONNECTION}
    assert place == {"computer": computer, "target_deadline": 7, "lock_wait": 0}
    assert set(place) == set(engine.CONNECTION) - engine.SECRETS


def test_absent_hands_on_what_is_withdrawn_and_a_restore_no_listeners() -> None:
    absent = wishes(state="absent", withdraw=["imap4"])["arguments"]["wspcfg"]
    assert absent["listeners"] == ["imap4"]
    assert "listeners" not in wishes(restore="latest")["arguments"]["wspcfg"]


def test_no_account_of_the_second_hop_is_in_a_result() -> None:
    shown = wishes(computer="EX1", computer_username="D\\u", computer_password="geheim")
    assert "geheim" not in str(shown)
    assert "computer_username" not in shown


def test_everything_that_is_wrong_is_told_at_once_with_option_value_and_remedy() -> None:
    with pytest.raises(Refused) as caught:
        wishes(
            listeners=["pop4"],
            stop_timeout="ten",
            pin="perhaps",
            ports="no mapping",
            restart="tomorrow",
            conflict_hosts="exchnage",
            before_restart_tasks="hook.yml",
        )
    message = caught.value.message("a")
    lines = message.splitlines()
    assert all(line.startswith("a: ") for line in lines)
    for parts in (
        ("publish_listeners", "pop4", "pop3s"),
        ("publish_stop_timeout is 'ten'", "at least 1"),
        ("publish_pin='perhaps'",),
        ("publish_ports='no mapping'",),
        ("publish_restart='tomorrow'", "defer"),
        ("publish_conflict_hosts='exchnage'", "no host or group exchnage", "Set it to all"),
        ("publish_before_restart_tasks is 'hook.yml'", "absolute path"),
    ):
        assert any(all(part in line for part in parts) for line in lines), (parts, message)


@pytest.mark.parametrize("value", [5, ["22:00"], {"a": 1}, True])
@pytest.mark.parametrize("name", sorted(engine.OPTIONS))
def test_a_value_of_the_wrong_type_is_a_refusal_or_taken_and_never_a_traceback(name: str, value: t.Any) -> None:
    try:
        wishes(**{name: value})
    except Refused as refused:
        assert name in refused.message("a")


def test_a_password_of_the_wrong_type_is_not_repeated() -> None:
    with pytest.raises(Refused) as caught:
        wishes(computer_password=["geheim"], stop_timeout=[])
        wishes(computer_password={"geheim": object}, restart="x")
    assert "geheim" not in caught.value.message("a")


@pytest.mark.parametrize(
    ("path", "files", "found"),
    [
        ("hook.yml", ["/plays/hook.yml"], "/plays/hook.yml"),
        ("hook.yml", ["/plays/tasks/hook.yml"], "/plays/tasks/hook.yml"),
        ("/else/hook.yml", ["/else/hook.yml"], "/else/hook.yml"),
    ],
)
def test_files_of_tasks_are_looked_for_beside_the_playbook(path: str, files: list[str], found: str) -> None:
    assert wishes(files=files, before_restart_tasks=path)["hooks"]["before_restart_tasks"] == found


@pytest.mark.parametrize(
    ("value", "compared"),
    [("all", "all"), ("exchange", ["a", "b", "c"]), (["a", "exchange"], ["a", "a", "b", "c"]), ("b", ["b"])],
)
def test_hosts_to_compare_with_are_names_groups_or_all(value: t.Any, compared: t.Any) -> None:
    assert wishes(conflict_hosts=value)["compared"] == compared


def test_a_restore_needs_a_choice() -> None:
    with pytest.raises(Refused, match="publish_restore is not set"):
        wishes(restoring=True)
    assert wishes(restoring=True, restore="latest")["restore"] == "latest"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("publish_listner", "Rename it to publish_listeners, or give a variable of your own another name."),
        ("publish_proxy_adress", "Rename it to publish_proxy_address, or give a variable of your own another name."),
        ("publish_audit_json", "Rename it to publish_report."),
    ],
)
def test_a_variable_that_is_all_but_an_option_is_refused_with_the_right_name(name: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        wishes(named=[name, "publish_hosts", "publish_listeners"])
    assert caught.value.message("a") == f"a: option {name}: the role has no such option. {remedy}"


def test_variables_of_the_playbooks_and_of_others_are_left_alone() -> None:
    names = ("publish_hosts", "publish_serial", "publish_max_fail_percentage", "publish_run", "publish_our_ticket")
    assert wishes(named=names)["listeners"] == ["pop3"]


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"listeners": ["pop4"]}, "Did you mean pop3?"),
        ({"listeners": {"pop3": 1}}, "Give a list, such as [pop3, pop3s]."),
        ({"restart": "later"}, "Give now, defer or never."),
        ({"pin": [1]}, "Give true or false."),
        ({"ports": "x"}, "Give a mapping, such as {ldap: 390}."),
        ({"state": "presnt"}, "Did you mean present?"),
    ],
)
def test_a_wrong_value_is_answered_with_the_right_form_once(options: Json, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        wishes(**options)
    (message,) = caught.value.message("a").splitlines()
    assert message.endswith(remedy)


@pytest.mark.parametrize("path", ["/srv/report.html", "/srv/REPORT.JSON", "/srv/report.xml"])
def test_a_report_says_its_form_by_its_name(path: str) -> None:
    assert wishes(report=path)["report"] == path


@pytest.mark.parametrize(
    ("path", "said"), [("/srv/report.txt", ".html, .json or .xml"), ("/no/report.html", "may write")]
)
def test_a_report_that_could_not_be_written_is_refused(path: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        wishes(report=path)
    assert f"publish_report={path!r}" in caught.value.message("a") and said in caught.value.message("a")


@pytest.mark.parametrize(
    ("given", "serial", "percentage"),
    [
        ({}, 1, 0.0),
        ({"serial": "3", "max_fail_percentage": "25"}, 3, 25.0),
        ({"serial": " 20%", "max_fail_percentage": "30%"}, "20%", 30.0),
        ({"serial": [1, "5", "100%"], "max_fail_percentage": 100}, [1, 5, "100%"], 100.0),
        ({"serial": 0}, 0, 0.0),
        ({"serial": "", "max_fail_percentage": None}, 1, 0.0),
    ],
)
def test_what_the_playbook_takes_is_handed_on_as_a_play_reads_it(given: Json, serial: t.Any, percentage: float) -> None:
    read_back = wishes(**given)
    assert (read_back["serial"], read_back["max_fail_percentage"]) == (serial, percentage)
    assert batches.agreed([Look("x", True, ("x: wrong",), {}, {}), Look("a", True, (), read_back, {})]) == {
        "serial": serial,
        "max_fail_percentage": percentage,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("serial", value) for value in ("ten", -1, "0%", "101%", "1.5", [1, "x"], True, {"a": 1})),
        *(("max_fail_percentage", value) for value in ("ten", -1, 101, "nan", [5], True)),
    ],
)
def test_what_a_play_could_not_read_is_refused(name: str, value: t.Any) -> None:
    with pytest.raises(Refused) as caught:
        wishes(**{name: value})
    assert f"publish_{name} is '{value}'" in caught.value.message("a")
    assert "Give a " in caught.value.message("a")


def test_nobody_whose_options_can_be_used_leaves_the_defaults() -> None:
    assert batches.agreed([]) == {"serial": 1, "max_fail_percentage": 0.0}
