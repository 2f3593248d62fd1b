# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many servers at a time: planned together within the quota of their management host, changed one after another."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from tests.lab.wire.api import WireSettings
from tests.support.playbook import COLLECTION, Run
from tests.support.site import BIN, COMPUTER, Site, Wish, site

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVERS = ("ANN", "BEN", "CAT", "DAN")
AT_ONCE = 2  # shells that the management host grants to one account


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    """Four servers behind one management host; the first has a full disk."""
    wishes = [
        Wish(name, COMPUTER, {"listeners": ["pop3"], "throttle": AT_ONCE}, {"via": f"M{SERVERS[0]}"})
        for name in SERVERS
    ]
    with site(tmp_path, wishes, settings=WireSettings(shells_per_user=AT_ONCE)) as here:
        here.lab.inject("fill_disk", SERVERS[0])
        yield here


def written(here: Site) -> list[bool]:
    return [here.host(name).file(BIN) is not None for name in SERVERS]


def group_variables(here: Site, **values: t.Any) -> None:
    directory = here.lab.inventory.parent / "group_vars"
    directory.mkdir(exist_ok=True)
    (directory / "exchange.yml").write_text(yaml.safe_dump(values), encoding="utf-8")


def tried(run: Run) -> list[bool]:
    """Whether each server was to be changed."""
    return [bool(run.of(name.lower(), "wspcfg", "Write the file")) for name in SERVERS]


def test_servers_change_one_by_one_until_one_fails_unless_the_group_says_otherwise(fleet: Site) -> None:
    careful = fleet.play.run("publish", "--forks", "8")
    assert careful.status == 2
    assert careful.failed() == ["ann"], careful.output
    assert tried(careful) == [True, False, False, False]
    assert written(fleet) == [False] * 4
    # A shell more at any time would have been refused with a fault.
    assert fleet.wire("ANN").counters.faults == 0
    summary = " ".join(careful.summary().split())
    assert summary.startswith("Published 0 of 4 servers in ")
    assert "not started, because ann failed (publish_max_fail_percentage 0): ben cat dan; run again" in summary
    assert "disk" in careful.server("ann", careful.summary())
    assert careful.fleet("publish_summary")["bad"] == ["ann"]
    assert [entry.task for entry in careful.entries if entry.outcome == "ignored"] == []

    group_variables(fleet, publish_serial=3, publish_max_fail_percentage=50)
    in_groups = fleet.play.run("publish", "--forks", "8")
    assert in_groups.failed() == ["ann"], in_groups.output
    assert written(fleet) == [False, True, True, True]
    assert fleet.wire("ANN").counters.faults == 0
    assert in_groups.summary().startswith("Published 3 of 4 servers in ")
    assert "not started" not in in_groups.summary()
    for name in SERVERS[1:]:
        proof = f"proven {fleet.port('pop3')} POP3: answers as Exchange 5.5."
        assert proof in in_groups.server(name.lower(), in_groups.summary())

    # Two playbooks in one run: what the first has done, the second does not do again.
    fleet.lab.clear()
    fleet.lab.reset_counters()
    imports = [{"name": "Publish", "import_playbook": f"{COLLECTION}.publish"}] * 2
    twice = fleet.play.run(fleet.play.write("twice.yml", yaml.safe_dump(imports)), "--forks", "8")
    assert twice.status == 0, twice.output
    assert tried(twice) == [True, False, False, False]
    assert len(twice.of("ann", "wspcfg", "Write the file")) == 1
    assert fleet.executions("ANN") == 4 + 3 + len(SERVERS)
