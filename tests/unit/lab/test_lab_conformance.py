# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conformance cases over the real wire: what the lab answers in process, a real WinRM client gets as well."""

from __future__ import annotations

import asyncio
import base64
import threading
import typing as t
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from winrm.protocol import Protocol

from tests.conformance.compare import differences
from tests.conformance.schema import Case, expected_answers, load_all
from tests.lab.conformance import Stage
from tests.lab.given import GivenError, apply_given
from tests.lab.machines.machine import Machine
from tests.lab.target.script import answer_in
from tests.lab.wire.api import Binding

ADDRESS = "127.0.0.1"
USER, PASSWORD = "LAB\\tester", "secret"
LIMIT_S = 60.0
# One per family of operations: the families themselves are compared in process, all of them.
CHOSEN = ("inspect-file-every-byte", "inspect-file-umlaut-in-name", "inspect-state-records", "inspect-services")
CASES = [case for case in load_all() if case.id in CHOSEN or case.id.startswith(("apply-replace", "request-run"))]


@contextmanager
def serving(case: Case) -> Iterator[Protocol]:
    """The case's server behind a real WinRM service, in a loop of its own; a client that is connected to it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(work: t.Coroutine[t.Any, t.Any, t.Any]) -> t.Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(LIMIT_S)

    async def start() -> tuple[Stage, int]:
        stage = Stage(case.data.get("given") or {}, "direct")
        stage.server.address = ADDRESS
        stage.world.network.add(stage.server)
        stage.world.wire.users = {USER: PASSWORD}
        await stage.world.wire.start([Binding(ADDRESS, http_port=0, https_port=None)])
        port = stage.world.wire.endpoints[ADDRESS].http_port
        assert port is not None
        return stage, port

    async def stop(stage: Stage) -> None:
        stage.close()
        await stage.world.wire.stop()

    stage, port = call(start())
    try:
        yield Protocol(f"http://{ADDRESS}:{port}/wsman", transport="ntlm", username=USER, password=PASSWORD)
    finally:
        call(stop(stage))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT_S)
        loop.close()


def ask(connection: Protocol, request: Mapping[str, t.Any]) -> t.Any:
    from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script

    loader = base64.b64encode(script.loader().encode("utf-16-le")).decode()
    shell = connection.open_shell(codepage=65001)
    command = connection.run_command(shell, f"powershell -NoProfile -EncodedCommand {loader}", console_mode_stdin=False)
    connection.send_command_input(shell, command, script.payload(request, "0a").encode("ascii"), end=True)
    out, err, code = connection.get_command_output(shell, command)
    connection.close_shell(shell)
    assert (code, err) == (0, b"")
    return answer_in(out.decode("ascii"))


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_real_client_gets_what_the_case_says(case: Case) -> None:
    assert not any("before" in step or "fault" in step for step in case.steps)
    with serving(case) as connection:
        for step in case.steps:
            answer = ask(connection, step["request"])
            for expected in expected_answers(step, "direct"):
                assert list(differences(expected, answer)) == []


def test_every_family_has_a_case_here() -> None:
    assert {case.id.partition("-")[0] for case in CASES} == {"inspect", "apply", "request"}


def test_a_state_that_the_lab_does_not_know_is_refused() -> None:
    async def build() -> Machine:
        stage = Stage({}, "direct")
        with pytest.raises(GivenError, match="weather"):
            apply_given(stage.server, {"weather": "fine"})
        stage.close()
        return stage.server

    assert asyncio.run(build()).name == "EXCH1"
