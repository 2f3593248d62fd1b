# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the INI engine takes, beside Python's configparser, and that its time grows with the file and no faster.

Promises: parsing a file of 64 KB with 5,000 keys and applying 100 edits takes less than 20 ms of processor time, and no
longer than configparser needs to read, change and write it (which loses comments, case and line ends); from 64 KB to
10 MB the time per byte grows by no more than half. Work that once grew with the square of its size (many sections made
or removed, many keys before many comments, a hidden key again and again, odd section lines) takes at most three times
the time per item when there are eight times as many.
"""

from __future__ import annotations

import configparser
import functools
import io
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
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.ini.readers import read_profile, read_strict

KEYS_PER_SECTION = 500
WANTED_MS = 20.0
AGAINST_CONFIGPARSER = 1.0
GROWTH = 1.5
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


def best(work: t.Callable[[], object], *, times: int) -> float:
    """Return the shortest of several runs in milliseconds of processor time; noise only makes runs longer."""
    shortest = float("inf")
    for dummy in range(times):
        began = time.process_time()
        work()
        shortest = min(shortest, time.process_time() - began)
    return shortest * 1000


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
    data = rows(count, row="password={}\r\n")
    return unified_diff(data, data, path="a.ini", redact=["*password*"])


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
    "the strict reader on odd section lines": (
        1000,
        lambda count: read_strict(Document.parse(rows(count, row=" [s{0}]\r\na=1\r\n"))),
    ),
}


def growth_of_work() -> bool:
    """Print what each kind of work takes at two sizes; tell whether all of it grows as promised."""
    kept = True
    for name, (count, work) in WORK.items():
        small, large = (best(functools.partial(work, size), times=4) for size in (count, count * 8))
        ratio = large / small / 8
        kept = kept and ratio <= GROWTH_OF_WORK
        print(f"{name}: {count} {small:.1f} ms, {count * 8} {large:.1f} ms; x {ratio:.2f}, at most {GROWTH_OF_WORK}")
    return kept


def main() -> int:
    small = file_of(10)
    other = best(lambda: with_configparser(small, edits(10)), times=20)
    taken = best(lambda: parse_and_edit(small, edits(10)), times=40)
    kept = taken / other <= AGAINST_CONFIGPARSER and taken < WANTED_MS
    print(f"{len(small)} bytes, 5,000 keys, 100 edits: {taken:.1f} ms, less than {WANTED_MS:.0f} ms")
    print(f"configparser: {other:.1f} ms; ratio {taken / other:.2f}, at most {AGAINST_CONFIGPARSER:.2f}")
    print(f"the profile reader: {best(lambda: read_profile(Document.parse(small)), times=10):.1f} ms")
    base = taken / len(small)
    for sections, times in ((40, 20), (160, 10), (640, 4), (1600, 3)):
        data = file_of(sections)
        grown = best(lambda data=data, sections=sections: parse_and_edit(data, edits(sections)), times=times)  # type: ignore[misc]
        ratio = grown / len(data) / base
        kept = kept and ratio <= GROWTH
        print(f"{len(data) / 1e6:6.2f} MB: {grown:8.1f} ms; time per byte x {ratio:.2f}, at most {GROWTH}")
    kept = growth_of_work() and kept
    print("kept" if kept else "MISSED")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
