# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a task decides from a file, it takes the file's bytes apart once, and each reader reads them once.

Python's own profiling hook counts the calls, so that what is tested runs untouched.
"""

from __future__ import annotations

import sys
import typing as t
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini import readers
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks import (
    service_restart,
    win_ini,
    wspcfg,
    wspcfg_info,
)
from tests.support.inspections import BIN, Described, File, Replay, session
from tests.support.options import options_of

Json = dict[str, t.Any]
Calls = Counter[tuple[str, str, bytes]]
LISTENERS = ["pop3", "imap4", "ldap", "smtp"]
RESTARTED = ("MSExchangeDS", "MSExchangeIS", "MSExchangeIMC", "MSExchangeMTA")
READERS = (readers.read_profile, readers.read_strict, readers.read_text)


def parsed(frame: FrameType) -> tuple[str, str, bytes]:
    values = frame.f_locals
    return "parse", str(values["encoding"]), bytes(values["data"])


def read(frame: FrameType) -> tuple[str, str, bytes]:
    document = frame.f_locals["document"]
    return frame.f_code.co_name, document.codec.name, bytes(document)


# Document.parse is a class method; what profiles is the function below it.
WATCHED: Mapping[CodeType, Callable[[FrameType], tuple[str, str, bytes]]] = {
    Document.__dict__["parse"].__func__.__code__: parsed,
    **{function.__code__: read for function in READERS},
}


@contextmanager
def counted() -> Iterator[Calls]:
    calls: Calls = Counter()

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        note = WATCHED.get(frame.f_code) if event == "call" else None
        if note is not None:
            calls[note(frame)] += 1

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def fresh() -> Described:
    return Described()


def in_order() -> Described:
    server = Described()
    wspcfg.run(session(Replay(server)), options_of("wspcfg", listeners=LISTENERS), host="EX1", check=False)
    server.restarted(*RESTARTED)
    return server


def drifted() -> Described:
    server = in_order()
    server.files["bin"].content = (server.files["bin"].content or b"").replace(b"110,143", b"110")
    server.files["bin"].modified = server.now
    return server


def alike() -> Described:
    """Both directories have the same bytes, and so has what a process loaded."""
    server = in_order()
    text = (server.files["bin"].content or b"") + (server.files["imc"].content or b"")
    for name in ("bin", "imc"):
        server.files[name].content = text
    server.records["MSExchangeIS"] = {
        "service": "MSExchangeIS",
        "loaded_content": server.files["bin"].row("bin")["content"],
    }
    return server


def run_wspcfg(server: Described, **options: t.Any) -> Json:
    return wspcfg.run(session(Replay(server)), options_of("wspcfg", **options), host="EX1", check=True)


def publish(server: Described) -> Json:
    return run_wspcfg(server, listeners=LISTENERS)


def withdraw(server: Described) -> Json:
    return run_wspcfg(server, listeners=["pop3"], state="absent")


def restore(server: Described) -> Json:
    text = b"[STORE]\r\nServerBindTcpPorts=110\r\n"
    row = File(BIN, text).row("bin")
    server.backups[row["sha256"]] = text
    server.index.append({"saved": 1.0, "sha256": row["sha256"], "path": BIN})
    return run_wspcfg(server, restore="latest")


def inform(server: Described) -> Json:
    return wspcfg_info.run(session(Replay(server)), options_of("wspcfg_info"), host="EX1")


def restart(server: Described) -> Json:
    options = options_of("service_restart", only_if_pending=True)
    return service_restart.run(session(Replay(server)), options, host="EX1", check=True)


def edit(server: Described) -> Json:
    options = options_of("win_ini", path=BIN, sections={"STORE": {"Persistent": "0"}})
    return win_ini.run(session(Replay(server)), options, host="EX1", check=True)


def tell(server: Described) -> Json:
    return win_ini.read(session(Replay(server)), options_of("win_ini_info", path=BIN), host="EX1")


@pytest.mark.parametrize("server", [fresh, in_order, drifted, alike])
@pytest.mark.parametrize("task", [publish, withdraw, restore, inform, restart, edit, tell])
def test_nothing_is_read_twice(task: Callable[[Described], Json], server: Callable[[], Described]) -> None:
    described = server()
    with counted() as calls:
        result = task(described)
    assert not result.get("failed"), result
    twice = {call: number for call, number in calls.items() if number > 1 and call[2]}
    assert not twice
    content = described.files["bin"].content
    assert content is None or content in {data for name, dummy, data in calls if name == "parse"}


def test_the_watch_sees_what_is_done_twice() -> None:
    with counted() as calls:
        for _time in range(2):
            readers.read_strict(Document.parse(b"[S]\r\n"))
    assert calls == {("parse", "auto", b"[S]\r\n"): 2, ("read_strict", "cp1252", b"[S]\r\n"): 2}
