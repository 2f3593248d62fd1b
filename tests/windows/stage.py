# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a Windows machine into the state of a conformance case, and observes it afterwards."""

from __future__ import annotations

import re
import typing as t
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.calls import Done, spoken
from tests.windows import orders, programs
from tests.windows.machine import Machine, Native, Prefix, add_shares, share_registry, that_came_up
from tests.windows.orders import About, Cannot, Named, Order

# A worker of an earlier request may run for its deadline; nobody ends it.
WORKER_SECONDS: t.Final = 100
ORDER_SECONDS: t.Final = WORKER_SECONDS + 60
# What failed says that this machine cannot, and not that something is wrong.
REFUSALS: t.Final[Mapping[tuple[str, int], str]] = {
    ("event", 50): "there is no event log here",
    ("service-create", 1073): "this machine has a service of that name itself",
}


class Failed(Exception):
    """An order was not carried out; the text says which, and Windows' code."""


@dataclass(frozen=True)
class Stage:
    """One machine that conformance cases are played on.

    Attributes:
        machine: the Windows.
        program: path of the program that takes orders, there.
        about: what it is.
        everything: what cases name.
    """

    machine: Machine
    program: str
    about: About
    everything: Named

    def prepare(self, given: Mapping[str, t.Any], *, change: bool) -> None:
        """Bring a state about.

        Args:
            given: as a case names it.
            change: only what it names changes; else everything of earlier cases goes before.

        Raises:
            Cannot: this machine cannot be brought into it.
            Failed: it should have been.
        """
        wanted = list(orders.state(given, self.about, self._token(given) if change else str(uuid.uuid4())))
        before = [] if change else orders.reset(self.everything, self.about, patience_ms=WORKER_SECONDS * 1000)
        if not change:
            self.machine.unseal(self.everything.directories)
        self.obey([*before, *wanted])

    def observe(self, given: Mapping[str, t.Any], then: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return the state that ``then`` asks for."""
        self.machine.unseal(self.everything.directories)
        asked = orders.questions(given, then, self.about, patience_ms=WORKER_SECONDS * 1000)
        return orders.observed(self.obey(asked), then)

    def clear(self) -> None:
        """Take away what cases left."""
        self.prepare({}, change=False)

    def obey(self, wanted: Sequence[Order]) -> list[list[str]]:
        """Have orders carried out, and return the answers."""
        text = orders.encode(wanted)
        done = that_came_up(lambda: self.machine.run([self.program], text, seconds=ORDER_SECONDS))
        return _answers(done, wanted)

    def _token(self, given: Mapping[str, t.Any]) -> str:
        """The token of this boot, where there is one."""
        if "journal" in given and "boot" not in given:
            for kind, *words in self.obey([("values", f"{orders.OWN}\\boot")]):
                if kind == "value" and words[1] == "token":
                    return str(orders.data_of(int(words[2]), bytes.fromhex(words[3])))
        return str(uuid.uuid4())


def _answers(done: Done, wanted: Sequence[Order]) -> list[list[str]]:
    if done.status == 0:
        return orders.decode(done.out)
    failed = re.match(r"failed (\d+) (\S+) (\d+)", spoken(done.err))
    if failed is None:
        raise Failed(f"orders: exit status {done.status}: {spoken(done.err).strip()[-300:]}")
    reason = REFUSALS.get((failed[2], int(failed[3])))
    words = " ".join(word[:80] for word in wanted[int(failed[1]) - 1])
    if reason:
        raise Cannot(f"{words}: {reason}")
    raise Failed(f"{words}: Windows error {failed[3]}")


def make(machine: Machine, everything: Named) -> Stage:
    """Return a stage on a machine that runs.

    Args:
        machine: the Windows.
        everything: what the cases name that will be played.
    """
    program = machine.path_of(programs.build("orders"))
    service = machine.path_of(programs.build("service"))
    letters = "CDE"
    asked: list[Order] = [("system",), *(("drive", letter) for letter in letters)]
    answers = _answers(machine.run([program], orders.encode(asked), seconds=ORDER_SECONDS), asked)
    kind, root, computer = answers[0][1:]
    drives = {words[1]: words[2] for words in answers[1:] if words[2]}
    if isinstance(machine, Prefix):
        add_shares(machine.folder, computer)
    if isinstance(machine, Native):
        share_registry(lambda words: machine.run(words, b"", seconds=ORDER_SECONDS))
    return Stage(machine, program, About(kind == "wine", root, computer, service, drives), everything)
