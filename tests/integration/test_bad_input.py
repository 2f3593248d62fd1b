# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one run over a fleet in which every server but two is wrong in a way of its own.

Each wrong one is told what is wrong, where, and what to do; nothing is written there; none of them stops the others.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from tests.support.playbook import Run
from tests.support.site import BIN, COMPUTER, DIRECT, IMC, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator

GOOD: Mapping[str, t.Any] = {"listeners": ["pop3"]}
SETUP = "SOFTWARE\\Microsoft\\Exchange\\Setup"


def nothing(_here: Site, _name: str) -> None:
    """The input alone is wrong."""


def uninstalled(here: Site, name: str) -> None:
    machine = here.host(name).machine
    here.lab.call(lambda: machine.registry.delete(SETUP))
    here.lab.call(lambda: [machine.services.remove(one) for one in reversed(EXCHANGE)])


def without_mail(here: Site, name: str) -> None:
    here.lab.call(lambda: here.host(name).machine.services.remove("MSExchangeIMC"))


EXCHANGE = ("MSExchangeSA", "MSExchangeDS", "MSExchangeIS", "MSExchangeMTA", "MSExchangeIMC", "MSExchangeES")


@dataclass(frozen=True)
class Bad:
    """One thing that is wrong.

    Attributes:
        says: What the message must name, beside the host: option, value, remedy.
        words: Whose the message is: ``ours``, which begins with the host, or ``ansible``'s, which names it before.
        publish: Role variables.
        variables: Connection variables.
        mode: How the server is reached.
        files: Files that are there.
        spec: Further fields of the server.
        make: What is done to the running lab.
        unreachable: Whether Ansible calls the host unreachable.
    """

    says: tuple[str, ...]
    publish: Mapping[str, t.Any] = field(default_factory=lambda: GOOD)
    variables: Mapping[str, t.Any] = field(default_factory=dict)
    mode: str = DIRECT
    files: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, t.Any] = field(default_factory=dict)
    make: Callable[[Site, str], None] = nothing
    unreachable: bool = False
    words: str = "ours"


def inject(fault: str, *, on_wire: bool = False, **arguments: t.Any) -> Callable[[Site, str], None]:
    """A fault of the server, or of the machine that WinRM leads to."""

    def make(here: Site, name: str) -> None:
        target = here.wire(name).machine.name if on_wire else name
        here.lab.inject(fault, target, **arguments)

    return make


BAD: Mapping[str, Bad] = {
    "LISTENER": Bad(
        ("publish_listeners", "pop4", "must be one or more of", "pop3s"), {"listeners": ["pop4"]}, words="ansible"
    ),
    "NOTHING": Bad(("option publish_listeners", "nothing is to be", "at least one listener"), {"listeners": []}),
    "TWICE": Bad(("option publish_listeners='pop3'", "twice", "every listener once"), {"listeners": ["pop3", "pop3"]}),
    "PORT0": Bad(("publish_ports.pop3", "'0'", "1 to 65535"), {**GOOD, "ports": {"pop3": 0}}),
    "PORT65536": Bad(("publish_ports.pop3", "'65536'", "1 to 65535"), {**GOOD, "ports": {"pop3": 65536}}),
    "PORTTEXT": Bad(
        ("publish_ports.ldap", "'389 (636 for Secure)'", "1 to 65535"),
        {"listeners": ["ldap"], "ports": {"ldap": "389 (636 for Secure)"}},
    ),
    "PORTSAME": Bad(
        ("publish_ports=", "imap4: 4110", "a port of its own"),
        {"listeners": ["pop3", "imap4"], "ports": {"pop3": 4110, "imap4": 4110}},
    ),
    "ADDRESS": Bad(
        ("publish_proxy_address='proxy.example.com'", "such as 192.0.2.10"),
        {**GOOD, "proxy_address": "proxy.example.com"},
    ),
    "ADDRESS6": Bad(
        ("publish_proxy_address='2001:db8::1'", "such as 192.0.2.10"), {**GOOD, "proxy_address": "2001:db8::1"}
    ),
    "TLS": Bad(
        ("option publish_proxy_address: it is not given for imap4s", "ProxyBindIp", "Set publish_proxy_address"),
        {"listeners": ["imap4s"], "proxy_address": ""},
    ),
    "PROSE": Bad(
        ("ServerBindTcpPorts", BIN, "line 2", "389 (636 for Secure)", "numbers with commas"),
        {"listeners": ["ldap"]},
        files={BIN: "[DSAMAIN]\r\nServerBindTcpPorts=389 (636 for Secure)\r\n"},
    ),
    "LOCAL": Bad(
        ("ansible_connection", "no Windows host", "Set ansible_connection to winrm or psrp"),
        variables={"ansible_connection": "local", "ansible_shell_type": "powershell"},
    ),
    "MISNAMED": Bad(
        ("option publish_listner: the role has no such option", "Rename it to publish_listeners"),
        variables={"publish_listner": ["pop3"]},
    ),
    "NEWLINE": Bad(
        ("publish_bin_dir='C:\\\\new\\nline'", "Give an absolute path"), {**GOOD, "bin_dir": "C:\\new\nline"}
    ),
    "COMPUTER": Bad(
        ("publish_computer='a]b'", "Give the NetBIOS or DNS name"), variables={"publish_computer": "a]b"}, mode=COMPUTER
    ),
    "LARGE": Bad((BIN, "70000 bytes", "more than the 65536", "split it"), files={BIN: "; filler\r\n" * 7000}),
    "GONE": Bad(("option publish_bin_dir", "not found", "Set publish_bin_dir to"), make=uninstalled),
    "NOMAIL": Bad(
        ("publish_listeners='smtp'", "MSExchangeIMC", "remove these listeners"),
        {"listeners": ["smtp"]},
        make=without_mail,
    ),
    "OLD": Bad(("publish_listeners='pop3'", "4.0", "Remove it from listeners"), spec={"version": "4.0"}),
    "IMAP50": Bad(
        ("publish_listeners='imap4'", "5.0", "Remove it from listeners"),
        {"listeners": ["imap4"]},
        spec={"version": "5.0"},
    ),
    "PASSWORD": Bad(
        ("ansible_user=", "Administrator", "Check ansible_user and ansible_password"),
        variables={"ansible_password": "wrong"},
        unreachable=True,
    ),
    "DOWN": Bad(
        ("ansible_host='127.", "cannot be reached", "Check ansible_host"),
        make=inject("network_down", on_wire=True),
        unreachable=True,
    ),
    "HOP": Bad(
        ("publish_computer='HOP'", "second hop", "CredSSP", "publish_computer_username"),
        mode=COMPUTER,
        variables={"publish_computer_username": "", "publish_computer_password": ""},
    ),
    "REFUSED": Bad(
        ("publish_computer_username=", "refused", "Check publish_computer_username"),
        mode=COMPUTER,
        make=inject("refuse_credential"),
    ),
    "AWAY": Bad(
        ("publish_computer='AWAY'", "could not reach", "Check the name"), mode=COMPUTER, make=inject("network_down")
    ),
    "HTTP": Bad(
        ("ansible_port=", "something else than WinRM", "Check ansible_host and ansible_port"),
        make=inject("not_windows", on_wire=True),
        unreachable=True,
    ),
    "POSH2": Bad(
        ("ansible_host", "PowerShell is 2.0", "Install Windows Management Framework 3.0"),
        make=inject("old_powershell", on_wire=True),
    ),
    "SILENT": Bad(
        ("ansible_connection", "did not answer", "set ansible_connection to"), make=inject("silent", on_wire=True)
    ),
    "BECOME": Bad(
        ("option become", "CredSSP", "publish_computer_username"),
        variables={"ansible_become": True, "ansible_become_user": "SYSTEM"},
    ),
    "ONE": Bad(("publish_listeners (pop3)", "is claimed by two as well", "publish_ports")),
    "TWO": Bad(("publish_listeners (pop3)", "is claimed by one as well", "publish_ports")),
    "UNDEFINED": Bad(("publish_nonsense",), {**GOOD, "ports": "{{ publish_nonsense }}"}, words="ansible"),
    "UNPROVEN": Bad(
        ("publish_proxy_address", "pop3", "Set it", "publish_probe to false"), {**GOOD, "proxy_address": ""}
    ),
    "TYPO": Bad(
        ("publish_conflict_hosts='exchnage'", "no host or group", "Set it to all, to a group"),
        {**GOOD, "conflict_hosts": "exchnage"},
    ),
    "WINDOW": Bad(("publish_restart_window", "tonight", "22:00-05:00"), {**GOOD, "restart_window": "tonight"}),
    "WINDOWLESS": Bad(
        ("publish_restart_window", "22:00-22:00", "two different times"), {**GOOD, "restart_window": "22:00-22:00"}
    ),
    "NOTIME": Bad(
        (
            "publish_stop_timeout is '0'",
            "publish_start_timeout is '-1'",
            "publish_restart_deadline is '0'",
            "at least 1",
        ),
        {**GOOD, "stop_timeout": 0, "start_timeout": -1, "restart_deadline": 0},
    ),
    "NODELAY": Bad(
        ("publish_probe_delay is '0'", "publish_probe_deadline is '-5'", "0 to 86400"),
        {**GOOD, "probe_delay": 0, "probe_deadline": -5},
    ),
    "NOHOOK": Bad(
        ("publish_before_restart_tasks", "/nowhere/silence.yml", "absolute path"),
        {**GOOD, "before_restart_tasks": "/nowhere/silence.yml"},
    ),
    "DISABLED": Bad(
        ("MSExchangeIMC is disabled", "publish_allow_disabled"),
        {"listeners": ["smtp"], "start_stopped": True},
        spec={"stopped": ("MSExchangeIMC",)},
        make=inject("start_type", name="MSExchangeIMC", to="disabled"),
    ),
    "DEPENDS": Bad(
        ("MSExchangeIS depends on MSExchangeDS", "publish_start_dependencies"),
        make=inject("crash_service", name="MSExchangeDS"),
    ),
    "JOURNAL": Bad(
        ("the journal of an earlier restart cannot be read", "delete the value journal"), make=inject("corrupt_journal")
    ),
    # Options that a task's own keywords use, and values of another type than the option's.
    "THROTTLE": Bad(("publish_throttle is 'ten'", "Give a number of servers"), {**GOOD, "throttle": "ten"}),
    "PORTLIST": Bad(("publish_ports='[110]'", "Give a mapping, such as {ldap: 390}"), {**GOOD, "ports": [110]}),
    "TIMETEXT": Bad(
        ("publish_target_deadline is 'soon'", "Give a number of seconds"), {**GOOD, "target_deadline": "soon"}
    ),
    "VANTAGE": Bad(
        ("publish_probe_host 'outside.invalid'", "could not check the ports", "localhost is the controller"),
        {**GOOD, "probe_host": "outside.invalid"},
    ),
}
FINE = ("GOOD1", "GOOD2")


def wish(name: str, bad: Bad) -> Wish:
    spec = {"variables": bad.variables, "files": bad.files, **bad.spec}
    return Wish(name, bad.mode, bad.publish, spec, share="ONE" if name == "TWO" else "")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    good = [Wish("GOOD1", DIRECT, GOOD), Wish("GOOD2", COMPUTER, GOOD)]
    wishes = [good[0], *(wish(name, bad) for name, bad in BAD.items()), good[1]]
    with site(tmp_path_factory.mktemp("bad"), wishes) as running:
        for name, bad in BAD.items():
            bad.make(running, name)
        yield running


@pytest.fixture(scope="module")
def before(here: Site) -> dict[str, tuple[t.Any, ...]]:
    return {name: state(here, name) for name in BAD}


def state(here: Site, name: str) -> tuple[t.Any, ...]:
    host = here.host(name)
    return host.file(BIN), host.file(IMC), host.process_ids(), host.records()


@pytest.fixture(scope="module")
def run(here: Site, before: dict[str, tuple[t.Any, ...]]) -> Run:
    assert before
    # What OpenSSH does about a host that it does not find, also where there is no OpenSSH.
    ssh = here.play.write("ssh", "#!/bin/sh\necho 'ssh: Could not resolve hostname' >&2\nexit 255\n")
    ssh.chmod(0o755)
    return here.play.run("publish", "--forks", "20", extra={"ansible_ssh_executable": str(ssh)})


@pytest.mark.parametrize("name", BAD)
def test_the_message_names_host_option_value_and_remedy(run: Run, name: str) -> None:
    said = run.messages(name.lower())
    if BAD[name].words == "ours":
        assert f"{name.lower()}: " in said
    else:
        assert f"fatal: [{name.lower()}" in run.output
    assert name.lower() in (run.unreachable() if BAD[name].unreachable else run.failed()), run.output
    for part in BAD[name].says:
        assert part in said


@pytest.mark.parametrize("name", BAD)
def test_nothing_was_written_and_nothing_restarted(
    run: Run, here: Site, before: dict[str, tuple[t.Any, ...]], name: str
) -> None:
    assert run.status != 0
    assert state(here, name) == before[name]


# What the options alone show to be wrong.
BEFORE_ANYTHING = (
    "WINDOW",
    "WINDOWLESS",
    "NOHOOK",
    "NOTIME",
    "NODELAY",
    "THROTTLE",
    "TIMETEXT",
    "PORTLIST",
    "TYPO",
    "MISNAMED",
    "LOCAL",
)


@pytest.mark.parametrize("name", BEFORE_ANYTHING)
def test_an_option_that_cannot_be_carried_out_is_refused_before_anything_is_sent(
    run: Run, here: Site, name: str
) -> None:
    assert name.lower() in run.failed()
    assert here.executions(name) == 0
    assert here.wire(name).counters.requests == 0


@pytest.mark.parametrize("name", FINE)
def test_the_good_ones_are_done_all_the_same(run: Run, here: Site, name: str) -> None:
    assert name.lower() not in run.failed()
    assert run.changed(name.lower()) > 0, run.output
    assert here.host(name).in_force()["STORE"] == (here.port("pop3"),)


def test_unreachable_wins_the_exit_status(run: Run) -> None:
    assert run.status == 4


"""Ansible's own rule: 4 when a host was unreachable, although others failed."""
