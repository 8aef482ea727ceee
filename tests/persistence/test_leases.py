"""Leases, on both engines: no stale write slips past a take-over."""

import asyncio

import pytest

from comserv.domain.lease import Lease
from comserv.persistence import leases
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault
from tests.databases import opened
from tests.persistence.examples import with_server

pytestmark = pytest.mark.anyio


async def taken(database: Database, owner: str) -> Lease:
    async with database.write() as tx:
        return await leases.raise_epoch(tx, "rack", owner)


async def test_only_the_last_epoch_holds_also_for_the_same_owner(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
    one, two, three = [await taken(database, owner) for owner in ("a", "b", "b")]
    assert [lease.epoch for lease in (one, two, three)] == [1, 2, 3]
    async with database.write() as tx:
        assert [await leases.holds(tx, lease) for lease in (one, two, three)] == [False, False, True]
    async with database.read() as tx:
        assert [await leases.current(tx, lease) for lease in (one, two, three)] == [False, False, True]


async def test_a_take_over_waits_for_the_end_of_a_transaction_that_holds_the_lease(
    database: Database, database_url: str, vault: Vault
) -> None:
    async with database.write() as tx:
        await with_server(tx)
    lease = await taken(database, "a")
    async with opened(database_url, vault) as other:
        async with database.write() as tx:
            assert await leases.holds(tx, lease)
            taking = asyncio.create_task(taken(other, "b"))
            await asyncio.sleep(0.3)
            assert not taking.done()
        assert (await taking).epoch == 2
    async with database.write() as tx:
        assert not await leases.holds(tx, lease)
