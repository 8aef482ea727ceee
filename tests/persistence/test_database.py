"""Transactions and migrations, on both engines."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from comserv.persistence import meta, schema
from comserv.persistence.database import Database, parse_url
from comserv.persistence.tables import metadata
from comserv.persistence.vault import Vault
from tests.databases import opened

pytestmark = pytest.mark.anyio


async def test_migrations_from_empty_make_exactly_the_tables_that_the_code_knows(
    empty_database_url: str, vault: Vault
) -> None:
    async with opened(empty_database_url, vault) as database, database.write() as tx:
        difference = await tx.connection.run_sync(
            lambda connection: compare_metadata(
                MigrationContext.configure(connection, opts={"compare_server_default": False}), metadata
            )
        )
    assert difference == []
