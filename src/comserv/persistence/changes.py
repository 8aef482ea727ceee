"""The change feed: after a commit, what changed goes to all who follow, within the process and (PostgreSQL) in others.

A change is a hint to read again, never data: topic, key and revision. Unread changes of one key are folded into the last.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """ALL: anything may have changed (the feed from other processes was cut off for a while); read all again."""

    JOB = "job"
    SERVER = "server"
    PICTURE = "picture"
    HEALTH = "health"
    RIGHTS = "rights"
    GUEST = "guest"
    PERSON = "person"
    AUDIT = "audit"
    OWNER = "owner"
    ALL = "all"


@dataclass(frozen=True)
class Change:
    """key: a job's or server's id, `rack/105`, a person's id. revision: 0 where the topic has none."""

    topic: Topic
    key: str = ""
    revision: int = 0


EVERYTHING = Change(Topic.ALL)


class Subscription:
    """What one follower has not read yet, in the order in which it first changed."""

    def __init__(self, topics: frozenset[Topic]) -> None:
        self._topics = topics
        self._unread: dict[tuple[Topic, str], Change] = {}
        self._some = asyncio.Event()

    @property
    def unread(self) -> bool:
        """Whether something waits to be read."""
        return self._some.is_set()

    def put(self, change: Change) -> None:
        if not self._topics or change.topic in self._topics or change.topic is Topic.ALL:
            self._unread[change.topic, change.key] = change
            self._some.set()

    async def get(self) -> Change:
        """The next change; waits for one."""
        await self._some.wait()
        return self._take()

    def get_nowait(self) -> Change | None:
        return self._take() if self._unread else None

    def _take(self) -> Change:
        change = self._unread.pop(next(iter(self._unread)))
        if not self._unread:
            self._some.clear()
        return change

    async def __aiter__(self) -> AsyncIterator[Change]:
        while True:
            yield await self.get()


class Changes:
    """Hands out each published change to all subscriptions. Never waits for a slow one."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    @asynccontextmanager
    async def subscribe(self, *topics: Topic) -> AsyncIterator[Subscription]:
        """Follow these topics (none named: all) from now on. `ALL` always comes through."""
        subscription = Subscription(frozenset(topics))
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for subscription in self._subscriptions:
                subscription.put(change)
