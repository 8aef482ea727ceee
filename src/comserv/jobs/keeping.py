"""Keeps what sweeps saw: one writer for all servers of this process, so that a hundred sweeps are a few transactions.

What only has new figures is shown here at once and written some time later, together with all others that wait: within a second where
other processes read them, within half a minute where nobody does before the next start. What changed otherwise is written first, at
once, and shown after that: nothing is shown that a restart would not know.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic

import structlog

from comserv.domain.errors import DatabaseUnavailable
from comserv.domain.guest import Guest, GuestKey
from comserv.domain.lease import Lease
from comserv.domain.overlay import Overlay
from comserv.domain.picture import Health, Picture
from comserv.persistence import guests, leases, pictures
from comserv.persistence.changes import Change, Topic
from comserv.persistence.database import Database, Transaction
from comserv.persistence.pictures import Packed

log = structlog.get_logger(__name__)

FOR_OTHERS, FOR_A_RESTART = (
    1.0,
    30.0,
)  # seconds between two commits while nothing but figures is new: on PostgreSQL, on SQLite
WRITTEN_WITHIN = 1.0  # seconds for what waits when a server is given up
UNCONFIRMED_FOR = timedelta(
    seconds=40
)  # Proxmox shows a change within 15 s (semantics section 15); then its word counts


@dataclass(frozen=True)
class Seen:
    """What a sweep saw. packed: where more than figures is new. vanished: guests that were there at the sweep before."""

    lease: Lease
    picture: Picture
    health: Health
    packed: Packed | None = None
    vanished: frozenset[GuestKey] = frozenset()


class Keeper:
    """Of all sweeps of this process. unsettled: servers on whose guests we may have noted something that a sweep has to confirm; their
    next one is written at once."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._waiting: dict[str, Seen] = {}
        self._kept: dict[str, asyncio.Future[int | None]] = {}
        self._urgent = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._every = FOR_OTHERS if database.postgresql else FOR_A_RESTART
        self._last_commit = monotonic()
        self._gone: set[Lease] = set()
        self.unsettled: set[str] = set()

    def show(self, seen: Seen) -> None:
        """Nothing but figures is new, and the server stands as it did: it is shown now, and written soon."""
        self._show(seen.picture, seen.health)
        self._wait(seen)
        if seen.lease.server in self.unsettled:
            self._urgent.set()

    async def keep(self, seen: Seen) -> int | None:
        """Returns once it is written and shown: the picture's revision, or None where the server is not ours any more.

        Raises DatabaseUnavailable; then nothing of it is shown.
        """
        kept = self._kept[seen.lease.server] = asyncio.get_running_loop().create_future()
        self._wait(seen)
        self._urgent.set()
        return await kept

    def stands(self, lease: Lease, health: Health) -> None:
        """How the server stands has been written elsewhere; what waits is not to say otherwise."""
        if waiting := self._waiting.get(lease.server):
            self._waiting[lease.server] = replace(waiting, health=health)
        if shown := self._db.shelf.of(lease.server):
            self._db.shelf.put(shown.picture, health)

    async def written(self) -> None:
        """Once what waits is written, which is then at once."""
        self._urgent.set()
        if self._writing:
            await asyncio.wait([self._writing])

    async def forget(self, lease: Lease) -> None:
        """The server is not ours any more: who sweeps it from now on knows it better. What waits is written where that can be soon."""
        if self._writing and lease.server in self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.written(), WRITTEN_WITHIN)
        self._gone.add(lease)
        self._waiting.pop(lease.server, None)
        self._db.shelf.forget(lease.server)

    def _show(self, picture: Picture, health: Health) -> None:
        self._db.shelf.put(picture, health)
        server, revision = picture.server, picture.revision
        self._db.changes.publish([Change(Topic.PICTURE, server, revision), Change(Topic.HEALTH, server)])

    def _wait(self, seen: Seen) -> None:
        self._waiting[seen.lease.server] = seen
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="pictures")

    async def _write_all(self) -> None:
        while self._waiting:
            await self._pause()
            batch, self._waiting = self._waiting, {}
            kept, self._kept = self._kept, {}
            try:
                revisions = await self._write(batch.values())
            except DatabaseUnavailable as error:
                log.warning("what the sweeps saw could not be written", detail=error.detail)
                _end(kept, error)
            except BaseException as error:
                _end(kept, error)
                raise
            else:
                for server, future in kept.items():
                    if not future.done():
                        future.set_result(revisions.get(server))

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._urgent.wait(), self._last_commit + self._every - monotonic())
        self._urgent.clear()

    async def _write(self, batch: Iterable[Seen]) -> Mapping[str, int]:
        """One transaction. The revisions of those that were ours, and changed in more than figures."""
        async with self._db.write() as tx:
            held = await leases.held(tx, [seen.lease for seen in batch])
            ours = [seen for seen in batch if seen.lease in held]
            changed = {seen.lease.server: await pictures.save(tx, seen.packed) for seen in ours if seen.packed}
            await pictures.save_figures(tx, [seen.picture for seen in ours if not seen.packed])
            await pictures.save_healths(tx, [seen.health for seen in ours])
            await self._settle(tx, ours)
        self._last_commit = monotonic()
        for seen in ours:
            if seen.packed and seen.lease not in self._gone:
                picture = replace(seen.picture, revision=changed[seen.lease.server])
                self._show(picture, seen.health)
        return changed

    async def _settle(self, tx: Transaction, ours: list[Seen]) -> None:
        """What we changed ourselves is confirmed here, once Proxmox's own words show it."""
        self.unsettled.difference_update(seen.lease.server for seen in ours)
        overlays = await guests.overlays_of(tx)
        self.unsettled.update(one.guest.server for one in overlays)
        for seen in ours:
            mine = tuple(one for one in overlays if one.guest.server == seen.lease.server)
            await guests.confirm(tx, confirmed(mine, seen.picture, tx.now))
            await guests.forget_addresses(tx, seen.vanished)


def _end(kept: Mapping[str, asyncio.Future[int | None]], error: BaseException) -> None:
    for future in kept.values():
        if not future.done():
            future.set_exception(error)


def vanished(last: Picture | None, now: Picture) -> frozenset[GuestKey]:
    """Guests that were there at the last sweep. None where no guest at all is seen any more: then it is the token's rights."""
    seen = {guest.key.vmid for guest in now.guests}
    if not last or not seen:
        return frozenset()
    return frozenset(guest.key for guest in last.guests if guest.key.vmid not in seen)


def confirmed(overlays: tuple[Overlay, ...], picture: Picture, now: datetime) -> list[Overlay]:
    """Those that the picture shows as they say, and those so old that the picture's word counts."""
    if not overlays:
        return []
    ours = {one.guest.vmid for one in overlays}
    seen = {guest.key: guest for guest in picture.guests if guest.key.vmid in ours}
    return [
        one for one in overlays if _is_shown(one, seen.get(one.guest)) or (one.at and now - one.at > UNCONFIRMED_FOR)
    ]


def _is_shown(overlay: Overlay, guest: Guest | None) -> bool:
    if overlay.fields.get("gone"):
        return guest is None
    if guest is None:
        return False
    return all(
        _same(getattr(guest, name, None), value)
        for name, value in overlay.fields.items()
        if name not in ("type", "gone")
    )


def _same(shown: object, said: object) -> bool:
    if isinstance(shown, tuple) and isinstance(said, list):
        return sorted(shown) == sorted(said)
    return shown == said or str(shown) == str(said)
