"""Who owns which server: the one process that does everything towards it (sweep, limits, jobs).

With SQLite that is the one process that holds the folder's lock; with PostgreSQL see `jobs/sharedowner.py`. Whoever wants to
start and stop with a server gives a `Listener` before the owner starts.
"""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TextIO

import structlog

from comserv.domain.errors import ConfigurationError, DatabaseUnavailable
from comserv.domain.lease import Lease
from comserv.persistence import leases, servers
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from comserv.persistence.ending import end_tasks

log = structlog.get_logger(__name__)

LOCK_FILE = "comserv.lock"
RETRY_SECONDS = 2.0


class Listener(Protocol):
    """What starts with a server and stops with it: the engine's drivers, the sweeps."""

    async def gained(self, lease: Lease) -> None:
        """The server is ours from now on. Start what belongs to it, and return soon."""
        ...

    async def lost(self, server: str) -> None:
        """It is not ours any more, or will not be in a moment: stop all of it before returning."""
        ...


class Owner(Protocol):
    """owned: the servers that are ours, each with its lease."""

    @property
    def owned(self) -> Mapping[str, Lease]: ...

    def watch(self, listener: Listener) -> None: ...

    def holds(self, lease: Lease) -> bool:
        """As far as this process knows by itself."""
        ...

    async def confirm(self, lease: Lease) -> bool:
        """As the database says, right now."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Hand everything over: all listeners have stopped when the locks are given back."""
        ...


class Holdings:
    """The leases that are ours, and the listeners that are told. Common to both owners."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owned: dict[str, Lease] = {}
        self._listeners: list[Listener] = []

    @property
    def owned(self) -> Mapping[str, Lease]:
        return self._owned

    def epoch(self, server: str) -> int | None:
        lease = self._owned.get(server)
        return lease.epoch if lease else None

    def watch(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def holds(self, lease: Lease) -> bool:
        return self._owned.get(lease.server) == lease

    async def _gain(self, server: str) -> None:
        """The lock is ours: raise the epoch before anybody reads a job."""
        async with self._database.write() as tx:
            lease = await leases.raise_epoch(tx, server, self._database.process)
            tx.changed(Topic.OWNER, server, lease.epoch)
        self._owned[server] = lease
        log.info("server owned", server=server, epoch=lease.epoch)
        for listener in self._listeners:
            await listener.gained(lease)

    async def _lose(self, server: str) -> None:
        """Nothing is driven any more when this returns. Does nothing where it was not ours."""
        if self._owned.pop(server, None):
            log.info("server given up", server=server)
            for listener in reversed(self._listeners):
                await listener.lost(server)


class FolderOwner(Holdings):
    """SQLite: an exclusive lock on a file in the data folder makes this process owner of every server.

    The lock is the kernel's: it is gone with the process, however that ends.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database)
        self._path = folder / LOCK_FILE
        self._file: TextIO | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ConfigurationError where another process serves this folder."""
        self._file = _locked(self._path)
        await self._own_all()
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._following:
            await end_tasks([self._following])
        for server in list(self._owned):
            await self._lose(server)
        if self._file:
            self._file.close()

    async def confirm(self, lease: Lease) -> bool:
        return self.holds(lease)

    async def _follow(self) -> None:
        async with self._database.changes.subscribe(Topic.SERVER) as changes:
            while True:
                try:
                    await self._own_all()
                    await changes.get()
                except DatabaseUnavailable as error:
                    log.warning("servers cannot be read", detail=error.detail)
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:  # the outermost edge of this loop: it goes on, and the log tells
                    log.exception("owning servers failed, it is tried again")
                    await asyncio.sleep(RETRY_SECONDS)

    async def _own_all(self) -> None:
        async with self._database.read() as tx:
            known = {server.id for server in await servers.every(tx)}
            held = {lease.server for lease in await leases.held(tx, self._owned.values())}
        for server in set(self._owned) - (known & held):  # gone, or another of the same name is in its place
            await self._lose(server)
        for server in known - set(self._owned):
            await self._gain(server)


def _locked(path: Path) -> TextIO:
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        other = file.read().strip()
        file.close()
        raise ConfigurationError(
            f"Another Comserv serves {path.parent} (process {other or 'unknown'}).",
            cure="Stop it, or use another data folder: COMSERV_DATA_DIR.",
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
