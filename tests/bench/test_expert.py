# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The expert's playbook against the lab: the same file as ours, the services restarted, the ports open.

Needs ansible.windows, which only the environment for benchmarks has; ``make bench LANE=role`` runs this first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.bench_role import EXPERT, wspcfg
from tests.lab.api import Lab
from tests.lab.fleet import BIN_FILE, free_net, load
from tests.support.fleets import moved, port_offset, started
from tests.support.playbook import Playbooks, Run

pytest.importorskip("ansible_collections.ansible.windows", reason="ansible.windows: make bench LANE=role has it")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    net, reservation = free_net()
    with (
        reservation,
        started(Lab(moved(load("2", net), port_offset()), speed=1000.0, directory=tmp_path / "lab")) as lab,
    ):
        yield lab
        assert lab.mistakes == []


def play(lab: Lab, *arguments: str) -> Run:
    books = Playbooks(lab.inventory, lab.directory / "work")
    ports = [port + port_offset() for port in (110, 143)]
    return books.run(EXPERT, *arguments, extra={"wspcfg_store_ports": ports})


def test_nothing_changes_where_everything_is_in_order(lab: Lab) -> None:
    before = lab.host("EX0001").process_ids()
    run = play(lab)
    assert (run.status, run.failed(), [run.changed(host) for host in run.stats]) == (0, [], [0, 0]), run.output
    asked = [item["port"] for item in run.last("ex0001", "wait_for")["results"]]
    assert asked == [port + port_offset() for port in (110, 143)]
    assert lab.host("EX0001").process_ids() == before


def test_a_file_that_differs_is_written_and_its_service_restarted(lab: Lab) -> None:
    server = lab.host("EX0001")
    wanted = server.file(BIN_FILE)
    server.write(BIN_FILE, "[STORE]\r\nServerBindTcpPorts=119\r\n")
    before = server.process_ids()
    run = play(lab)
    assert (run.status, run.changed("ex0001"), run.changed("ex0002")) == (0, 2, 0), run.output
    assert server.file(BIN_FILE) == wanted
    after = server.process_ids()
    assert {name for name in after if after[name] != before[name]} >= {"MSExchangeIS", "MSExchangeIMC"}
    assert after["MSExchangeDS"] == before["MSExchangeDS"]
    assert set(server.services().values()) == {"running"}


def test_ours_finds_nothing_to_do_where_the_expert_was(lab: Lab) -> None:
    lab.host("EX0002").remove(BIN_FILE)
    assert play(lab).status == 0
    books = Playbooks(lab.inventory, lab.directory / "ours")
    run = books.run(books.write("wspcfg.yml", wspcfg(port_offset())))
    assert (run.status, run.changed("ex0001"), run.changed("ex0002")) == (0, 0, 0), run.output


def test_a_module_that_the_lab_does_not_know_fails_by_name(lab: Lab) -> None:
    books = Playbooks(lab.inventory, lab.directory / "other")
    task = json.dumps([{"hosts": "ex0001", "gather_facts": False, "tasks": [{"ansible.windows.win_ping": {}}]}])
    run = books.run(books.write("ping.yml", task))
    assert run.failed() == ["ex0001"]
    assert "the lab has no answer to ansible.windows.win_ping" in run.messages("ex0001")
