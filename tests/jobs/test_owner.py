"""Who owns which server: one process on SQLite, fair shares and take-overs on PostgreSQL."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from comserv.domain.errors import ConfigurationError
from comserv.domain.job import Job, JobKind, JobState
from comserv.domain.lease import Lease
from comserv.jobs.owner import FolderOwner, Owner
from comserv.jobs.sharedowner import SharedOwner
from comserv.persistence import jobs, leases, meta, servers
from comserv.persistence.database import Database, parse_url
from comserv.persistence.vault import Vault
from tests.databases import Cluster, opened
from tests.jobs.driving import an_owner, asked, ended, until
from tests.jobs.processes import Wire, logs, toy, wait_for, world
from tests.persistence.examples import with_server

pytestmark = pytest.mark.anyio
SERVERS = ("branch", "fra", "lab", "rack")


class Diary:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.leases: dict[str, Lease] = {}

    async def gained(self, lease: Lease) -> None:
        self.entries.append(f"gained {lease.server}")
        self.leases[lease.server] = lease

    async def lost(self, server: str) -> None:
        self.entries.append(f"lost {server}")


@asynccontextmanager
async def owning(owner: Owner) -> AsyncIterator[Diary]:
    diary = Diary()
    owner.watch(diary)
    await owner.start()
    try:
        yield diary
    finally:
        await owner.stop()


async def soon(condition: Callable[[], object], seconds: float = 10) -> float:
    """Wait until it is so; how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come so"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def add_servers(database: Database, *names: str) -> None:
    async with database.write() as tx:
        for name in names:
            await with_server(tx, name)


@pytest.fixture
def postgresql_url(cluster: Cluster) -> Iterator[str]:
    url = cluster.new_database()
    yield url
    cluster.drop(url)


async def test_one_process_owns_every_server_also_those_added_and_removed_meanwhile(
    database: Database, tmp_path: Path
) -> None:
    await add_servers(database, "lab")
    owner = an_owner(database, tmp_path)
    async with owning(owner) as diary:
        await soon(lambda: set(owner.owned) == {"lab"})
        await add_servers(database, "rack")
        assert await soon(lambda: set(owner.owned) == {"lab", "rack"}) < 1
        async with database.write() as tx:
            await servers.remove(tx, "lab")
        await soon(lambda: set(owner.owned) == {"rack"})
        lease = owner.owned["rack"]
        assert owner.holds(lease) and await owner.confirm(lease)
    assert diary.entries == ["gained lab", "gained rack", "lost lab", "lost rack"]
    assert not owner.holds(lease) and not await owner.confirm(lease)


async def test_each_take_over_raises_the_epoch(database: Database, tmp_path: Path) -> None:
    await add_servers(database, "lab")
    for epoch in (1, 2, 3):
        owner = an_owner(database, tmp_path)
        async with owning(owner):
            await soon(lambda owner=owner: owner.owned)
            assert owner.owned["lab"].epoch == epoch


async def test_a_folder_has_one_owner_and_the_other_is_told_which_process_it_is(vault: Vault, tmp_path: Path) -> None:
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/comserv.db", vault) as database:
        async with owning(FolderOwner(database, tmp_path)):
            with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
                await FolderOwner(database, tmp_path).start()
        async with owning(FolderOwner(database, tmp_path)):
            pass


async def test_two_processes_share_the_servers_fairly_and_a_clean_stop_hands_them_over(
    postgresql_url: str, vault: Vault
) -> None:
    async with opened(postgresql_url, vault) as one, opened(postgresql_url, vault) as two:
        await add_servers(one, *SERVERS)
        first, second = SharedOwner(one), SharedOwner(two)
        async with owning(first):
            await soon(lambda: set(first.owned) == set(SERVERS))
            async with owning(second):
                await soon(lambda: len(first.owned) == len(second.owned) == 2)
                assert set(first.owned) | set(second.owned) == set(SERVERS)
            assert await soon(lambda: set(first.owned) == set(SERVERS)) < 2


async def test_no_server_is_ever_owned_by_two_while_processes_come_and_go(postgresql_url: str, vault: Vault) -> None:
    async with contextlib.AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(opened(postgresql_url, vault)) for _ in range(3)]
        await add_servers(databases[0], *SERVERS)
        owners = [SharedOwner(database) for database in databases]

        async def watch() -> None:
            while True:
                held = [server for owner in owners for server in owner.owned]
                assert len(held) == len(set(held)), held
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        for _ in range(2):
            async with contextlib.AsyncExitStack() as running:
                for owner in owners:
                    await running.enter_async_context(owning(owner))
                await soon(lambda: sorted(len(owner.owned) for owner in owners) in ([0, 2, 2], [1, 1, 2]))
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching


async def test_an_owner_whose_session_is_ended_lets_go_at_once_and_begins_anew(
    postgresql_url: str, vault: Vault, cluster: Cluster
) -> None:
    import psycopg

    async with opened(postgresql_url, vault) as database:
        await add_servers(database, "rack")
        owner = SharedOwner(database)
        async with owning(owner) as diary:
            await soon(lambda: owner.owned)
            lease = owner.owned["rack"]
            with psycopg.connect(cluster.dsn, autocommit=True) as connection:
                end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
                connection.execute(end, [f"comserv {database.process} owner"])
            await soon(lambda: diary.entries[-1] == "lost rack", seconds=2)
            assert not owner.holds(lease)
            await soon(lambda: owner.owned)
            assert owner.owned["rack"].epoch == lease.epoch + 1


async def test_an_owner_that_hears_nothing_of_the_database_lets_go_after_3_seconds_without_any_reply(
    postgresql_url: str, vault: Vault
) -> None:
    target = parse_url(postgresql_url)
    async with Wire(target.host or "127.0.0.1", target.port or 5432).laid() as wire:
        through = target.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        async with opened(through, vault) as database:
            await add_servers(database, "rack")
            owner = SharedOwner(database)
            async with owning(owner) as diary:
                await soon(lambda: owner.owned)
                lease = owner.owned["rack"]
                wire.cut()
                assert 1.5 < await soon(lambda: not owner.holds(lease)) < 4
                await soon(lambda: diary.entries[-1] == "lost rack", seconds=1)
                wire.mend()
                await soon(lambda: owner.owned, seconds=20)
                assert owner.owned["rack"].epoch == lease.epoch + 1


async def test_stopping_takes_few_seconds_also_while_the_database_does_not_answer(
    postgresql_url: str, vault: Vault, tmp_path: Path
) -> None:
    target = parse_url(postgresql_url)
    async with Wire(target.host or "127.0.0.1", target.port or 5432).laid() as wire:
        through = target.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        database = Database(through, vault)
        await database.start()
        owner = SharedOwner(database)
        diary = Diary()
        owner.watch(diary)
        await add_servers(database, "rack")
        await owner.start()
        await soon(lambda: owner.owned)
        wire.cut()
        began = time.monotonic()
        await owner.stop()
        await database.close()
    assert time.monotonic() - began < 8
    assert diary.entries == ["gained rack", "lost rack"]


async def test_the_database_has_the_last_word_on_who_owns(postgresql_url: str, vault: Vault) -> None:
    async with opened(postgresql_url, vault) as database:
        await add_servers(database, "rack")
        owner = SharedOwner(database)
        async with owning(owner):
            await soon(lambda: owner.owned)
            lease = owner.owned["rack"]
            assert await owner.confirm(lease)
            async with database.write() as tx:
                await leases.raise_epoch(tx, "rack", "another")
            assert owner.holds(lease) and not await owner.confirm(lease)


# --- with real processes


async def ticking(database: Database, folder: Path, *pids: int) -> Job:
    """A job that is driven by one of these processes."""
    job = await asked(database, "rack", kind=JobKind.POWER)
    await soon(lambda: world(folder), seconds=20)
    assert {pid for _, pid in world(folder)} <= set(pids)
    return job


@pytest.mark.slow
async def test_the_jobs_of_a_killed_process_go_on_in_another_at_once(
    postgresql_url: str, vault: Vault, tmp_path: Path
) -> None:
    async with opened(postgresql_url, vault) as database:
        with toy(postgresql_url, tmp_path) as one, toy(postgresql_url, tmp_path) as two:
            job = await ticking(database, tmp_path, one.pid, two.pid)
            driver = one if world(tmp_path)[0][1] == one.pid else two
            other = two if driver is one else one
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            taken = await soon(lambda: world(tmp_path)[-1][1] == other.pid)
            (tmp_path / "go").touch()
            done = await ended(database, job.id)
    assert (done.state, done.result, done.attempt) == (JobState.SUCCEEDED, {"by": other.pid}, 1)
    assert taken < 4


@pytest.mark.slow
async def test_a_process_that_hangs_is_taken_over_after_4_seconds_and_writes_nothing_when_it_wakes(
    postgresql_url: str, vault: Vault, tmp_path: Path
) -> None:
    async with opened(postgresql_url, vault) as database:
        with toy(postgresql_url, tmp_path) as one, toy(postgresql_url, tmp_path) as two:
            await ticking(database, tmp_path, one.pid, two.pid)
            driver = one if world(tmp_path)[0][1] == one.pid else two
            other = two if driver is one else one
            driver.send_signal(signal.SIGSTOP)
            taken = await soon(lambda: world(tmp_path)[-1][1] == other.pid)
            driver.send_signal(signal.SIGCONT)
            since = len(world(tmp_path))
            await asyncio.sleep(2.5)
            lines = world(tmp_path)[since:]
            (tmp_path / "go").touch()
            async with database.read() as tx:
                (job,) = (await jobs.page(tx, jobs.JobFilter())).items
            done = await ended(database, job.id)
    assert 3 < taken < 10
    assert lines and {pid for _, pid in lines} == {other.pid}, logs(tmp_path)
    assert done.result == {"by": other.pid}


@pytest.mark.slow
async def test_a_process_that_hangs_within_a_transaction_is_taken_over_too_and_its_write_is_lost(
    postgresql_url: str, vault: Vault, tmp_path: Path
) -> None:
    async with opened(postgresql_url, vault) as database:
        with toy(postgresql_url, tmp_path) as one:
            job = await asked(database, "rack", kind=JobKind.CHANGE_GUEST)
            wait_for(tmp_path / "stuck", one)
            with toy(postgresql_url, tmp_path) as two:
                one.send_signal(signal.SIGSTOP)
                done = await ended(database, job.id)
                one.send_signal(signal.SIGCONT)
                await asyncio.sleep(1)
                async with database.read() as tx:
                    assert await jobs.get(tx, job.id) == done
                    assert await meta.get(tx, "stale") is None
    assert done.result == {"by": two.pid}


@pytest.mark.slow
async def test_a_process_cut_off_from_the_database_stops_before_another_begins(
    postgresql_url: str, vault: Vault, tmp_path: Path
) -> None:
    target = parse_url(postgresql_url)
    async with Wire(target.host or "127.0.0.1", target.port or 5432).laid() as wire:
        through = target.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        async with opened(postgresql_url, vault) as database:
            process = asyncio.to_thread
            with toy(through, tmp_path, wait=False) as one:
                await process(wait_for, tmp_path / f"ready-{one.pid}", one)
                await ticking(database, tmp_path, one.pid)
                with toy(postgresql_url, tmp_path, wait=False) as two:
                    await process(wait_for, tmp_path / f"ready-{two.pid}", two)
                    await asyncio.sleep(1)
                    wire.cut()
                    await soon(lambda: world(tmp_path)[-1][1] == two.pid)
                    wire.mend()
                    await asyncio.sleep(2.5)
                    first = [pid for _, pid in world(tmp_path)].index(two.pid)
                    (tmp_path / "go").touch()
                    (job,) = await _all_jobs(database)
                    done = await until(database, job.id, lambda job: job.state.ended)
    assert {pid for _, pid in world(tmp_path)[first:]} == {two.pid}, logs(tmp_path)
    assert done.result == {"by": two.pid}


async def _all_jobs(database: Database) -> tuple[Job, ...]:
    async with database.read() as tx:
        return (await jobs.page(tx, jobs.JobFilter())).items
