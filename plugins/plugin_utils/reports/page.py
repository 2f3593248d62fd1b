# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for people: one page of HTML that needs nothing else, made by one template.

What ports and files say is hostile input. The template's environment is this module's own, so that nothing that
Ansible's templates can do is at hand, and it escapes whatever it prints; the page forbids scripts besides.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2

from ...module_utils.listeners import LISTENERS
from ..fleet.show import counted, port_title
from ..fleet.wording import duration
from .data import utc
from .junit import heard
from .model import BAD_PORTS, PORT_STATES, SERVER_STATES, Downtime, Port, Report, Server

_TEMPLATE = Path(__file__).resolve().parent / "page.html.j2"
FEW = 30
"""So many servers in order are shown at once; more of them are folded."""

# A sign for every state, so that nobody needs the colours.
_SIGNS: t.Mapping[str, str] = {
    "proven": "\u2713",
    "closed": "\u2212",
    "predicted": "\u25b2",
    "closing": "\u25bc",
    "waiting": "\u2016",
    "elsewhere": "\u2194",
    "not asked": "?",
    "foreign": "\u2260",
    "refused": "\u2717",
    "silent": "\u2026",
    "still open": "!",
    "wrong": "\u26a0",
}
_TITLES: t.Mapping[str, str] = {
    "publish": "Publishing",
    "unpublish": "Taking off the proxy",
    "restore": "Restoring",
    "audit": "Audit",
    "verify": "Check from outside",
}


def as_page(report: Report) -> str:
    """Return a report as one page of HTML."""
    return _environment().get_template("page").render(view_of(report))


def _environment() -> jinja2.Environment:
    text = _TEMPLATE.read_text(encoding="utf-8")
    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.DictLoader({"page": text}),
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


# What a reader does not see, or what turns the direction of the text beside it.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def _visible(value: t.Any) -> t.Any:
    """Return what is printed with a sign in place of every letter that could deceive the eye."""
    return value if not isinstance(value, str) or hasattr(value, "__html__") else _UNSEEN.sub("\ufffd", value)


@dataclass(frozen=True)
class Bar:
    """A service's bar on the time axis.

    Attributes:
        host: Inventory name.
        service: The service.
        left: Where it begins, in per cent of the axis.
        width: How long it is, in per cent.
        open_ended: Whether the service does not run again.
        text: From when to when, and for how long.
    """

    host: str
    service: str
    left: float
    width: float
    open_ended: bool
    text: str


def view_of(report: Report) -> dict[str, t.Any]:
    """Return what the template prints."""
    loud = [server for server in report.servers if not server.is_quiet]
    quiet = [server for server in report.servers if server.is_quiet]
    loud.sort(key=lambda server: list(SERVER_STATES).index(server.state))
    ports = report.port_counts()
    return {
        "report": report,
        "title": _TITLES[report.kind],
        "made_at": utc(report.made.at).replace("T", " ").replace("Z", " UTC"),
        "took": duration(report.seconds) if report.seconds >= 1 else "",
        "counts": report.counts(),
        "port_counts": ports,
        "columns": _columns(report),
        "shown": loud if len(quiet) > FEW else [*loud, *quiet],
        "quiet": quiet,
        "fold": len(quiet) > FEW,
        "alike": list(_alike(loud)),
        "bars": list(_bars(report)),
        "axis": _axis(report),
        "signs": _SIGNS,
        "port_states": PORT_STATES,
        "server_states": SERVER_STATES,
        "bad_ports": BAD_PORTS,
        "cells": _cells,
        "port_title": lambda port: port_title({"port": port.port, "protocol": port.protocol}),
        "short": _short,
        "heard": heard,
        "clock": lambda seconds: "" if seconds is None else utc(seconds)[11:19] + " UTC",
        "slug": lambda state: state.replace(" ", "-"),
        "counted": counted,
    }


def _columns(report: Report) -> list[str]:
    """Return the listeners that some server has, in the order of their table; other ports come last, as ``tcp``."""
    names = {port.protocol or "tcp" for server in report.servers for port in server.ports}
    return [*(name for name in LISTENERS if name in names), *(["tcp"] if "tcp" in names else [])]


def _cells(server: Server, column: str) -> list[Port]:
    return [port for port in server.ports if (port.protocol or "tcp") == column]


def _short(port: Port) -> str:
    """Return what a cell says beside its sign: the port where it is not the usual one, and the version."""
    listener = LISTENERS.get(port.protocol or "")
    number = "" if listener and listener.port == port.port else f":{port.port} "
    return number + (port.version if port.state == "proven" and port.version else port.state)


def _alike(servers: Sequence[Server]) -> Iterator[tuple[Server, list[str]]]:
    """Yield every server of which something is said, with the names of all of which the same is said."""
    groups: dict[Server, list[str]] = {}
    for server in servers:
        ports = tuple(replace(port, address=None, asked_at=None, elapsed_ms=0) for port in _telling(server))
        groups.setdefault(replace(server, host="", ports=ports, downtimes=(), asked_from=""), []).append(server.host)
    by_name = {server.host: server for server in servers}
    for key, hosts in groups.items():
        first = by_name[hosts[0]]
        yield replace(first, ports=_telling(first) if len(hosts) == 1 else key.ports), hosts


def _telling(server: Server) -> tuple[Port, ...]:
    return tuple(port for port in server.ports if port.state in BAD_PORTS)


# -- the time axis --------------------------------------------------------------------------------------------------


def _span(report: Report) -> tuple[float, float] | None:
    rows = [row for server in report.servers for row in server.downtimes]
    times = [moment for row in rows for moment in (row.begin, row.end) if moment is not None]
    if not times:
        return None
    first, last = min(times), max(*times, min(times) + 1.0)
    # What does not run again has room to be seen beyond the last moment that is known.
    return first, last + ((last - first) / 5 if any(row.end is None for row in rows) else 0.0)


def _axis(report: Report) -> list[tuple[float, str]]:
    """Return five moments of the time axis, each with its place in per cent."""
    span = _span(report)
    if span is None:
        return []
    first, last = span
    return [(25.0 * step, utc(first + (last - first) * step / 4)[11:19]) for step in range(5)]


def _bars(report: Report) -> Iterator[Bar]:
    span = _span(report)
    if span is None:
        return
    first, last = span
    for server in report.servers:
        for row in server.downtimes:
            begin = first if row.begin is None and row.end is None else row.end if row.begin is None else row.begin
            end = last if row.end is None else row.end
            left = 100.0 * ((begin or first) - first) / (last - first)
            width = max(100.0 * (end - (begin or first)) / (last - first), 0.5)
            yield Bar(server.host, row.service, min(left, 99.5), width, row.end is None, _told(row))


def _told(row: Downtime) -> str:
    """Say in words what a bar shows."""
    end = "" if row.end is None else utc(row.end)[11:19]
    if row.begin is None:
        return f"started, runs since {end} UTC" if end else f"is {row.state}"
    begin = utc(row.begin)[11:19]
    if not end:
        return f"down since {begin} UTC, is {row.state}"
    return f"down from {begin} to {end} UTC, {duration(row.seconds or 0.0)}"
