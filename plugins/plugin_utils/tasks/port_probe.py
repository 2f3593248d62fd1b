# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a ``port_probe`` task waits, in this process or by calls of the module on a probe host, and says so meanwhile."""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...module_utils.probe.engine import probe
from ...module_utils.probe.model import LASTING, Options, Status, Target
from ...module_utils.probe.options import summary
from ..shapes import Json, JsonObject

# How often somebody who waits is told about it, in seconds.
SAY_EVERY_S = 30.0
NAMED_IN_A_LINE = 6
# A probe host that answers this much before it had to has nothing left that waiting would mend.
EARLY_S = 1.0

Ask = Callable[[Sequence[int], float], JsonObject]
"""Takes the indexes of targets and a deadline in seconds; returns what the module answers."""


class Waiting:
    """What is known of every target while it is waited for.

    Args:
        targets: Host, port and protocol of each.
        options: How long they are asked.
        say: Takes a line.
    """

    def __init__(self, targets: Sequence[JsonObject], options: Options, *, say: Callable[[str], None]) -> None:
        self._targets = targets
        self._begun = time.monotonic()
        # The first attempt has its whole timeout, whatever the deadline.
        self._until = time.time() + max(options.deadline, options.timeout)
        self._say = say
        self._newest: dict[int, JsonObject] = {}

    def watch(self, index: int, result: JsonObject) -> None:
        """Remember the newest attempt at a target."""
        self._newest[index] = result

    def line(self) -> str:
        """Say which ports are awaited, for how long, until when, and which are as expected."""
        waited, answered = [], []
        for index, target in enumerate(self._targets):
            row = self._newest.get(index)
            name = f"{target['host']}:{target['port']} {target['protocol']}"
            if row is not None and row["ok"]:
                answered.append(name)
            else:
                waited.append(f"{name} {'silent' if row is None else row['status']}")
        until = time.strftime("%H:%M:%S", time.localtime(self._until))
        as_wanted = f"; as expected: {_some(answered)}" if answered else ""
        seconds = round(time.monotonic() - self._begun)
        return f"{_some(waited)} for {seconds} s, asked until {until} on the controller{as_wanted}"

    @contextmanager
    def aloud(self) -> Iterator[None]:
        """Say a line every `SAY_EVERY_S` seconds until the block ends."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(SAY_EVERY_S):
                self._say(self.line())

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield
        finally:
            ended.set()
            speaker.join()


def probe_here(
    targets: Sequence[Target], options: Options, *, fail_on_mismatch: bool, say: Callable[[str], None]
) -> Json:
    """Probe in this process."""
    waiting = Waiting([vars(target) for target in targets], options, say=say)
    with waiting.aloud():
        return summary(probe(targets, options, watch=waiting.watch), fail_on_mismatch=fail_on_mismatch)


def probe_there(
    targets: Sequence[Target],
    options: Options,
    ask: Ask,
    *,
    fail_on_mismatch: bool,
    say: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> Json:
    """Probe by calls of the module on another host, each no longer than it takes to tell somebody who waits.

    Args:
        targets: What to check.
        options: Limits.
        ask: One call of the module.
        fail_on_mismatch: Whether a target that is not as expected is a failure.
        say: Takes a line.
        now: A clock in seconds.
    """
    waiting = Waiting([vars(target) for target in targets], options, say=say)
    longest = max(SAY_EVERY_S, options.timeout)
    begun, results = now(), dict[int, Json]()
    pending = list(range(len(targets)))
    with waiting.aloud():
        while True:
            left = max(options.deadline - (now() - begun), 0.0)
            this, started = min(longest, left), now()
            answer = ask(pending, this)
            rows = answer.get("results") or ()
            if len(rows) != len(pending):
                return dict(answer)  # the module could not run; it says why
            for index, row in zip(pending, rows, strict=True):
                results[index] = _joined(results.get(index), row)
                waiting.watch(index, results[index])
            pending = [index for index in pending if not _is_final(results[index])]
            early = now() - started < this - options.delay - EARLY_S
            if not pending or early or options.deadline - (now() - begun) < options.delay:
                break
    return summary([results[index] for index in range(len(targets))], fail_on_mismatch=fail_on_mismatch)


def _some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - NAMED_IN_A_LINE
    return ", ".join(names[:NAMED_IN_A_LINE]) + (f" and {more} more" if more > 0 else "")


def _is_final(row: JsonObject) -> bool:
    return bool(row["ok"]) or (row["expect"] == "open" and Status(row["status"]) in LASTING)


def _joined(earlier: JsonObject | None, row: Mapping[str, t.Any]) -> Json:
    """Return the newest result with all attempts and the whole time."""
    if earlier is None:
        return dict(row)
    sums = {name: earlier[name] + row[name] for name in ("attempts", "elapsed_ms")}
    return {**row, **sums}


def unreached_result(message: str) -> Json:
    """Return what a probe host that could not do the check comes to, where that is no failure."""
    return {"changed": False, "ok": False, "reached": False, "results": [], "failed_targets": [], "msg": message}


def windows_vantage(transport: str, delegate: str | None) -> str:
    """Say why the probe does not run over a Windows connection, and what to do about it."""
    remedy = (
        "The probe runs in Python on the vantage point, which is not a Windows host. Delegate the task to one "
        "(delegate_to: localhost for the controller)"
    )
    if not delegate:
        return f"port_probe would run over {transport} on the Exchange side. {remedy}."
    return (
        f"The probe host {delegate} would be reached over {transport}: connection variables of Windows hosts, such as "
        f"ansible_connection in group_vars/all or in the play, have leaked to it. {remedy}, and give it a connection "
        "of its own in the inventory (for the controller: ansible_connection: local), or move the variables to the "
        "group of the Windows hosts."
    )
