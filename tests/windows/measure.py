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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from tests.support.calls import Done
from tests.windows import orders
from tests.windows.machine import Prefix
from tests.windows.orders import BEHAVIOUR, Order

if t.TYPE_CHECKING:
    from tests.windows.lane import StageServer

SIZES: t.Final = (5, 300)
SECONDS: t.Final = 120.0
FILE: t.Final = "C:\\exchsrvr\\bin\\Wspcfg.ini"
TEXT: t.Final = b"[STORE]\r\nServerBindTcpPorts=110\r\nPersistent=1\r\nKillOldSession=1\r\n"
FIRST_STOP: t.Final = "restart, to the first stop"
# Of a service that nobody asked for one value is read; now and then .NET reads some for itself.
SLACK: t.Final = 20
POLL_BYTES: t.Final = 13_000
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
        reads: values that it read in the registry, a restart to its end; None where nobody tells.
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
    _reads(server, {"op": "inspect", **nothing})  # what PowerShell reads only once is read by now
    base = _reads(server, {"op": "inspect", **nothing})
    again = {**apply, "files": [{**new, "path": FILE + ".again"}]}
    for op, body, once_more in (("inspect", inspect, inspect), ("apply", apply, again), ("restart", restart, restart)):
        took, sent, out, answer = _ask(server, {"op": op, **body})
        # The worker is a PowerShell too.
        reads = _more(_reads(server, {"op": op, **once_more}), base, 2 if op == "restart" else 1)
        if op == "restart":
            stops = [step["at"] for step in answer["timeline"] if step["step"] == "stopping"]
            took = stops[0] - answer["clock"]["now"]
        yield Cost(FIRST_STOP if op == "restart" else op, size, round(took, 1), sent, out, reads)
    poll = {"op": "restart_status", "of": _RUN, "wait": 0}
    took, sent, out, dummy = _ask(server, poll)
    yield Cost("restart_status", size, round(took, 1), sent, out, _more(_reads(server, poll), base, 1))


def _more(reads: int | None, base: int | None, shells: int) -> int | None:
    """How many values were read besides those that so many PowerShells read for themselves."""
    return None if reads is None or base is None else max(0, reads - shells * base)


def _ask(server: StageServer, body: Mapping[str, t.Any]) -> tuple[float, int, int, Mapping[str, t.Any]]:
    """Seconds, bytes sent and received, and the answer."""
    began = time.monotonic()
    sent, done, answer = _run(server, body)
    return time.monotonic() - began, sent, len(done.out), answer


def _reads(server: StageServer, body: Mapping[str, t.Any]) -> int | None:
    """Registry values that are read, by the worker too; a run of its own, for telling makes it slow."""
    if not isinstance(server.stage.machine, Prefix):
        return None
    dummy, done, dummy2 = _run(server, body, WINEDEBUG="-all,+reg")
    return len(_READS.findall(done.err))


def _run(server: StageServer, body: Mapping[str, t.Any], **variables: str) -> tuple[int, Done, Mapping[str, t.Any]]:
    from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script

    nonce = secrets.token_hex(8)
    sent = script.payload({**_COMMON, **body}, nonce)
    encoded = base64.b64encode(script.loader().encode("utf-16-le")).decode()
    words = [*server.pwsh, "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]
    done = server.stage.machine.run(words, sent.encode("ascii"), seconds=SECONDS, **variables)
    answer = script.parse_answer(done.out.decode("utf-8", "replace"), nonce)
    if answer.get("error"):
        raise RuntimeError(f"{body['op']}: {json.dumps(answer['error'])}")
    return len(sent), done, answer


def problems(costs: Sequence[Cost]) -> list[str]:
    """Return one line for each cost that is not what it may be: counts only, for seconds depend on the machine.

    Args:
        costs: of all sizes.
    """
    found = [
        f"a poll sends {cost.sent} bytes, more than {POLL_BYTES}"
        for cost in costs
        if cost.operation == "restart_status" and cost.sent > POLL_BYTES
    ]
    reads = {cost.services: cost.reads for cost in costs if cost.operation == "inspect"}
    few, many = (reads.get(size) for size in SIZES)
    if few is not None and many is not None and many - few > SIZES[1] - SIZES[0] + SLACK:
        found.append(
            f"inspect reads {few} values with {SIZES[0]} services and {many} with {SIZES[1]}, not one for each"
        )
    return found


def lines(costs: list[Cost]) -> Iterator[str]:
    """Yield the table for people."""
    yield f"{'operation':<28} {'services':>8} {'seconds':>8} {'sent':>8} {'received':>9} {'registry values':>16}"
    for cost in costs:
        reads = "-" if cost.reads is None else str(cost.reads)
        yield f"{cost.operation:<28} {cost.services:>8} {cost.seconds:>8} {cost.sent:>8} {cost.received:>9} {reads:>16}"


def as_data(costs: list[Cost]) -> list[dict[str, t.Any]]:
    """Return the table for programs."""
    return [asdict(cost) for cost in costs]
