# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the cases, as JSON for programs, HTML for people, and JUnit's XML for the gates."""

from __future__ import annotations

import html
import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

Verdict: t.TypeAlias = t.Literal["proven", "failed", "unproven"]
WORDS: t.Final[Mapping[str, str]] = {"proven": "ok", "failed": "FAIL", "unproven": "unproven"}


@dataclass(frozen=True)
class Result:
    """What came of one case in one mode.

    Attributes:
        case: the case's id.
        mode: ``direct``, ``computer``, or what else was proven about it.
        verdict: whether it was proven here. ``unproven``: this machine cannot.
        why: the differences, or the reason.
        seconds: how long it took.
    """

    case: str
    mode: str
    verdict: Verdict
    why: tuple[str, ...]
    seconds: float

    @property
    def word(self) -> str:
        """The verdict as it stands at the beginning of a line."""
        return WORDS[self.verdict]


def counts(results: Sequence[Result]) -> dict[str, int]:
    """Return how many results have which verdict."""
    return {verdict: sum(result.verdict == verdict for result in results) for verdict in WORDS}


def closing(results: Sequence[Result]) -> str:
    """Return the line of totals."""
    of = counts(results)
    return f"{of['proven']} proven, {of['failed']} failed, {of['unproven']} not provable here (which proves nothing)"


def write(
    results: Sequence[Result], folder: Path, machine: Mapping[str, t.Any], costs: Sequence[Mapping[str, t.Any]] = ()
) -> None:
    """Write ``report.json`` and ``report.html``.

    Args:
        results: what came of the cases.
        folder: where to.
        machine: what they ran on, name to text.
        costs: what operations cost, a row each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = {"machine": dict(machine), "totals": counts(results), "results": [asdict(result) for result in results]}
    data["costs"] = [dict(row) for row in costs]
    (folder / "report.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    (folder / "report.html").write_text(as_html(results, machine, costs), encoding="utf-8")


_STYLE: t.Final = """
body { font: 14px sans-serif; margin: 2em } table { border-collapse: collapse }
td, th { border: 1px solid #ccc; padding: 2px 8px; text-align: left; vertical-align: top }
.failed { background: #fdd } .unproven { background: #ffd } .seconds { text-align: right }
"""


def _cost_table(costs: Sequence[Mapping[str, t.Any]]) -> str:
    if not costs:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in costs[0])
    rows = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) for row in costs]
    return (
        f"<h2>What operations cost</h2>\n<table>\n<tr>{head}</tr>\n"
        + "".join(f"<tr>{row}</tr>\n" for row in rows)
        + "</table>\n"
    )


def as_html(results: Sequence[Result], machine: Mapping[str, t.Any], costs: Sequence[Mapping[str, t.Any]] = ()) -> str:
    """Return the table as a page; what failed comes first, then what this machine cannot prove."""
    order = {"failed": 0, "unproven": 1, "proven": 2}
    rows = []
    for result in sorted(results, key=lambda result: (order[result.verdict], result.case, result.mode)):
        why = "<br>".join(html.escape(line) for line in result.why)
        verdict = "not provable here" if result.verdict == "unproven" else result.verdict
        cells = (html.escape(result.case), html.escape(result.mode), verdict, f"{result.seconds:.1f}", why)
        rows.append(f'<tr class="{result.verdict}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    about = ", ".join(f"{html.escape(str(name))}: {html.escape(str(text))}" for name, text in machine.items())
    head = "".join(f"<th>{name}</th>" for name in ("case", "mode", "", "seconds", "why"))
    return (
        f'<!DOCTYPE html>\n<meta charset="utf-8"><title>The target script on Windows</title><style>{_STYLE}</style>\n'
        f"<h1>The target script on Windows</h1>\n<p>{about}</p>\n<p><b>{closing(results)}</b></p>\n"
        f"{_cost_table(costs)}<h2>Cases</h2>\n<table>\n<tr>{head}</tr>\n" + "\n".join(rows) + "\n</table>\n"
    )


def write_junit(results: Sequence[Result], file: Path) -> None:
    """Write what the gates count; what is not provable here is a skip.

    Args:
        results: what came of the cases.
        file: where to.
    """
    root = ElementTree.Element("testsuite", name="windows", tests=str(len(results)))
    for result in results:
        name = f"{result.case} [{result.mode}]"
        case = ElementTree.SubElement(root, "testcase", name=name, time=str(result.seconds))
        if result.verdict == "failed":
            ElementTree.SubElement(case, "failure", message=_plain("; ".join(result.why)))
        elif result.verdict == "unproven":
            ElementTree.SubElement(case, "skipped", message=_plain("; ".join(result.why)))
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(file, encoding="utf-8")


def _plain(text: str) -> str:
    """Without what XML does not know."""
    return "".join(letter if letter >= " " else " " for letter in text)
