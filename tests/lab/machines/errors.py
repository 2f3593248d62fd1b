# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Win32 errors of the simulated machines."""

from __future__ import annotations

import typing as t

FILE_NOT_FOUND: t.Final = 2
PATH_NOT_FOUND: t.Final = 3
ACCESS_DENIED: t.Final = 5
SHARING_VIOLATION: t.Final = 32
NETWORK_PATH_NOT_FOUND: t.Final = 53
DISK_FULL: t.Final = 112
INVALID_NAME: t.Final = 123
ALREADY_EXISTS: t.Final = 183
DEPENDENT_SERVICES_RUNNING: t.Final = 1051
INVALID_SERVICE_CONTROL: t.Final = 1052
SERVICE_REQUEST_TIMEOUT: t.Final = 1053
SERVICE_ALREADY_RUNNING: t.Final = 1056
SERVICE_DISABLED: t.Final = 1058
SERVICE_DOES_NOT_EXIST: t.Final = 1060
SERVICE_CANNOT_ACCEPT_CTRL: t.Final = 1061
SERVICE_NOT_ACTIVE: t.Final = 1062
SERVICE_DEPENDENCY_FAIL: t.Final = 1068
LOGON_FAILURE: t.Final = 1326
RPC_CALL_FAILED: t.Final = 1726

MESSAGES: t.Final[t.Mapping[int, str]] = {
    FILE_NOT_FOUND: "The system cannot find the file specified.",
    PATH_NOT_FOUND: "The system cannot find the path specified.",
    ACCESS_DENIED: "Access is denied.",
    SHARING_VIOLATION: "The process cannot access the file because it is being used by another process.",
    NETWORK_PATH_NOT_FOUND: "The network path was not found.",
    DISK_FULL: "There is not enough space on the disk.",
    INVALID_NAME: "The filename, directory name, or volume label syntax is incorrect.",
    ALREADY_EXISTS: "Cannot create a file when that file already exists.",
    DEPENDENT_SERVICES_RUNNING: "A stop control has been sent to a service that other running services depend on.",
    INVALID_SERVICE_CONTROL: "The requested control is not valid for this service.",
    SERVICE_REQUEST_TIMEOUT: "The service did not respond to the start or control request in a timely fashion.",
    SERVICE_ALREADY_RUNNING: "An instance of the service is already running.",
    SERVICE_DISABLED: "The service cannot be started because it is disabled.",
    SERVICE_DOES_NOT_EXIST: "The specified service does not exist as an installed service.",
    SERVICE_CANNOT_ACCEPT_CTRL: "The service cannot accept control messages at this time.",
    SERVICE_NOT_ACTIVE: "The service has not been started.",
    SERVICE_DEPENDENCY_FAIL: "The dependency service or group failed to start.",
    LOGON_FAILURE: "Logon failure: unknown user name or bad password.",
    RPC_CALL_FAILED: "The remote procedure call failed.",
}


def hresult(native: int) -> int:
    """HRESULT_FROM_WIN32 as the signed integer that .NET shows."""
    return (0x80070000 | (native & 0xFFFF)) - 0x1_0000_0000


class WindowsFailure(Exception):
    """A call of the simulated Windows failed.

    Attributes:
        native: Win32 code.
        subject: Path, key or service that was asked for.
    """

    def __init__(self, native: int, subject: str = "") -> None:
        super().__init__(MESSAGES.get(native, f"Win32 error {native}."))
        self.native = native
        self.subject = subject

    @property
    def subject_kind(self) -> str:
        """``path`` for a file; what kind of name :attr:`subject` is."""
        return "path"

    @property
    def hresult(self) -> int:
        return hresult(self.native)


class RegistryFailure(WindowsFailure):
    """A call about a registry key failed."""

    @property
    def subject_kind(self) -> str:
        return "key"
