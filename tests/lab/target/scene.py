# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs the script, whose state it is about, and whether the one reaches the other."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from ..machines.clock import Clock
from ..machines.errors import ACCESS_DENIED, LOGON_FAILURE, NETWORK_PATH_NOT_FOUND, WindowsFailure
from ..machines.machine import Machine, Network
from .failures import Json, TargetFailure, file_failure, windows_failure

HOME: t.Final = "msexchange.winsock_proxy"
SHARING_TRIES: t.Final = 5
SHARING_PAUSE_S: t.Final = 0.2


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Scene:
    """One operation's stage.

    Attributes:
        runner: Machine that runs the script.
        server: Machine that is inspected or changed; the same one in direct mode.
        run, who: From the request.
        op: Prefix of the names of its points, for faults.
    """

    runner: Machine
    server: Machine
    op: str
    run: str
    who: str

    @property
    def remote(self) -> bool:
        return self.runner is not self.server

    @property
    def clock(self) -> Clock:
        """All waits pass on the server's own clock."""
        return self.server.clock

    @property
    def home(self) -> str:
        """Directory of locks, backups and run files on the server."""
        return f"{self.server.system_root}\\{HOME}"

    async def point(self, name: str, **detail: str) -> None:
        """A named point of the operation: faults act here, and a server that is gone is noticed."""
        await self.server.at(f"{self.op}.{name}", run=self.run, runner=self.runner.name, **detail)
        if self.remote and not self.server.up:
            raise unreachable(self.server.name)

    async def patiently(self, path: str, call: t.Callable[[], t.Any]) -> t.Any:
        """A file call; a sharing violation is tried again as the protocol says."""
        for attempt in range(1, SHARING_TRIES + 1):
            try:
                return call()
            except WindowsFailure as failure:
                found = file_failure(failure, self.server.files, path)
                if found.code != "locked" or attempt == SHARING_TRIES:
                    raise found from failure
            await self.clock.sleep(SHARING_PAUSE_S)
        raise AssertionError(path)


def unreachable(computer: str) -> TargetFailure:
    failure = WindowsFailure(NETWORK_PATH_NOT_FOUND, computer)
    return windows_failure("computer_unreachable", failure, computer=computer)


def find_server(network: Network, runner: Machine, request: Json, *, delegated: bool) -> Machine:
    """The machine that a request is about, or why it cannot be reached.

    Args:
        network: Where names are looked up.
        runner: Machine that runs the script.
        request: ``computer`` and ``credential`` are read.
        delegated: Whether the caller's login can be used for a second hop.
    """
    computer = request["computer"]
    if computer is None:
        return runner
    server = network.by_name(computer)
    if server is None or not server.up:
        raise unreachable(computer)
    credential = request["credential"]
    if credential is not None:
        expected = (server.accepts or {}).get(credential["username"])
        if expected != credential["password"]:
            raise windows_failure("credential_refused", WindowsFailure(LOGON_FAILURE), computer=computer)
    elif server.delegation_required and not delegated:
        raise windows_failure("second_hop_denied", WindowsFailure(ACCESS_DENIED), computer=computer)
    return server
