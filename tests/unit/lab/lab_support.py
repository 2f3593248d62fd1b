# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and servers that several of the lab's tests use, over what conformance cases have by default."""

from __future__ import annotations

import base64
import hashlib
import typing as t
from collections.abc import Mapping

from tests.conformance import expand
from tests.conformance.expand import given, request
from tests.lab.conformance import LabExecutor, Mode, Run
from tests.support.options import options_of

Json = expand.Json
BIN_FILE = "C:\\exchsrvr\\bin\\Wspcfg.ini"
STORE_TEXT = "[STORE]\r\nServerBindTcpPorts=110\r\n"
RUN = "00000001-aaaa"
EVENT_SERVICE: Json = {
    "name": "MSExchangeES",
    "depends_on": ["MSExchangeIS"],
    "image": "C:\\exchsrvr\\bin\\events.exe",
}
SERVICES: list[Json] = given({"base": "exchange55", "services": [EVENT_SERVICE]})["services"]
# Dependencies first (Q143380, Q260698).
GRAPH: Mapping[str, tuple[str, ...]] = {row["name"]: tuple(row.get("depends_on", ())) for row in SERVICES}
TIMES = {
    name: options_of("service_restart")[name] for name in ("stop_timeout", "start_timeout", "deadline", "settle")
} | {"wait": 40}


def digest(text: str | bytes) -> str:
    data = text.encode("cp1252") if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode("cp1252")).decode()


def services(*, stopped: tuple[str, ...] = (), **behaviours: Mapping[str, t.Any]) -> list[Json]:
    """The services as ``given`` has them; behaviours by the short name of a service (IS, DS ...)."""
    return [
        {
            **row,
            "state": "stopped" if row["name"] in stopped else "running",
            "behaviour": dict(behaviours.get(row["name"].removeprefix("MSExchange"), {})),
        }
        for row in SERVICES
    ]


def inspect(**values: t.Any) -> Json:
    return request({"op": "inspect", "run": RUN, "state": True, **values})


def inspect_file(**values: t.Any) -> Json:
    return {"id": "bin", "name": "Wspcfg.ini", "executables": True, **values}


def change(path: str = BIN_FILE, **values: t.Any) -> Json:
    return {"path": path, "expect_sha256": None, "content": None, **values}


def apply(*files: Json, run: str = RUN, **values: t.Any) -> Json:
    return request({"op": "apply", "run": run, "files": list(files), **values})


def restart(*roots: str, run: str = RUN, **values: t.Any) -> Json:
    """A request as the controller sends it: the roots and everything that depends on them, in start order."""
    affected = set(roots)
    for name, depends_on in GRAPH.items():
        if affected & set(depends_on):
            affected.add(name)
    items = [{"name": name, "role": "root" if name in roots else "dependent"} for name in GRAPH if name in affected]
    return request({"op": "restart", "run": run, "services": items, **TIMES, **values}, SERVICES)


def status(of: str | None, wait: float = 40, run: str = "00000009-aaaa") -> Json:
    return request({"op": "restart_status", "run": run, "of": of, "wait": wait})


def run_steps(given: Json, *steps: Json, mode: Mode = "direct") -> Run:
    """Run requests (or whole steps) against a server."""
    whole = [step if "request" in step or "before" in step else {"request": step} for step in steps]
    return LabExecutor().run({"given": given, "steps": whole}, mode)
