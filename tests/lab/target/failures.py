# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an operation fails: one code of the protocol, and what Windows said."""

from __future__ import annotations

import typing as t

from ..machines.errors import (
    ACCESS_DENIED,
    ALREADY_EXISTS,
    DISK_FULL,
    FILE_NOT_FOUND,
    INVALID_NAME,
    NETWORK_PATH_NOT_FOUND,
    PATH_NOT_FOUND,
    SHARING_VIOLATION,
    WindowsFailure,
)
from ..machines.files import FileSystem, split

Json: t.TypeAlias = dict[str, t.Any]

_FILE_CODES: t.Final[t.Mapping[int, str]] = {
    FILE_NOT_FOUND: "not_found",
    PATH_NOT_FOUND: "parent_missing",
    SHARING_VIOLATION: "locked",
    DISK_FULL: "disk_full",
    39: "disk_full",
    INVALID_NAME: "bad_name",
    87: "bad_name",
    ALREADY_EXISTS: "changed",
    NETWORK_PATH_NOT_FOUND: "computer_unreachable",
    51: "computer_unreachable",
    64: "computer_unreachable",
    67: "parent_missing",
}


class TargetFailure(Exception):
    """An operation ends with an error of the protocol.

    Attributes:
        code: One of the protocol's error codes.
        detail: What the protocol says that goes with the code.
    """

    def __init__(self, code: str, message: str, **detail: t.Any) -> None:
        super().__init__(message)
        self.code = code
        self.detail = {"hresult": None, "native": None, **detail}

    def as_json(self) -> Json:
        return {"code": self.code, "message": str(self), "detail": self.detail}


def windows_failure(code: str, failure: WindowsFailure, **detail: t.Any) -> TargetFailure:
    """A protocol error that carries what Windows answered."""
    return TargetFailure(code, str(failure), hresult=failure.hresult, native=failure.native, **detail)


def denied(failure: WindowsFailure) -> TargetFailure:
    """The protocol error for a call that nobody expected to be refused."""
    return windows_failure("access_denied", failure, **{failure.subject_kind: failure.subject})


def file_failure(failure: WindowsFailure, files: FileSystem, path: str) -> TargetFailure:
    """The protocol's code for a file call that failed."""
    code = _FILE_CODES.get(failure.native, "internal")
    if failure.native == ACCESS_DENIED:
        node = files.node(path)
        code = "access_denied"
        if node is not None and node.data is None:
            code = "is_directory"
        elif node is not None and node.read_only:
            code = "read_only"
    if code == "not_found" and not files.is_dir(split(path)[0]):
        code = "parent_missing"
    return windows_failure(code, failure, path=path)
