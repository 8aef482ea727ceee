"""Time: a true clock, and durations divided by --speed."""

from __future__ import annotations

import asyncio
import contextlib
import time


class Clock:
    """Waits `speed` times faster than told; shows the true time."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.started = time.time()
        self._hurried = asyncio.Event()

    def time(self) -> float:
        """Seconds since the epoch, never scaled."""
        return time.time()

    def seconds(self) -> int:
        """Whole seconds since the epoch."""
        return int(time.time())

    def scaled(self, seconds: float) -> float:
        """How long a duration of the real server lasts here."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Waits as long as the real server would, divided by the speed; not at all once it hurries."""
        if self._hurried.is_set():
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds / self.speed):
                await self._hurried.wait()

    def hurry(self) -> None:
        """From now on nothing lasts: what waits goes on at once."""
        self._hurried.set()

    def later(self, seconds: float) -> float:
        """The true time (epoch) at which a duration that begins now ends."""
        return time.time() + seconds / self.speed
