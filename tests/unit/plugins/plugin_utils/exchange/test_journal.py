# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an unfinished journal means, for every step that a service can have been left in."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.inspection import (
    Inspection,
    read_inspection,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.installation import (
    Places,
    inspection_request,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.journal import (
    journal_result,
    journal_warnings,
    owed_by_journal,
)
from tests.support.inspections import NOW, Described

STEPS = ("recorded", "stopping", "stopped", "starting", "running", "failed", "hung")


def server(step: str, state: str = "stopped", **changes: t.Any) -> Inspection:
    described = Described(lock=changes.pop("lock", None))
    described.services["MSExchangeIS"].update(state=state, process=None)
    rows = [{"name": "MSExchangeIS", "role": "root", "before": "running", "step": step}]
    journal = {"run": "r1", "who": "me", "boot": "boot-1", "began": NOW - 60, "phase": "stopping", "services": rows}
    described.journal = {**journal, **changes}
    return read_inspection(described.inspect(inspection_request(Places())))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", ["running", "stopped", "stop_pending"])
def test_only_what_we_stopped_and_is_still_down_is_owed(step: str, state: str) -> None:
    owed = owed_by_journal(server(step, state))
    ours = step != "recorded"
    assert bool(owed) == (ours and state in ("stopped", "stop_pending"))
    assert all(row["unfinished"] and row["topic"] == "Restart MSExchangeIS" for row in owed)


def test_what_a_run_saw_staying_up_was_stopped_by_somebody_else() -> None:
    assert owed_by_journal(server("running", outcome="failed")) == []


def test_a_service_that_an_earlier_run_told_to_stop_is_owed_before_its_own_turn() -> None:
    row = {"name": "MSExchangeIS", "role": "root", "before": "running", "step": "recorded", "stop_at": NOW - 100}
    assert len(owed_by_journal(server("recorded", services=[row]))) == 1


@pytest.mark.parametrize(
    "changes", [{"boot": "boot-0"}, {"boot": None}, {"began": NOW - 90_000}, {"phase": "done"}, {"lock": {"who": "x"}}]
)
def test_not_finished_without_being_asked(changes: dict[str, t.Any]) -> None:
    assert owed_by_journal(server("stopped", **changes)) == []


def test_other_boot_is_reported() -> None:
    found = server("stopped", boot="boot-0")
    assert journal_result(found) == {
        "corrupt": False,
        "run": "r1",
        "who": "me",
        "began": NOW - 60,
        "same_boot": False,
        "down": ["MSExchangeIS"],
        "owed": [
            {
                "service": "MSExchangeIS",
                "topic": "Restart MSExchangeIS",
                "reason": "an interrupted restart (run r1) left it stopped; the next restart starts it again",
                "running": False,
                "unfinished": True,
            }
        ],
    }
    assert owed_by_journal(found) == []
    assert "MSExchangeIS" in journal_warnings(found)[0]


def test_corrupt_journal_is_a_warning_and_nothing_is_owed() -> None:
    described = Described(journal={"corrupt": True})
    found = read_inspection(described.inspect(inspection_request(Places())))
    assert owed_by_journal(found) == [] and "unreadable" in journal_warnings(found)[0]
    result = journal_result(found)
    assert result is not None and result["corrupt"]


def test_dependent_without_a_topic_rides_on_its_root() -> None:
    rows = [
        {"name": "MSExchangeDS", "role": "root", "step": "running"},
        {"name": "Fax", "role": "dependent", "before": "running", "step": "stopped"},
    ]
    described = Described()
    described.services["Fax"] = {**described.services["MSExchangeES"], "name": "Fax", "state": "stopped"}
    described.journal = {"run": "r", "who": "w", "boot": "boot-1", "began": NOW, "phase": "starting", "services": rows}
    found = read_inspection(described.inspect(inspection_request(Places())))
    assert [row["topic"] for row in owed_by_journal(found)] == ["Restart MSExchangeDS"]


def test_what_did_not_run_before_is_not_ours() -> None:
    described = Described()
    described.services["MSExchangeIS"].update(state="stopped", process=None)
    rows = [{"name": "MSExchangeIS", "role": "root", "before": "stopped", "step": "failed"}]
    described.journal = {"run": "r", "who": "w", "boot": "boot-1", "began": NOW, "phase": "starting", "services": rows}
    assert owed_by_journal(read_inspection(described.inspect(inspection_request(Places())))) == []


def test_no_journal() -> None:
    found = read_inspection(Described().inspect(inspection_request(Places())))
    assert journal_result(found) is None and owed_by_journal(found) == [] and journal_warnings(found) == []
