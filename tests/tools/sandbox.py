# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command in a network of its own, where ports below 1024 are free to bind on loopback.

Root gets a network namespace, an ordinary user a user and network namespace. Where the system forbids both, the
command runs on the host's network with ``WSP_LAB_MAPPED_PORTS=1``, and one line on standard error says so: the lab then
binds mapped high ports.

Where ``WSP_CATCH`` names a folder, everything that the command makes in ``/tmp`` lands there instead, so that it can be
told from what other programs make meanwhile; without a namespace, or without overlays, nothing is caught.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

MARK = "WSP_SANDBOX"
MAPPED = "WSP_LAB_MAPPED_PORTS"
CATCH = "WSP_CATCH"
TEMPORARY = Path("/tmp")
LOW_PORT = 110
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def bring_loopback_up() -> None:
    """Set IFF_UP on ``lo``; a new network namespace starts with it down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))


def low_port_works() -> bool:
    """Whether a port below 1024 can be bound on loopback here, found out by binding one."""
    try:
        with socket.create_server(("127.0.0.1", LOW_PORT)):
            return True
    except OSError:
        return False


def ways_in() -> list[list[str]]:
    """The namespaces to try, the one with the fewest differences first."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    user = [unshare, "--user", "--map-root-user", "--net", "--mount"]
    return [[unshare, "--net", "--mount"], user] if os.geteuid() == 0 else [user]


def caught(folder: Path) -> Path:
    """Where the command's temporary files are; it exists when they are caught."""
    return folder / "made"


def catch(folder: Path) -> None:
    """Lay a folder over ``/tmp`` in this mount namespace; where that does not work, leave no folder behind."""
    made, work = caught(folder), folder / "work"
    for each in (made, work):
        each.mkdir(parents=True)
    layers = f"lowerdir={TEMPORARY},upperdir={made},workdir={work}"
    for more in ("", ",userxattr"):  # an ordinary user's namespace needs the second
        mount = ctypes.CDLL(None, use_errno=True).mount
        if mount(b"overlay", os.fsencode(TEMPORARY), b"overlay", 0, os.fsencode(layers + more)) == 0:
            return
    made.rmdir()


def inside(command: list[str]) -> int:
    """Prepare the namespace that this process is in, then become the command; without one, only prove that it works."""
    try:
        bring_loopback_up()
    except OSError as error:
        print(f"loopback: {error}", file=sys.stderr)
        return 1
    if not low_port_works():
        print(f"cannot bind 127.0.0.1:{LOW_PORT}", file=sys.stderr)
        return 1
    if not command:
        return 0
    if os.environ.get(CATCH):
        catch(Path(os.environ[CATCH]))
    os.environ[MARK] = "namespace"
    return os.execvp(command[0], command)


def main(command: list[str]) -> int:
    """Run the command in the best sandbox that this system allows; never returns when the command could be started."""
    if command[:1] == ["--inside"]:
        return inside(command[1:])
    if not command:
        print("usage: sandbox.py COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    if os.environ.get(MARK) or os.environ.get(MAPPED):
        return os.execvp(command[0], command)
    reason = "there is no unshare program"
    for way in ways_in():
        enter = [*way, sys.executable, str(Path(__file__).resolve()), "--inside"]
        trial = subprocess.run(enter, capture_output=True, text=True, check=False)
        if trial.returncode == 0:
            return os.execvp(enter[0], [*enter, *command])
        reason = trial.stderr.strip().splitlines()[-1] if trial.stderr.strip() else f"exit status {trial.returncode}"
    print(f"SANDBOX: no network namespace here ({reason}); the lab uses mapped high ports", file=sys.stderr, flush=True)
    os.environ[MAPPED] = "1"
    return os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
