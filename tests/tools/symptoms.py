# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/symptoms.md from what is really seen: every symptom is brought about, and what it looks like is kept."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import textwrap
import typing as t
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import ROOT, link_collection

if t.TYPE_CHECKING:
    from tests.support.port_symptoms import Port
    from tests.support.symptoms import Seen

PAGE = ROOT / "docs" / "symptoms.md"
WIDTH = 118

HEAD = """\
# Symptoms

What the user sees of everything that keeps Ansible from a host, and of what may answer on a port. This page is written
by `.venv/bin/python -m tests.tools.symptoms` from the output of tests that bring each of them about, with small servers
and with the lab (`tests/support/odd_hosts.py`, `symptoms.py` and `port_symptoms.py` beside it). They fail where this
page says something else. The words of libraries and hosts, which messages have in brackets, differ by release and
language and are left out. The tests' hosts speak German.

## Hosts

UNREACHABLE: nothing ran on the host. FAILED: the command ran there and did not answer. Winrm and psrp end alike;
options have the names of the connection's. Kerberos' four failures are shown with libraries that stand in for MIT's and
give its codes.

"""


def page(seen: Iterable[Seen], ports: Iterable[Port]) -> str:
    """Return the page for what was seen."""
    rows = list(seen)
    names = list(dict.fromkeys(row.symptom for row in rows))
    lines = ["| Symptom | Ends | What it says is wrong |", "| --- | --- | --- |"]
    lines += [_row(next(row for row in rows if row.symptom == name)) for name in names]
    lines += ["", "In full, with the remedy:", ""]
    for name in names:
        lines += [f"**{name[0].upper()}{name[1:]}**", "", "```text"]
        lines += [*_full([row for row in rows if row.symptom == name]), "```", ""]
    lines += ["## Ports", "", "What `port_probe` makes of what answers, and of hosts that cannot be meant.", ""]
    lines += ["| What answers | Asked as | Status | What else is said |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {port.what} | {port.asked} | {f'`{port.status}`' if port.status else 'error'} | {_cell(port.said)} |"
        for port in ports
    ]
    return HEAD + "\n".join(lines) + "\n"


def _row(row: Seen) -> str:
    return f"| {row.symptom} | {_end(row)} | {_cell(row.cause)} |"


def _end(row: Seen) -> str:
    return {"unreachable": "UNREACHABLE", "failed": "FAILED", "ok": "works"}[row.outcome]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _full(rows: list[Seen]) -> list[str]:
    """The whole message, once where both connections say the same."""
    texts = dict.fromkeys(row.text or "(nothing: the answer is found in what was printed)" for row in rows)
    return [line for text in texts for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def current(work: Path) -> str:
    """Bring everything about and return the page.

    Args:
        work: Directory for what the runs leave.
    """
    sys.path.insert(0, str(link_collection(ROOT)))  # what is observed asks the collection's own probe
    ports, symptoms = (importlib.import_module(f"tests.support.{name}") for name in ("port_symptoms", "symptoms"))
    return page(symptoms.observe(work), ports.observe_ports())


def main(argv: list[str]) -> int:
    """Rewrite the page."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="symptoms-") as work:
        PAGE.write_text(current(Path(work)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
