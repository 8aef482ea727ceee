"""The estate as this process knows it: every server's picture decoded in memory, followed by revision.

A list is answered from here without asking a server or the database; what we changed ourselves is laid over the pictures.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from comserv.domain.errors import DatabaseUnavailable, NotFound
from comserv.domain.guest import Guest, GuestKey, GuestStatus, GuestType, KnownAddress
from comserv.domain.job import Job, JobState
from comserv.domain.outage import Coverage, coverage, outage_of
from comserv.domain.overlay import Overlay
from comserv.domain.picture import Health, Picture
from comserv.domain.rights import RightsSeen
from comserv.domain.server import Server, ServerState
from comserv.persistence import guests, jobs, pictures, rights, servers
from comserv.persistence.changes import Change, Subscription, Topic
from comserv.persistence.database import Database, Transaction

CAUGHT_UP_WITHIN = 2.0  # seconds
STALE_AFTER = timedelta(seconds=45)  # four missed rounds of Proxmox's own 10 s
RIGHTS_OLD_AFTER = timedelta(minutes=15)  # three looks that were missed
OPEN = (JobState.QUEUED, JobState.RUNNING)
log = structlog.get_logger()


@dataclass(frozen=True)
class GuestView:
    """A guest as it is shown. as_of: the age of what is told. stale: its server does not answer or the picture is old.

    ours: what we changed ourselves and the sweep has not confirmed yet, by field name. job: an active job on it.
    search: all that a person may type to find it, in lower case. denied: what the server's token may not do with it, with
    the reason, by feature; empty where that is not known.
    """

    guest: Guest
    as_of: datetime | None
    stale: bool
    addresses: tuple[KnownAddress, ...] = ()
    ours: Mapping[str, str] = field(default_factory=dict)
    job: Job | None = None
    search: str = field(default="", repr=False, compare=False)
    denied: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Row:
    """A guest as lists look for it: what seldom changes of it, what we changed laid over. Its figures may be old: `current` has the new.

    index: in the picture's guests, -1 where the picture does not have it yet. place: what orders rows by name. search: as in GuestView.
    """

    known: "Known"
    guest: Guest
    index: int
    overlay: Overlay | None
    addresses: tuple[KnownAddress, ...]
    place: tuple[str, str, int]
    search: str

    @property
    def current(self) -> Guest:
        if self.index < 0:
            return self.guest
        guest = self.known.picture.guests[self.index]
        return _laid_over(guest, self.overlay.fields) if self.overlay else guest

    def view(self, now: datetime) -> GuestView:
        known = self.known
        ours = _words(self.overlay.fields) if self.overlay else {}
        return GuestView(self.current, known.picture.as_of, known.stale(now), self.addresses, ours, search=self.search)


@dataclass
class Known:
    """What is held of one server. `rows` are made when they are asked for, and thrown away when more than figures changed."""

    server: Server
    picture: Picture
    health: Health
    overlays: dict[int, Overlay] = field(default_factory=dict)
    addresses: dict[int, tuple[KnownAddress, ...]] = field(default_factory=dict)
    rights: RightsSeen | None = None
    last_test: servers.LastTest | None = None
    _rows: dict[int, Row] | None = field(default=None, init=False, repr=False)

    @property
    def rows(self) -> Mapping[int, Row]:
        """By number."""
        if self._rows is None:
            self._rows = {row.guest.key.vmid: row for row in _rows_of(self)}
        return self._rows

    def shows(self, picture: Picture) -> bool:
        """Takes up a picture; whether more than figures is new."""
        same = picture.revision == self.picture.revision and len(picture.guests) == len(self.picture.guests)
        self.picture = picture
        if not same:
            self._rows = None
        return not same

    def overlaid(self, overlays: dict[int, Overlay]) -> None:
        self.overlays, self._rows = overlays, None

    def current_rights(self, now: datetime) -> RightsSeen | None:
        """What the token may do, where that is known well enough to forbid something by it."""
        seen = self.rights
        if seen is None or seen.token != str(self.server.token_id) or now - seen.as_of > RIGHTS_OLD_AFTER:
            return None
        return seen

    def stale(self, now: datetime) -> bool:
        if self.server.maintenance or self.health.state in (ServerState.DOWN, ServerState.UNREACHED):
            return True
        return self.picture.as_of is None or now - self.picture.as_of > stale_after(self.server)


def stale_after(server: Server) -> timedelta:
    """A server that is asked less often is not stale for that."""
    return STALE_AFTER * max(1.0, server.pace.rarer)


class Estate:
    """Call `load` once, keep `follow` running; then everything else is answered from memory."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[str, Known] = {}
        self.open_jobs: dict[str, Job] = {}
        self.revision = 0
        """Grows whenever anything that a list shows has changed."""
        self._rows_revision = 0
        self._figures_revision = 0
        self._moved = asyncio.Condition()
        self._feed: Subscription | None = None
        self._reading = False

    async def load(self) -> None:
        async with self._db.read() as tx:
            found = await servers.every(tx)
            for server in found:
                await self._read(tx, server)
            page = await jobs.page(tx, jobs.JobFilter(states=OPEN), limit=500)
            self.open_jobs = {job.id: job for job in page.items}
        for gone in self._known.keys() - {server.id for server in found}:
            del self._known[gone]
        await self._move(rows=True)

    async def _move(self, *, rows: bool = False, figures: bool = False) -> None:
        self._reading = False
        self.revision += 1  # with no pause after what moved: whoever holds rows of before learns of it here
        self._rows_revision += rows
        self._figures_revision += rows or figures
        async with self._moved:
            self._moved.notify_all()

    async def seen(self, server_id: str, seconds: float) -> bool:
        """Waits until the server's first picture, or the words of its first failure, are here; False after so many seconds."""

        def is_seen() -> bool:
            known = self._known.get(server_id)
            return known is not None and (known.picture.as_of is not None or bool(known.health.error_title))

        return await self.wait_for(is_seen, seconds)

    async def wait_for(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Until what is known here makes it true; False after so many seconds."""
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(happened), seconds)
            except TimeoutError:
                return False
        return True

    async def caught_up(self) -> None:
        """Waits until what changed before now has been read here, but not for long."""
        feed = self._feed
        if feed is not None and (feed.unread or self._reading):
            await self.wait_for(lambda: not (feed.unread or self._reading), CAUGHT_UP_WITHIN)

    async def _read(self, tx: Transaction, server: Server) -> None:
        addresses: dict[int, list[KnownAddress]] = {}
        for one in await guests.known_addresses(tx, server.id):
            addresses.setdefault(one.guest.vmid, []).append(one)
        shown = self._db.shelf.of(server.id)
        self._known[server.id] = Known(
            server,
            shown.picture if shown else await pictures.get(tx, server.id) or Picture(server.id, None),
            shown.health if shown else await pictures.get_health(tx, server.id) or Health(server.id),
            {one.guest.vmid: one for one in await guests.overlays_of(tx, server.id)},
            {vmid: tuple(found) for vmid, found in addresses.items()},
            rights=await rights.get(tx, server.id),
            last_test=await servers.last_test(tx, server.id),
        )

    async def follow(self) -> None:
        """Reads again what the change feed names; runs until it is cancelled."""
        topics = (Topic.SERVER, Topic.PICTURE, Topic.HEALTH, Topic.GUEST, Topic.JOB, Topic.RIGHTS)
        async with self._db.changes.subscribe(*topics) as changes:
            self._feed = changes
            await self.load()
            async for change in changes:
                self._reading = True
                try:
                    await self._apply(change)
                except DatabaseUnavailable as error:
                    log.warning("the picture could not be read again", detail=error.detail)
                    await asyncio.sleep(1)
                    changes.put(change)

    async def _apply(self, change: Change) -> None:
        if change.topic is Topic.ALL or (change.topic is Topic.SERVER and change.key not in self._known):
            await self.load()
        elif change.topic is Topic.JOB:
            await self._apply_job(change.key)
            await self._move()
        elif change.topic is Topic.HEALTH:
            await self._apply_health(change.key)
            await self._move()  # what of it a view shows is whether it is stale, and that is looked at when it is shown
        elif change.topic is Topic.RIGHTS:
            await self._apply_rights(change.key)
            await self._move()
        elif change.topic is Topic.PICTURE:
            await self._move(rows=await self._apply_picture(change.key), figures=True)
        else:
            await (self._apply_guest if change.topic is Topic.GUEST else self._apply_server)(change.key)
            await self._move(rows=True)

    async def _apply_job(self, job_id: str) -> None:
        async with self._db.read() as tx:
            try:
                job = await jobs.get(tx, job_id)
            except NotFound:
                job = None
        if job is not None and not job.state.ended:
            self.open_jobs[job_id] = job
        else:
            self.open_jobs.pop(job_id, None)

    async def _apply_guest(self, key: str) -> None:
        server_id, _, vmid = key.partition("/")
        known = self._known.get(server_id)
        if known is None:
            return
        async with self._db.read() as tx:
            found = await guests.known_addresses(tx, server_id, int(vmid))
            overlays = {one.guest.vmid: one for one in await guests.overlays_of(tx, server_id)}
        known.addresses[int(vmid)] = found
        known.overlaid(overlays)

    async def _apply_health(self, server_id: str) -> None:
        known, shown = self._known.get(server_id), self._db.shelf.of(server_id)
        if known and shown:
            known.health = shown.health
        elif known:
            async with self._db.read() as tx:
                known.health = await pictures.get_health(tx, server_id) or known.health

    async def _apply_rights(self, server_id: str) -> None:
        async with self._db.read() as tx:
            seen = await rights.get(tx, server_id)
        if known := self._known.get(server_id):
            known.rights = seen

    async def _apply_picture(self, server_id: str) -> bool:
        """Whether more than figures is new."""
        known, shown = self._known.get(server_id), self._db.shelf.of(server_id)
        if known is None:
            return False
        if shown:
            return known.shows(shown.picture)
        async with self._db.read() as tx:
            picture = await pictures.renewed(tx, known.picture)
        return known.shows(picture)

    async def _apply_server(self, server_id: str) -> None:
        async with self._db.read() as tx:
            found = {server.id: server for server in await servers.every(tx)}
            last_test = await servers.last_test(tx, server_id) if server_id in found else None
        known = self._known.get(server_id)
        if server_id not in found:
            self._known.pop(server_id, None)
        elif known:
            known.server, known.last_test = found[server_id], last_test

    def server(self, server_id: str) -> Known:
        """Raises NotFound."""
        if server_id not in self._known:
            raise NotFound(noun="server", name=server_id)
        return self._known[server_id]

    def find(self, server_id: str) -> Known | None:
        return self._known.get(server_id)

    def servers(self) -> tuple[Known, ...]:
        """By id."""
        return tuple(self._known[server_id] for server_id in sorted(self._known))

    def guest(self, key: GuestKey, now: datetime) -> GuestView:
        """Raises NotFound."""
        row = self.server(key.server).rows.get(key.vmid)
        if row is None:
            raise NotFound(noun="guest", name=str(key))
        return replace(row.view(now), job=self.job_on(key))

    def views(self, now: datetime) -> Iterable[GuestView]:
        """All guests of all servers, without their jobs."""
        return (row.view(now) for row in self.rows())

    def rows(self) -> Iterable[Row]:
        """The same, to look for some of them: that costs a tenth."""
        for known in self._known.values():
            yield from known.rows.values()

    def frame(self, now: datetime, *, figures: bool = False) -> Hashable:
        """The same as long as `rows` gives the same, with `figures` also as long as they have the same figures: a job's progress or
        a latency does not change it, a picture grown too old does."""
        revision = self._figures_revision if figures else self._rows_revision
        return revision, tuple([known.stale(now) for known in self._known.values()])

    def coverage(self, now: datetime, only: Collection[str] = ()) -> Coverage:
        """Of how many servers a list tells, and which were not heard of. only: their ids, where it is not about all."""
        chosen = [known for known in self._known.values() if not only or known.server.id in only]
        outages = (outage_of(one.server, one.health, one.picture, stale=one.stale(now)) for one in chosen)
        return coverage(len(chosen), outages)

    def job_on(self, key: GuestKey) -> Job | None:
        """The first job on it that has not ended."""
        found = [job for job in self.open_jobs.values() if job.vmid == key.vmid and job.server == key.server]
        return min(found, key=lambda job: job.id) if found else None

    def jobs_by_guest(self) -> dict[GuestKey, Job]:
        found: dict[GuestKey, Job] = {}
        for job in sorted(self.open_jobs.values(), key=lambda job: job.id, reverse=True):
            if job.guest:
                found[job.guest] = job
        return found


def _rows_of(known: Known) -> Iterable[Row]:
    seen = set()
    for index, guest in enumerate(known.picture.guests):
        seen.add(guest.key.vmid)
        overlay = known.overlays.get(guest.key.vmid)
        if overlay is None:
            yield _row(known, guest, index, None)
        elif not overlay.fields.get("gone"):
            yield _row(known, _laid_over(guest, overlay.fields), index, overlay)
    for vmid, overlay in known.overlays.items():
        if vmid not in seen and "type" in overlay.fields and not overlay.fields.get("gone"):
            guest = Guest(overlay.guest, GuestType(overlay.fields["type"]), str(overlay.fields.get("node", "")))
            yield _row(known, _laid_over(guest, overlay.fields), -1, overlay)


def _row(known: Known, guest: Guest, index: int, overlay: Overlay | None) -> Row:
    vmid = guest.key.vmid
    addresses = known.addresses.get(vmid, ())
    words = (guest.name, str(vmid), guest.node, known.server.id, guest.lock, guest.pool, *guest.tags)
    search = "\n".join((*words, *(one.address for one in addresses))).lower()
    place = (guest.name.lower(), known.server.id, vmid)
    return Row(known, guest, index, overlay, addresses, place, search)


_SHOWN = {"name", "node", "status", "lock", "tags", "pool", "cores", "memory", "disk", "template"}


def _laid_over(guest: Guest, fields: Mapping[str, Any]) -> Guest:
    """Overlay fields come as JSON has them."""
    values = {name: value for name, value in fields.items() if name in _SHOWN}
    if "status" in values:
        values["status"] = GuestStatus(values["status"])
        if values["status"] is not guest.status:
            values |= {"uptime": None, "cpu": None, "memory_used": None}
    if "tags" in values:
        values["tags"] = tuple(values["tags"])
    return msgspec.structs.replace(guest, **values)


def _words(fields: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in fields.items()
        if name in _SHOWN
    }
