"""Lists of guests are kept while nothing changes, and never longer."""

from dataclasses import replace

import pytest

from comserv.domain.guest import Guest, GuestKey, GuestStatus, GuestType
from comserv.domain.picture import Health, Picture
from comserv.domain.server import Server, ServerState, parse_token_id
from comserv.persistence import pictures, servers
from comserv.persistence.database import Database
from comserv.services.estate import STALE_AFTER, Estate
from comserv.services.guestlists import MOST_KEPT, GuestLists, GuestQuery
from tests.databases import FakeClock

pytestmark = pytest.mark.anyio


def guest(vmid: int, name: str) -> Guest:
    return Guest(GuestKey("rack", vmid), GuestType.QEMU, "pve1", name, GuestStatus.RUNNING)


async def look(database: Database, *guests: Guest) -> None:
    """A sweep's picture of the server `rack`."""
    packed = await pictures.pack(Picture("rack", database.clock(), guests=guests))
    async with database.write() as tx:
        await pictures.save(tx, packed)
        await pictures.save_health(tx, Health("rack", ServerState.UP, last_good=tx.now))


@pytest.fixture
async def estate(database: Database) -> Estate:
    async with database.write() as tx:
        await servers.add(
            tx, Server("rack", "Rack", ("https://r:8006",), parse_token_id("comserv@pve!manager")), "0" * 36
        )
    await look(database, guest(100, "web"), guest(101, "db"))
    estate = Estate(database)
    await estate.load()
    return estate


async def test_the_same_query_is_answered_from_what_was_found_until_something_is_read_anew(
    database: Database, estate: Estate
) -> None:
    lists = GuestLists(estate)
    first = lists.of(GuestQuery(), database.clock())
    assert lists.of(GuestQuery(cursor="x", limit=7), database.clock()) is first, "a page of it is no other list"
    await look(database, guest(100, "web"), guest(101, "db"), guest(102, "app"))
    await estate.load()
    names = [row.guest.name for row in lists.of(GuestQuery(), database.clock()).rows]
    assert names == ["app", "db", "web"]


async def test_a_picture_that_grows_old_without_any_news_is_listed_as_stale(
    database: Database, estate: Estate, clock: FakeClock
) -> None:
    lists = GuestLists(estate)
    assert lists.of(GuestQuery(), database.clock()).stale == 0
    clock.advance(seconds=2 * STALE_AFTER.total_seconds())
    found = lists.of(GuestQuery(statuses=("stale",)), database.clock())
    assert (found.stale, len(found.rows)) == (2, 2)


async def test_no_more_than_some_queries_are_kept(database: Database, estate: Estate) -> None:
    lists = GuestLists(estate)
    first = lists.of(GuestQuery(), database.clock())
    for number in range(MOST_KEPT):
        lists.of(replace(GuestQuery(), text=f"web{number}"), database.clock())
    assert lists.of(GuestQuery(), database.clock()) is not first
