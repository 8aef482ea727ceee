"""The change feed, within a process and between two."""

import asyncio

import psycopg
import pytest

from comserv.persistence import listen
from comserv.persistence.changes import EVERYTHING, Change, Subscription, Topic
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault
from tests.databases import Cluster, opened

pytestmark = pytest.mark.anyio


async def next_of(changes: Subscription, seconds: float = 5) -> Change:
    return await asyncio.wait_for(changes.get(), seconds)


async def test_a_change_is_told_once_it_is_committed_and_never_when_it_is_not(database: Database) -> None:
    async with database.changes.subscribe(Topic.JOB) as changes:
        with pytest.raises(ZeroDivisionError):
            async with database.write() as tx:
                tx.changed(Topic.JOB, "lost", 1)
                _ = 1 / 0
        async with database.write() as tx:
            tx.changed(Topic.JOB, "kept", 2)
            tx.changed(Topic.SERVER, "rack")
            assert changes.get_nowait() is None
        assert await next_of(changes) == Change(Topic.JOB, "kept", 2)
        assert changes.get_nowait() is None


async def test_unread_changes_of_one_key_are_folded_into_the_last(database: Database) -> None:
    async with database.changes.subscribe(Topic.JOB, Topic.PICTURE) as changes:
        for revision in range(1000):
            async with database.write() as tx:
                tx.changed(Topic.JOB, "one", revision)
                tx.changed(Topic.PICTURE, "rack", revision)
        assert await next_of(changes) == Change(Topic.JOB, "one", 999)
        assert await next_of(changes) == Change(Topic.PICTURE, "rack", 999)
        assert changes.get_nowait() is None


async def test_on_postgresql_other_processes_hear_of_it_too(cluster: Cluster, vault: Vault) -> None:
    url = cluster.new_database()
    try:
        async with opened(url, vault) as one, opened(url, vault) as other:
            async with other.changes.subscribe(Topic.JOB) as changes:
                async with one.write() as tx:
                    for number in range(500):
                        tx.changed(Topic.JOB, f"job-{number:03d}", number)
                heard = [await next_of(changes) for _ in range(500)]
            assert heard == [Change(Topic.JOB, f"job-{number:03d}", number) for number in range(500)]
    finally:
        cluster.drop(url)


async def test_a_listener_that_was_cut_off_says_that_anything_may_have_changed_and_goes_on(
    cluster: Cluster, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "RETRY_SECONDS", 0.1)
    url = cluster.new_database()
    try:
        async with (
            opened(url, vault) as one,
            opened(url, vault) as other,
            other.changes.subscribe(Topic.JOB) as changes,
        ):
            await _until_listening(one, changes)
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
            with psycopg.connect(other.dsn, autocommit=True) as connection:
                connection.execute(ended)
            assert await next_of(changes) == EVERYTHING
            await _until_listening(one, changes)
    finally:
        cluster.drop(url)


async def _until_listening(one: Database, changes: Subscription) -> None:
    """Tell something until it is heard, then read what else is there."""
    while True:
        async with one.write() as tx:
            tx.changed(Topic.JOB, "hello")
        try:
            if (await next_of(changes, 0.2)).key == "hello":
                break
        except TimeoutError:
            continue
    await asyncio.sleep(0.2)
    while changes.get_nowait():
        pass


def test_a_notice_of_our_own_is_not_told_twice_and_an_unreadable_one_makes_us_look() -> None:
    notice = listen.encode("me", [Change(Topic.JOB, "a", 1)])["notices"][0]
    assert listen.decode("me", notice) == []
    assert listen.decode("you", notice) == [Change(Topic.JOB, "a", 1)]
    assert listen.decode("you", "garbage") == [EVERYTHING]
    assert listen.decode("you", '["me", [["unheard", "a", 1]]]') == [EVERYTHING]


def test_notices_stay_within_what_postgresql_carries() -> None:
    changes = [Change(Topic.JOB, f"{number:0100d}", number) for number in range(1000)]
    notices = listen.encode("me", changes)["notices"]
    assert max(len(notice) for notice in notices) < 8000
    assert [change for notice in notices for change in listen.decode("you", notice)] == changes
