# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""M(port_probe) as users run it: on the controller, on another probe host, and on hosts where it must not."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import mail_servers
from tests.support.peers import encrypted, peer
from tests.support.playbook import Playbooks
from tests.tools import bootstrap

POP3 = b"+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready\r\n"

INVENTORY = """
[exchange]
exch1 ansible_host=192.0.2.1 ansible_connection=winrm
exch2 ansible_host=192.0.2.2 ansible_connection=psrp
exch3 ansible_host=192.0.2.3 ansible_connection=ssh ansible_shell_type=powershell

[outside]
probe1 ansible_connection=elsewhere ansible_python_interpreter={python}
"""

# Does what `local` does under another name, so that Ansible transfers the module as it would over ssh.
ELSEWHERE = '''
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: elsewhere
short_description: another host that is this one
description: [For tests.]
author: [tests]
extends_documentation_fragment: [connection_pipelining]
options: {}
"""


class Connection(Local):
    transport = "elsewhere"
'''

KEEP = {"ANSIBLE_KEEP_REMOTE_FILES": "true"}  # what a module leaves where it ran tells that it was transferred

PLAY = """
- hosts: {hosts}
  gather_facts: false
  tasks:
    - name: Check
      msexchange.winsock_proxy.port_probe:
        targets:
          - {{host: 127.0.0.1, port: "{{{{ port }}}}", protocol: pop3}}
          - {{host: 127.0.0.1, port: "{{{{ port }}}}", protocol: imap4}}
          - {{host: 127.0.0.1, port: "{{{{ closed }}}}", expect: closed}}
        deadline: 0
        timeout: 20
      {more}
"""


def greet(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(POP3)
    connection.recv(100)


@pytest.fixture
def port() -> Iterator[int]:
    """A POP3 port of Exchange."""
    with peer(greet) as number:
        yield number


@pytest.fixture
def closed() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def books(tmp_path: Path) -> Playbooks:
    plugins = tmp_path / "connections"
    plugins.mkdir()
    (plugins / "elsewhere.py").write_text(ELSEWHERE, encoding="utf-8")
    inventory = tmp_path / "hosts"
    inventory.write_text(INVENTORY.format(python=sys.executable), encoding="utf-8")
    return Playbooks(
        inventory,
        tmp_path / "work",
        {"ANSIBLE_CONNECTION_PLUGINS": str(plugins), "ANSIBLE_REMOTE_TMP": str(tmp_path / "remote"), **KEEP},
    )


def play(hosts: str, more: str = "") -> str:
    return PLAY.format(hosts=hosts, more=more)


def test_from_the_controller_and_from_another_host_alike(books: Playbooks, port: int, closed: int) -> None:
    """In-process for the controller, a transferred module elsewhere: the same result, and a failure says it all."""
    extra = {"port": port, "closed": closed}
    answers = []
    for hosts, more in (("exch1", "delegate_to: localhost"), ("probe1", "")):
        run = books.run(books.write("play.yml", play(hosts, more)), extra=extra)
        answers.append(run.last(hosts, "port_probe"))
        assert run.failed() == [hosts], run.output
    for answer in answers:
        assert answer["changed"] is False
        assert answer["ok"] is False
        assert [result["status"] for result in answer["results"]] == ["open", "foreign", "refused"]
        assert [result["ok"] for result in answer["results"]] == [True, False, True]
        assert answer["results"][0]["version"] == "5.5.2655.20"
        expected = f"127.0.0.1:{port} imap4 is foreign, not open (pop3 answers here, imap4 was expected)"
        assert answer["failed_targets"] == [expected]
        assert answer["msg"] == f"1 of 3 targets are not as expected: {expected}"
    assert answers[0]["results"][0].keys() == answers[1]["results"][0].keys()


def test_nothing_is_transferred_to_the_controller(books: Playbooks, port: int, closed: int, tmp_path: Path) -> None:
    """Elsewhere the module is copied, which shows that the look for its copy would find one."""
    extra = {"port": port, "closed": closed}
    books.run(books.write("play.yml", play("exch1", "delegate_to: localhost")), extra=extra)
    assert not list(tmp_path.rglob("AnsiballZ_port_probe.py"))
    books.run(books.write("play.yml", play("probe1")), extra=extra)
    assert list(tmp_path.rglob("AnsiballZ_port_probe.py"))


def test_check_mode_is_for_real(books: Playbooks, port: int, closed: int) -> None:
    run = books.run(books.write("play.yml", play("probe1")), "--check", extra={"port": port, "closed": closed})
    assert run.last("probe1", "port_probe")["results"][0]["status"] == "open"
    more = "delegate_to: localhost"
    run = books.run(books.write("play.yml", play("exch1", more)), "--check", extra={"port": port, "closed": closed})
    assert run.last("exch1", "port_probe")["results"][0]["status"] == "open"


THOUSANDS = """
- hosts: {hosts}
  gather_facts: false
  tasks:
    - name: Check
      msexchange.winsock_proxy.port_probe:
        targets: {targets}
        deadline: 0
      {more}
"""


@pytest.mark.parametrize(("hosts", "more"), [("exch1", "delegate_to: localhost"), ("probe1", "")])
def test_one_task_carries_thousands_of_targets(books: Playbooks, closed: int, hosts: str, more: str) -> None:
    targets = [{"host": f"127.0.{number // 250}.{number % 250 + 1}", "port": closed} for number in range(3000)]
    wish = json.dumps([{**each, "expect": "closed"} for each in targets])
    run = books.run(books.write("play.yml", THOUSANDS.format(hosts=hosts, more=more, targets=wish)))
    answer = run.last(hosts, "port_probe")
    assert answer["ok"] is True, answer["msg"]
    assert [{"host": each["host"], "port": each["port"]} for each in answer["results"]] == targets
    assert {each["status"] for each in answer["results"]} == {"refused"}


def oldest_python() -> str:
    """An interpreter of the oldest version that a probe host may have."""
    found = (each for each in bootstrap.candidates("3.9") if bootstrap.python_version(each) == "3.9")
    executable = next(found, None)
    if executable is None:
        pytest.skip("NOT TESTED: a probe host with Python 3.9; there is none here")
    return executable


def test_a_probe_host_with_the_oldest_python(books: Playbooks, port: int, closed: int) -> None:
    extra = {"port": port, "closed": closed, "ansible_python_interpreter": oldest_python()}
    run = books.run(books.write("play.yml", play("probe1")), extra=extra)
    answer = run.last("probe1", "port_probe")
    assert [result["status"] for result in answer["results"]] == ["open", "foreign", "refused"], run.output


def bind(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(100)
    connection.sendall(bytes.fromhex("300c02010161070a010004000400"))
    connection.recv(100)


EVERY_KIND = """
- hosts: probe1
  gather_facts: false
  tasks:
    - msexchange.winsock_proxy.port_probe:
        targets:
          - {{host: localhost, port: {pop3s}, protocol: pop3s}}
          - {{host: 127.0.0.1, port: {ldap}, protocol: ldap}}
          - {{host: 127.0.0.1, port: {ldap}, protocol: ldaps}}
        deadline: 0
        timeout: 20
        fail_on_mismatch: false
"""


def test_the_oldest_python_speaks_tls_and_ldap(books: Playbooks, tmp_path: Path) -> None:
    identity = mail_servers.certificate(tmp_path)
    with peer(encrypted(greet, identity, ssl.TLSVersion.TLSv1_2)) as pop3s, peer(bind) as ldap:
        text = EVERY_KIND.format(pop3s=pop3s, ldap=ldap)
        run = books.run(books.write("play.yml", text), extra={"ansible_python_interpreter": oldest_python()})
    answer = run.last("probe1", "port_probe")
    assert [result["status"] for result in answer["results"]] == ["open", "open", "no_tls"], run.output
    assert answer["results"][0]["version"] == "5.5.2655.20"
    assert answer["results"][0]["tls"]["subject"] == "O=Example, CN=mail.example.com"
    assert answer["results"][1]["ldap"]["result"] == "success"


WAIT = """
- hosts: {hosts}
  gather_facts: false
  tasks:
    - msexchange.winsock_proxy.port_probe:
        targets: [{{host: 127.0.0.1, port: "{{{{ closed }}}}"}}]
        deadline: 86400
        check_mode_deadline: 0
      {more}
"""


@pytest.mark.parametrize(("hosts", "more"), [("exch1", "delegate_to: localhost"), ("probe1", "")])
def test_check_mode_need_not_wait(books: Playbooks, closed: int, hosts: str, more: str) -> None:
    run = books.run(books.write("play.yml", WAIT.format(hosts=hosts, more=more)), "--check", extra={"closed": closed})
    (result,) = run.last(hosts, "port_probe")["results"]
    assert (result["status"], result["attempts"]) == ("refused", 1)


def test_mismatch_need_not_fail(books: Playbooks, port: int, closed: int) -> None:
    text = play("exch1", "delegate_to: localhost").replace(
        "deadline: 0", "deadline: 0\n        fail_on_mismatch: false"
    )
    run = books.run(books.write("play.yml", text), extra={"port": port, "closed": closed})
    assert run.failed() == []
    assert run.last("exch1", "port_probe")["ok"] is False


@pytest.mark.parametrize(("host", "transport"), [("exch1", "winrm"), ("exch2", "psrp"), ("exch3", "ssh")])
def test_windows_host_is_no_vantage(books: Playbooks, host: str, transport: str) -> None:
    run = books.run(books.write("play.yml", play(host)), extra={"port": 1, "closed": 1})
    answer = run.last(host, "port_probe")
    assert run.failed() == [host]
    assert f"would run over {transport}" in answer["msg"]
    assert "delegate_to: localhost" in answer["msg"]
    assert answer["results"] == []


@pytest.mark.parametrize("transport", ["winrm", "psrp"])
def test_leaked_connection_is_named(books: Playbooks, transport: str) -> None:
    """Variables of the play reach the delegate as well; nothing must be sent to it over them."""
    more = f"delegate_to: localhost\n      vars: {{ansible_connection: {transport}}}"
    run = books.run(books.write("play.yml", play("exch1", more)), extra={"port": 1, "closed": 1})
    message = run.last("exch1", "port_probe")["msg"]
    assert f"localhost would be reached over {transport}" in message
    assert "ansible_connection: local" in message


def test_connection_inherited_from_all_is_named(books: Playbooks, port: int, closed: int, tmp_path: Path) -> None:
    """A probe host of the inventory inherits what stands in group_vars/all; the implicit localhost has its own."""
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("ansible_connection: winrm\n", encoding="ascii")
    with (tmp_path / "hosts").open("a", encoding="ascii") as inventory:
        inventory.write("gateway ansible_host=192.0.2.9\n")
    extra = {"port": port, "closed": closed}
    run = books.run(books.write("play.yml", play("exch1", "delegate_to: gateway")), extra=extra)
    assert "The probe host gateway would be reached over winrm" in run.last("exch1", "port_probe")["msg"]
    run = books.run(books.write("play.yml", play("exch1", "delegate_to: localhost")), extra=extra)
    assert run.last("exch1", "port_probe")["results"][0]["status"] == "open"


def test_windows_delegate_over_ssh_is_named(books: Playbooks) -> None:
    run = books.run(books.write("play.yml", play("exch1", "delegate_to: exch3")), extra={"port": 1, "closed": 1})
    assert "The probe host exch3 would be reached over ssh" in run.last("exch1", "port_probe")["msg"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{host: 127.0.0.1}", "targets[0].port: protocol tcp has no port of its own"),
        ("{host: 127.0.0.1, port: 65536}", "targets[0].port: 65536 for 127.0.0.1 is outside 1 to 65535"),
        ("{host: 127.0.0.1, protocol: pop3, greeting: '('}", "targets[0].greeting: '(' is no regular expression"),
        ("{host: 127.0.0.1, protocol: gopher}", "value of protocol must be one of"),
    ],
)
def test_impossible_targets(books: Playbooks, target: str, message: str) -> None:
    text = f"""
- hosts: exch1:probe1
  gather_facts: false
  tasks:
    - msexchange.winsock_proxy.port_probe:
        targets: [{target}]
      delegate_to: "{{{{ 'localhost' if inventory_hostname == 'exch1' else omit }}}}"
"""
    run = books.run(books.write("play.yml", text))
    assert run.failed() == ["exch1", "probe1"], run.output
    assert all(message in run.last(host, "port_probe")["msg"] for host in ("exch1", "probe1")), run.output


def test_filters_make_targets_and_find_conflicts(books: Playbooks, tmp_path: Path) -> None:
    text = """
- hosts: exch1
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        targets: "{{ hostvars['exch1'] | msexchange.winsock_proxy.wspcfg_targets(expect='closed') }}"
        unclaimed: "{{ hostvars['exch1'] | msexchange.winsock_proxy.wspcfg_targets(expect='closed')
          | msexchange.winsock_proxy.wspcfg_unclaimed(hostvars, 'exch1') }}"
        conflicts: "{{ hostvars | msexchange.winsock_proxy.wspcfg_conflicts(groups['exchange']) }}"
        everywhere: "{{ hostvars | msexchange.winsock_proxy.wspcfg_conflicts }}"
"""
    variables = {
        "exch1": "publish_listeners: [pop3, imap4s]\npublish_proxy_address: '{{ external }}'\nexternal: 198.51.100.1\n",
        "exch2": "publish_listeners: [pop3]\npublish_proxy_address: 198.51.100.1\n",
        "exch3": "publish_listeners: [pop3]\npublish_proxy_address: '{{ undefined_by_mistake }}'\n",
    }
    for host, content in variables.items():
        (tmp_path / "host_vars").mkdir(exist_ok=True)
        (tmp_path / "host_vars" / f"{host}.yml").write_text(content, encoding="utf-8")
    run = books.run(books.write("play.yml", text), "--limit", "exch1")
    facts = run.last("exch1", "set_fact")["ansible_facts"]
    assert facts["targets"] == [
        {"host": "198.51.100.1", "port": 110, "protocol": "pop3", "expect": "closed"},
        {"host": "198.51.100.1", "port": 993, "protocol": "imap4s", "expect": "closed"},
    ]
    assert [target["expect"] for target in facts["unclaimed"]] == ["any", "closed"]
    expected = [{"address": "198.51.100.1", "port": 110, "hosts": ["exch1", "exch2"], "listeners": ["pop3"]}]
    assert facts["conflicts"] == expected
    assert facts["everywhere"] == expected


def test_batches_see_the_conflicts_of_all(books: Playbooks, tmp_path: Path) -> None:
    """With serial, the other claimant is in no batch of its own time; hostvars know it all the same."""
    text = """
- hosts: exchange
  gather_facts: false
  serial: 1
  tasks:
    - ansible.builtin.set_fact:
        conflicts: "{{ hostvars | msexchange.winsock_proxy.wspcfg_conflicts(groups['exchange']) }}"
"""
    (tmp_path / "group_vars").mkdir()
    claims = "publish_listeners: [pop3]\npublish_proxy_address: 198.51.100.1\n"
    (tmp_path / "group_vars" / "exchange.yml").write_text(claims, encoding="ascii")
    run = books.run(books.write("play.yml", text))
    hosts = ["exch1", "exch2", "exch3"]
    expected = [{"address": "198.51.100.1", "port": 110, "hosts": hosts, "listeners": ["pop3"]}]
    assert [run.last(host, "set_fact")["ansible_facts"]["conflicts"] for host in hosts] == [expected] * 3, run.output
