# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners of the lab in a process of their own, for benchmarks of the port probe.

Prints one JSON line: greeting doors, the eight doors of one host by protocol, and the address of a door whose backlog
is full; then serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.lab.doors import Door, Doors, Service
from tests.lab.exchange import conversations
from tests.lab.exchange.conversations import Conversation
from tests.lab.exchange.products import Installation
from tests.support.mail_servers import certificate

ADDRESSES = 50
GREETERS = ("pop3", "imap4", "nntp", "smtp")
ONE_HOST = ("pop3", "pop3s", "imap4", "imap4s", "nntp", "nntps", "ldap", "smtp")
EXCHANGE = Installation("5.5", "mail.example.com")


def conversation(protocol: str) -> Callable[[], Conversation]:
    make = getattr(conversations, {"pop3s": "pop3", "imap4s": "imap4", "nntps": "nntp"}.get(protocol, protocol))
    return lambda: make(EXCHANGE)


def free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])


def open_door(opened: list[Door], address: str, service: Service | None) -> tuple[str, int]:
    port = free_port(address)
    door = Doors().open(address, port, service)
    if door is not None:
        opened.append(door)
    return address, port


def tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as name:
        context.load_cert_chain(*certificate(Path(name)))
    return context


async def serve() -> None:
    opened: list[Door] = []
    greeting = [
        (*open_door(opened, f"127.0.50.{number}", Service(conversation(protocol))), protocol)
        for number in range(1, ADDRESSES + 1)
        for protocol in GREETERS
    ]
    tls = tls_context()
    host = {
        protocol: open_door(
            opened, "127.0.51.1", Service(conversation(protocol), tls if protocol.endswith("s") else None)
        )
        for protocol in ONE_HOST
    }
    full = open_door(opened, "127.0.52.1", None)
    print(json.dumps({"greeting": greeting, "host": host, "full": full}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for door in opened:
        door.close()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve())
