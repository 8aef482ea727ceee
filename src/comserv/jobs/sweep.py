"""Sweeps: one look at everything of a server every 10 s, kept as its picture; with back-off where it does not answer.

Every server that this process owns has its own loop, so that a slow or dead one costs the others nothing. What they see goes to one
keeper (`keeping.py`).
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter

import structlog

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.errors import ComservError, DatabaseUnavailable, NotFound, Problem, ServerInMaintenance
from comserv.domain.lease import Lease
from comserv.domain.load import Purpose
from comserv.domain.picture import Health
from comserv.domain.retry import Breaker
from comserv.domain.server import ServerState
from comserv.jobs.clients import Clients
from comserv.jobs.keeping import Keeper, Seen, vanished
from comserv.jobs.standing import Standing
from comserv.persistence import audit, leases, pictures, servers
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database, Transaction
from comserv.proxmox.client import Client
from comserv.proxmox.sweep import Reading, sweep

log = structlog.get_logger(__name__)

WHOLE_EVERY = 6  # every sixth sweep reads cluster status and version too
SLOW_MS = 2000.0
RETRY_WHILE_CLOSED = 3.0  # seconds to the next try after the first failures, before the breaker opens


class Sweeps:
    """A listener of the owner: a loop per owned server. `woke` is told when a server answers again."""

    def __init__(self, database: Database, clients: Clients, every: float, woke: Callable[[str], None]) -> None:
        self._db, self._clients, self._every, self._woke = database, clients, every, woke
        self._keeper = Keeper(database)
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._now: dict[str, asyncio.Event] = {}
        self._leases: dict[str, Lease] = {}

    async def gained(self, lease: Lease) -> None:
        self._now[lease.server], self._leases[lease.server] = asyncio.Event(), lease
        self._keeper.unsettled.add(lease.server)
        self._loops[lease.server] = asyncio.create_task(self._loop(lease), name=f"sweep {lease.server}")

    async def lost(self, server: str) -> None:
        loop = self._loops.pop(server, None)
        if loop:
            loop.cancel()
            await asyncio.wait([loop])
        lease = self._leases.pop(server, None)
        if lease:
            await self._keeper.forget(lease)

    def soon(self, server: str) -> None:
        """Sweep it now, for example since it was changed; not more often than its loop allows."""
        if server in self._now:
            self._now[server].set()

    async def follow(self) -> None:
        """A server whose registration or connection test is new is swept at once, and one of whose guests something was noted is
        settled with its next sweep; runs until it is cancelled."""
        async with self._db.changes.subscribe(Topic.SERVER, Topic.GUEST) as changes:
            async for change in changes:
                if change.topic is Topic.GUEST:
                    self._keeper.unsettled.add(change.key.partition("/")[0])
                    continue
                if change.topic is Topic.ALL:
                    self._keeper.unsettled.update(self._leases)
                await self._clients.refresh(change.key)  # first, or the sweep would go with what was registered before
                self.soon(change.key)

    async def _loop(self, lease: Lease) -> None:
        with structlog.contextvars.bound_contextvars(server=lease.server):
            loop = SweepLoop(self._db, self._clients, self._keeper, lease, self._every, self._woke)
            while True:
                self._now[lease.server].clear()
                try:
                    wait = await loop.once()
                except DatabaseUnavailable as error:
                    log.warning("the sweep could not be kept", detail=error.detail)
                    wait = RETRY_WHILE_CLOSED
                except Exception:  # the outermost edge of this loop: it goes on, and the log tells
                    log.exception("a sweep failed with a fault of ours")
                    wait = self._every
                await self._sleep(lease.server, wait)

    async def _sleep(self, server: str, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._now[server].wait(), seconds)
        except TimeoutError:
            return


class SweepLoop:
    """The sweeps of one server, one after the other."""

    def __init__(
        self,
        database: Database,
        clients: Clients,
        keeper: Keeper,
        lease: Lease,
        every: float,
        woke: Callable[[str], None],
    ) -> None:
        self._db, self._clients, self._keeper = database, clients, keeper
        self._lease, self._every, self._woke = lease, every, woke
        self._last: Reading | None = None
        self._health: Health | None = None
        self._breaker = Breaker()
        self._round = 0
        self._standing = Standing()

    async def once(self) -> float:
        """One sweep; seconds until the next."""
        await self._recall()
        began, client = perf_counter(), None
        try:
            client = await self._clients.of(self._lease.server)
            whole = self._round % WHOLE_EVERY == 0
            reading = await sweep(client.for_(Purpose.SWEEP), self._db.clock, self._last, whole=whole)
        except NotFound:
            return self._every
        except ServerInMaintenance:
            return await self._rest()
        except ComservError as error:
            return await self._failed(error, client)
        await self._good(client, reading, (perf_counter() - began) * 1000)
        return self._every * client.server.pace.rarer

    async def _recall(self) -> None:
        if self._health is None:
            async with self._db.read() as tx:
                picture = await pictures.get(tx, self._lease.server)
                self._last = Reading(picture) if picture else None
                self._health = await pictures.get_health(tx, self._lease.server) or Health(self._lease.server)

    @property
    def _known(self) -> Health:
        return self._health or Health(self._lease.server)

    async def _good(self, client: Client, reading: Reading, ms: float) -> None:
        self._round += 1
        was, picture = self._known.state, reading.picture
        health = Health(
            self._lease.server,
            ServerState.SLOW if ms > SLOW_MS else ServerState.UP,
            latency_ms=round(ms, 1),
            last_good=picture.as_of,
            requests_last_minute=client.requests_last_minute,
            load=client.meter.load(self._db.process),
        )
        health = self._standing.told_by(client, health, self._known, self._db.clock())
        if not await self._keep(reading, health):
            return
        self._health, self._breaker = health, Breaker()
        if self._standing.pems:
            await self._save_health(health)
        if was in (ServerState.DOWN, ServerState.UNREACHED, ServerState.MAINTENANCE):
            log.info("the server answers")
            self._woke(self._lease.server)
        looked = await self._standing.look(client.for_(Purpose.LOOK), health, picture.nodes, self._db.clock())
        if looked != health:
            await self._save_health(looked)

    async def _keep(self, reading: Reading, health: Health) -> bool:
        """False where the server is not ours any more."""
        picture, last = reading.picture, self._last
        if last and reading.same and health.state is self._known.state:
            self._keeper.show(Seen(self._lease, picture, health))
            self._last = reading
            return True
        gone = vanished(last.picture if last else None, picture)
        packed = await pictures.pack(picture)
        revision = await self._keeper.keep(Seen(self._lease, picture, health, packed, gone))
        if revision is None:
            return False
        self._last = replace(reading, picture=replace(picture, revision=revision))
        return True

    async def _keep_certificates(self, tx: Transaction) -> dict[str, str]:
        """Those that are kept once this transaction is."""
        pems = dict(self._standing.pems)
        if pems:
            await servers.keep_certificates(tx, self._lease.server, pems)
        return pems

    async def _rest(self) -> float:
        """In maintenance: nothing is sent, what was seen stays; where its time is over, it ends here. Seconds until the next look."""
        known, here = self._known, self._lease.server
        resting = replace(
            known,
            state=ServerState.MAINTENANCE,
            failing_since=None,
            failures=0,
            next_try=None,
            error_title="",
            error_detail="",
            error_cure="",
            requests_last_minute=0,
            load=None,
        )
        if resting != known:
            await self._save_health(resting)
        self._breaker = Breaker()
        async with self._db.read() as tx:
            server = await servers.get(tx, here)
            left = server.maintenance.left(tx.now) if server.maintenance else 0.0
        if left <= 0:
            await self._end_maintenance()
        return max(0.0, min(self._every, left))

    async def _end_maintenance(self) -> None:
        """By its own time; nothing happens where somebody was faster."""
        async with self._db.write() as tx:
            server = await servers.get(tx, self._lease.server)
            over = server.maintenance is not None and server.maintenance.left(tx.now) <= 0
            if over and await leases.holds(tx, self._lease):
                await servers.change(tx, replace(server, maintenance=None))
                entry = AuditEntry(
                    "", "end_maintenance", f"server {server.id}", Outcome.DONE, detail="Its time was over."
                )
                await audit.add(tx, entry)
        await self._clients.refresh(self._lease.server)

    async def _failed(self, error: ComservError, client: Client | None) -> float:
        now = self._db.clock()
        self._breaker = self._breaker.failed(now, random.random())
        open_for = (self._breaker.next_try - now).total_seconds() if self._breaker.next_try else RETRY_WHILE_CLOSED
        problem = error.problem()
        first = self._known.failing_since is None
        if first:
            log.warning("the server does not answer", title=problem.title, detail=problem.detail)
        down = self._down(problem, now, now + timedelta(seconds=open_for))
        await self._save_health(self._standing.told_by(client, down, self._known, now) if client else down)
        return open_for

    def _down(self, problem: Problem, now: datetime, next_try: datetime) -> Health:
        known = self._known
        never = known.last_good is None and (self._last is None or self._last.picture.as_of is None)
        return replace(
            known,
            state=ServerState.UNREACHED if never else ServerState.DOWN,
            failing_since=known.failing_since or now,
            failures=self._breaker.failures,
            next_try=next_try,
            error_title=problem.title,
            error_detail=problem.detail,
            error_cure=problem.cure,
            requests_last_minute=0,
            load=self._clients.meter(self._lease.server).load(self._db.process),
        )

    async def _save_health(self, health: Health) -> None:
        async with self._db.write() as tx:
            if await leases.holds(tx, self._lease):
                await pictures.save_health(tx, health)
                self._standing.kept(await self._keep_certificates(tx))
        self._keeper.stands(self._lease, health)
        self._health = health
