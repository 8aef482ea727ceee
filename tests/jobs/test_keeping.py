"""One writer for all sweeps: figures are shown at once and written together, what changed is written first, nothing of others' servers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import structs

from comserv.domain.errors import DatabaseUnavailable
from comserv.domain.guest import GuestKey
from comserv.domain.lease import Lease
from comserv.domain.picture import Health, Picture
from comserv.domain.server import ServerState
from comserv.jobs.keeping import Keeper, Seen
from comserv.persistence import guests, leases, pictures
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from tests.persistence.examples import AT, a_picture, with_server

pytestmark = pytest.mark.anyio

UP = Health("rack", ServerState.UP, last_good=AT)


@pytest.fixture
async def lease(database: Database) -> Lease:
    async with database.write() as tx:
        await with_server(tx)
        return await leases.raise_epoch(tx, "rack", database.process)


@pytest.fixture
async def keeper(database: Database) -> AsyncIterator[Keeper]:
    made = Keeper(database)
    yield made
    await made.written()


async def saved(database: Database, server: str = "rack") -> Picture | None:
    async with database.read() as tx:
        return await pictures.get(tx, server)


async def kept(keeper: Keeper, lease: Lease, picture: Picture) -> Picture:
    """As it is once it is written."""
    revision = await keeper.keep(Seen(lease, picture, UP, await pictures.pack(picture)))
    assert revision is not None
    return replace(picture, revision=revision)


def busier(picture: Picture) -> Picture:
    """With new figures of every guest, ten seconds later."""
    later = tuple(structs.replace(guest, cpu=0.5, memory_used=7, uptime=9) for guest in picture.guests)
    return replace(picture, guests=later, as_of=AT + timedelta(seconds=10))


async def test_what_changed_is_written_and_then_shown(database: Database, keeper: Keeper, lease: Lease) -> None:
    assert database.shelf.of("rack") is None
    async with database.changes.subscribe(Topic.PICTURE) as changes:
        picture = await kept(keeper, lease, a_picture())
        assert (await changes.get()).revision == 1
    shown = database.shelf.of("rack")
    assert shown and shown.picture == picture == await saved(database)


async def test_new_figures_are_shown_before_they_are_written(database: Database, keeper: Keeper, lease: Lease) -> None:
    before = await kept(keeper, lease, a_picture())
    async with database.changes.subscribe(Topic.PICTURE) as changes:
        keeper.show(Seen(lease, busier(before), UP))
        assert (await changes.get()).key == "rack"
    shown = database.shelf.of("rack")
    assert shown and shown.picture == busier(before)
    assert await saved(database) == before
    await keeper.written()
    assert await saved(database) == busier(before)


async def test_all_that_waits_is_one_transaction(database: Database, keeper: Keeper, lease: Lease) -> None:
    rack = await kept(keeper, lease, a_picture())
    async with database.write() as tx:
        await with_server(tx, "lab")
        other = await leases.raise_epoch(tx, "lab", database.process)
    lab = await kept(keeper, other, a_picture("lab"))
    for mine, picture in ((lease, rack), (other, lab)):
        keeper.show(Seen(mine, busier(picture), replace(UP, server=picture.server)))
    begun = database.write
    count = 0

    def counted() -> object:
        nonlocal count
        count += 1
        return begun()

    database.write = counted  # type: ignore[method-assign,assignment]
    await keeper.written()
    assert count == 1
    assert await saved(database) == busier(rack) and await saved(database, "lab") == busier(lab)


async def test_of_a_server_that_another_process_took_over_nothing_is_written(
    database: Database, keeper: Keeper, lease: Lease
) -> None:
    before = await kept(keeper, lease, a_picture())
    async with database.write() as tx:
        await leases.raise_epoch(tx, "rack", "another")
    keeper.show(Seen(lease, busier(before), UP))
    await keeper.written()
    assert await saved(database) == before
    changed = replace(a_picture(), version="9.9")
    assert await keeper.keep(Seen(lease, changed, UP, await pictures.pack(changed))) is None
    await keeper.forget(lease)
    assert database.shelf.of("rack") is None


async def test_what_waits_is_written_when_a_server_is_given_up(
    database: Database, keeper: Keeper, lease: Lease
) -> None:
    before = await kept(keeper, lease, a_picture())
    keeper.show(Seen(lease, busier(before), UP))
    await keeper.forget(lease)
    assert await saved(database) == busier(before)
    assert database.shelf.of("rack") is None


async def test_a_database_that_is_away_is_told_to_who_waits_and_the_next_is_written(
    database: Database, keeper: Keeper, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def away() -> None:
            raise DatabaseUnavailable("away")

        broken.setattr(database, "write", away)
        with pytest.raises(DatabaseUnavailable):
            await keeper.keep(Seen(lease, a_picture(), UP, await pictures.pack(a_picture())))
        assert database.shelf.of("rack") is None
    assert await kept(keeper, lease, a_picture()) == await saved(database)


async def test_what_we_changed_ourselves_is_confirmed_with_the_next_sweep(
    database: Database, keeper: Keeper, lease: Lease
) -> None:
    before = await kept(keeper, lease, a_picture())
    key = GuestKey("rack", 100)
    async with database.write() as tx:
        await guests.overlay(tx, key, {"name": "vm-0"}, "job")
    keeper.unsettled.add("rack")
    async with database.changes.subscribe(Topic.GUEST) as changes:
        keeper.show(Seen(lease, busier(before), UP))
        assert (await changes.get()).key == "rack/100"
    async with database.read() as tx:
        assert await guests.overlays_of(tx, "rack") == ()
    assert keeper.unsettled == {"rack"}, "it is looked after once more"
    keeper.show(Seen(lease, busier(before), UP))
    await keeper.written()
    assert keeper.unsettled == set()
