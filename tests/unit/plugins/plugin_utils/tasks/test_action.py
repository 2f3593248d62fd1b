# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action plugin does around its work: errors become results or UNREACHABLE, secrets do not come back."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.session import ConnectionLost, Session
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.action import TargetAction

Json = dict[str, t.Any]


class Connection:
    transport = "winrm"
    become: object | None = None

    class _shell:  # noqa: N801 - the name of the attribute that Ansible gives it
        _IS_WINDOWS = True

    def get_option(self, name: str) -> t.Any:
        return {"remote_addr": "192.0.2.1", "port": 5985, "remote_user": "me"}[name]


class Task:
    action = "wspcfg"
    args: t.ClassVar[Json] = {}
    become = False
    check_mode = True


class Action(TargetAction):
    """An action whose work is given by the test, and whose parts of Ansible are left out."""

    def __init__(self, work: t.Callable[[Session, bool], Json]) -> None:
        self._connection = Connection()
        self._task = Task()
        self._work = work

    def work(self, session: Session, options: Json, *, host: str, check: bool) -> Json:
        return self._work(session, check)


OPTIONS: Json = {
    "computer": "EX1",
    "computer_username": "LAB\\a",
    "computer_password": "s3cret",
    "target_deadline": 5,
    "lock_wait": 0,
}


@pytest.fixture(autouse=True)
def _without_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ActionBase.run, which needs a whole play; the options arrive validated."""
    base = TargetAction.__mro__[1]
    monkeypatch.setattr(base, "run", lambda *dummy: {})
    monkeypatch.setattr(base, "validate_argument_spec", lambda *dummy, **more: (None, dict(OPTIONS)))


def run(work: t.Callable[[Session, bool], Json]) -> Json:
    return Action(work).run(None, {"inventory_hostname": "EX1"})


def raising(error: Exception) -> t.Callable[[Session, bool], Json]:
    def work(dummy: Session, check: bool) -> Json:
        raise error

    return work


def test_check_mode_is_the_tasks_own() -> None:
    assert run(lambda dummy, check: {"seen": check}) == {"seen": True, "check_mode": True}


def test_password_does_not_come_back() -> None:
    result = run(lambda dummy, check: {"msg": "refused s3cret", "deep": [{"x": "s3cret"}]})
    assert "s3cret" not in repr(result)


def test_never_reached_is_unreachable_and_names_option_and_value() -> None:
    with pytest.raises(AnsibleConnectionFailure) as caught:
        run(raising(ConnectionLost("timed out", sent=False)))
    assert "EX1: option ansible_host='192.0.2.1'" in str(caught.value)


def test_lost_after_it_was_sent_is_a_failure() -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        run(raising(ConnectionLost("reset", sent=True)))
    assert "EX1" in str(caught.value) and "after the request was sent" in str(caught.value)


def test_become_is_a_result_with_its_remedy() -> None:
    action = Action(lambda dummy, check: {})
    action._connection.become = object()
    result = action.run(None, {"inventory_hostname": "EX1"})
    assert result["failed"] and "CredSSP" in result["msg"] and result["problems"][0]["option"] == "become"


def test_session_is_ended_whatever_happens() -> None:
    ended: list[str] = []

    def work(session: Session, check: bool) -> Json:
        session._transport.release = lambda: ended.append("released")  # type: ignore[method-assign]
        raise ConnectionLost("reset", sent=True)

    with pytest.raises(AnsibleActionFail):
        run(work)
    assert ended == ["released"]
