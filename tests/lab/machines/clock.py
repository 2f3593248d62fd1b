# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of one simulated server: deterministic, and as fast as a test wants it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
import typing as t
from dataclasses import dataclass, field

# Loop iterations that what a timer woke up may take before the next timer fires. Simulated code waits for nothing but
# this clock, so a chain of futures is the only thing that has to settle.
SETTLE_HOPS = 24


@dataclass(order=True)
class Timer:
    """One callback at one simulated time; ``cancel`` makes it do nothing."""

    due: float
    number: int
    callback: t.Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A server's clock.

    Timers fire one by one in the order of their due times, and the clock *stands* at a timer's due time until
    everything that it woke up waits again. A slow machine therefore delays a simulation, but never
    changes what happens in it.

    Attributes:
        speed: Simulated seconds per real second; ``math.inf`` jumps from timer to timer.
        skew_s: What is added to true time by a clock that is set wrong.
        utc_offset_minutes: Offset of local time (FAT times, restart windows).
    """

    def __init__(
        self, *, epoch: float | None = None, speed: float = 1.0, skew_s: float = 0.0, utc_offset_minutes: int = 0
    ) -> None:
        self.skew_s = skew_s
        self.utc_offset_minutes = utc_offset_minutes
        self._epoch = time.time() if epoch is None else epoch
        self._speed = speed
        self._elapsed = 0.0
        self._anchor = time.monotonic()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._handle: asyncio.Handle | None = None
        self._settling = False

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._stand(self.elapsed())
        self._speed = speed
        if not self._settling:
            self._arm()

    def elapsed(self) -> float:
        """Simulated seconds since the clock was made; monotonic, not changed by a skew."""
        if self._settling or math.isinf(self._speed):
            return self._elapsed
        elapsed = self._elapsed + (time.monotonic() - self._anchor) * self._speed
        return min(elapsed, self._timers[0].due) if self._timers else elapsed

    def now(self) -> float:
        """What the server believes: seconds since 1970 UTC, three decimals."""
        return round(self._epoch + self.elapsed() + self.skew_s, 3)

    def call_later(self, seconds: float, callback: t.Callable[[], None]) -> Timer:
        """Call back after simulated seconds."""
        timer = Timer(self.elapsed() + max(seconds, 0.0), next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        if not self._settling and self._timers[0] is timer:
            self._arm()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait simulated seconds."""
        await self.wait(asyncio.get_running_loop().create_future(), seconds)

    async def wait(self, future: asyncio.Future[t.Any], seconds: float) -> bool:
        """Wait for a future, at most so many simulated seconds; return whether it came."""
        expired = False

        def expire() -> None:
            nonlocal expired
            if not future.done():
                expired = True
                future.set_result(None)

        timer = self.call_later(seconds, expire)
        try:
            await future
        finally:
            timer.cancel()
        return not expired

    async def forward(self, seconds: float) -> None:
        """Let simulated seconds pass at once; timers on the way fire in order, at their own due times."""
        speed = self._speed
        self.speed = math.inf
        try:
            await self.sleep(seconds)
        finally:
            self.speed = speed

    def close(self) -> None:
        """Forget all timers."""
        self._timers.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _stand(self, elapsed: float) -> None:
        self._elapsed = max(self._elapsed, elapsed)
        self._anchor = time.monotonic()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if self._timers:
            remaining = self._timers[0].due - self._elapsed - (time.monotonic() - self._anchor) * self._pace()
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(max(remaining, 0.0) / self._speed, self._fire)

    def _pace(self) -> float:
        return 0.0 if math.isinf(self._speed) else self._speed

    def _fire(self) -> None:
        if self._timers[0].cancelled:
            self._arm()
            return
        timer = heapq.heappop(self._timers)
        self._stand(timer.due)
        self._settling = True
        timer.callback()
        self._settle(SETTLE_HOPS)

    def _settle(self, hops: int) -> None:
        if hops:
            self._handle = asyncio.get_running_loop().call_soon(self._settle, hops - 1)
            return
        self._handle = None
        self._settling = False
        self._anchor = time.monotonic()
        self._arm()


class Signal:
    """Wakes up everybody who waits for a change."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, clock: Clock, reached: t.Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, checked at every ``notify``; return whether it does in time."""
        deadline = clock.elapsed() + seconds
        while not reached():
            remaining = deadline - clock.elapsed()
            if remaining <= 0:
                return False
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await clock.wait(future, remaining)
        return True
