# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network as the port probe sees it: a protocol for tests to replay, and the real one on selectors.

A loop of its own instead of asyncio: thousands of short conversations need neither tasks nor streams, and a module
that is run inside Ansible's worker must leave signals and the event loop policy alone.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import pathlib
import queue
import selectors
import socket
import threading
import time
import typing as t

from .model import Ending

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE

_CHUNK = 4096
_LOOKUPS_AT_ONCE = 16
_SPARE_FILES = 24
"""Descriptors left for the rest of the process: selector, wake-up pair, certificates, Ansible's own."""

_UNKNOWN_LIMIT = 256
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_GONE = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


class Resolved(t.NamedTuple):
    """A name was looked up: addresses, IPv4 first, or the reason why there is none and whether it may pass."""

    host: str
    addresses: tuple[str, ...]
    error: str
    transient: bool


class Connected(t.NamedTuple):
    """A connection was accepted."""

    handle: int


class Failed(t.NamedTuple):
    """A connection was not accepted, with the error number."""

    handle: int
    error: int


class Received(t.NamedTuple):
    """Octets arrived."""

    handle: int
    data: bytes


class Ended(t.NamedTuple):
    """The peer ended an accepted connection."""

    handle: int
    ending: Ending


Event = t.Union[Resolved, Connected, Failed, Received, Ended]


class NoRoom(OSError):
    """No file descriptor is free for another connection."""


class Network(t.Protocol):
    """What the probe needs of the world; times in seconds on a clock that never goes back."""

    def now(self) -> float:
        """Return the time."""

    def room(self) -> int:
        """Return how many connections may be open at one time."""

    def lookup(self, host: str) -> None:
        """Begin to look a name up; `Resolved` follows."""

    def connect(self, address: str, port: int, source_address: str | None) -> int:
        """Begin to connect and return a handle; `Connected` or `Failed` follows.

        Raises:
            NoRoom: There is no file descriptor.
        """

    def send(self, handle: int, data: bytes) -> None:
        """Send octets, at once or as soon as the peer takes them."""

    def close(self, handle: int) -> None:
        """Close a connection; no event follows."""

    def wait(self, until: float) -> t.Sequence[Event]:
        """Return what happened, at the latest at the time ``until``."""


class SelectorNetwork:
    """The real network: non-blocking sockets, and names looked up in threads.

    A context manager; leaving it closes every socket.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self._connecting: set[int] = set()
        self._unsent: dict[int, bytearray] = {}
        self._early: list[Event] = []
        self._last = 0
        self._names = _Names()
        self._selector.register(self._names.bell, _READ)

    def __enter__(self) -> SelectorNetwork:
        return self

    def __exit__(self, *dummy: object) -> None:
        for handle in list(self._sockets):
            self.close(handle)
        self._selector.close()
        self._names.close()

    def now(self) -> float:
        return time.monotonic()

    def room(self) -> int:
        return max(1, _file_limit() - _open_files() - _SPARE_FILES)

    def lookup(self, host: str) -> None:
        self._names.ask(host)

    def connect(self, address: str, port: int, source_address: str | None) -> int:
        connection = _open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._last += 1  # never a descriptor's number: that is used again while events are under way
        handle = self._last
        self._sockets[handle] = connection
        code = _begin(connection, (address, port), source_address)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._early.append(Failed(handle, code))
            return handle
        self._connecting.add(handle)
        self._selector.register(connection, _WRITE, handle)
        return handle

    def send(self, handle: int, data: bytes) -> None:
        unsent = self._unsent.get(handle)
        if unsent is not None:
            unsent += data
            return
        connection = self._sockets[handle]
        sent = _send(connection, data)
        if sent < len(data):
            self._unsent[handle] = bytearray(data[sent:])
            self._selector.modify(connection, _READ | _WRITE, handle)

    def close(self, handle: int) -> None:
        connection = self._sockets.pop(handle)
        self._connecting.discard(handle)
        self._unsent.pop(handle, None)
        if connection.fileno() in self._selector.get_map():
            self._selector.unregister(connection)
        connection.close()

    def wait(self, until: float) -> t.Sequence[Event]:
        if self._early:
            early, self._early = self._early, []
            return early
        events: list[Event] = []
        for key, mask in self._selector.select(max(0.0, until - time.monotonic())):
            if key.data is None:
                events.extend(self._names.answers())
                continue
            events.extend(self._ready(key.data, mask))
        return events

    def _ready(self, handle: int, mask: int) -> list[Event]:
        connection = self._sockets[handle]
        if handle in self._connecting:
            return self._connected(handle, connection)
        if mask & _WRITE:
            self._flush(handle, connection)
        return _receive(handle, connection) if mask & _READ else []

    def _connected(self, handle: int, connection: socket.socket) -> list[Event]:
        self._connecting.discard(handle)
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            self._selector.modify(connection, _READ, handle)
            return [Connected(handle)]
        self._selector.unregister(connection)
        if code in _GONE:  # a refusal is another error (RFC 793, section 3.4): it was accepted, and reset since
            return [Connected(handle), Ended(handle, Ending.RESET)]
        return [Failed(handle, code)]

    def _flush(self, handle: int, connection: socket.socket) -> None:
        unsent = self._unsent.pop(handle, bytearray())
        del unsent[: _send(connection, bytes(unsent))]
        if unsent:
            self._unsent[handle] = unsent
        else:
            self._selector.modify(connection, _READ, handle)


class _Names:
    """Looks names up in daemon threads: getaddrinfo cannot be cancelled, and must not keep the process."""

    def __init__(self) -> None:
        self.bell, self._ringer = socket.socketpair()
        self.bell.setblocking(False)
        self._ringer.setblocking(False)
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[Resolved] = queue.SimpleQueue()
        self._threads = 0

    def ask(self, host: str) -> None:
        if _is_address(host):
            self._answer(Resolved(host, (host,), "", False))
            return
        self._asked.put(host)
        if self._threads < _LOOKUPS_AT_ONCE:
            self._threads += 1
            threading.Thread(target=self._work, daemon=True, name="port_probe-lookup").start()

    def answers(self) -> list[Event]:
        with contextlib.suppress(BlockingIOError):  # an earlier call may have taken this ring's answers
            self.bell.recv(_CHUNK)
        found: list[Event] = []
        while not self._answered.empty():
            found.append(self._answered.get())
        return found

    def close(self) -> None:
        for dummy in range(self._threads):
            self._asked.put(None)
        self.bell.close()
        self._ringer.close()

    def _work(self) -> None:
        while True:
            host = self._asked.get()
            if host is None:
                return
            self._answer(_look_up(host))

    def _answer(self, resolved: Resolved) -> None:
        self._answered.put(resolved)
        with contextlib.suppress(OSError):  # full: the bell rings already; closed: nobody listens any more
            self._ringer.send(b"\0")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _look_up(host: str) -> Resolved:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Resolved(host, (), error.strerror or str(error), error.errno == socket.EAI_AGAIN)
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError: an impossible name
        return Resolved(host, (), str(error), False)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # Proxy Server 2.0 knows IPv4 only
    return Resolved(host, tuple(dict.fromkeys(str(entry[4][0]) for entry in found)), "", False)


def _open_socket(family: int) -> socket.socket:
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoRoom(error.errno, error.strerror) from error
        raise
    connection.setblocking(False)
    return connection


def _begin(connection: socket.socket, peer: tuple[str, int], source_address: str | None) -> int:
    """Bind and connect; return the error number, 0 or EINPROGRESS when all goes well."""
    try:
        if source_address is not None:
            connection.bind((source_address, 0))
        return connection.connect_ex(peer)
    except socket.gaierror:
        return errno.EAFNOSUPPORT  # an IPv4 source address for an IPv6 peer
    except OSError as error:
        return error.errno or errno.EINVAL


def _send(connection: socket.socket, data: bytes) -> int:
    """Send what the peer takes now. A dead connection takes everything: its end is heard when it is read."""
    try:
        return connection.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return len(data)


def _receive(handle: int, connection: socket.socket) -> list[Event]:
    try:
        data = connection.recv(_CHUNK)
    except BlockingIOError:
        return []
    except OSError as error:
        return [Ended(handle, Ending.RESET if error.errno in _GONE else Ending.CLOSED)]
    return [Received(handle, data) if data else Ended(handle, Ending.CLOSED)]


def _file_limit() -> int:
    """Return how many files this process may open."""
    try:
        import resource
    except ImportError:
        return _UNKNOWN_LIMIT
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNKNOWN_LIMIT * 256 if limit == resource.RLIM_INFINITY else limit


def _open_files() -> int:
    try:
        return sum(1 for dummy in pathlib.Path("/dev/fd").iterdir())
    except OSError:
        return 64
