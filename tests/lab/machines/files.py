# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""File system of one simulated machine: Windows paths, sharing modes, attributes, NTFS and FAT times."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .clock import Clock
from .errors import (
    ACCESS_DENIED,
    ALREADY_EXISTS,
    DISK_FULL,
    FILE_NOT_FOUND,
    INVALID_NAME,
    PATH_NOT_FOUND,
    SHARING_VIOLATION,
    WindowsFailure,
)

Access = t.Literal["read", "write"]
_BAD_NAME = re.compile(r'[<>"|?*\x00-\x1f]|:(?!\\)|^(?![a-zA-Z]:\\)')
FAT_GRAIN_S = 2


@dataclass(eq=False)
class Hold:
    """A handle that some program keeps open.

    Attributes:
        access: What the handle may do.
        share: What its owner lets others do meanwhile.
    """

    access: Access
    share: frozenset[str]


HOLDS: t.Final[t.Mapping[str, tuple[Access, frozenset[str]]]] = {
    "read": ("read", frozenset({"read"})),
    "write": ("write", frozenset({"read"})),
    "none": ("write", frozenset()),
}


@dataclass(eq=False)
class Node:
    """One file or directory (``data`` None); its time is as the volume stores it, see :class:`FileSystem`."""

    path: str
    data: bytes | None
    modified: float
    read_only: bool = False
    holds: list[Hold] = field(default_factory=list)


def split(path: str) -> tuple[str, str]:
    """Directory and name of a Windows path."""
    directory, dummy, name = path.rpartition("\\")
    return (directory + "\\" if directory.endswith(":") else directory), name


def normal(path: str) -> str:
    """The path with single backslashes and without a trailing one."""
    path = path.replace("/", "\\")
    path = re.sub(r"(?<!^)\\{2,}", r"\\", path)
    return path if len(path) <= 3 else path.rstrip("\\")


class FileSystem:
    """Files of one machine.

    Attributes:
        kinds: Drive letter to file system; drives that are not named are NTFS. FAT keeps local time with a grain of two
            seconds, so a change of the offset from UTC moves every time that is read back.
        free: Bytes that may still be written, None without a limit.
        denied: Lower-case paths (with everything below) that nobody may open.
    """

    def __init__(self, clock: Clock, *, kinds: t.Mapping[str, str] | None = None) -> None:
        self.clock = clock
        self.kinds = {letter.upper(): kind for letter, kind in (kinds or {}).items()}
        self.free: int | None = None
        self.denied: set[str] = set()
        self._nodes: dict[str, Node] = {}
        self.mkdir("C:\\")

    def kind(self, path: str) -> str:
        """``NTFS`` or ``FAT``."""
        return self.kinds.get(path[:1].upper(), "NTFS")

    def convert(self, letter: str, kind: str) -> None:
        """Make a drive NTFS or FAT; times stay what they are, as far as FAT can keep them."""
        drive = letter.upper()
        nodes = [node for node in self._nodes.values() if node.path[:1].upper() == drive]
        times = [self._time(node.path, node.modified) for node in nodes]
        self.kinds[drive] = kind
        for node, modified in zip(nodes, times, strict=True):
            node.modified = self._stamp(node.path, modified)

    def node(self, path: str) -> Node | None:
        return self._nodes.get(normal(path).lower())

    def is_dir(self, path: str) -> bool:
        node = self.node(path)
        return node is not None and node.data is None

    def exists(self, path: str) -> bool:
        """Whether there is a file (not a directory)."""
        node = self.node(path)
        return node is not None and node.data is not None

    def modified(self, path: str) -> float:
        return self._time(path, self._need(path).modified)

    def set_modified(self, path: str, when: float) -> None:
        self._need(path).modified = self._stamp(path, when)

    def names(self, directory: str) -> list[str]:
        """Names in a directory, files and directories, in ordinal order without case."""
        prefix = normal(directory).lower().rstrip("\\") + "\\"
        found = [
            split(node.path)[1]
            for key, node in self._nodes.items()
            if key.startswith(prefix) and key != prefix and "\\" not in key[len(prefix) :]
        ]
        return sorted(found, key=str.lower)

    def files(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.data is not None]

    def mkdir(self, path: str) -> None:
        """Make a directory and its parents."""
        path = normal(path)
        directory, name = split(path)
        if name and not self.is_dir(directory):
            self.mkdir(directory)
        if path.lower() not in self._nodes:
            now = self._stamp(path, self.clock.now())
            self._nodes[path.lower()] = Node(path, None, now)

    def put(self, path: str, data: bytes) -> Node:
        """Make or overwrite a file without any check: the state that a test wants."""
        path = normal(path)
        self.mkdir(split(path)[0])
        node = self.node(path)
        now = self._stamp(path, self.clock.now())
        if node is not None and node.data is None:
            raise WindowsFailure(ACCESS_DENIED, path)
        if node is None:
            node = Node(path, data, now)
            self._nodes[path.lower()] = node
        node.data, node.modified = data, now
        return node

    def remove(self, path: str) -> None:
        """Take a file away without any check."""
        node = self._nodes.pop(normal(path).lower(), None)
        if node is not None and node.data and self.free is not None:
            self.free += len(node.data)

    def hold(self, path: str, mode: str) -> Hold:
        """Open a file for a program that keeps it open; modes are those of :data:`HOLDS`."""
        hold = Hold(*HOLDS[mode])
        self._need(path).holds.append(hold)
        return hold

    def release(self, path: str) -> None:
        """Close every handle on a file."""
        node = self.node(path)
        if node is not None:
            node.holds.clear()

    def read(self, path: str) -> bytes:
        """Content, opened with Read access; the reader lets others do what they like."""
        node = self._open(path)
        if any("read" not in hold.share for hold in node.holds):
            raise WindowsFailure(SHARING_VIOLATION, path)
        return t.cast(bytes, node.data)

    def create(self, path: str, data: bytes) -> None:
        """Write a file that must not exist (FileMode.CreateNew, or Move from a temporary file)."""
        self._check_name(path)
        directory, dummy = split(normal(path))
        self._check_parent(directory)
        if self.is_dir(path):
            raise WindowsFailure(ACCESS_DENIED, path)
        if self.exists(path):
            raise WindowsFailure(ALREADY_EXISTS, path)
        self._allow(path)
        self._charge(len(data), path)
        self.put(path, data)

    def overwrite(self, path: str, data: bytes, *, in_place: bool = False) -> None:
        """Replace the content of a file that exists; its attributes stay.

        Args:
            path: The file.
            data: New content.
            in_place: Through the file's own handle; otherwise a temporary file needs room beside it first.
        """
        node = self._open(path)
        if node.read_only:
            raise WindowsFailure(ACCESS_DENIED, path)
        if node.holds:
            raise WindowsFailure(SHARING_VIOLATION, path)
        old = len(t.cast(bytes, node.data))
        if not in_place:
            self._charge(len(data), path)
            self._charge(-len(data), path)
        self._charge(len(data) - old, path)
        self.put(path, data)

    def delete(self, path: str) -> None:
        """Delete a file that exists."""
        node = self._open(path)
        if node.read_only:
            raise WindowsFailure(ACCESS_DENIED, path)
        if node.holds:
            raise WindowsFailure(SHARING_VIOLATION, path)
        self.remove(path)

    def _open(self, path: str) -> Node:
        self._check_name(path)
        self._allow(path)
        node = self.node(path)
        if node is None:
            self._check_parent(split(normal(path))[0])
            raise WindowsFailure(FILE_NOT_FOUND, path)
        if node.data is None:
            raise WindowsFailure(ACCESS_DENIED, path)
        return node

    def _need(self, path: str) -> Node:
        node = self.node(path)
        if node is None:
            raise WindowsFailure(FILE_NOT_FOUND, path)
        return node

    def _check_name(self, path: str) -> None:
        if not path or _BAD_NAME.search(path):
            raise WindowsFailure(INVALID_NAME, path)

    def _check_parent(self, directory: str) -> None:
        if not self.is_dir(directory):
            raise WindowsFailure(PATH_NOT_FOUND, directory)

    def _allow(self, path: str) -> None:
        key = normal(path).lower()
        if any(key == denied or key.startswith(denied.rstrip("\\") + "\\") for denied in self.denied):
            raise WindowsFailure(ACCESS_DENIED, path)

    def _charge(self, size: int, path: str) -> None:
        if self.free is None:
            return
        if size > self.free:
            raise WindowsFailure(DISK_FULL, path)
        self.free -= size

    def _stamp(self, path: str, when: float) -> float:
        if self.kind(path) != "FAT":
            return when
        local = when + self.clock.utc_offset_minutes * 60
        return local - local % FAT_GRAIN_S

    def _time(self, path: str, stored: float) -> float:
        return stored - self.clock.utc_offset_minutes * 60 if self.kind(path) == "FAT" else stored
