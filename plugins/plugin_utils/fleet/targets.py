# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets of the port probe, as the options alone tell them: where every wanted listener is on the proxy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..exchange.wanted import Published
from ..problems.problem import Problem, Refused
from ..shapes import Json, JsonObject
from .conflicts import wanted_of

Claimed = Callable[[str, int], bool]


def named_targets(options: JsonObject, *, expect: str) -> list[Json]:
    """Return one target for every listener whose place on the proxy is known; none when the options are refused.

    Args:
        options: ``listeners``, ``ports``, ``proxy_address``, ``proxy_addresses`` and ``pin`` in their types.
        expect: ``open`` or ``closed``.
    """
    try:
        return _targets(wanted_of(options), expect)
    except Refused:
        return []


def all_targets(wishes: JsonObject, claimed: Claimed) -> list[Json]:
    """Return one target for every listener that a server wants, or wants to be rid of.

    Args:
        wishes: Options of the role in their types.
        claimed: Whether another server claims a port, which may be open then although this one leaves it.

    Raises:
        Refused: An option of the listeners is wrong, or the place of a listener on the proxy is not known.
    """
    present = wishes["state"] == "present"
    names = wishes.get("listeners") if present else wishes.get("withdraw") or wishes.get("listeners")
    wanted = wanted_of({**wishes, "listeners": names})
    unknown = [each.listener.name for each in wanted if each.address is None]
    if unknown:
        remedy = "Give publish_proxy_address, or publish_proxy_addresses, the proxy's external IPv4 address."
        cause = f"listener {', '.join(unknown)} has no external address of the proxy"
        raise Refused([Problem("address_missing", cause, remedy, "publish_proxy_address")])
    return [unclaimed(target, claimed) for target in _targets(wanted, "open" if present else "closed")]


def unclaimed(target: JsonObject, claimed: Claimed) -> Json:
    """Return a target; a port that must be closed may as well be open where another server claims it."""
    if target["expect"] == "closed" and claimed(target["host"], target["port"]):
        return {**target, "expect": "any"}
    return dict(target)


def _targets(wanted: Sequence[Published], expect: str) -> list[Json]:
    return [
        {"host": each.address, "port": each.port, "protocol": each.listener.name, "expect": expect}
        for each in wanted
        if each.address is not None
    ]
