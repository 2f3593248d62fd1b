# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners on free loopback ports, whose side of every conversation a test writes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Talk = Callable[[socket.socket, threading.Event], None]
"""Is given a connection, and what is set when the listener ends."""


@contextlib.contextmanager
def peer(talk: Talk) -> Iterator[int]:
    """A listener on a free port that holds ``talk`` with every client, in a thread of its own."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            talk(connection, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                connection, dummy = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (acceptor, *threads):
                thread.join()


def encrypted(talk: Talk, identity: tuple[Path, Path], version: ssl.TLSVersion) -> Talk:
    """Hold ``talk`` behind a handshake of today."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity)
    context.maximum_version = version

    def shaken(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            talk(inside, over)

    return shaken
