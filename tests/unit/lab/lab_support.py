# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and servers that several of the lab's tests use."""

from __future__ import annotations

import base64
import hashlib
import typing as t
from collections.abc import Mapping

from tests.lab.conformance import LabExecutor, Mode, Run

Json = dict[str, t.Any]
BIN_FILE = "C:\\exchsrvr\\bin\\Wspcfg.ini"
STORE_TEXT = "[STORE]\r\nServerBindTcpPorts=110\r\n"
# The documented graph (Q143380, Q260698), dependencies first.
GRAPH: Mapping[str, tuple[str, ...]] = {
    "MSExchangeSA": (),
    "MSExchangeDS": ("MSExchangeSA",),
    "MSExchangeIS": ("MSExchangeDS",),
    "MSExchangeMTA": ("MSExchangeDS",),
    "MSExchangeIMC": ("MSExchangeIS", "MSExchangeMTA"),
    "MSExchangeES": ("MSExchangeIS",),
}


def digest(text: str | bytes) -> str:
    data = text.encode("cp1252") if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode("cp1252")).decode()


def services(*, stopped: tuple[str, ...] = (), **behaviours: Mapping[str, t.Any]) -> list[Json]:
    """The graph as ``given`` has it; behaviours by the short name of a service (IS, DS ...)."""
    return [
        {
            "name": name,
            "depends_on": list(depends_on),
            "image": f"C:\\exchsrvr\\bin\\{name.lower()}.exe",
            "state": "stopped" if name in stopped else "running",
            "behaviour": dict(behaviours.get(name.removeprefix("MSExchange"), {})),
        }
        for name, depends_on in GRAPH.items()
    ]


def common(op: str, run: str = "00000001-aaaa") -> Json:
    return {"version": 1, "op": op, "computer": None, "credential": None, "run": run, "who": "me@controller"}


def inspect(**values: t.Any) -> Json:
    empty: Json = {"registry": [], "services": [], "files": [], "backup": None, "events": None, "ports": []}
    return {**common("inspect"), "state": True, **empty, **values}


def inspect_file(**values: t.Any) -> Json:
    item = {
        "id": "bin",
        "name": "Wspcfg.ini",
        "path": None,
        "beside": [],
        "root": None,
        "below": None,
        "pointer": None,
        "content": True,
        "executables": True,
        "max_bytes": 65536,
    }
    return {**item, **values}


def change(path: str = BIN_FILE, **values: t.Any) -> Json:
    item = {"path": path, "expect_sha256": None, "content": None, "from_backup": None, "backup": "store"}
    return {**item, "backup_path": None, **values}


def apply(*files: Json, run: str = "00000001-aaaa", **values: t.Any) -> Json:
    return {**common("apply", run), "files": list(files), "records": [], "lock_wait": 0, "lock": True, **values}


def restart(*roots: str, run: str = "00000001-aaaa", **values: t.Any) -> Json:
    """A request as the controller sends it: the roots and everything that depends on them, in start order."""
    affected = set(roots)
    for name, depends_on in GRAPH.items():
        if affected & set(depends_on):
            affected.add(name)
    items = [
        {
            "name": name,
            "role": "root" if name in roots else "dependent",
            "depends_on": list(GRAPH[name]),
            "file": None,
            "file_sha256": None,
            "loaded": None,
        }
        for name in GRAPH
        if name in affected
    ]
    settings = {"dependents": "restore", "allow_disabled": False, "start_dependencies": False, "finish": "same_boot"}
    times = {"stop_timeout": 900, "start_timeout": 1800, "deadline": 3600, "settle": 10, "wait": 40, "lock_wait": 0}
    return {**common("restart", run), "services": items, "start": [], "window": None, **settings, **times, **values}


def status(of: str | None, wait: float = 40, run: str = "00000009-aaaa") -> Json:
    return {**common("restart_status", run), "of": of, "wait": wait}


def run_steps(given: Json, *steps: Json, mode: Mode = "direct") -> Run:
    """Run requests (or whole steps) against a server."""
    whole = [step if "request" in step or "before" in step else {"request": step} for step in steps]
    return LabExecutor().run({"given": given, "steps": whole}, mode)
