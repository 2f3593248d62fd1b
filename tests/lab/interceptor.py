# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on the wire: what the WinRM server is told at each of its points."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from .dispatcher import Dispatcher
from .machines.machine import Network
from .wire.api import Action, Drop, Proceed

WATCH_S = 10.0


@dataclass(eq=False)
class Rule:
    """One armed fault: at ``point`` of ``host`` (loopback address, None: every host) do ``action``, ``times`` times.

    ``skip`` lets that many pass first; ``delay_s`` waits before, and is all that happens with ``Proceed``.
    """

    point: str
    host: str | None
    action: Action
    times: int = 1
    skip: int = 0
    delay_s: float = 0.0

    def matches(self, point: str, host: str) -> bool:
        return self.times != 0 and point == self.point and self.host in (None, host)


class FaultInterceptor:
    """The lab's interceptor.

    A machine that is switched off drops every connection. A connection that waits for output can be cut from inside an
    operation: the waiting Receive is answered by a reset as soon as somebody calls :meth:`cut`.
    """

    def __init__(self, network: Network, dispatcher: Dispatcher) -> None:
        self.rules: list[Rule] = []
        self._network = network
        self._dispatcher = dispatcher
        self._cut: set[str] = set()

    def cut(self, shell_id: str) -> None:
        """Drop the connection that waits for the command of this shell."""
        self._cut.add(shell_id)
        self._dispatcher.notify(shell_id)

    async def at(self, point: str, host: str, detail: Mapping[str, str]) -> Action:
        if self._off(host):
            return Drop()
        for rule in self.rules:
            if rule.matches(point, host):
                return await self._apply(rule)
        shell_id = detail.get("shell_id", "")
        if point == "receive.before":
            await self._watch(shell_id)
        if point.startswith("receive") and (self._off(host) or shell_id in self._cut):
            self._cut.discard(shell_id)
            return Drop()
        return Proceed()

    def _off(self, host: str) -> bool:
        machine = self._network.by_address(host)
        return machine is not None and not machine.up

    async def _apply(self, rule: Rule) -> Action:
        if rule.skip:
            rule.skip -= 1
            return Proceed()
        rule.times -= 1
        if rule.delay_s:
            await asyncio.sleep(rule.delay_s)
        return rule.action

    async def _watch(self, shell_id: str) -> None:
        """Hold a Receive back until its command ends or is cut; the wire itself does the rest."""
        changed = self._dispatcher.changed(shell_id)
        if changed is not None and shell_id not in self._cut:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), WATCH_S)
