"""Servers, pictures and what is known of guests, on both engines."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import structs
from sqlalchemy import event, func, select, update

from comserv.domain.connection import Stage, StageName, StageState
from comserv.domain.errors import Conflict, NotFound, ProxmoxSaid
from comserv.domain.guest import AddressSource, GuestKey, GuestType, KnownAddress
from comserv.domain.maintenance import Maintenance
from comserv.domain.overlay import MadeGuest, Overlay
from comserv.domain.picture import Health, Picture
from comserv.domain.server import ServerState
from comserv.persistence import guests, pictures, servers, tables
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from tests.databases import FakeClock
from tests.persistence.examples import AT, SECRET, a_picture, a_server, with_server

pytestmark = pytest.mark.anyio


async def test_a_server_comes_back_as_it_was_added_and_its_secret_only_when_asked_for(database: Database) -> None:
    async with database.write() as tx:
        added = await with_server(tx)
        assert await servers.get(tx, "rack") == added == replace(a_server(), created_at=tx.now, revision=1)
        assert await servers.token_secret(tx, "rack") == SECRET
        stored = (await tx.execute(select(tables.servers.c.token_secret))).scalar_one()
        assert SECRET.encode() not in stored


async def test_a_server_is_changed_with_or_without_a_new_secret_and_its_revision_grows(database: Database) -> None:
    async with database.write() as tx:
        added = await with_server(tx)
        rest = Maintenance("mara", tx.now, "new disks", tx.now)
        changed = await servers.change(tx, replace(added, name="Other", maintenance=rest))
        assert (changed.name, changed.maintenance, changed.revision) == ("Other", rest, 2)
        assert await servers.token_secret(tx, "rack") == SECRET
        await servers.change(tx, added, "new-secret")
        assert await servers.token_secret(tx, "rack") == "new-secret"


async def test_an_id_is_given_once_and_an_unknown_one_is_not_found(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        with pytest.raises(Conflict, match="rack"):
            await with_server(tx)
        with pytest.raises(NotFound):
            await servers.get(tx, "none")
        with pytest.raises(NotFound):
            await servers.change(tx, a_server("none"))
        with pytest.raises(NotFound):
            await servers.remove(tx, "none")


async def test_a_removed_server_takes_its_picture_and_addresses_with_it(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        await pictures.save(tx, await pictures.pack(a_picture()))
        await guests.keep_addresses(tx, GuestKey("rack", 1), AddressSource.AGENT, ["10.0.0.1"], AT)
        await servers.remove(tx, "rack")
        assert await servers.every(tx) == () and await pictures.get(tx, "rack") is None
        assert await guests.known_addresses(tx) == ()


async def test_the_last_connection_test_is_kept_with_its_stages(database: Database) -> None:
    stages = (
        Stage(StageName.NAME, StageState.OK, 1.5, "resolved"),
        Stage(StageName.TOKEN, StageState.FAILED, 3000.0, "refused", "replace it", ProxmoxSaid(401, "no", {})),
    )
    async with database.write() as tx:
        await with_server(tx)
        assert await servers.last_test(tx, "rack") is None
        await servers.keep_test(tx, "rack", stages)
        kept = await servers.last_test(tx, "rack")
        assert kept is not None and kept.stages == stages and kept.at == tx.now


@pytest.mark.parametrize("number", [2, 2000])
async def test_a_picture_comes_back_whole_small_or_large(database: Database, number: int) -> None:
    picture = a_picture(guests=number)
    packed = await pictures.pack(picture)
    async with database.write() as tx:
        await with_server(tx)
        assert await pictures.save(tx, packed) == 1
    async with database.read() as tx:
        assert await pictures.get(tx, "rack") == replace(picture, revision=1)
        assert await pictures.get(tx, "rack", newer_than=1) is None
        assert await pictures.stamp(tx, "rack") == (1, AT)
    assert len(packed.payload) < 100 * number + 1000


async def test_saving_an_unchanged_picture_writes_only_its_time(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        await pictures.save(tx, await pictures.pack(a_picture()))
    statements: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        statements.append(statement)

    event.listen(database._writer.sync_engine, "before_cursor_execute", note)
    later = AT + timedelta(seconds=10)
    async with database.changes.subscribe(Topic.PICTURE, Topic.GUEST) as changes, database.write() as tx:
        assert await pictures.save(tx, await pictures.pack(replace(a_picture(), as_of=later, revision=7))) == 1
    event.remove(database._writer.sync_engine, "before_cursor_execute", note)
    writes = [statement for statement in statements if statement.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert len(writes) == 1 and "SET as_of" in writes[0] and "payload" not in writes[0]
    assert (await changes.get()).revision == 1
    async with database.read() as tx:
        assert await pictures.stamp(tx, "rack") == (1, later)


async def test_a_changed_picture_gets_the_next_revision(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        for revision, version in ((1, "9.1"), (2, "9.2"), (2, "9.2"), (3, "9.1")):
            assert await pictures.save(tx, await pictures.pack(replace(a_picture(), version=version))) == revision


async def test_new_figures_are_no_new_revision_and_are_laid_over_what_is_known(database: Database) -> None:
    later = replace(figured(mixed()), as_of=AT + timedelta(seconds=10), revision=1)
    async with database.write() as tx:
        await with_server(tx)
        await pictures.save(tx, await pictures.pack(mixed()))
        known = await pictures.get(tx, "rack")
        assert known is not None
        await pictures.save_figures(tx, [later])
    async with database.read() as tx:
        assert await pictures.get(tx, "rack") == later
        assert await pictures.renewed(tx, known) == later
        assert await pictures.renewed(tx, later) is later
        assert await pictures.renewed(tx, replace(known, revision=0, guests=())) == later


async def test_figures_of_another_revision_are_not_written(database: Database) -> None:
    async with database.write() as tx:
        await with_server(tx)
        await pictures.save(tx, await pictures.pack(mixed()))
        await pictures.save_figures(tx, [replace(figured(mixed()), revision=7)])
        assert await pictures.get(tx, "rack") == replace(mixed(), revision=1)


async def test_figures_that_no_server_has_do_not_keep_a_picture_from_being_saved(database: Database) -> None:
    told: dict[str, Any] = {"cpu": 1e300, "memory_used": 2**80, "uptime": 2**40, "disk_used": -(2**70)}
    picture = replace(a_picture(), guests=tuple(structs.replace(one, **told) for one in a_picture().guests))
    async with database.write() as tx:
        await with_server(tx)
        await pictures.save(tx, await pictures.pack(picture))
        read = await pictures.get(tx, "rack")
    assert read is not None
    assert [(one.cpu, one.memory_used, one.uptime) for one in read.guests] == [(1e300, 2**63 - 1, 2**31 - 1)] * 2


async def test_a_row_of_an_older_version_is_read_with_the_figures_in_its_payload(database: Database) -> None:
    picture = figured(mixed())
    old = b"\x00" + msgspec.msgpack.encode(replace(picture, as_of=None))
    async with database.write() as tx:
        await with_server(tx)
        await pictures.save(tx, await pictures.pack(mixed()))
        await tx.execute(update(tables.pictures).values(payload=old, figures=None))
        assert await pictures.get(tx, "rack") == replace(picture, revision=1)
        await pictures.save_figures(tx, [replace(picture, revision=1, as_of=AT + timedelta(seconds=9))])
        assert (await pictures.get(tx, "rack") or picture).as_of == AT + timedelta(seconds=9)


def mixed() -> Picture:
    """A VM and a container."""
    vm, container = a_picture().guests
    return replace(a_picture(), guests=(vm, structs.replace(container, type=GuestType.LXC)))


def figured(picture: Picture) -> Picture:
    """With figures of both."""
    vm, container = picture.guests
    return replace(
        picture,
        guests=(
            structs.replace(vm, cpu=0.1 + 0.2, memory_used=123456789012, uptime=77),
            structs.replace(container, disk_used=5),
        ),
    )


async def test_health_comes_back_as_it_was_saved(database: Database) -> None:
    health = Health("rack", ServerState.DOWN, 12.5, AT, AT, 3, AT, "title", "detail", "cure", 7)
    async with database.write() as tx:
        await with_server(tx)
        assert await pictures.get_health(tx, "rack") is None
        await pictures.save_health(tx, Health("rack"))
        await pictures.save_health(tx, health)
        assert await pictures.get_health(tx, "rack") == health


async def test_addresses_are_kept_per_source_and_found_again_on_any_server(database: Database) -> None:
    guest, other = GuestKey("rack", 105), GuestKey("lab", 7)
    async with database.write() as tx:
        await with_server(tx)
        await with_server(tx, "lab")
        assert await guests.keep_addresses(tx, guest, AddressSource.AGENT, ["10.0.0.5", "fd00::5"], AT)
        assert await guests.keep_addresses(tx, guest, AddressSource.CLOUD_INIT, ["10.0.0.5"], AT)
        assert await guests.keep_addresses(tx, other, AddressSource.AGENT, ["10.0.0.6"], AT)
        assert await guests.keep_addresses(tx, guest, AddressSource.AGENT, ["10.0.0.5"], AT)
        assert {(known.guest, known.source) for known in await guests.holders(tx, ["10.0.0.5", "fd00::5"])} == {
            (guest, AddressSource.AGENT),
            (guest, AddressSource.CLOUD_INIT),
        }
        assert await guests.known_addresses(tx, "lab") == (KnownAddress(other, "10.0.0.6", AddressSource.AGENT, AT),)
        assert len(await guests.known_addresses(tx)) == 3
        await guests.forget(tx, guest)
        assert await guests.known_addresses(tx, "rack", 105) == ()


async def test_the_same_addresses_again_write_nothing_within_a_minute(database: Database) -> None:
    guest = GuestKey("rack", 105)
    async with database.write() as tx:
        await with_server(tx)
        await guests.keep_addresses(tx, guest, AddressSource.AGENT, ["10.0.0.5"], AT)
        for seconds, kept in ((30, AT), (61, AT + timedelta(seconds=61))):
            as_of = AT + timedelta(seconds=seconds)
            assert not await guests.keep_addresses(tx, guest, AddressSource.AGENT, ["10.0.0.5"], as_of)
            assert (await guests.known_addresses(tx))[0].as_of == kept


async def test_evidence_of_a_guest_of_ours_grows_and_is_forgotten_with_the_guest(database: Database) -> None:
    guest = GuestKey("rack", 105)
    async with database.write() as tx:
        await with_server(tx)
        assert await guests.made(tx, guest) is None
        await guests.remember_made(tx, MadeGuest(guest, "job"))
        await guests.remember_made(tx, MadeGuest(guest, "job", "UPID", "uuid"))
        assert await guests.made(tx, guest) == MadeGuest(guest, "job", "UPID", "uuid", tx.now)
        await guests.forget(tx, guest)
        assert await guests.made(tx, guest) is None


async def test_what_we_changed_is_laid_over_until_it_is_confirmed_and_a_later_change_survives(
    database: Database, clock: FakeClock
) -> None:
    guest = GuestKey("rack", 105)
    async with database.write() as tx:
        await with_server(tx)
        await guests.overlay(tx, guest, {"status": "running"}, "one")
    async with database.read() as tx:
        seen = await guests.overlays_of(tx, "rack")
    clock.advance(seconds=1)
    async with database.write() as tx:
        await guests.overlay(tx, guest, {"memory": 1024}, "two")
        await guests.confirm(tx, seen)
        (kept,) = await guests.overlays_of(tx)
        assert kept == Overlay(guest, {"status": "running", "memory": 1024}, "two", tx.now)
        await guests.confirm(tx, [kept])
        assert (await tx.execute(select(func.count()).select_from(tables.overlays))).scalar() == 0
