# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Exchange is and which one it is: what an inspection must ask for, and what its answer says."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from ...module_utils.listeners import BIN, DSAMAIN, IMC_BIN, MSEXCIMC, OWNERS, STORE
from ..problems.problem import Problem
from ..shapes import Json
from .server import Server, ServiceState

Version = tuple[int, int]

FILE_NAME = "Wspcfg.ini"
# Windows' own limit for INI files (Q74602).
MAX_BYTES = 65536

SETUP_KEY = r"SOFTWARE\Microsoft\Exchange\Setup"  # Q149205, Q158956
# The WinSock Proxy client keeps nothing in the registry; System.ini says where its file is (Q231878).
CLIENT_POINTER = {
    "file": r"%SystemRoot%\System.ini",
    "section": "Microsoft Proxy Service",
    "key": "Ini File Path",
    "default": None,
}

KMS = "MSExchangeKMS"  # needs a password at every start (Q151689, Q196129)
PROXY = "wspsrv"  # Microsoft WinSock Proxy Service (Q281770)
CLUSTER = "ClusSvc"  # Q173809

# Server builds, first and last, per version (Q158530, Q257618, Q243604, Q248838).
BUILDS: tuple[tuple[int, int, Version], ...] = (
    (837, 999, (4, 0)),
    (1457, 1959, (5, 0)),
    (1960, 2999, (5, 5)),
)
# Up to here LDAP over TLS listens on 636 whatever is configured (Q179309, Q232606: 5.5 SP3).
LDAPS_FIXED_BEFORE_BUILD = 2650

VERSIONS: tuple[Version, ...] = ((4, 0), (5, 0), (5, 5))

_DIRECTORY = re.compile(r"[A-Za-z]:\\(?:[^\x00-\x1f<>:\"/\\|?*]+\\)*[^\x00-\x1f<>:\"/\\|?*]*\Z")


@dataclass(frozen=True)
class Places:
    """Directories that the user gave instead of having them found; None: find it."""

    bin_dir: str | None = None
    imc_dir: str | None = None

    def of(self, file_id: str) -> str | None:
        return self.bin_dir if file_id == "bin" else self.imc_dir


@dataclass(frozen=True)
class Exchange:
    """Which Exchange this is.

    Attributes:
        version: (major, minor), None when neither registry nor option tells.
        build: Server build, None when unknown.
        root: Installation directory, None when the registry does not tell.
    """

    version: Version | None
    build: int | None
    root: str | None

    def as_result(self, server: Server) -> Json:
        directories = {row.id: _parent(row.path) for row in server.files.values() if row.id in ("bin", "imc")}
        version = None if self.version is None else version_text(self.version)
        return {"version": version, "build": self.build, "root": self.root, "directories": directories}


def _parent(path: str | None) -> str | None:
    return None if path is None else path.rpartition("\\")[0]


def version_text(version: Version) -> str:
    """Return ``5.5`` for (5, 5)."""
    return f"{version[0]}.{version[1]}"


def directory_problems(places: Places) -> list[Problem]:
    """Check bin_dir and imc_dir: absolute paths on the Exchange server's own drives."""
    problems = []
    for option, value in (("bin_dir", places.bin_dir), ("imc_dir", places.imc_dir)):
        if value is not None and not _DIRECTORY.match(value):
            remedy = (
                r"Give an absolute path as the Exchange server has it, such as D:\exchsrvr\bin (never \\server\share)."
            )
            problems.append(Problem("bad_option", "this is no absolute Windows path", remedy, option, value))
    return problems


def _wspcfg(file_id: str, services: Sequence[str], below: str, places: Places) -> Json:
    directory = places.of(file_id)
    return {
        "id": file_id,
        "name": FILE_NAME,
        "path": None if directory is None else directory.rstrip("\\") + "\\" + FILE_NAME,
        "beside": list(services),
        "root": "install_root",
        "below": below,
        "pointer": None,
        "content": True,
        "executables": file_id == "bin",
        "max_bytes": MAX_BYTES,
    }


def _client_ini() -> Json:
    return {
        "id": "client",
        "name": "Mspclnt.ini",
        "path": None,
        "beside": [],
        "root": None,
        "below": None,
        "pointer": CLIENT_POINTER,
        "content": True,
        "executables": False,
        "max_bytes": MAX_BYTES,
    }


def inspection(
    places: Places,
    *,
    names: Sequence[str] = (),
    backup: str | None = None,
    events: Json | None = None,
    ports: Sequence[Json] = (),
) -> Json:
    """Return the keys of an ``inspect`` request that answers everything the collection decides on.

    Args:
        places: Directories that need not be found.
        names: Further services.
        backup: sha256 of a backup whose content is wanted.
        events: Event query (docs/target_protocol.md, section 2).
        ports: Port queries of the inside view.
    """
    own = [owner.service for owner in OWNERS] + [KMS, PROXY, CLUSTER]
    known = {name.lower() for name in own}
    values = (("install_root", "Services"), ("newest_build", "NewestBuild"), ("build", "Build"))
    return {
        "registry": [{"id": name, "key": SETUP_KEY, "value": value} for name, value in values],
        "services": own + [name for name in names if name.lower() not in known],
        "files": [
            _wspcfg("bin", (STORE.service, DSAMAIN.service), BIN, places),
            _wspcfg("imc", (MSEXCIMC.service,), IMC_BIN, places),
            _client_ini(),
        ],
        "state": True,
        "backup": backup,
        "events": events,
        "ports": list(ports),
    }


def _number(value: t.Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def identify(server: Server, *, override: str | None = None) -> Exchange:
    """Tell version, build and root.

    Args:
        server: The inspection.
        override: ``exchange_version`` as the user gave it, such as ``5.5``.
    """
    build = _number(server.registry.get("newest_build")) or _number(server.registry.get("build"))
    root = server.registry.get("install_root")
    version = next((row[2] for row in BUILDS if build is not None and row[0] <= build <= row[1]), None)
    if override is not None:
        major, dummy, minor = override.partition(".")
        version = (int(major), int(minor))
    return Exchange(version, build, root.rstrip("\\") if isinstance(root, str) and root else None)


def proxy_here(server: Server) -> ServiceState | None:
    """Return the WinSock Proxy service if Proxy Server is in use on the Exchange server itself (Q178532)."""
    proxy = server.service(PROXY)
    return proxy if proxy.exists and not proxy.disabled else None
