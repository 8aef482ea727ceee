"""How gentle we are with a server: few calls at a time, fewer heavy ones, and a count of what was asked."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

CALLS_PER_SERVER = 4
HEAVY_CALLS_PER_SERVER = 3  # so that one place is always left for a light call
HEAVY_CALLS_PER_NODE = 2
MINUTE = 60.0


class Limits:
    """At most 4 calls in flight per server and 2 heavy ones per node; whoever comes later waits, in order."""

    def __init__(self) -> None:
        self._calls = asyncio.Semaphore(CALLS_PER_SERVER)
        self._heavy = asyncio.Semaphore(HEAVY_CALLS_PER_SERVER)
        self._nodes: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(HEAVY_CALLS_PER_NODE))

    @asynccontextmanager
    async def place(self, heavy_on: str = "") -> AsyncIterator[None]:
        """heavy_on: the node that works for it, or empty for a light call."""
        async with AsyncExitStack() as held:
            if heavy_on:
                await held.enter_async_context(self._nodes[heavy_on])
                await held.enter_async_context(self._heavy)
            await held.enter_async_context(self._calls)
            yield


class Rate:
    """How many requests were sent in the last minute."""

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    def count(self) -> None:
        self._sent.append(monotonic())
        self._forget()

    def last_minute(self) -> int:
        self._forget()
        return len(self._sent)

    def _forget(self) -> None:
        while self._sent and self._sent[0] < monotonic() - MINUTE:
            self._sent.popleft()
