# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for programs: the JSON that ``docs/report.schema.json`` describes."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone

from ..shapes import Json
from .model import Downtime, Port, Report, Server

FORMAT = 1
"""Version of the shape; it grows when something is removed or changes its meaning."""


def as_json(report: Report) -> str:
    """Return a report as JSON, in ASCII."""
    return json.dumps(as_data(report), indent=2) + "\n"


def as_data(report: Report) -> Json:
    """Return a report as plain data; times are texts in UTC."""
    return {
        "format": FORMAT,
        "kind": report.kind,
        "check_mode": report.check_mode,
        "complete": report.complete,
        "headline": report.headline,
        "made_at": utc(report.made.at),
        "made_by": {"user": report.made.user, "controller": report.made.controller},
        "seconds": round(report.seconds, 1),
        "asked_from": list(report.asked_from),
        "counts": {"servers": report.counts(), "ports": report.port_counts()},
        "conflicts": list(report.conflicts),
        "warnings": list(report.warnings),
        "servers": [_server(server) for server in report.servers],
    }


def utc(seconds: float) -> str:
    """Return a time as RFC 3339 has it, such as ``2026-12-01T04:22:00Z``."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else utc(seconds)


def _server(server: Server) -> Json:
    own = {**asdict(server), "ports": [_port(port) for port in server.ports]}
    return {**own, "downtimes": [_downtime(row) for row in server.downtimes]}


def _port(port: Port) -> Json:
    return {**asdict(port), "asked_at": _time(port.asked_at)}


def _downtime(row: Downtime) -> Json:
    return {**asdict(row), "begin": _time(row.begin), "end": _time(row.end)}
