"""Transactions and migrations, on both engines."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from comserv.domain.errors import ConfigurationError, DatabaseUnavailable
from comserv.domain.picture import Health
from comserv.domain.server import ServerState
from comserv.persistence import meta, pictures, schema, servers
from comserv.persistence.database import Database, parse_url
from comserv.persistence.tables import metadata
from comserv.persistence.vault import Vault, new_key
from tests.databases import KEY, opened

pytestmark = pytest.mark.anyio

MODE = '{"mode": "system"}'


async def test_migrations_from_empty_make_exactly_the_tables_that_the_code_knows(
    empty_database_url: str, vault: Vault
) -> None:
    async with opened(empty_database_url, vault) as database, database.write() as tx:
        difference = await tx.connection.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
    assert difference == []


def test_the_newest_version_script_is_the_one_that_the_code_expects() -> None:
    assert ScriptDirectory.from_config(schema.alembic_config()).get_heads() == [schema.HEAD]


async def test_processes_that_start_at_once_on_an_empty_database_migrate_it_once(
    empty_database_url: str, vault: Vault
) -> None:
    databases = [Database(empty_database_url, vault) for _ in range(4)]
    try:
        await asyncio.gather(*(database.start() for database in databases))
        async with databases[0].read() as tx:
            assert (await tx.execute(text("SELECT version_num FROM alembic_version"))).all() == [(schema.HEAD,)]
    finally:
        for database in databases:
            await database.close()


async def test_a_server_that_was_disabled_is_in_maintenance_after_the_upgrade(
    empty_database_url: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "HEAD", "0001")
    monkeypatch.setattr(command, "upgrade", lambda config, _, upgrade=command.upgrade: upgrade(config, "0001"))
    async with opened(empty_database_url, vault) as old, old.write() as tx:
        add = "INSERT INTO servers (id, addresses, token_id, token_secret, tls, enabled, created) VALUES"
        for server, enabled, state in (("rack", "true", "up"), ("shed", "false", "disabled")):
            values = f"('{server}', '[]', 'a@pve!ours', '', '{MODE}', {enabled}, 1)"
            await tx.execute(text(add + values.replace(":", "\\:")))
            await pictures.save_health(tx, Health(server, cast("ServerState", state)))
    monkeypatch.undo()
    async with opened(empty_database_url, vault) as new, new.read() as tx:
        kept = {server.id: server.maintenance for server in await servers.every(tx)}
        healthy = {server: await pictures.get_health(tx, server) for server in kept}
    assert kept["rack"] is None and kept["shed"] and kept["shed"].why == "It was disabled before."
    assert healthy["rack"] and healthy["shed"] is None


async def test_a_database_of_a_newer_version_is_refused(database_url: str, vault: Vault) -> None:
    async with opened(database_url, vault) as database, database.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer Comserv"):
        async with opened(database_url, vault):
            pass


async def test_another_key_than_the_first_one_is_refused_and_the_cure_is_named(database_url: str, vault: Vault) -> None:
    async with opened(database_url, vault):
        pass
    with pytest.raises(ConfigurationError, match="not the one of this database") as refused:
        async with opened(database_url, Vault(new_key())):
            pass
    assert "COMSERV_KEY_FILE" in refused.value.cure


async def test_after_a_rotation_the_new_key_alone_is_enough_and_the_old_one_alone_is_not(database_url: str) -> None:
    fresh = new_key()
    for key in (KEY, f"{fresh}\n{KEY}\n", fresh):
        async with opened(database_url, Vault(key)):
            pass
    with pytest.raises(ConfigurationError):
        async with opened(database_url, Vault(KEY)):
            pass


async def test_an_exception_rolls_everything_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as tx:
            await meta.put(tx, "colour", "blue")
            _ = 1 / 0
    async with database.read() as tx:
        assert await meta.get(tx, "colour") is None


async def test_a_reader_sees_one_snapshot_while_a_writer_commits(database: Database) -> None:
    async with database.read() as before:
        assert await meta.get(before, "colour") is None
        async with database.write() as tx:
            await meta.put(tx, "colour", "blue")
        assert await meta.get(before, "colour") is None
    async with database.read() as after:
        assert await meta.get(after, "colour") == "blue"


async def test_a_reader_cannot_write_on_postgresql(database: Database) -> None:
    if not database.postgresql:
        return  # SQLite has no such mode for a transaction
    with pytest.raises(Exception, match="read-only"):
        async with database.read() as tx:
            await meta.put(tx, "colour", "blue")


async def test_a_task_that_is_cancelled_within_a_transaction_leaves_no_lock(database: Database) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        async with database.write() as tx:
            await meta.put(tx, "colour", "blue")
            entered.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), database.write() as tx:
        assert await meta.get(tx, "colour") is None
        await meta.put(tx, "colour", "red")


async def test_many_writers_at_once_lose_nothing(database: Database) -> None:
    async def add_one() -> None:
        async with database.write() as tx:
            await meta.get(tx, "count")
            statement = "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'count'"
            await tx.execute(text(statement))

    async with database.write() as tx:
        await meta.put(tx, "count", "0")
    await asyncio.gather(*(add_one() for _ in range(50)))
    async with database.read() as tx:
        assert await meta.get(tx, "count") == "50"


async def test_text_that_postgresql_cannot_store_is_made_storable_on_both(database: Database) -> None:
    async with database.write() as tx:
        await meta.put(tx, "odd", "a\0b\ud800c")
        assert await meta.get(tx, "odd") == "a\ufffdb?c"


async def test_a_database_that_cannot_be_reached_is_named_as_such(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "comserv.db").mkdir()
    for url in (f"sqlite+aiosqlite:///{tmp_path}/comserv.db", "postgresql://nobody@127.0.0.1:1/none"):
        with pytest.raises(DatabaseUnavailable):
            async with opened(url, vault):
                pass


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "nonsense", "sqlite://", "sqlite+aiosqlite:///:memory:", "postgresql://a:b@[::1/x"]
)
def test_what_is_no_url_of_a_supported_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="COMSERV_DATABASE_URL"):
        parse_url(url)


@pytest.mark.parametrize("url", ["postgresql://host/name", "postgres://host/name", "postgresql+psycopg://host/name"])
def test_every_usual_spelling_of_postgresql_is_taken(url: str) -> None:
    assert parse_url(url).drivername == "postgresql+psycopg"
