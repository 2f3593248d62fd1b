# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each operation costs on a real engine: seconds, bytes both ways, and values that it reads in the registry.

Wine tells each registry call on standard error when it is asked to; what PowerShell reads for itself is taken off. Each
of those reads is a round trip where the registry is another machine's.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from tests.windows import orders
from tests.windows.machine import Prefix
from tests.windows.orders import BEHAVIOUR, Order

if t.TYPE_CHECKING:
    from tests.windows.lane import StageServer

SIZES: t.Final = (5, 300)
SECONDS: t.Final = 120.0
FILE: t.Final = "C:\\exchsrvr\\bin\\Wspcfg.ini"
TEXT: t.Final = b"[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\nKillOldSession=1\r\n"
_READS: t.Final = re.compile(rb"trace:reg:Nt(?:QueryValueKey|EnumerateValueKey|QueryMultipleValueKey)\b")
_RUN: t.Final = "00000000-0001"
_COMMON: t.Final = {"version": 1, "computer": None, "credential": None, "run": _RUN, "who": "measure@controller"}


@dataclass(frozen=True)
class Cost:
    """What one operation costs.

    Attributes:
        operation: what was asked.
        services: how many services the server has besides those of Windows.
        seconds: from the start of PowerShell to its end; for ``restart`` to the first stop.
        sent: bytes of script and request.
        received: bytes of the answer.
        reads: values that it read in the registry; None where nobody tells.
    """

    operation: str
    services: int
    seconds: float
    sent: int
    received: int
    reads: int | None


def measure(server: StageServer) -> list[Cost]:
    """Return what the operations cost on a server with few and with many services."""
    found: list[Cost] = []
    for size in SIZES:
        server.stage.prepare({"files": {FILE: {"base64": base64.b64encode(TEXT).decode()}}}, change=False)
        server.stage.obey(list(_services(server, size)))
        found += _costs(server, size)
    server.stage.clear()
    return found


def _services(server: StageServer, size: int) -> Iterator[Order]:
    """A service that runs, one that depends on it, and others that have nothing to do with them."""
    program = "C:\\exchsrvr\\bin\\store.exe"
    yield ("copy", server.stage.about.service, program)
    yield orders.set_value(BEHAVIOUR + "\\MSExchangeIS", "stop_ms", 500)
    for number in range(size):
        name = ("MSExchangeIS", "MSExchangeES")[number] if number < 2 else f"Other{number}"
        yield ("service-create", name, program, str(orders.OWN_PROCESS))
        needs = orders.value(["MSExchangeIS"])[1].hex() if number == 1 else ""
        yield ("service-config", name, "2", "", "", "", needs)
    yield ("service-start", "MSExchangeIS", str(orders.STATES["running"]))


def _costs(server: StageServer, size: int) -> Iterator[Cost]:
    item: dict[str, t.Any] = {
        "id": "bin",
        "name": "Wspcfg.ini",
        "path": None,
        "beside": ["MSExchangeIS"],
        "root": None,
        "below": "bin",
    }
    item |= {"pointer": None, "content": True, "executables": True, "max_bytes": 65536}
    nothing: dict[str, t.Any] = {"registry": [], "services": [], "files": [], "state": False, "backup": None}
    nothing |= {"events": None, "ports": []}
    inspect = {**nothing, "services": ["MSExchangeIS"], "files": [item], "state": True}
    new: dict[str, t.Any] = {
        "path": FILE,
        "expect_sha256": None,
        "content": base64.b64encode(TEXT).decode(),
        "from_backup": None,
    }
    new |= {"path": FILE + ".new", "backup": "none", "backup_path": None}
    apply = {"files": [new], "records": [], "lock_wait": 0, "lock": True}
    row: dict[str, t.Any] = {
        "name": "MSExchangeIS",
        "role": "root",
        "depends_on": [],
        "file": FILE,
        "file_sha256": None,
        "loaded": None,
    }
    restart: dict[str, t.Any] = {
        "services": [row],
        "start": [],
        "dependents": "restore",
        "stop_timeout": 60,
        "start_timeout": 60,
    }
    restart |= {"deadline": 120, "settle": 0, "wait": 60, "lock_wait": 0, "allow_disabled": False}
    restart |= {"start_dependencies": False, "window": None, "finish": "same_boot"}
    _ask(server, {"op": "inspect", **nothing})  # what PowerShell reads only once is read by now
    base = _ask(server, {"op": "inspect", **nothing})
    for op, body in (("inspect", inspect), ("apply", apply), ("restart", restart)):
        took, sent, out, reads, answer = _ask(server, {"op": op, **body})
        if op == "restart":
            stops = [step["at"] for step in answer["timeline"] if step["step"] == "stopping"]
            took = stops[0] - answer["clock"]["now"]
        extra = None if reads is None or base[3] is None else max(0, reads - base[3])
        yield Cost("restart, to the first stop" if op == "restart" else op, size, round(took, 1), sent, out, extra)
    took, sent, out, reads, dummy = _ask(server, {"op": "restart_status", "of": _RUN, "wait": 0})
    extra = None if reads is None or base[3] is None else max(0, reads - base[3])
    yield Cost("restart_status", size, round(took, 1), sent, out, extra)


def _ask(server: StageServer, body: Mapping[str, t.Any]) -> tuple[float, int, int, int | None, Mapping[str, t.Any]]:
    """Seconds, bytes sent and received, registry values read, and the answer."""
    from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script

    request = {**_COMMON, **body}
    nonce = secrets.token_hex(8)
    sent = script.payload(request, nonce)
    encoded = base64.b64encode(script.loader().encode("utf-16-le")).decode()
    words = [*server.pwsh, "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]
    machine = server.stage.machine
    began = time.monotonic()
    done = machine.run(words, sent.encode("ascii"), seconds=SECONDS)
    took = time.monotonic() - began
    answer = script.parse_answer(done.out.decode("utf-8", "replace"), nonce)
    if answer.get("error"):
        raise RuntimeError(f"{body['op']}: {json.dumps(answer['error'])}")
    reads = None
    # A run of its own: telling makes it slow. What changes something is not done twice.
    if isinstance(machine, Prefix) and body["op"] in ("inspect", "restart_status"):
        told = machine.run(words, sent.encode("ascii"), seconds=SECONDS, WINEDEBUG="-all,+reg")
        reads = len(_READS.findall(told.err))
    return took, len(sent), len(done.out), reads, answer


def lines(costs: list[Cost]) -> Iterator[str]:
    """Yield the table for people."""
    yield f"{'operation':<28} {'services':>8} {'seconds':>8} {'sent':>8} {'received':>9} {'registry values':>16}"
    for cost in costs:
        reads = "-" if cost.reads is None else str(cost.reads)
        yield f"{cost.operation:<28} {cost.services:>8} {cost.seconds:>8} {cost.sent:>8} {cost.received:>9} {reads:>16}"


def as_data(costs: list[Cost]) -> list[dict[str, t.Any]]:
    """Return the table for programs."""
    return [asdict(cost) for cost in costs]
