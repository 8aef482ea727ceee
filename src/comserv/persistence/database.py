"""The database: SQLite in the data folder, or PostgreSQL. Transactions for reading and writing, and the feed of changes.

    async with db.read() as tx: …      one snapshot, nothing is written
    async with db.write() as tx: …     BEGIN IMMEDIATE on SQLite; commits at the end, rolls back on an exception

Functions of the sibling modules take `tx`. Never wait for a network inside a transaction.
"""

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import URL, CursorResult, Executable, Table, event, make_url, text
from sqlalchemy import exc as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from comserv.domain.errors import ConfigurationError, DatabaseUnavailable
from comserv.persistence import listen, meta, schema
from comserv.persistence.changes import Change, Changes, Topic
from comserv.persistence.ending import end_tasks
from comserv.persistence.listen import ALIVE, CONNECT_SECONDS
from comserv.persistence.shelf import Shelf
from comserv.persistence.tables import encode_json
from comserv.persistence.vault import Vault

BUSY_SECONDS = 20
READERS = 4
POOL, OVERFLOW, POOL_SECONDS = 10, 10, 60
JSON_CODEC: Any = {"json_serializer": encode_json, "json_deserializer": msgspec.json.decode}


def utc_now() -> datetime:
    return datetime.now(UTC)


class Transaction:
    """An open transaction. `now` stands still in it. What `changed` names is published once it is committed."""

    def __init__(self, connection: AsyncConnection, vault: Vault, now: datetime) -> None:
        self.connection, self.vault, self.now = connection, vault, now
        self.changes: dict[tuple[Topic, str], Change] = {}
        self.elsewhere: dict[tuple[Topic, str], Change] = {}

    @property
    def postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)  # type: ignore[return-value]

    def insert(self, table: Table) -> Any:
        """An INSERT of the database's own dialect, for `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return postgresql.insert(table) if self.postgresql else sqlite.insert(table)

    async def add(self, table: Table, **values: Any) -> bool:
        """Insert the row unless one with the same unique values is there (or is about to be: then waits); whether it was."""
        statement = self.insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key.columns)
        return (await self.execute(statement)).first() is not None

    def changed(self, topic: Topic, key: str | int = "", revision: int = 0) -> None:
        self.changes[topic, str(key)] = Change(topic, str(key), revision)

    def changed_elsewhere(self, topic: Topic, key: str) -> None:
        """The same for other processes alone: in this one everybody has been told."""
        self.elsewhere[topic, key] = Change(topic, key)


def parse_url(text: str) -> URL:
    """`sqlite+aiosqlite:///path`, `postgresql+psycopg://…`, and without driver. Raises ConfigurationError for anything else."""
    cure = "Use sqlite+aiosqlite:////folder/comserv.db or postgresql://user:password@host/name."
    try:
        url = make_url(text)
    except (sql.ArgumentError, ValueError) as error:
        raise ConfigurationError("COMSERV_DATABASE_URL is no database URL.", cure=cure) from error
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    name = drivers.get(url.drivername, url.drivername)
    if name not in drivers.values():
        raise ConfigurationError(f"COMSERV_DATABASE_URL names {url.drivername}, which is not supported.", cure=cure)
    if name.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise ConfigurationError("COMSERV_DATABASE_URL names no file.", cure=cure)
    return url.set(drivername=name)


class Database:
    """url: as `parse_url` takes it. clock: what `tx.now` shows. Call `start` before use, and `close` at the end."""

    def __init__(self, url: str, vault: Vault, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.url, self.vault, self.clock = parse_url(url), vault, clock
        self.process = secrets.token_hex(6)
        """A random id of this process towards the others: the name of its sessions on PostgreSQL, and the owner in leases."""
        self.changes = Changes()
        self.shelf = Shelf()
        self._write_lock = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self._writer, self._reader = self._engines()

    @property
    def postgresql(self) -> bool:
        return self.url.drivername.startswith("postgresql")

    def _engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        if self.postgresql:
            return self._postgresql_engines()
        options: Any = {"max_overflow": 0, "connect_args": {"timeout": BUSY_SECONDS}, **JSON_CODEC}
        writer = create_async_engine(self.url, pool_size=1, **options)
        reader = create_async_engine(self.url, pool_size=READERS, **options)
        for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
            _prepare_sqlite(engine, begin)
        return writer, reader

    def _postgresql_engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        name = f"comserv {self.process}"
        writer = create_async_engine(
            self.url,
            pool_size=POOL,
            max_overflow=OVERFLOW,
            pool_timeout=POOL_SECONDS,
            pool_pre_ping=True,
            connect_args={"application_name": name, "connect_timeout": CONNECT_SECONDS, **ALIVE},
            **JSON_CODEC,
        )
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return writer, writer.execution_options(**snapshot)

    async def start(self) -> None:
        """Bring the tables to this version's shape, compare the key, and follow the other processes' changes.

        Raises ConfigurationError (another key, a newer database), DatabaseUnavailable.
        """
        with _told_as_ours():
            await schema.migrate(self.url)
        async with self.write() as tx:
            await meta.check_key(tx)
        if self.postgresql:
            await self._follow_others()

    async def _follow_others(self) -> None:
        """From here on nothing is missed; should listening not work yet, followers are told to look from time to time."""
        listening = asyncio.Event()
        self._listening = asyncio.create_task(listen.follow(self.dsn, self.process, self.changes, listening))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(listening.wait(), CONNECT_SECONDS)

    @property
    def dsn(self) -> str:
        """For psycopg itself, outside the pool."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def close(self) -> None:
        if self._listening:
            await end_tasks([self._listening])
        await self._writer.dispose()
        await self._reader.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A snapshot. Raises DatabaseUnavailable."""
        with _told_as_ours():
            async with self._reader.connect() as connection, connection.begin():
                yield Transaction(connection, self.vault, self.clock())

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Commits at the end and publishes what changed. Raises DatabaseUnavailable; then nothing was written, or the
        commit's reply was lost."""
        with _told_as_ours():
            async with self._turn(), self._writer.connect() as connection, connection.begin() as transaction:
                tx = Transaction(connection, self.vault, self.clock())
                yield tx
                await self._notify(tx)
                try:
                    await transaction.commit()
                except asyncio.CancelledError:
                    self.changes.publish(tx.changes.values())
                    raise
        self.changes.publish(tx.changes.values())

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """SQLite has one writer: within the process they queue here in order, instead of polling the file's lock."""
        if self.postgresql:
            yield
        else:
            async with self._write_lock:
                yield

    async def _notify(self, tx: Transaction) -> None:
        told = {**tx.elsewhere, **tx.changes}
        if self.postgresql and told:
            notice = listen.encode(self.process, told.values())
            tell = "SELECT pg_notify(:channel, notice) FROM unnest(CAST(:notices AS text[])) AS notice"
            await tx.execute(text(tell), notice)


def _prepare_sqlite(engine: AsyncEngine, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver opens no transaction by itself: `begun` does
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "cache_size=-8000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql(begin)


@contextlib.contextmanager
def _told_as_ours() -> Any:
    """What goes wrong with the database itself (not with a statement) becomes DatabaseUnavailable."""
    try:
        yield
    except (sql.OperationalError, sql.InterfaceError, sql.TimeoutError) as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", None) or error)) from error
    except sql.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise DatabaseUnavailable(str(error.orig)) from error
    except sqlite3.OperationalError as error:
        raise DatabaseUnavailable(str(error)) from error
