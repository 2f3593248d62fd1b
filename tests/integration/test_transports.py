# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way to a server: winrm and psrp; NTLM, Basic over HTTPS and CredSSP; direct and with a second hop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.api import Lab
from tests.lab.fleet import Fleet, HostSpec, ManagementSpec, free_net
from tests.support.playbook import Playbooks, Run

PLAY = """\
- hosts: exchange
  gather_facts: false
  tasks:
    - name: Write
      msexchange.winsock_proxy.wspcfg:
        listeners: [pop3]
        computer: "{{ publish_computer | default(omit) }}"
        computer_username: "{{ publish_computer_username | default(omit) }}"
        computer_password: "{{ publish_computer_password | default(omit) }}"
      register: out
    - name: Restart
      msexchange.winsock_proxy.service_restart:
        plan: "{{ out.restart }}"
        computer: "{{ publish_computer | default(omit) }}"
        computer_username: "{{ publish_computer_username | default(omit) }}"
        computer_password: "{{ publish_computer_password | default(omit) }}"
"""


def fleet(net: str) -> Fleet:
    servers = {
        "WINRMNTLM": {"address": f"{net}.2.1"},
        "WINRMBASIC": {"address": f"{net}.2.2", "transport": "basic"},
        "PSRPNTLM": {"address": f"{net}.2.3", "connection": "psrp"},
        "PSRPBASIC": {"address": f"{net}.2.4", "connection": "psrp", "transport": "basic"},
        "HOPGIVEN": {"via": "MGMT1"},
        "HOPCREDSSP": {"via": "MGMT1", "second_hop": "credssp"},
        "HOPPSRP": {"via": "MGMT1", "connection": "psrp"},
        "HOPNOTHING": {"via": "MGMT1", "second_hop": "nothing"},
    }
    hosts = tuple(HostSpec(name, **values) for name, values in servers.items())  # type: ignore[arg-type]
    return Fleet(hosts=hosts, management=(ManagementSpec("MGMT1", f"{net}.1.1"),), speed=2000)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Run]]:
    net, reservation = free_net()
    with reservation, Lab(fleet(net)) as lab:
        work: Path = tmp_path_factory.mktemp("transports")
        playbooks = Playbooks(lab.inventory, work)
        yield lab, playbooks.run(playbooks.write("play.yml", PLAY))


GOOD = ["WINRMNTLM", "WINRMBASIC", "PSRPNTLM", "PSRPBASIC", "HOPGIVEN", "HOPCREDSSP", "HOPPSRP"]


@pytest.mark.parametrize("name", GOOD)
def test_writes_and_restarts_over_every_transport(result: tuple[Lab, Run], name: str) -> None:
    lab, run = result
    assert run.messages(name.lower()) == ""
    assert lab.host(name).in_force()["STORE"] == (110,)
    assert run.last(name.lower(), "service_restart")["outcome"] == "restarted"


def test_a_second_hop_without_anything_to_prove_it_with_is_refused_with_the_three_answers(
    result: tuple[Lab, Run],
) -> None:
    lab, run = result
    assert run.failed() == ["hopnothing"]
    message = run.messages("hopnothing")
    assert all(word in message for word in ("CredSSP", "computer_username", "delegation"))
    assert lab.host("HOPNOTHING").in_force() == {}


def test_the_lab_made_no_mistake(result: tuple[Lab, Run]) -> None:
    lab, _run = result
    assert lab.mistakes == []
