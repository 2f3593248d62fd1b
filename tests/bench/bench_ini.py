# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the INI engine and the task around it take, beside Python's configparser, and how that grows with the file.

Promises: parsing a file of 64 KB with 5,000 keys and applying 100 edits takes no longer than configparser needs to
read, change and write it (which loses comments, case and line ends); the task's plan and diff take at most three times
the engine's time, and with redaction at most 1.5 times that; from 64 KB to 10 MB the time per byte of all three grows
by no more than half. Work that once grew with the square of its size (many sections made or removed, many keys before
many comments, a hidden key again and again, odd section lines, settings in one long comment) takes at most three times
the time per item when there are eight times as many.

Every ratio is the median of rounds in which what is compared follows each other, so that a machine that is busy for a
while is busy for both. ``build/bench/ini.json`` has them.
"""

from __future__ import annotations

import configparser
import functools
import gc
import io
import json
import statistics
import sys
import time
import typing as t

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "build" / "link"))

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.diff import unified_diff
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.document import Document
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.edits import (
    AddSection,
    RemoveKey,
    RemoveSection,
    SetKey,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.readers import read_strict
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.win_ini_plan import diff_of, plan_ini
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.wishes import read_ini_wanted
from tests.support.options import options_of

KEYS_PER_SECTION = 500
RESULT = ROOT / "build" / "bench" / "ini.json"
# What each ratio may be at most.
PROMISED: t.Final = {"engine_vs_configparser": 1.0, "task_vs_engine": 3.0, "redact_vs_task": 1.5, "growth_10mb": 1.5}
ROUNDS = 15
# Sections of a file of 10 MB, and rounds with it.
LARGE, LARGE_ROUNDS = 1600, 3
# One key of ten, and all that hold a word that no key has.
REDACT = ("*7", "*password*")
# More than GROWTH, because the small sizes take few milliseconds; a square would be 8.
GROWTH_OF_WORK = 3.0


def file_of(sections: int) -> bytes:
    """Return a file with 500 keys per section, some 6.4 KB each."""
    rows = []
    for section in range(sections):
        rows.append(f"[Section {section}]\r\n")
        rows += [f"key{key:04}={key % 97:03}\r\n" for key in range(KEYS_PER_SECTION)]
    return "".join(rows).encode("ascii")


def edits(sections: int) -> list[SetKey]:
    """Return 100 edits all over the file: half of them change a key, half make one."""
    return [
        SetKey(f"section {number % sections}", f"{'KEY' if number < 50 else 'new'}{number * 7:04}", "changed")
        for number in range(100)
    ]


def timed(work: t.Callable[[], object]) -> float:
    """Return milliseconds of processor time, without the garbage collector's passes, as ``timeit`` measures."""
    gc.collect()
    gc.disable()
    try:
        began = time.process_time()
        work()
        return (time.process_time() - began) * 1000
    finally:
        gc.enable()


def with_configparser(data: bytes, wanted: list[SetKey]) -> bytes:
    """Do the same with the standard library, as far as it can."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(data.decode("cp1252"))
    for edit in wanted:
        parser.set(edit.section.title(), edit.key, edit.value)
    written = io.StringIO()
    parser.write(written)
    return written.getvalue().encode("cp1252")


def parse_and_edit(data: bytes, wanted: list[SetKey]) -> bytes:
    return bytes(Document.parse(data).apply(wanted))


def task(data: bytes, wanted: list[SetKey], redact: t.Sequence[str] = ()) -> dict[str, str]:
    """Do what the task does between reading and writing: check the options, plan, and show the diff."""
    sections: dict[str, dict[str, str]] = {}
    for edit in wanted:
        sections.setdefault(edit.section, {})[edit.key] = edit.value
    wish = read_ini_wanted(options_of("win_ini", path="C:\\a.ini", sections=sections, redact=list(redact)))
    return diff_of(plan_ini(wish, data, max_bytes=1 << 30), wish.path, wish.redactor)


def rows(count: int, *, head: str = "[S]\r\n", row: str) -> bytes:
    """Return a file with many lines of one kind."""
    return (head + "".join(row.format(number) for number in range(count))).encode("ascii")


def _converted(encoding: str) -> t.Callable[[int], object]:
    letters = {"cp932": "\u8868\u30be\u30fc", "utf-16-le": "\u0416\u0444"}[encoding]

    def work(count: int) -> object:
        text = "".join(f"[{letters}{at}]\r\nkey={letters}\r\n" for at in range(count))
        mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
        document = Document.parse(mark + text.encode(encoding), encoding=encoding)
        return document.apply([SetKey(f"{letters}{at}", "key", letters * 2) for at in range(100)])

    return work


def _diff_of_repeated_secrets(count: int) -> object:
    document = Document.parse(rows(count, row="password={}\r\n"))
    return unified_diff(document, document, path="a.ini", redact=["*password*"])


def _redacted(line: str, count: int) -> object:
    document = Document.parse(f"[S]\r\n{line * count}\r\na=1\r\n".encode())
    return unified_diff(document, document, path="a.ini", redact=["*pass*word*", "s/token*"])


# What to do, with so many items; the first size of each.
WORK: dict[str, tuple[int, t.Callable[[int], object]]] = {
    "edits of a file in code page 932": (1000, _converted("cp932")),
    "edits of a file in UTF-16": (1000, _converted("utf-16-le")),
    "new sections": (1000, lambda count: Document.parse(b"").apply([AddSection(f"s{at}") for at in range(count)])),
    "sections removed": (
        1000,
        lambda count: Document.parse(rows(count, head="", row="[s{0}]\r\na=1\r\n\r\n")).apply(
            [RemoveSection(f"s{at}") for at in range(count)]
        ),
    ),
    "keys removed": (
        2000,
        lambda count: Document.parse(rows(count, row="k{}=1\r\n")).apply(
            [RemoveKey("S", f"k{at}") for at in range(count)]
        ),
    ),
    "duplicates of one key removed": (
        2000,
        lambda count: Document.parse(rows(count, row="a={}\r\n")).apply([RemoveKey("S", "a")]),
    ),
    "new keys before as many comments": (
        1000,
        lambda count: Document.parse(rows(count, row=";{}\r\n")).apply(
            [SetKey("S", f"k{at}", "1") for at in range(count)]
        ),
    ),
    "the diff of one hidden key, repeated": (1000, _diff_of_repeated_secrets),
    "redaction of one long comment": (2000, lambda count: _redacted("; a=b, c: d password ", count)),
    "redaction of one long key": (2000, lambda count: _redacted("a: b passwor d ", count)),
    "redaction of one long word": (4000, lambda count: _redacted("passwor", count)),
    "the strict reader on odd section lines": (
        1000,
        lambda count: read_strict(Document.parse(rows(count, row=" [s{0}]\r\na=1\r\n"))),
    ),
}


def growth_of_work() -> bool:
    """Print what each kind of work takes at two sizes; tell whether all of it grows as promised."""
    kept = True
    for name, (count, work) in WORK.items():
        small, large = (
            statistics.median(timed(functools.partial(work, size)) for dummy in range(5)) for size in (count, count * 8)
        )
        ratio = large / small / 8
        kept = kept and ratio <= GROWTH_OF_WORK
        print(f"{name}: {count} {small:.1f} ms, {count * 8} {large:.1f} ms; x {ratio:.2f}, at most {GROWTH_OF_WORK}")
    return kept


def ratios() -> tuple[dict[str, float], dict[str, float]]:
    """Return each promised ratio, and the milliseconds behind them."""
    small, large = file_of(10), file_of(LARGE)
    works: dict[str, t.Callable[[bytes, int], object]] = {
        "engine": lambda data, sections: parse_and_edit(data, edits(sections)),
        "task": lambda data, sections: task(data, edits(sections)),
        "redacted": lambda data, sections: task(data, edits(sections), REDACT),
    }
    rounds: list[dict[str, float]] = []
    for dummy in range(ROUNDS):
        taken = {"configparser": timed(lambda: with_configparser(small, edits(10)))}
        taken |= {name: timed(functools.partial(work, small, 10)) for name, work in works.items()}
        rounds.append(taken)
    middle = {name: statistics.median(taken[name] for taken in rounds) for name in rounds[0]}
    growths = []
    for name, work in works.items():
        grown = statistics.median(timed(functools.partial(work, large, LARGE)) for dummy in range(LARGE_ROUNDS))
        middle[f"{name}_10mb"] = grown
        growths.append(grown / len(large) / (middle[name] / len(small)))

    def ratio(name: str, other: str) -> float:
        return statistics.median(taken[name] / taken[other] for taken in rounds)

    found = {
        "engine_vs_configparser": ratio("engine", "configparser"),
        "task_vs_engine": ratio("task", "engine"),
        "redact_vs_task": ratio("redacted", "task"),
        "growth_10mb": max(growths),
    }
    return found, middle


def main() -> int:
    found, middle = ratios()
    kept = all(found[name] <= limit for name, limit in PROMISED.items())
    for name, limit in PROMISED.items():
        print(f"{name}: {found[name]:.2f}, at most {limit}")
    print(", ".join(f"{name} {taken:.1f} ms" for name, taken in middle.items()))
    kept = growth_of_work() and kept
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    told = {name: round(value, 3) for name, value in found.items()}
    told_ms = {name: round(value, 2) for name, value in middle.items()}
    RESULT.write_text(json.dumps({**told, "kept": kept, "promised": PROMISED, "ms": told_ms}, indent=2) + "\n")
    print("kept" if kept else "MISSED")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
