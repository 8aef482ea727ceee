"""What each server's token may do: looked at every few minutes by the server's owner, and soon after a change was refused.

Pages and services answer from the row that is kept here, and ask no server for it.
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from comserv.domain.errors import ComservError, DatabaseUnavailable
from comserv.domain.lease import Lease
from comserv.domain.load import Purpose
from comserv.domain.rights import ForeignTask, RightsSeen
from comserv.jobs.clients import Clients
from comserv.persistence import jobcalls, rights, servers
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from comserv.proxmox.client import Client
from comserv.proxmox.rights import look_at_rights

log = structlog.get_logger(__name__)

LOOK_EVERY = 300.0  # seconds; a look is some ten small calls
AFTER_FAILURE = 60.0
LEAST_PAUSE = 5.0  # seconds between two looks that were asked for by refusals
RECORDED_BY_NOW = timedelta(seconds=60)
AROUND = timedelta(minutes=2)


class RightsLooks:
    """A listener of the owner: a quiet loop per owned server."""

    def __init__(self, database: Database, clients: Clients, every: float = LOOK_EVERY) -> None:
        self._db, self._clients, self._every = database, clients, every
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._now: dict[str, asyncio.Event] = {}

    async def gained(self, lease: Lease) -> None:
        self._now[lease.server] = asyncio.Event()
        self._loops[lease.server] = asyncio.create_task(self._loop(lease.server), name=f"rights {lease.server}")

    async def lost(self, server: str) -> None:
        loop = self._loops.pop(server, None)
        if loop:
            loop.cancel()
            await asyncio.wait([loop])

    def soon(self, server: str) -> None:
        """Look again now, for example since Proxmox refused a change for a right that is missing."""
        if server in self._now:
            self._now[server].set()

    async def follow(self) -> None:
        """A server whose registration is new is looked at at once; runs until it is cancelled."""
        async with self._db.changes.subscribe(Topic.SERVER) as changes:
            async for change in changes:
                self.soon(change.key)

    async def _loop(self, server: str) -> None:
        with structlog.contextvars.bound_contextvars(server=server):
            while True:
                self._now[server].clear()
                wait = await self._once(server)
                await asyncio.sleep(min(LEAST_PAUSE, wait))
                try:
                    await asyncio.wait_for(self._now[server].wait(), max(0.0, wait - LEAST_PAUSE))
                except TimeoutError:
                    continue

    async def _once(self, server: str) -> float:
        """One look; seconds until the next."""
        try:
            await refresh(self._db, (await self._clients.of(server)).for_(Purpose.LOOK))
        except DatabaseUnavailable as error:
            log.warning("rights could not be kept", detail=error.detail)
            return AFTER_FAILURE
        except (
            ComservError
        ):  # the sweep tells how the server stands; a disabled or removed one has nothing to be looked at
            return AFTER_FAILURE
        except Exception:  # the outermost edge of this loop: it goes on, and the log tells
            log.exception("looking at rights failed with a fault of ours")
            return AFTER_FAILURE
        return self._every


async def refresh(database: Database, client: Client) -> RightsSeen:
    """Looks, keeps what was seen, and gives it back. Raises as the client does."""
    seen = await look_at_rights(client, database.clock)
    async with database.read() as tx:
        registered = await servers.get(tx, client.server.id)
        known = await rights.known_tasks(tx, [task.upid for task in seen.foreign])
        untold = await jobcalls.without_task(tx, client.server.id, seen.as_of - timedelta(days=1))
    foreign = tuple(
        task
        for task in seen.foreign
        if task.upid not in known and _is_foreign(task, seen.as_of, registered.created_at, untold)
    )
    seen = replace(seen, foreign=foreign)
    async with database.write() as tx:
        await rights.keep(tx, client.server.id, seen)
    return seen


def _is_foreign(task: ForeignTask, now: datetime, registered: datetime | None, untold: tuple[datetime, ...]) -> bool:
    """What began before we came, or a moment ago, or near a call of ours whose task is not known, may well be ours."""
    if task.started > now - RECORDED_BY_NOW or (registered is not None and task.started < registered):
        return False
    return not any(abs(task.started - at) < AROUND for at in untold)
