"""The tables' version: migrations at start, in one transaction and under a lock."""

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from comserv.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0006"
"""The newest version script; a test holds it equal."""

LOCK = 0x636F6D73657276  # "comserv": an advisory lock of PostgreSQL


def alembic_config() -> "Config":
    """Alembic is loaded only where there is something to migrate: it costs a start 0.2 s."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(url: URL) -> None:
    """Bring an empty or older database to HEAD, in one transaction, while no other process does the same.

    Raises ConfigurationError where a newer Comserv wrote it.
    """
    if url.drivername.startswith("sqlite") and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        _try_file(url.database)
    engine = create_async_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        _allow_rebuilding_tables(engine)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _try_file(path: str) -> None:
    """Raises sqlite3.OperationalError here, where no thread of the driver's is left behind."""
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.execute("PRAGMA schema_version")


def _allow_rebuilding_tables(engine: AsyncEngine) -> None:
    """A batch migration drops and makes tables anew, which must not cascade; BEGIN IMMEDIATE is the lock."""

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("busy_timeout=60000", "journal_mode=WAL", "foreign_keys=OFF"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    version = _version(connection)
    if version == HEAD:
        return
    if version > HEAD:
        raise ConfigurationError(
            f"The database has version {version}, this Comserv knows {HEAD}: a newer Comserv wrote it.",
            cure="Start the newer Comserv, or restore the backup made before the upgrade.",
        )
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
        raise sqlite3.IntegrityError(f"the migration left a row without its parent: {broken}")


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""
