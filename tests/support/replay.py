# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations replayed to the port probe: no sockets, and a clock that only moves when nothing else happens."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.model import (
    Dialogue,
    Ending,
    Findings,
    Heard,
    Say,
)
from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe.network import (
    Connected,
    Ended,
    Event,
    Failed,
    NoRoom,
    Received,
    Resolved,
)


@dataclass(frozen=True)
class Replayed:
    """What a conversation found, and what it said before and after its verdict."""

    findings: Findings
    said: bytes
    farewell: bytes
    heard: int


def replay(dialogue: Dialogue, *heard: Heard) -> Replayed:
    """Let a conversation hear ``heard``, one item at a time, then nothing until its time is over."""
    said, farewell = bytearray(), bytearray()
    script = iter(heard)
    count = 0
    try:
        step = next(dialogue)
        while True:
            if isinstance(step, Say):
                (farewell if step.farewell else said).extend(step.data)
                step = dialogue.send(b"")
            else:
                count += 1
                step = dialogue.send(next(script, Ending.EXPIRED))
    except StopIteration as stop:
        return Replayed(stop.value, bytes(said), bytes(farewell), count)


def converse(dialogue: Dialogue, answer: Callable[[bytes], bytes], sizes: Sequence[int], *, end: Ending) -> Findings:
    """Carry octets between a conversation and a server that answers at once.

    Args:
        dialogue: The conversation.
        answer: Called with everything that is said; returns what the server says to it.
        sizes: Sizes of the pieces in which that is heard, the last one repeated.
        end: What is heard when nothing is left.
    """
    waiting = bytearray()
    pieces = iter(sizes)
    size = 1
    heard: Heard = b""
    try:
        step = next(dialogue)
        while True:
            if isinstance(step, Say):
                waiting += answer(step.data)
                heard = b""
            elif waiting:
                size = next(pieces, size)
                heard = bytes(waiting[:size])
                del waiting[:size]
            else:
                heard = end
            step = dialogue.send(heard)
    except StopIteration as stop:
        found: Findings = stop.value
        return found


@dataclass
class Peer:
    """What happens at one address and port, for every connection alike.

    Attributes:
        accepts_after: Seconds until the connection is accepted; None: never.
        error: Error number instead, after ``accepts_after``.
        says: (seconds after the acceptance, octets or the end).
        answers: Called with every octets received; returns what is answered.
        pauses: Seconds before each of its answers, in order; none before those that follow.
    """

    accepts_after: float | None = 0.0
    error: int = 0
    says: Sequence[tuple[float, Heard]] = ()
    answers: Callable[[bytes], Heard | None] = lambda data: None
    pauses: Sequence[float] = ()


@dataclass
class Log:
    """One connection as the peer saw it."""

    address: str
    port: int
    at: float
    source_address: str | None
    received: bytearray = field(default_factory=bytearray)
    answered: int = 0
    closed_at: float | None = None


class ReplayedNetwork:
    """A network made of `Peer` scripts; unknown addresses refuse."""

    def __init__(
        self,
        peers: dict[tuple[str, int], Peer | list[Peer]] | None = None,
        *,
        names: dict[str, tuple[str, ...] | None] | None = None,
        lookup_seconds: float = 0.0,
        room: int = 1000,
        files: int = 1000,
    ) -> None:
        self.peers = peers or {}
        self.names = names or {}
        self.log: list[Log] = []
        self.most_open = 0
        self.lookups: list[str] = []
        self._lookup_seconds = lookup_seconds
        self._looked_up = 0.0
        self._room = room
        self._files = files
        self._now = 1000.0
        self._serial = itertools.count()
        self._events: list[tuple[float, int, Event]] = []
        self._open: dict[int, tuple[Log, Peer]] = {}

    def now(self) -> float:
        return self._now

    def room(self) -> int:
        return self._room

    def lookup(self, host: str) -> None:
        self.lookups.append(host)
        addresses = self.names.get(host, (host,))
        if addresses is None:
            return  # the name server never answers
        self._looked_up = max(self._looked_up, self._now) + self._lookup_seconds  # one after the other
        answer = Resolved(host, addresses, "" if addresses else "no such name", False)
        self.at(self._looked_up - self._now, answer)

    def connect(self, address: str, port: int, source_address: str | None) -> int:
        if len(self._open) >= self._files:
            raise NoRoom(24, "Too many open files")
        handle = next(self._serial)
        peer = self._peer(address, port)
        self._open[handle] = (Log(address, port, self._now, source_address), peer)
        self.log.append(self._open[handle][0])
        self.most_open = max(self.most_open, len(self._open))
        if peer.accepts_after is None:
            return handle
        if peer.error:
            self.at(peer.accepts_after, Failed(handle, peer.error))
            return handle
        self.at(peer.accepts_after, Connected(handle))
        for after, heard in peer.says:
            self.at(peer.accepts_after + after, _event(handle, heard))
        return handle

    def send(self, handle: int, data: bytes) -> None:
        log, peer = self._open[handle]
        log.received += data
        answer = peer.answers(data)
        if answer is not None:
            self.at(peer.pauses[log.answered] if log.answered < len(peer.pauses) else 0.0, _event(handle, answer))
            log.answered += 1

    def close(self, handle: int) -> None:
        self._open.pop(handle)[0].closed_at = self._now

    def wait(self, until: float) -> list[Event]:
        if self._events and self._events[0][0] <= until:
            self._now = max(self._now, self._events[0][0])
            return [heapq.heappop(self._events)[2]]
        self._now = max(self._now, until)
        return []

    def _peer(self, address: str, port: int) -> Peer:
        found = self.peers.get((address, port), Peer(error=111))
        if isinstance(found, Peer):
            return found
        return found.pop(0) if len(found) > 1 else found[0]

    def at(self, after: float, event: Event) -> None:
        """Let something happen after so many seconds."""
        heapq.heappush(self._events, (self._now + after, next(self._serial), event))


def _event(handle: int, heard: Heard) -> Event:
    return Ended(handle, heard) if isinstance(heard, Ending) else Received(handle, heard)
