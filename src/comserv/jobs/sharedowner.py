"""Owning servers among several processes on PostgreSQL, in fair shares.

Every second a process says that it is alive. One that has not for 4 s is ended and its servers are taken over; one that
could not for 3 s lets go by itself, so that there is never a moment with two who believe that they own.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from comserv.domain.errors import DatabaseUnavailable
from comserv.domain.lease import Lease
from comserv.jobs.owner import Holdings
from comserv.persistence import leases
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from comserv.persistence.ending import end_tasks
from comserv.persistence.locks import ServerLocks, Survey

log = structlog.get_logger(__name__)

RENEW_SECONDS = 1.0
LET_GO_SECONDS = 3.0
TAKE_OVER_SECONDS = 4.0
HAND_OVER_SECONDS = 3.0
GONE_SECONDS = 0.05


class SharedOwner(Holdings):
    """Owns a fair share of the servers, takes over those of dead processes, and gives up what is too much."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._renewed = -math.inf
        self._owning: asyncio.Task[None] | None = None
        self._look, self._leave = asyncio.Event(), asyncio.Event()
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Returns at once; servers come as they can be had."""
        self._leave.clear()
        self._owning = asyncio.create_task(self._own())

    async def stop(self) -> None:
        """Hands over what is ours; where the database does not answer, it takes some seconds to let go of it."""
        self._leave.set()
        self._look.set()
        if self._owning:
            await asyncio.wait([self._owning], timeout=HAND_OVER_SECONDS)
            self._owning.cancel()
            await asyncio.wait([self._owning])

    def holds(self, lease: Lease) -> bool:
        return super().holds(lease) and time.monotonic() - self._renewed < LET_GO_SECONDS

    async def confirm(self, lease: Lease) -> bool:
        if not self.holds(lease):
            return False
        async with self._database.read() as tx:
            current = await leases.current(tx, lease)
        return current and self.holds(lease)

    async def _own(self) -> None:
        while not self._leave.is_set():
            try:
                async with ServerLocks.opened(self._database) as locks:
                    await self._own_with(locks)
            except DatabaseUnavailable as error:
                log.warning("no connection for owning servers", detail=error.detail)
            except Exception:  # the outermost edge of this loop: it goes on, and the log tells
                log.exception("owning servers failed, it is begun anew")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), RENEW_SECONDS)

    async def _own_with(self, locks: ServerLocks) -> None:
        """Until the connection breaks or hangs (then everything is lost), or we leave (then everything is handed over).

        Each statement runs in a task of its own, so that a connection that hangs keeps nothing else from ending.
        """
        parts = [self._keep_renewing(locks), self._watch_renewal(), self._keep_deciding(locks), self._follow_servers()]
        tasks = [asyncio.create_task(_logged(part)) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._leave.is_set():
                tasks.append(asyncio.create_task(_logged(self._hand_over(locks))))
                await asyncio.wait(tasks[-1:])
        finally:
            self._drop_all()
            await end_tasks(tasks)
            if self._stopping:
                await asyncio.wait(self._stopping)

    async def _keep_renewing(self, locks: ServerLocks) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._renew(locks)

    async def _renew(self, locks: ServerLocks) -> None:
        sent = time.monotonic()
        await locks.renew()
        self._renewed = sent

    async def _watch_renewal(self) -> None:
        """Does not wait for the database: a connection that hangs may hang for long."""
        left = LET_GO_SECONDS
        while left > 0:
            await asyncio.sleep(left)
            left = self._renewed + LET_GO_SECONDS - time.monotonic()
        log.warning("no word from the database for 3 s, servers are let go")

    async def _follow_servers(self) -> None:
        async with self._database.changes.subscribe(Topic.SERVER, Topic.OWNER) as changes:
            while True:
                await changes.get()
                self._look.set()

    async def _keep_deciding(self, locks: ServerLocks) -> None:
        """Until we leave; a decision once begun is carried out."""
        await self._renew(locks)
        while not self._leave.is_set():
            self._look.clear()
            survey = await locks.survey()
            await self._decide(locks, survey)
            if not self._leave.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), _patience(survey))

    async def _decide(self, locks: ServerLocks, survey: Survey) -> None:
        holders = {server: pid for server, pid in survey.holders.items() if pid != locks.pid}
        hung = {pid for pid in holders.values() if survey.age(pid) > TAKE_OVER_SECONDS}
        if hung:
            log.warning("ending sessions of processes that hang", pids=sorted(hung))
            await locks.end_sessions(hung)
            await asyncio.sleep(GONE_SECONDS)
            self._look.set()
        alive = sum(1 for age in survey.ages.values() if age <= TAKE_OVER_SECONDS) or 1
        share = math.ceil(len(survey.servers) / alive)
        gone = set(self._owned) - set(survey.servers)
        too_many = sorted(set(self._owned) - gone)[share:]
        for server in (*gone, *too_many):
            await self._give_up(locks, server)
        for server in survey.servers:
            free = server not in self._owned and (server not in holders or holders[server] in hung)
            if free and server not in too_many and len(self._owned) < share:
                await self._take(locks, server)

    async def _take(self, locks: ServerLocks, server: str) -> None:
        if not await locks.take(server):
            return
        try:
            await self._gain(server)
        except DatabaseUnavailable as error:
            log.warning("server not taken", server=server, detail=error.detail)
            await self._give_up(locks, server)

    async def _give_up(self, locks: ServerLocks, server: str) -> None:
        await self._lose(server)
        await locks.release(server)
        async with self._database.write() as tx:
            tx.changed(Topic.OWNER, server)

    async def _hand_over(self, locks: ServerLocks) -> None:
        for server in list(self._owned):
            await self._give_up(locks, server)
        await locks.leave()

    def _drop_all(self) -> None:
        """Nothing is ours any more, from this very moment; what runs is stopped right after."""
        self._renewed = -math.inf
        for server in list(self._owned):
            task = asyncio.create_task(self._lose(server))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)


def _patience(survey: Survey) -> float:
    """Seconds to the next look: it comes just when a process that has fallen silent counts as one that hangs."""
    left = [TAKE_OVER_SECONDS - age for age in survey.ages.values() if age <= TAKE_OVER_SECONDS]
    return min(RENEW_SECONDS, *(seconds + GONE_SECONDS for seconds in left))


async def _logged(part: Coroutine[Any, Any, None]) -> None:
    """A part that ends, ends them all."""
    try:
        await part
    except DatabaseUnavailable as error:
        log.warning("the connection for owning servers broke", detail=error.detail)
