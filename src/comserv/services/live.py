"""Live: what changed, as a stream of small notices that pages turn into re-rendered parts."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from comserv.persistence.changes import Change, Topic
from comserv.persistence.database import Database

HELD = 500
SETTLE = 0.03  # seconds: changes that come together are told together
APART = 0.2  # seconds between two tellings, so that a hundred sweeps in ten seconds are not a hundred drawings


@dataclass(frozen=True)
class Notice:
    """topic: `guests`, `server`, `job`, `people`, `audit` or `everything`. key: the server's or job's id. id: grows, for Last-Event-ID."""

    id: int
    topic: str
    key: str


TOPICS = {
    Topic.PICTURE: "guests",
    Topic.GUEST: "guests",
    Topic.HEALTH: "server",
    Topic.RIGHTS: "server",
    Topic.SERVER: "server",
    Topic.JOB: "job",
    Topic.PERSON: "people",
    Topic.AUDIT: "audit",
    Topic.ALL: "everything",
}


class Live:
    """Keep `run` running; `stop` ends every stream at once.

    caught_up: waits until whatever pages are drawn from has read what changed before; else they would be drawn as they were.
    """

    def __init__(self, database: Database, caught_up: Callable[[], Awaitable[object]]) -> None:
        self._db, self._caught_up = database, caught_up
        self._held: deque[Notice] = deque(maxlen=HELD)
        self._last = 0
        self._news = asyncio.Condition()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        return self._stopped

    async def run(self) -> None:
        """Gathers what changed; runs until it is cancelled."""
        told = -APART
        async with self._db.changes.subscribe() as changes:
            while True:
                batch = [await changes.get()]
                await asyncio.sleep(max(SETTLE, told + APART - monotonic()))
                while (more := changes.get_nowait()) is not None:
                    batch.append(more)
                await self._caught_up()
                told = monotonic()
                await self._tell(batch)

    async def _tell(self, batch: list[Change]) -> None:
        told = {(TOPICS[one.topic], one.key.partition("/")[0]): None for one in batch if one.topic in TOPICS}
        async with self._news:
            for topic, key in told:
                self._last += 1
                self._held.append(Notice(self._last, topic, key))
            self._news.notify_all()

    async def follow(self, after: int | None = None) -> AsyncIterator[Notice]:
        """Notices from now on, or from `after` on where they are still held; ends when Comserv stops.

        Where too much was missed, one Notice with topic `everything` comes first.
        """
        last = self._last if after is None else after
        if after is not None and (after > self._last or (self._held and after < self._held[0].id - 1)):
            last = self._last
            yield Notice(last, "everything", "")
        while not self._stopped:
            for notice in [one for one in self._held if one.id > last]:
                last = notice.id
                yield notice
            async with self._news:
                while not self._stopped and self._last <= last:
                    await self._news.wait()

    async def stop(self) -> None:
        async with self._news:
            self._stopped = True
            self._news.notify_all()
