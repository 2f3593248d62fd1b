# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pending per service and by content, row by row."""

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.pending import (
    NOTHING,
    pending,
    section_hash,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.exchange.server import (
    FileState,
    Process,
    Record,
    ServiceState,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document

TEXT = b"[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\n[DSAMAIN]\r\nServerBindTcpPorts=389\r\n"
OLD = Process(7, 1000.0)
NEW = Process(8, 2000.0)


def digest(data: bytes, section: str = "STORE") -> str:
    return section_hash(Document.parse(data), section)


HASH = digest(TEXT)
OTHER = digest(b"[STORE]\r\nServerBindTcpPorts=1\r\n")


def test_hash_is_the_documented_one() -> None:
    canonical = b"persistent=1\nserverbindtcpports=110"
    assert hashlib.sha256(canonical).hexdigest() == HASH
    assert hashlib.sha256(b"").hexdigest() == NOTHING


@pytest.mark.parametrize(
    "same",
    [
        TEXT + b"; comment\r\n",
        b"[store]\r\n   persistent = 1\r\n  SERVERBINDTCPPORTS= 110\r\n",
        TEXT.replace(b"389", b"390"),
        b"[icq]\r\nDisable=1\r\n" + TEXT,
        TEXT.replace(b"\r\n", b"\n"),
    ],
)
def test_what_does_not_matter(same: bytes) -> None:
    assert digest(same) == HASH


@pytest.mark.parametrize(
    "other", [TEXT.replace(b"110", b"143"), TEXT.replace(b"Persistent=1\r\n", b""), TEXT.decode().encode("utf-16")]
)
def test_what_matters(other: bytes) -> None:
    assert digest(other) != HASH


def test_lists_have_no_order() -> None:
    one = digest(b"[STORE]\r\nServerBindTcpPorts=995,110, 993\r\nProxyBindIp=995:1.2.3.4, 993:1.2.3.4\r\n")
    two = digest(b"[STORE]\r\nProxyBindIp=993:1.2.3.4,995:1.2.3.4\r\nServerBindTcpPorts=110,993,995\r\n")
    assert one == two


def test_unicode_and_missing_are_nothing() -> None:
    assert digest(TEXT.decode().encode("utf-16")) == NOTHING == section_hash(None, "STORE") == digest(b"", "STORE")


def service(process: Process | None = OLD, state: str = "running") -> ServiceState:
    return ServiceState("MSExchangeIS", True, state, "auto", process=process)


def file(content: bytes | None = TEXT, modified: float = 500.0, file_system: str | None = "NTFS") -> FileState:
    return FileState(
        "bin", "C:\\f", exists=content is not None, content=content, modified=modified, file_system=file_system
    )


def record(loaded: str | None, process: Process | None = OLD, wanted: str | None = HASH) -> Record:
    return Record("MSExchangeIS", loaded, wanted, process=process)


ROWS = [
    ("stopped", service(None, "stopped"), None, file(), False, "stopped"),
    ("missing", ServiceState("MSExchangeIS", False), None, file(), False, "stopped"),
    ("same process, same content", service(), record(HASH), file(modified=9e9), False, "loaded"),
    ("same process, other content", service(), record(OTHER), file(modified=1), True, "loaded"),
    ("same process, file deleted", service(), record(HASH), file(None), True, "loaded"),
    ("same process, nothing then and now", service(), record(NOTHING), file(None), False, "loaded"),
    ("new process, file older", service(NEW), record(OTHER), file(modified=1990), False, "process_newer"),
    ("new process, file younger", service(NEW), record(HASH), file(modified=2010), True, "process_older"),
    ("new process, within five seconds", service(NEW), record(HASH), file(modified=1996), True, "process_older"),
    ("no record, file older", service(), None, file(modified=900), False, "process_newer"),
    ("no record, file younger", service(), None, file(modified=1100), True, "process_older"),
    ("no record, no section, file younger", service(), None, file(b"[x]\r\n", 1100), False, "nothing"),
    ("no record, no file", service(), None, file(None), False, "nothing"),
    ("new process, file gone", service(NEW), record(HASH), file(None), True, "process_older"),
    ("new process, never anything", service(NEW), record(NOTHING, wanted=NOTHING), file(None), False, "nothing"),
    ("unknowable, same content", service(None), record(HASH, None), file(modified=9e9), False, "loaded"),
    ("unknowable, other content", service(None), record(OTHER, None), file(modified=1), True, "loaded"),
    ("unknowable, no record", service(None), None, file(modified=9e9), False, "unknown"),
    ("id used again", service(Process(7, 1500.0)), record(OTHER), file(modified=900), False, "process_newer"),
    ("FAT, an hour apart", service(), None, file(modified=900, file_system="FAT"), True, "process_older"),
    (
        "FAT, long before",
        service(Process(7, 9000.0)),
        None,
        file(modified=900, file_system="FAT32"),
        False,
        "process_newer",
    ),
]


@pytest.mark.parametrize(("name", "state", "known", "at", "verdict", "reason"), ROWS, ids=[row[0] for row in ROWS])
def test_rows(name: str, state: ServiceState, known: Record | None, at: FileState, verdict: bool, reason: str) -> None:
    found = pending(state, known, at, "STORE")
    assert (found.pending, found.reason) == (verdict, reason), name
    assert found.text


def test_loaded_bytes_are_hashed_when_the_worker_could_not() -> None:
    known = Record("MSExchangeIS", None, HASH, file="f" * 64, process=OLD, loaded_content=TEXT)
    assert not pending(service(), known, file(modified=9e9), "STORE").pending
    assert pending(service(), known, file(b"[STORE]\r\nServerBindTcpPorts=1\r\n"), "STORE").pending
