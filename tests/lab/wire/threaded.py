# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on a thread of its own, for tests and tools that are not asynchronous themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tests.lab.wire.api import Binding
from tests.lab.wire.server import WireServer

Result = TypeVar("Result")
CALL_LIMIT_S = 60.0


@dataclass(frozen=True)
class ServerThread:
    """A running server and the loop that it runs in."""

    server: WireServer
    loop: asyncio.AbstractEventLoop

    def call(self, coroutine: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine in the server's loop and return its result.

        :raises TimeoutError: it did not end within :data:`CALL_LIMIT_S`.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(CALL_LIMIT_S)


@contextmanager
def running(server: WireServer, bindings: Sequence[Binding]) -> Iterator[ServerThread]:
    """Start the server on a new thread; stop both at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lab-wire", daemon=True)
    thread.start()
    serving = ServerThread(server, loop)
    try:
        serving.call(server.start(bindings))
        yield serving
    finally:
        try:
            serving.call(server.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(CALL_LIMIT_S)
            loop.close()
