"""People, ways in, the audit and failed sign-ins, on both engines."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import LargeBinary, select

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.errors import Conflict, NotFound
from comserv.domain.person import Role
from comserv.domain.session import Attempts
from comserv.persistence import attempts, audit, people, sessions, tables
from comserv.persistence.audit import AuditFilter
from comserv.persistence.database import Database
from tests.databases import FakeClock

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


async def test_a_name_is_taken_whatever_its_case(database: Database) -> None:
    async with database.write() as tx:
        anna = await people.add(tx, " Anna ", Role.ADMIN, "hash")
        assert (anna.name, anna.role, anna.disabled, anna.created_at) == ("Anna", Role.ADMIN, False, tx.now)
        with pytest.raises(Conflict):
            await people.add(tx, "ANNA", Role.VIEWER, "hash")
        assert await people.by_name(tx, "aNNa") == anna and await people.by_name(tx, "ben") is None


async def test_people_are_changed_counted_and_removed(database: Database) -> None:
    async with database.write() as tx:
        anna = await people.add(tx, "anna", Role.ADMIN, "hash")
        ben = await people.add(tx, "ben", Role.VIEWER, "hash")
        await people.set_role(tx, ben.id, Role.OPERATOR)
        await people.set_password(tx, ben.id, "other")
        await people.set_disabled(tx, ben.id, True)
        await people.set_theme(tx, ben.id, "dark")
        await people.seen(tx, ben.id)
        changed = await people.get(tx, ben.id)
        assert (changed.role, changed.disabled, changed.theme, changed.last_seen) == (
            Role.OPERATOR,
            True,
            "dark",
            tx.now,
        )
        assert await people.password_hash(tx, ben.id) == "other"
        assert [person.name for person in await people.every(tx)] == ["anna", "ben"]
        assert (await people.count(tx), await people.count_admins(tx)) == (2, 1)
        await people.remove(tx, anna.id)
        with pytest.raises(NotFound):
            await people.set_role(tx, anna.id, Role.VIEWER)


async def test_a_session_lasts_until_it_expires_is_revoked_or_its_person_is_disabled(
    database: Database, clock: FakeClock
) -> None:
    async with database.write() as tx:
        anna = await people.add(tx, "anna", Role.ADMIN, "hash")
        one = await sessions.add(tx, "token-1", anna.id, clock() + HOUR, address="::1", user_agent="x" * 900)
        two = await sessions.add(tx, "token-2", anna.id, clock() + HOUR)
        assert await sessions.by_token(tx, "token-1") == one and await sessions.by_token(tx, "token-9") is None
        assert len(one.user_agent) == 500
        await sessions.touch(tx, one.id, clock() + 2 * HOUR)
    clock.advance(hours=1)
    async with database.write() as tx:
        assert await sessions.by_token(tx, "token-2") is None
        assert [session.id for session in await sessions.of_person(tx, anna.id)] == [one.id]
        assert await sessions.remove_expired(tx) == 1
        await people.set_disabled(tx, anna.id, True)
        assert await sessions.by_token(tx, "token-1") is None
        await people.set_disabled(tx, anna.id, False)
        assert await sessions.by_token(tx, "token-1") is not None
        await sessions.revoke(tx, one.id)
        assert await sessions.by_token(tx, "token-1") is None
    assert two.expires < clock() + HOUR


async def test_all_other_sessions_of_a_person_are_revoked_at_once(database: Database, clock: FakeClock) -> None:
    async with database.write() as tx:
        anna, ben = [await people.add(tx, name, Role.ADMIN, "hash") for name in ("anna", "ben")]
        mine = await sessions.add(tx, "a1", anna.id, clock() + HOUR)
        await sessions.add(tx, "a2", anna.id, clock() + HOUR)
        await sessions.add(tx, "b1", ben.id, clock() + HOUR)
        await sessions.revoke_all(tx, anna.id, but=mine.id)
        assert [await sessions.by_token(tx, token) is not None for token in ("a1", "a2", "b1")] == [True, False, True]
        await sessions.revoke_all(tx, anna.id)
        assert await sessions.by_token(tx, "a1") is None


async def test_an_api_token_has_its_own_role_and_end(database: Database, clock: FakeClock) -> None:
    async with database.write() as tx:
        anna = await people.add(tx, "anna", Role.ADMIN, "hash")
        short = await sessions.add_api_token(tx, "t1", anna.id, "ci", Role.VIEWER, clock() + HOUR)
        lasting = await sessions.add_api_token(tx, "t2", anna.id, "backup", Role.OPERATOR, None)
        assert await sessions.api_token(tx, "t1") == short
    clock.advance(hours=1)
    async with database.write() as tx:
        assert await sessions.api_token(tx, "t1") is None
        await sessions.api_token_used(tx, lasting.id)
        assert [(token.name, token.last_used) for token in await sessions.api_tokens_of(tx, anna.id)] == [
            ("ci", None),
            ("backup", clock()),
        ]
        with pytest.raises(NotFound):
            await sessions.revoke_api_token(tx, anna.id + 1, lasting.id)
        await sessions.revoke_api_token(tx, anna.id, lasting.id)
        assert await sessions.api_token(tx, "t2") is None


async def test_no_token_is_stored_in_the_clear(database: Database, clock: FakeClock) -> None:
    async with database.write() as tx:
        anna = await people.add(tx, "anna", Role.ADMIN, "hash")
        await sessions.add(tx, "plain-secret", anna.id, clock() + HOUR)
        await sessions.add_api_token(tx, "plain-secret", anna.id, "ci", Role.VIEWER, None)
        await sessions.add_setup_link(tx, "plain-secret", clock() + HOUR)
        for table in (tables.sessions, tables.api_tokens, tables.setup_links):
            assert isinstance(table.c.token_hash.type, LargeBinary)
            (row,) = (await tx.execute(select(table))).all()
            assert len(row.token_hash) == 32 and "plain-secret" not in repr(row)


async def test_a_setup_link_is_used_up_once_expires_and_is_void_once_somebody_is_there(
    database: Database, clock: FakeClock
) -> None:
    async with database.write() as tx:
        await sessions.add_setup_link(tx, "old", clock() + HOUR)
        await sessions.add_setup_link(tx, "fresh", clock() + HOUR)
        assert not await sessions.setup_link_is_good(tx, "old"), "a fresh one makes it void"
        assert await sessions.setup_link_is_good(tx, "fresh")

    async def use() -> bool:
        async with database.write() as tx:
            return await sessions.use_setup_link(tx, "fresh")

    assert sorted(await asyncio.gather(*(use() for _ in range(4)))) == [False, False, False, True]
    async with database.write() as tx:
        await sessions.add_setup_link(tx, "late", clock() + HOUR)
    clock.advance(hours=1)
    async with database.write() as tx:
        assert not await sessions.use_setup_link(tx, "late")
        await sessions.add_setup_link(tx, "void", clock() + HOUR)
        await people.add(tx, "anna", Role.ADMIN, "hash")
        assert not await sessions.setup_link_is_good(tx, "void")
        assert not await sessions.use_setup_link(tx, "void")


def refused(who: str = "ben", thing: str = "guest rack/105") -> AuditEntry:
    return AuditEntry(who, "power", thing, Outcome.REFUSED, "api", "10.0.0.9", "viewer")


async def test_refusals_that_flood_are_folded_into_one_row_that_counts(database: Database, clock: FakeClock) -> None:
    for _ in range(5):
        async with database.write() as tx:
            await audit.add(tx, refused())
        clock.advance(seconds=10)
    async with database.write() as tx:
        await audit.add(tx, refused("eve"))
        await audit.add(tx, refused(thing="guest rack/106"))
    clock.advance(seconds=61)
    async with database.write() as tx:
        await audit.add(tx, refused())
        rows = (await audit.page(tx, AuditFilter(who="ben", object="guest rack/105"))).items
        assert [row.count for row in rows] == [1, 5]
        assert rows[1].last is not None and rows[1].at is not None
        assert rows[1].last - rows[1].at == timedelta(seconds=40)
        assert len((await audit.page(tx, AuditFilter())).items) == 4


async def test_refusals_about_ever_other_things_are_folded_beyond_twenty_rows(
    database: Database, clock: FakeClock
) -> None:
    async def flood(first: int, many: int) -> None:
        for number in range(first, first + many):
            async with database.write() as tx:
                await audit.add(tx, refused(thing=f"guest rack/{number}"))

    await flood(100, 50)
    async with database.write() as tx:
        await audit.add(tx, refused("eve"))
        await audit.add(tx, refused(thing="guest rack/100"))
        rows = (await audit.page(tx, AuditFilter(who="ben"))).items
        assert [(row.object, row.count) for row in rows[:2]] == [("many", 30), ("guest rack/119", 1)]
        assert (len(rows), rows[-1].object, rows[-1].count) == (21, "guest rack/100", 2)
    clock.advance(seconds=61)
    await flood(500, 1)
    async with database.write() as tx:
        assert (await audit.page(tx, AuditFilter(who="ben"))).items[0].object == "guest rack/500"


async def test_what_was_done_is_never_folded_and_is_filtered_and_paged(database: Database, clock: FakeClock) -> None:
    async with database.write() as tx:
        for number in range(7):
            done = AuditEntry(
                "anna", "power", f"guest rack/{number % 2}", Outcome.DONE, job=f"j{number}", request_id="r"
            )
            await audit.add(tx, done)
            clock.advance(seconds=1)
    begin = clock()
    async with database.write() as tx:
        await audit.add(tx, AuditEntry("anna", "delete_guest", "guest rack/1", Outcome.FAILED))
        first = await audit.page(tx, AuditFilter(action="power"), limit=5)
        rest = await audit.page(tx, AuditFilter(action="power"), limit=5, cursor=first.next_cursor)
        assert [entry.job for entry in (*first.items, *rest.items)] == [f"j{number}" for number in reversed(range(7))]
        assert len((await audit.page(tx, AuditFilter(object="guest rack/1"))).items) == 4
        assert len((await audit.page(tx, AuditFilter(outcome=Outcome.FAILED))).items) == 1
        assert len((await audit.page(tx, AuditFilter(since=begin))).items) == 1
        assert len((await audit.page(tx, AuditFilter(until=begin))).items) == 7
        assert await audit.remove_before(tx, begin) == 7


async def test_failed_sign_ins_are_counted_per_name_and_address_until_a_good_one_or_an_hour(
    database: Database, clock: FakeClock
) -> None:
    async with database.write() as tx:
        await attempts.failed(tx, "Anna", "10.0.0.1")
        assert await attempts.failed(tx, "anna", "10.0.0.2") == Attempts(2, 1, tx.now, tx.now)
        assert await attempts.failed(tx, "ben", "10.0.0.2") == Attempts(1, 2, tx.now, tx.now)
        counted = await attempts.known(tx, "anna", "10.0.0.1")
        await attempts.succeeded(tx, "anna", "10.0.0.1", Attempts(1), counted)
        assert await attempts.known(tx, "anna", "10.0.0.1") == Attempts()
        assert (await attempts.known(tx, "ben", "10.0.0.2")).by_address == 2
    clock.advance(hours=2)
    async with database.write() as tx:
        assert await attempts.known(tx, "ben", "10.0.0.2") == Attempts()
        assert (await attempts.failed(tx, "ben", "10.0.0.2")).by_address == 1
        assert len((await tx.execute(tables.sign_in_attempts.select())).all()) == 2


async def test_whoever_has_a_network_of_ipv6_addresses_counts_as_one(database: Database) -> None:
    async with database.write() as tx:
        await attempts.failed(tx, "anna", "2001:db8:0:1::1")
        assert (await attempts.failed(tx, "ben", "2001:db8:0:1:ffff::2")).by_address == 2
        assert (await attempts.failed(tx, "cleo", "2001:db8:0:2::1")).by_address == 1
        assert (await attempts.failed(tx, "dora", "::ffff:10.0.0.1")).by_address == 1
        assert (await attempts.failed(tx, "eve", "10.0.0.1")).by_address == 2
        assert (await attempts.failed(tx, "finn", "::ffff:10.0.0.2")).by_address == 1
        counted = await attempts.known(tx, "ben", "2001:db8:0:1::3")
        await attempts.succeeded(tx, "ben", "2001:db8:0:1::3", Attempts(0, 1), counted)
        assert (await attempts.known(tx, "anna", "2001:db8:0:1::1")).by_address == 1


async def test_a_good_sign_in_takes_back_only_itself_from_its_address(database: Database, clock: FakeClock) -> None:
    """Whoever has one account cannot wipe out what was tried on others from there."""
    async with database.write() as tx:
        for number in range(9):
            await attempts.failed(tx, f"victim{number}", "10.0.0.1")
        failed_at = tx.now
    clock.advance(minutes=5)
    async with database.write() as tx:
        before = await attempts.known(tx, "mallory", "10.0.0.1")
        counted = await attempts.failed(tx, "mallory", "10.0.0.1")
        await attempts.succeeded(tx, "mallory", "10.0.0.1", before, counted)
        assert await attempts.known(tx, "mallory", "10.0.0.1") == Attempts(0, 9, None, failed_at)
