# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role says of a server whose ports are not as expected: which side, why, and what became of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..exchange.events import causes
from ..shapes import JsonObject
from .diagnosis import broken_side
from .wording import port_name, role_words

# What the time of a file on FAT is rounded to, and a little more.
FILE_TIME_GRAIN_S = 5.0


@dataclass(frozen=True)
class Back:
    """How the file of before was put back.

    Attributes:
        undone: Result of the ``wspcfg`` task that did it.
        restarted: Result of the restart that followed, None without.
        deferred: Restarts that wait, as :func:`what_is_owed` found them then.
        results: Results of ``port_probe`` after that.
    """

    undone: JsonObject
    restarted: JsonObject | None = None
    deferred: Sequence[JsonObject] = ()
    results: Sequence[JsonObject] = ()


@dataclass(frozen=True)
class Case:
    """Everything that is known about a server whose ports are not as expected.

    Attributes:
        host: Inventory name.
        results: Results of ``port_probe`` that were judged.
        inside: The server's own view of its ports, ``inside`` of ``wspcfg_info``.
        causes: What its event log says, ``causes`` of ``wspcfg_info``.
        deferred: Restarts that wait, as ``what_is_owed`` found them.
        restarted: Result of ``service_restart``, None when nothing was restarted.
        verdict: What ``wspcfg_judge`` decided, None when this run changed nothing.
        unprobed: Why the ports could not be checked, from :func:`unprobed`; empty when they were.
        back: How the file of before was put back, None without.
    """

    host: str
    results: Sequence[JsonObject] = ()
    inside: Sequence[JsonObject] = ()
    causes: Sequence[str] = ()
    deferred: Sequence[JsonObject] = ()
    restarted: JsonObject | None = None
    verdict: JsonObject | None = None
    unprobed: str = ""
    back: Back | None = None


def causes_since(info: JsonObject, written: JsonObject, *, remote: bool) -> list[str]:
    """Return what the event log says about this run: a sentence per known cause.

    Events carry the server's time, results that of the machine that runs the script; through a management host their
    clocks may differ. The server's own mark is the time of the file that this run wrote.

    Args:
        info: Result of ``wspcfg_info`` with its events.
        written: Result of the ``wspcfg`` task; empty when events of every age count.
        remote: Whether another machine runs the script.
    """
    events = info.get("events")
    if events is None:
        return list(info.get("causes") or ())
    paths = {file["path"].lower() for file in written.get("files") or () if file["action"] != "none"}
    stamps = [file.get("modified") for file in info.get("files") or () if (file.get("path") or "").lower() in paths]
    marks = [float(stamp) for stamp in stamps if stamp is not None]
    if not marks and not remote and written.get("clock"):
        marks = [float(written["clock"]["now"])]
    since = max(marks) - FILE_TIME_GRAIN_S if marks else 0.0
    return causes(event for event in events if event["at"] >= since)


def report(case: Case) -> str:
    """Say what is wrong, on which side, why, and what became of the file; one sentence per line."""
    wrong = [result for result in case.results if not result["ok"]]
    count = f"{len(wrong)} of {len(case.results)} ports are not as expected" if case.results else "ports not checked"
    lines = [
        f"{case.host}: {count}.",
        *([f"{case.unprobed}."] if case.unprobed else []),
        *(f"{port_name(result)}: {broken_side(result, case.inside).explanation}." for result in wrong),
        *(f"Event log: {role_words(cause)}" for cause in case.causes),
        *_waiting(case.deferred),
        *_restart_fate("Restart", case.restarted),
        *_file_fate(case),
    ]
    return "\n".join(lines)


def _file_fate(case: Case) -> Iterator[str]:
    """What became of the file that this run wrote."""
    verdict = case.verdict
    if verdict is None or verdict["action"] == "none":
        return
    because = "; ".join(verdict["because"])
    if verdict["action"] == "keep":
        yield f"Nothing was rolled back: {because}."
    elif case.back is None or not _is_written(case.back.undone):
        why = "no answer" if case.back is None else role_words(case.back.undone.get("msg", "no answer"))
        yield f"Rolling back failed ({why}); it was due because {because}."
    else:
        ports = ", ".join(f"{port_name(result)} {result['status']}" for result in case.back.results)
        yield f"The file of before was put back, because {because}. Now: {ports or 'ports not checked'}."
        yield from _restart_fate("Restart after that", case.back.restarted)
        yield from _waiting(case.back.deferred)


def _is_written(undone: JsonObject) -> bool:
    """Whether a task of ``wspcfg`` did its work; the role lets none fail there, so its problems tell."""
    return "files" in undone and not undone.get("problems") and not undone.get("failed")


def _restart_fate(title: str, restarted: JsonObject | None) -> Iterator[str]:
    """What went wrong with a restart, and what to do."""
    if not restarted:
        return
    if restarted.get("problems") or restarted.get("unreachable"):
        yield f"{title}: {role_words(restarted.get('msg', 'no answer'))}"
    yield from map(role_words, restarted.get("advice", ()))


def _waiting(deferred: Iterable[JsonObject]) -> Iterator[str]:
    """Restarts that are owed and not made."""
    for entry in deferred:
        yield f"{entry['service']}: {entry['reason']}; not done: {entry['because']}."
