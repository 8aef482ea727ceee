"""Two at once: one VM id, one address, one name, one job per idempotency key."""

import asyncio

import pytest

from comserv.domain.errors import IdempotencyMismatch
from comserv.domain.guest import GuestKey
from comserv.domain.reservation import Reservation, Taken
from comserv.persistence import idempotency, jobs, reservations
from comserv.persistence.database import Database
from comserv.persistence.jobs import JobFilter
from tests.persistence.examples import a_job, with_job, with_server

pytestmark = pytest.mark.anyio


async def test_of_many_jobs_that_want_one_vm_id_at_once_one_gets_it(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        made = [await with_job(tx) for _ in range(8)]

    async def reserve(job: str) -> Taken | None:
        async with database.write() as tx:
            taken = await reservations.take(tx, Reservation(GuestKey("rack", 200), job))
            await asyncio.sleep(0.01)
            return taken

    outcomes = await asyncio.gather(*(reserve(job.id) for job in made))
    assert sorted(map(str, outcomes)) == ["None"] + ["vmid"] * 7


async def test_a_name_on_a_server_and_an_address_anywhere_are_reserved_once(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        await with_server(tx, "lab")
        one, other = await with_job(tx), await with_job(tx)

        async def take(job: str, server: str, vmid: int, name: str, *addresses: str) -> Taken | None:
            return await reservations.take(tx, Reservation(GuestKey(server, vmid), job, name, addresses))

        assert await take(one.id, "rack", 200, "web-01", "10.0.0.5", "fd00::5") is None
        assert await take(other.id, "rack", 201, "web-01") == "hostname"
        assert await take(other.id, "lab", 201, "web-01", "10.0.0.6", "fd00::5") == "address"
        assert await reservations.of_job(tx, other.id) is None
        assert await take(other.id, "lab", 201, "web-01", "10.0.0.6") is None
        assert await take(one.id, "rack", 202, "web-01", "10.0.0.5") is None, "the same job may choose anew"
        kept = await reservations.on_server(tx, "rack")
        assert [(r.guest.vmid, r.hostname, r.addresses, r.created) for r in kept] == [
            (202, "web-01", ("10.0.0.5",), tx.now)
        ]
        await reservations.free(tx, one.id)
        assert await reservations.on_server(tx, "rack") == ()
        assert len(await reservations.every(tx)) == 1
        assert await reservations.get(tx, GuestKey("lab", 201)) is not None


async def test_the_same_key_sent_many_times_at_once_makes_one_job(database: Database) -> None:
    async def create() -> str:
        job = a_job()
        async with database.write() as tx:
            mine = await idempotency.claim(tx, "anna", "key-1", {"vmid": 1, "secret": "x"}, job.id)
            if mine == job.id:
                await asyncio.sleep(0.01)
                await jobs.add(tx, job)
            return mine

    ids = await asyncio.gather(*(create() for _ in range(8)))
    async with database.read() as tx:
        made = (await jobs.page(tx, JobFilter())).items
    assert len(set(ids)) == 1 and [job.id for job in made] == [ids[0]]


async def test_a_key_belongs_to_a_person_and_to_one_body(database: Database) -> None:
    async with database.write() as tx:
        one, other = await with_job(tx), await with_job(tx)
        body = {"a": 1, "network": {"x": [1, 2], "y": "ä"}}
        assert await idempotency.claim(tx, "anna", "k", body, one.id) == one.id
        reordered = {"network": {"y": "ä", "x": [1, 2]}, "a": 1}
        assert await idempotency.claim(tx, "anna", "k", reordered, other.id) == one.id
        assert await idempotency.claim(tx, "ben", "k", {"a": 2}, other.id) == other.id
        with pytest.raises(IdempotencyMismatch):
            await idempotency.claim(tx, "anna", "k", {**body, "a": 2}, other.id)
