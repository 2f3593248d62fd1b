# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook publish makes of each kind of trouble: many servers, each with its own, in one run.

Then the trouble ends, and one more plain run shows what that heals and what it names instead.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from tests.lab.target.journal import new_entry
from tests.lab.target.state import Store
from tests.support.playbook import Run
from tests.support.site import BIN, COMPUTER, DIRECT, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD = "[STORE]\nServerBindTcpPorts=110\nPersistent=1\nKillOldSession=1\n"
BOTH = ("pop3", "imap4")
EVERYTHING = ("pop3", "imap4", "ldap", "ldaps", "smtp")
STOPPED_IN_ORDER = ("MSExchangeES", "MSExchangeIMC", "MSExchangeIS")
DAY_MINUTES = 24 * 60
# A window of half a day: at this speed of the lab, minutes of a slow test machine do not leave it.
WINDOW = "12:00-00:00"
INSIDE, OUTSIDE = 13 * 60, 30
# Ends a check early, so that what a port does not do need not be waited for.
IMPATIENT = {
    "publish_serial": 50,
    "publish_max_fail_percentage": 100,
    "publish_probe_deadline": 1.0,
    "publish_probe_timeout": 3.0,
}


def nothing(_here: Site, _name: str) -> None:
    """There is no trouble."""


def inject(fault: str, **arguments: t.Any) -> Callable[[Site, str], None]:
    """A fault of the server."""

    def make(here: Site, name: str) -> None:
        here.lab.inject(fault, name, **arguments)

    return make


def both(*makers: Callable[[Site, str], None]) -> Callable[[Site, str], None]:
    def make(here: Site, name: str) -> None:
        for maker in makers:
            maker(here, name)

    return make


def proxy(condition: str) -> Callable[[Site, str], None]:
    def make(here: Site, name: str) -> None:
        here.lab.inject("proxy", name=here.proxy(name), condition=condition)

    return make


def take_ports(here: Site, name: str) -> None:
    """Other programs of the proxy take every port, when they have been seen free and before a service asks for them."""
    for protocol in EVERYTHING:
        here.lab.inject(
            "take_port",
            at="worker.recorded",
            on=name,
            address=here.address(name),
            port=here.port(protocol),
            line="220 somebody else",
        )


def behind(here: Site, name: str) -> None:
    here.lab.inject("clock", name, skew_s=-3600.0)


def offset_for(here: Site, name: str, minutes: int) -> int:
    """Offset from UTC with which the machine that runs the script shows a time of day."""
    clock = here.wire(name).machine.clock
    return (minutes - int(clock.now() // 60) + DAY_MINUTES // 2) % DAY_MINUTES - DAY_MINUTES // 2


def show(minutes: int) -> Callable[[Site, str], None]:
    """Move the time zone of the machine that runs the script, until its wall shows this time of day."""

    def make(here: Site, name: str) -> None:
        here.lab.inject("clock", here.wire(name).machine.name, utc_offset_minutes=offset_for(here, name, minutes))

    return make


def window_closes(here: Site, name: str) -> None:
    """It is inside the window when the restart begins, and outside when that has ended."""
    show(INSIDE)(here, name)
    here.lab.inject("clock", name, at="worker.settling", utc_offset_minutes=offset_for(here, name, OUTSIDE))


def again_fails(here: Site, name: str) -> None:
    """The information store starts once more, and then no more."""
    store = "MSExchangeIS"
    here.lab.inject("service", name, name=store, start="fail", code=1053, at="worker.running", at_service=store)


def left_down(*, boot: str = "") -> Callable[[Site, str], None]:
    """A restart was cut after it had stopped everything, in this boot or in an earlier one."""

    def make(here: Site, name: str) -> None:
        server = here.host(name)
        for service in STOPPED_IN_ORDER:
            here.lab.inject("stop_service", name, name=service)
            server.until_service(service, "stopped")
        here.lab.call(lambda: write_journal(server.machine, boot))

    return make


def write_journal(machine: t.Any, boot: str) -> None:
    store, now = Store(machine), machine.clock.now()
    asked: t.Any = {"role": "dependent", "depends_on": [], "file": None, "file_sha256": None, "loaded": None}
    rows = [
        {**new_entry({**asked, "name": service}), "before": "running", "ran": True, "step": "stopped"}
        for service in reversed(STOPPED_IN_ORDER)
    ]
    rows[0]["role"] = "root"
    store.write_journal(
        {
            "version": 1,
            "run": "00000000-cut",
            "who": "tester@controller",
            "machine": machine.name,
            "boot": boot or store.ensure_boot(),
            "phase": "stopping",
            "service": "MSExchangeIS",
            "step": "stopped",
            "services": rows,
            **dict.fromkeys(("began", "updated", "since", "deadline"), now),
            **dict.fromkeys(("outcome", "error", "previous")),
            **{key: [] for key in ("timeline", "left_alone", "finished")},
        }
    )


@dataclass(frozen=True)
class Case:
    """A server with its trouble.

    Attributes:
        mode: How it is reached.
        publish: Role variables beside the listeners.
        listeners: What is wanted.
        text: Its Wspcfg.ini, which its processes have loaded.
        make: What is done to the running lab.
        fails: Whether the first run fails there.
        says: What the run says about it.
        written: Whether the file differs afterwards.
        restarts: How often service_restart ran there.
        hooks: Whether the files of tasks around a restart were included.
        again: What the second run, without the trouble, comes to: ``changed``, ``same``, ``failed``, or empty where it
            is left out.
    """

    mode: str
    publish: Mapping[str, t.Any] = field(default_factory=dict)
    listeners: tuple[str, ...] = BOTH
    text: str = OLD
    make: Callable[[Site, str], None] = nothing
    fails: bool = True
    says: tuple[str, ...] = ()
    written: bool = True
    restarts: int = 1
    hooks: bool = True
    again: str = "same"


EVENTS = (
    "Event log: event 11508: the POP3 port is already in use",
    "Event log: event 11506: the IMAP4 or NNTP port is already in use",
    "Event log: event 1194: the information store could not accept clients",
    "Event log: event 1306: LDAP port 389 is already in use",
    "Event log: event 1309: LDAP port 636 is already in use",
    "Event log: event 4007: port 25 is already in use on the proxy",
    "Event log: event 4020: the Internet Mail Service did not start",
)

CASES: Mapping[str, Case] = {
    "EVENTS": Case(DIRECT, listeners=EVERYTHING, text="", make=take_ports, says=EVENTS, again=""),
    # Its clock is an hour behind that of its management host.
    "BEHIND": Case(COMPUTER, listeners=EVERYTHING, text="", make=both(behind, take_ports), says=EVENTS, again=""),
    "NOPROBE": Case(
        DIRECT,
        {"probe": False, "stop_timeout": 60, "restart_deadline": 300},
        make=inject("service", name="MSExchangeIMC", stop="hang"),
        says=("MSExchangeIMC", "Q246287", "raise publish_stop_timeout"),
        again="changed",
    ),
    "BACK": Case(
        COMPUTER,
        make=both(
            inject("bind_fails", protocol="pop3", times=1),
            inject(
                "service", name="MSExchangeIS", start="fail", code=1053, at="worker.running", at_service="MSExchangeIS"
            ),
        ),
        says=("The file of before was put back", "Restart after that: ", "MSExchangeIS did not start", "Down now: "),
        written=False,
        restarts=2,
        again="changed",
    ),
    "BLIND": Case(
        DIRECT,
        {"blind": "proceed", "rollback": "always"},
        make=proxy("gone"),
        says=("Nothing was rolled back: the probe host saw nothing of the proxy before",),
    ),
    "ALWAYS": Case(
        COMPUTER,
        {"rollback": "always"},
        make=inject("bind_fails", protocol="imap4", times=1),
        says=("The file of before was put back",),
        written=False,
        restarts=2,
        again="changed",
    ),
    # What did not bind although it has loaded its file is named, and not restarted again and again.
    "NEVER": Case(
        DIRECT,
        {"rollback": "never"},
        make=inject("bind_fails", protocol="pop3", times=1),
        says=("Nothing was rolled back: the policy is never to roll back",),
        again="failed",
    ),
    "CORRUPT": Case(
        COMPUTER,
        make=inject("corrupt_journal"),
        says=("the journal of an earlier restart cannot be read", "delete the value journal"),
        written=False,
        restarts=0,
        hooks=False,
        again="changed",
    ),
    # What an interrupted restart has left down is not left down until the night.
    "LEFTWAIT": Case(
        DIRECT, {"restart_window": WINDOW}, ("pop3",), make=both(show(OUTSIDE), left_down()), fails=False, written=False
    ),
    "LEFTLATE": Case(COMPUTER, {"restart": "defer"}, make=left_down(), fails=False),
    "LEFTOVER": Case(DIRECT, {"finish": "any"}, ("pop3",), make=left_down(boot="another"), fails=False, written=False),
    "WAITS": Case(
        COMPUTER,
        {"restart_window": WINDOW},
        make=show(OUTSIDE),
        fails=False,
        says=(f"not done: outside publish_restart_window '{WINDOW}', for it is 0", "(UTC", ") on MWAITS"),
        restarts=0,
        hooks=False,
        again="changed",
    ),
    "CLOSES": Case(
        DIRECT,
        {"restart_window": WINDOW},
        make=both(window_closes, inject("bind_fails", protocol="pop3", times=1)),
        says=(
            "The file of before was put back",
            f"has not loaded the new [STORE]; not done: outside publish_restart_window '{WINDOW}'",
        ),
        written=False,
        again="",
    ),
    "DEFER": Case(
        DIRECT,
        {"restart": "defer"},
        make=inject("crash_service", name="MSExchangeIS", at="apply.file1.after"),
        says=("Nothing was rolled back: no service was restarted",),
        restarts=0,
        hooks=False,
        again="",
    ),
    "DEPENDS": Case(
        COMPUTER,
        {"start_dependencies": True},
        make=inject("crash_service", name="MSExchangeDS"),
        fails=False,
    ),
    # Behind a proxy that nobody sees, an open port would be taken for a closed one.
    "GONE": Case(
        COMPUTER,
        {"state": "absent"},
        make=proxy("gone"),
        says=("cannot be seen from publish_probe_host 'localhost'", "publish_blind: proceed"),
        written=False,
        restarts=0,
        hooks=False,
        again="changed",
    ),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    wishes = [
        Wish(name, case.mode, {**case.publish, "listeners": list(case.listeners)}, {"files": files_of(case)})
        for name, case in CASES.items()
    ]
    with site(tmp_path_factory.mktemp("outcomes"), wishes) as running:
        for name, case in CASES.items():
            running.lab.call(lambda name=name: age(running, name))
            case.make(running, name)
        yield running


def files_of(case: Case) -> dict[str, str]:
    return {BIN: case.text} if case.text else {}


def age(here: Site, name: str) -> None:
    """The files are older than the processes, which have loaded them."""
    machine = here.host(name).machine
    for node in machine.files.files():
        machine.files.set_modified(node.path, machine.clock.now() - 86400.0)


@pytest.fixture(scope="module")
def before(here: Site) -> dict[str, bytes | None]:
    return {name: here.host(name).file(BIN) for name in CASES}


@pytest.fixture(scope="module")
def first(here: Site, before: dict[str, bytes | None]) -> Run:
    assert before
    hooks = {
        f"publish_{when}_restart_tasks": str(
            here.play.write(f"{when}.yml", f"- name: Hook {when}\n  ansible.builtin.debug: {{msg: {when}}}\n")
        )
        for when in ("before", "after")
    }
    return here.play.run("publish", "--forks", "8", extra={**IMPATIENT, **hooks})


@dataclass(frozen=True)
class Seen:
    """What is seen after the first run and before the trouble ends."""

    files: Mapping[str, bytes | None]
    down: Mapping[str, set[str]]
    in_force: Mapping[str, Mapping[str, tuple[int, ...]]]


@pytest.fixture(scope="module")
def seen(here: Site, first: Run) -> Seen:
    assert first.entries
    servers = {name: here.host(name) for name in CASES}
    states = {name: server.services() for name, server in servers.items()}
    return Seen(
        {name: server.file(BIN) for name, server in servers.items()},
        {name: {one for one in of_server if of_server[one] != "running"} for name, of_server in states.items()},
        {name: server.in_force() for name, server in servers.items()},
    )


@pytest.fixture(scope="module")
def second(here: Site, seen: Seen) -> Run:
    assert seen.files
    here.lab.clear()
    here.lab.inject("end_hang", "NOPROBE", name="MSExchangeIMC")
    show(INSIDE)(here, "WAITS")
    hosts = ",".join(name.lower() for name, case in CASES.items() if case.again)
    return here.play.run("publish", "--forks", "8", "-l", hosts, extra=IMPATIENT)


def told(run: Run, name: str) -> str:
    """Everything that was said of a server: what its tasks failed with, and its part of the plan and of the summary."""
    entries = [run.server(name.lower(), text) for text in (run.plan(), run.summary())]
    return "\n".join([run.messages(name.lower()), *entries])


@pytest.mark.parametrize("name", CASES)
def test_the_run_fails_where_it_should_and_says_why(first: Run, name: str) -> None:
    case = CASES[name]
    assert first.unreachable() == []
    assert (name.lower() in first.failed()) is case.fails, first.output
    text = told(first, name)
    for part in case.says:
        assert part in text


@pytest.mark.parametrize("name", CASES)
def test_the_file_and_the_number_of_restarts_are_as_they_should(
    before: dict[str, bytes | None], first: Run, seen: Seen, name: str
) -> None:
    case = CASES[name]
    assert (seen.files[name] != before[name]) is case.written
    restarts = [entry for entry in first.of(name.lower(), "service_restart") if entry.outcome != "skipped"]
    assert len(restarts) == case.restarts


@pytest.mark.parametrize("name", CASES)
def test_what_surrounds_a_restart_is_included_whatever_becomes_of_it(first: Run, name: str) -> None:
    hooks = [entry.task.rpartition(" : ")[2] for entry in first.of(name.lower(), "debug", "Hook")]
    assert hooks == (["Hook before", "Hook after"] if CASES[name].hooks else [])


@pytest.mark.parametrize("name", ["LEFTWAIT", "LEFTLATE", "LEFTOVER", "DEPENDS"])
def test_what_was_down_runs(here: Site, seen: Seen, name: str) -> None:
    assert not seen.down[name] & {"MSExchangeDS", *STOPPED_IN_ORDER}
    assert seen.in_force[name]["STORE"] == tuple(here.port(protocol) for protocol in CASES[name].listeners)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.again])
def test_the_next_plain_run_heals_or_names_it(here: Site, second: Run, name: str) -> None:
    case = CASES[name]
    assert (name.lower() in second.failed()) is (case.again == "failed"), second.output
    assert bool(second.changed(name.lower())) is (case.again == "changed")
    if case.again == "failed":
        assert f"{here.address(name)}:{here.port('pop3')}" in second.messages(name.lower())
    elif case.publish.get("state") == "absent":
        assert here.host(name).file(BIN) is None
    else:
        ports = tuple(here.port(protocol) for protocol in case.listeners)
        assert here.host(name).in_force()["STORE"] == ports


def test_tasks_that_fail_after_a_restart_hide_neither_proof_nor_rollback(tmp_path: Path) -> None:
    spec = {"files": {BIN: OLD}}
    wishes = [
        Wish("GOOD", DIRECT, {"listeners": list(BOTH)}, spec),
        Wish("BACK", COMPUTER, {"listeners": list(BOTH), "rollback": "always"}, spec),
    ]
    with site(tmp_path, wishes) as here:
        for name in ("GOOD", "BACK"):
            here.lab.call(lambda name=name: age(here, name))
        here.lab.inject("bind_fails", "BACK", protocol="imap4", times=1)
        hook = here.play.write("after.yml", "- name: Tell\n  ansible.builtin.fail: {msg: nobody is on duty}\n")
        run = here.play.run("publish", extra={**IMPATIENT, "publish_after_restart_tasks": str(hook)})
        assert (run.status, run.failed()) == (2, ["back", "good"]), run.output
        good, back = (run.server(name, run.summary()) for name in ("good", "back"))
        for part in (
            f"wrote {BIN}",
            "restart MSExchangeIS (down ",
            f"proven {here.port('pop3')} POP3",
            "the file stays",
        ):
            assert part in good
        for part in ("put back the file of before", "restart MSExchangeIS (down ", "The file of before was put back"):
            assert part in back
        assert "the file stays" not in back
        for text in (good, back, run.messages("good"), run.messages("back")):
            assert "after that, a task failed: nobody is on duty." in text
