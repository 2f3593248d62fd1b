# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the simplest scenario that breaks the same rule: fewer services or files, no cut, a simpler behaviour."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.simulation.rules import Violation
from tests.simulation.scenarios import GRAPHS, Family, only_branch, with_cuts

_ORDER: t.Final = [graph.name for graph in GRAPHS]


def simpler(family: Family, known: Mapping[str, Family]) -> list[Family]:
    """Return families that are simpler than one and may break the same rule, the simplest first, itself at the end.

    Args:
        family: that broke a rule.
        known: every family by its id.
    """
    op, what, *rest = family.id.split(" | ")
    ids: list[str] = []
    if op == "apply":
        ids = [" | ".join([op, part, *rest]) for part in what.split("+")]
    else:
        behaviours = dict(item.split(": ", 1) for item in rest[0].split(" + "))
        for graph in _ORDER[: _ORDER.index(what) + 1]:
            for name, behaviour in [
                ("A", "as it should"),
                *(("A", item) for item in behaviours.values()),
                *behaviours.items(),
            ]:
                ids += [" | ".join([op, graph, f"{name}: {behaviour}", mode]) for mode in ("direct", rest[1])]
    return [*(known[name] for name in dict.fromkeys(ids) if name in known and name != family.id), family]


def shrunk(
    violation: Violation,
    family: Family,
    known: Mapping[str, Family],
    play: Callable[[Sequence[Family]], Iterable[Violation]],
) -> Violation:
    """Return the simplest violation of the same rule that is found; the given one where there is none.

    Args:
        violation: what is to be made simpler.
        family: its family.
        known: every family by its id.
        play: plays families and judges them.
    """
    branch = violation.scenario.rsplit(" | ", 1)[1]
    if branch not in family.branches:
        return violation
    candidates = [only_branch(with_cuts(item, {}), branch) for item in simpler(family, known)]
    found = [item for item in play(candidates) if item.rule == violation.rule]
    if not found:
        return violation
    place = {item.id: number for number, item in enumerate(candidates)}

    def weight(item: Violation) -> tuple[int, bool, int]:
        id_, cut = split(item.scenario, place)
        return place[id_], cut != "-", int((re.search(r"\d+", cut) or ["0"])[0])

    return min(found, key=weight)


def split(scenario: str, known: Iterable[str]) -> tuple[str, str]:
    """Return a scenario's family and its cut.

    Raises:
        LookupError: nobody knows such a family.
    """
    id_ = max((name for name in known if scenario.startswith(name + " | ")), key=len, default=None)
    if id_ is None:
        raise LookupError(f"there is no such scenario: {scenario}")
    return id_, scenario[len(id_) + 3 :].split(" | ")[0]
