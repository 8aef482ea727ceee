"""Who owns which server on PostgreSQL: session advisory locks, on one autocommit connection outside the pool.

The locks are gone with the session. Never through a transaction pooler, which hands a session on with its locks.
"""

import hashlib
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from comserv.domain.errors import DatabaseUnavailable
from comserv.persistence.database import Database
from comserv.persistence.listen import ALIVE, CONNECT_SECONDS

SPACE = b"comserv server "


@dataclass(frozen=True)
class Survey:
    """holders: by server, the session (pid) that holds its lock. ages: by session, seconds since its process was seen;
    by the database's clock."""

    servers: tuple[str, ...]
    holders: dict[str, int]
    ages: dict[int, float]

    def age(self, pid: int) -> float:
        """Of a session that never said who it is: infinite."""
        return self.ages.get(pid, math.inf)


@contextmanager
def _told_as_ours() -> Any:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
        raise DatabaseUnavailable(str(error)) from error


class ServerLocks:
    """The connection that holds this process's servers. All its methods raise DatabaseUnavailable."""

    def __init__(self, connection: psycopg.AsyncConnection, process: str) -> None:
        self._connection, self._process = connection, process
        self.pid = connection.info.backend_pid

    @classmethod
    @asynccontextmanager
    async def opened(cls, database: Database) -> AsyncIterator["ServerLocks"]:
        options: dict[str, Any] = {"application_name": f"comserv {database.process} owner", **ALIVE}
        with _told_as_ours():
            connection = await psycopg.AsyncConnection.connect(
                database.dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, **options
            )
        try:
            yield cls(connection, database.process)
        finally:
            await connection.close()

    async def renew(self) -> None:
        """This process is alive, now."""
        await self._run(
            "INSERT INTO owners (owner, pid, seen) "
            "VALUES (%s, %s, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) "
            "ON CONFLICT (owner) DO UPDATE SET pid = excluded.pid, seen = excluded.seen",
            self._process,
            self.pid,
        )

    async def survey(self) -> Survey:
        servers = [name for (name,) in await self._run("SELECT id FROM servers ORDER BY id")]
        locks = await self._run(
            "SELECT classid::bigint, objid::bigint, pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        held = {(high << 32 | low): pid for high, low, pid in locks}
        await self._run("DELETE FROM owners WHERE NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = owners.pid)")
        owners = await self._run("SELECT pid, extract(epoch FROM clock_timestamp()) - seen / 1000000.0 FROM owners")
        holders = {name: held[_key(name)] for name in servers if _key(name) in held}
        return Survey(tuple(servers), holders, {pid: float(age) for pid, age in owners})

    async def take(self, server: str) -> bool:
        return bool((await self._run("SELECT pg_try_advisory_lock(%s)", _signed(server)))[0][0])

    async def release(self, server: str) -> None:
        await self._run("SELECT pg_advisory_unlock(%s)", _signed(server))

    async def end_sessions(self, pids: Iterable[int]) -> None:
        """End the sessions of processes that hang or are cut off: those that hold locks, and those of the same processes
        that are in the middle of a transaction, since a take-over has to wait for them."""
        for pid in pids:
            await self._run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s OR (xact_start IS NOT NULL AND "
                "application_name = (SELECT 'comserv ' || owner FROM owners WHERE pid = %s))",
                pid,
                pid,
            )
            await self._run("DELETE FROM owners WHERE pid = %s", pid)

    async def leave(self) -> None:
        await self._run("DELETE FROM owners WHERE owner = %s", self._process)

    async def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with _told_as_ours():
            cursor = await self._connection.execute(statement.encode(), values or None)
            return await cursor.fetchall() if cursor.description else []


def _key(server: str) -> int:
    """64 bits, unsigned, as pg_locks shows them in two halves."""
    return int.from_bytes(hashlib.sha256(SPACE + server.encode()).digest()[:8])


def _signed(server: str) -> int:
    key = _key(server)
    return key - (1 << 64) if key >= 1 << 63 else key
