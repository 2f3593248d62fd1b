# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated Exchange server that the tasks of the collection reach without a wire and without Ansible.

For tests that go through thousands of runs. The tasks are the collection's own, from their options to their results;
what arrives is the loader and the script byte for byte, and the lab's target operations answer. Time is simulated for
both sides and jumps from one event to the next, so that nothing is waited for and nothing depends on the machine.
"""

from __future__ import annotations

import asyncio
import typing as t
import uuid
from collections.abc import Callable, Coroutine, Mapping

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import session
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import service_restart, wspcfg
from tests.lab.builder import given_of, install_programs
from tests.lab.conformance import Mode, Stage
from tests.lab.doors import Doors
from tests.lab.fleet import BIN_FILE, HostSpec
from tests.lab.machines.machine import Machine
from tests.lab.machines.services import State
from tests.lab.target.operations import answer_request
from tests.lab.target.script import envelope, is_loader, nonce_of, request_of
from tests.lab.target.state import Store
from tests.lab.target.worker import Cut
from tests.support.options import options_of

Json = dict[str, t.Any]
Result = t.TypeVar("Result")

EPOCH: t.Final = 1_000_000_000.0
ACCOUNT: t.Final = ("LAB\\Administrator", "lab-password")

# A restart waits for who holds the lock, KMS or not, and a second shows that a service does not die at once.
RESTART: t.Final[Mapping[str, t.Any]] = {"settle": 1, "allow_kms": True, "lock_wait": 60}


class ControllerGone(Exception):
    """The controller is no more; what it had asked for has lost its shell."""


class Server:
    """The server, its management host in computer mode, and the controller's way to it.

    Args:
        mode: ``direct`` or ``computer``.
        services: Optional services, as a fleet names them.
        stopped: Services that do not run.
        text: Wspcfg.ini that its processes have loaded.

    Attributes:
        machine: The server. runner: The machine that runs the script.
        said: Lines for the person who waits. said_at: When each was printed.
    """

    def __init__(
        self, mode: Mode, *, services: tuple[str, ...] = (), stopped: tuple[str, ...] = (), text: str = ""
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.mode = mode
        self.said: list[str] = []
        self.said_at: list[float] = []
        self._gone: asyncio.Future[None] | None = None
        self.run_async(self._build(services, stopped, text))

    async def _build(self, services: tuple[str, ...], stopped: tuple[str, ...], text: str) -> None:
        spec = HostSpec("EXCH1", services=services, stopped=stopped, files={BIN_FILE: text} if text else {})
        given = {**given_of(spec), "clock": {"now": EPOCH}, "network": {"accounts": dict([ACCOUNT])}}
        # The processes have loaded what the file says: it was there long before they started.
        for file in given["files"].values():
            file["modified"] = EPOCH - 86400
        self._stage = Stage(given, self.mode)
        self.machine, self.runner = self._stage.server, self._stage.runner
        install_programs(self.machine, spec, proxy=None, doors=Doors(real=False), certificate=None)
        await self.machine.clock.sleep(3600)

    def close(self) -> None:
        self._stage.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.run_async(asyncio.sleep(0))
        self.loop.close()

    def run_async(self, work: Coroutine[t.Any, t.Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    # what the controller does
    def session(self) -> session.Session:
        """A session of a new run."""
        computer = None if self.mode == "direct" else "EXCH1"
        credential = None if self.mode == "direct" else session.Credential(*ACCOUNT)
        identity = session.Identity(str(uuid.uuid4()), "tester@controller", computer, credential)
        return session.Session(self, identity, clock=self, deadline=300.0, say=self._say)

    def _say(self, line: str) -> None:
        self.said.append(line)
        self.said_at.append(self.monotonic())

    def wspcfg(self, *, check: bool = False, **options: t.Any) -> Json:
        """Run the task ``wspcfg``."""
        return wspcfg.run(
            self.session(), options_of("wspcfg", **{"proxy_address": "192.0.2.1", **options}), host="exch1", check=check
        )

    def service_restart(self, **options: t.Any) -> Json:
        """Run the task ``service_restart``."""
        return service_restart.run(
            self.session(), options_of("service_restart", **{**RESTART, **options}), host="exch1", check=False
        )

    def plain_run(self, **wanted: t.Any) -> tuple[Json, Json]:
        """Run both tasks as a playbook does: what is owed is restarted. Returns both results."""
        written = self.wspcfg(**wanted)
        owed = [row for row in written["owed"] if row["running"] or row.get("unfinished")]
        restarted = self.service_restart(plan=written["restart"]) if owed else {"changed": False}
        return written, restarted

    # Transport and Clock of the session
    def execute(self, command: str, stdin: str) -> session.Execution:
        request = request_of(stdin.encode("ascii")) if is_loader(command) else None
        if request is None:
            raise AssertionError("this is not the repository's script")
        answer = self.run_async(self._answered(request))
        return session.Execution(0, envelope(answer, nonce_of(stdin.encode("ascii"))).decode("ascii"), "")

    def reset(self) -> None:
        """There is no connection."""

    def release(self) -> None:
        """There is no connection."""

    def monotonic(self) -> float:
        return self.machine.clock.elapsed()

    def sleep(self, seconds: float) -> None:
        self.run_async(self.machine.clock.sleep(seconds))

    async def _answered(self, request: Json) -> Json:
        self._gone = self.loop.create_future()
        work = self.loop.create_task(answer_request(self._stage.world.network, self.runner, request))
        await asyncio.wait([work, self._gone], return_when=asyncio.FIRST_COMPLETED)
        if not self._gone.done():
            self._gone.cancel()
            try:
                return await work
            except Cut:
                raise session.ConnectionLost("the shell is gone", sent=True) from None
        # Nobody hears what becomes of it.
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        raise ControllerGone

    # what happens to it
    def lose_controller(self) -> None:
        """End the controller and its shell now; called from inside an operation."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def on_point(self, act: Callable[[str, str], None]) -> Callable[[], None]:
        """Call ``act`` with name and service of every point of every operation; returns what ends it."""

        async def hook(_machine: Machine, point: str, detail: Mapping[str, str]) -> None:
            act(point, detail.get("service", ""))

        self.machine.hooks.append(hook)
        return lambda: self.machine.hooks.remove(hook)

    # what is there
    def states(self) -> dict[str, State]:
        return {service.name: service.state for service in self.machine.services}

    def processes(self) -> dict[str, int]:
        return {service.name: service.process.id for service in self.machine.services if service.process}

    def journal(self) -> Json | None:
        return Store(self.machine).journal()
