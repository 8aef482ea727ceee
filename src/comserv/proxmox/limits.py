"""How gentle we are with a server: few calls at a time, fewer heavy ones, and a count of what was asked."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Self

from comserv.domain.gentleness import Pace

MINUTE = 60.0


class Places:
    """So many at once, whoever comes later waits in order. Fewer places count for those who come, and interrupt nobody."""

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._queue: deque[asyncio.Future[None]] = deque()

    def resize(self, size: int) -> None:
        self._size = size
        self._let_in()

    async def __aenter__(self) -> Self:
        if self._taken < self._size and not self._queue:
            self._taken += 1
            return self
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._taken -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and self._taken < self._size:
            turn = self._queue.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)


class Limits:
    """At most 4 calls in flight per server and 2 heavy ones per node, or fewer; whoever comes later waits, in order."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._calls, self._heavy = Places(self._pace.calls), Places(_heavy(self._pace))
        self._nodes: defaultdict[str, Places] = defaultdict(lambda: Places(self._pace.heavy_per_node))

    def follow(self, pace: Pace) -> None:
        """Counts for every call that begins from now on."""
        self._pace = pace
        self._calls.resize(pace.calls)
        self._heavy.resize(_heavy(pace))
        for node in self._nodes.values():
            node.resize(pace.heavy_per_node)

    @asynccontextmanager
    async def place(self, heavy_on: str = "") -> AsyncIterator[None]:
        """heavy_on: the node that works for it, or empty for a light call."""
        async with AsyncExitStack() as held:
            if heavy_on:
                await held.enter_async_context(self._nodes[heavy_on])
                await held.enter_async_context(self._heavy)
            await held.enter_async_context(self._calls)
            yield


def _heavy(pace: Pace) -> int:
    """So that one place is always left for a light call."""
    return max(1, pace.calls - 1)


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
