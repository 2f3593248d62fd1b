# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for a CI: JUnit's XML, a suite per server with a case per port, file and restart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from ..fleet.plan import BROKEN, REFUSED, UNREACHED
from ..fleet.show import answer_title, port_title
from .data import utc
from .model import (
    BAD_PORTS,
    CLOSED,
    DRIFT,
    FAILED,
    NOT_STARTED,
    PORT_STATES,
    PROVEN,
    SERVER_STATES,
    Port,
    Report,
    Server,
)

# XML 1.0 has no way to write these, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAILURES = frozenset({FAILED, BROKEN, DRIFT})
_ERRORS = frozenset({REFUSED, UNREACHED, NOT_STARTED})


@dataclass(frozen=True)
class _Case:
    """One test case.

    Attributes:
        name: What is tested.
        verdict: ``failure``, ``error``, ``skipped``, or empty for a success.
        message: Why, in a line.
        text: The whole of it.
        seconds: How long it took.
    """

    name: str
    verdict: str = ""
    message: str = ""
    text: str = ""
    seconds: float = 0.0


def as_junit(report: Report) -> str:
    """Return a report as JUnit's XML."""
    root = ElementTree.Element("testsuites", name=f"msexchange.winsock_proxy.{report.kind}")
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for server in report.servers:
        cases = list(_cases(server))
        verdicts = [case.verdict for case in cases]
        counts = {
            "tests": len(cases),
            "failures": verdicts.count("failure"),
            "errors": verdicts.count("error"),
            "skipped": verdicts.count("skipped"),
        }
        for name, number in counts.items():
            totals[name] += number
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_plain(server.host),
            timestamp=utc(report.made.at).rstrip("Z"),
            hostname=_plain(report.made.controller),
            time=_seconds(sum(case.seconds for case in cases)),
        )
        for name, number in counts.items():
            suite.set(name, str(number))
        for case in cases:
            _append(suite, case, f"{report.kind}.{server.host}")
    for name, number in totals.items():
        root.set(name, str(number))
    root.set("time", _seconds(report.seconds))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _append(suite: ElementTree.Element, case: _Case, classname: str) -> None:
    element = ElementTree.SubElement(
        suite, "testcase", name=_plain(case.name), classname=_plain(classname), time=_seconds(case.seconds)
    )
    if case.verdict:
        told = ElementTree.SubElement(element, case.verdict, message=_plain(case.message))
        told.text = _plain(case.text) if case.verdict != "skipped" else None


def _plain(text: str) -> str:
    """Return a text that XML can hold."""
    return _NO_XML.sub("?", text)


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _cases(server: Server) -> Iterator[_Case]:
    said = [*server.reasons, *server.findings]
    verdict = "failure" if server.state in _FAILURES else "error" if server.state in _ERRORS else ""
    message = f"{server.state}: {said[0] if said else SERVER_STATES[server.state]}" if verdict else ""
    yield _Case("server is as wanted", verdict, message, "\n".join(said))
    for file in server.files:
        due = f"to {file.action}; nothing was written"
        text = "\n".join(file.diff)
        if file.put_back:
            yield _Case(f"file {file.path}", "failure", "written, and the file of before was put back", text)
        else:
            yield _Case(f"file {file.path}", "" if file.done else "skipped", "" if file.done else due, text)
    for port in server.ports:
        yield _port_case(port)
    for row in server.downtimes:
        bad = row.state not in (None, "running")
        verdict, message = ("failure", f"is {row.state}") if bad else ("", "")
        yield _Case(f"restart of {row.service}", verdict, message, message, row.seconds or 0.0)
    for entry in server.restarts:
        message = f"{entry.reason}; {entry.because}" if entry.because else entry.reason
        yield _Case(f"restart of {entry.service}", "skipped", message)


def _port_case(port: Port) -> _Case:
    title = port_title({"port": port.port, "protocol": port.protocol})
    name = f"port {title} on {port.address or 'the proxy'} is {port.wanted if port.wanted != 'any' else 'left'}"
    seconds = port.elapsed_ms / 1000
    if port.state in (PROVEN, CLOSED):
        return _Case(name, seconds=seconds)
    message = f"{port.state}: {PORT_STATES[port.state]}"
    if port.state not in BAD_PORTS:
        return _Case(name, "skipped", message, seconds=seconds)
    return _Case(name, "failure", message, heard(port), seconds)


def heard(port: Port) -> str:
    """Say what a port answered, word for word."""
    if port.status is None:
        return "was not asked"
    answer = answer_title({"status": port.status, "product": port.product, "version": port.version})
    return f"{answer}: {port.greeting}" if port.greeting else answer
