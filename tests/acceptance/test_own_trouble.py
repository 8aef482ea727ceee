"""Our own trouble: the database is locked, full, slow, restarted or cut off, and file descriptors are used up.

While it lasts Comserv says what is wrong, with its cure; nothing is lost, nothing is done twice, and it goes on by itself. Times are
those of `campaign.hurried`: SQLite waits 4 s for another writer instead of 20.
"""

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from campaign.installation import SETTINGS, Process
from comserv.persistence.database import parse_url
from tests.acceptance.harness import Simulated, instance, logs_shown, register, simulated, until
from tests.databases import OwnServer, own_server
from tests.processes import BIN

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(240)]
SAYS = "database does not answer"
CURE = "disk is not full"


@dataclass
class Troubled:
    """A Comserv with one server."""

    comserv: Process
    server: Simulated
    data: Path
    made: int = 0

    @property
    def pid(self) -> int:
        assert self.comserv.process is not None
        return self.comserv.process.pid

    async def create(self) -> tuple[int, Any]:
        """(status, what was said)."""
        self.made += 1
        name = f"vm-{self.made:03d}"
        body = {
            "server": "lab",
            "hostname": name,
            "template": {"server": "lab", "vmid": self.server.templates[0]},
            "start_after_creation": True,
        }
        return await self.comserv.ask("POST", "/vms", body, Idempotency_Key=name)

    async def slow_creation(self) -> str:
        """A job in the middle of its clone, which lasts some seconds."""
        await self.server.break_with({"match": {"path": "/clone$"}, "effect": "task_slow", "factor": 20, "times": 1})
        status, job = await self.create()
        assert status == 202, job

        async def cloning() -> bool:
            return any(step["upid"] for step in (await self.comserv.get(f"/jobs/{job['id']}"))["steps"])

        await until("it clones", cloning, 20, 0.1)
        return job["id"]

    async def refused(self, within: float = 20) -> Any:
        """What a change is answered, as soon as it is refused."""

        async def no() -> Any:
            status, told = await self.comserv.ask("PATCH", "/servers/lab", {"name": f"Lab {time.monotonic()}"})
            return told if status == 503 else None

        return await until("a change is refused", no, within, 0.1)

    async def ended_well(self, *jobs: str) -> None:
        """These jobs succeeded, each with one VM, and so does a new one."""

        async def asked() -> str:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                status, job = await self.create()
                return job["id"] if status == 202 else ""
            return ""

        new = await until("a new job is taken", asked, 30, 0.3)

        async def over() -> bool:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, AssertionError):
                told = [await self.comserv.get(f"/jobs/{job}") for job in (*jobs, new)]
                assert not [job for job in told if job["state"] == "failed"], told
                return all(job["state"] == "succeeded" for job in told)
            return False

        await until("all ended well", over, 60, 0.3)
        names = [guest["name"] for guest in (await self.server.world())["guests"]]
        assert len(names) == len(set(names))

    def logged(self, text: str) -> bool:
        return text in self.comserv.log.read_text()


def told_with_cure(problem: Any) -> None:
    assert SAYS in problem["title"], problem
    assert CURE in problem["cure"], problem


@asynccontextmanager
async def troubled(folder: Path, data: Path | None = None, **settings: str) -> AsyncIterator[Troubled]:
    """data: where the database lies, where that is not `folder`."""
    data = data or folder / "comserv"
    with logs_shown(folder):
        async with (
            simulated(folder / "server", "--guests", "3", "--templates", "2", "--speed", "20") as server,
            instance(data, **{**SETTINGS, **settings}) as made,
        ):
            comserv = Process(folder, made.settings, made.session, "comserv", made.token)
            try:
                await comserv.start()
                await register(comserv, server)
                yield Troubled(comserv, server, data)
            finally:
                comserv.kill()


# --- SQLite


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a disk of 12 MB; where none may be mounted, a plain one: then the files themselves may not grow."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", folder]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
async def here(small_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Troubled]:
    """One installation with SQLite for one trouble after the other."""
    async with troubled(tmp_path_factory.mktemp("sqlite"), small_disk) as made:
        yield made


async def test_another_writer_that_holds_the_file_is_told_and_everything_goes_on_after_it(here: Troubled) -> None:
    job = await here.slow_creation()
    other = sqlite3.connect(here.data / "comserv.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    told_with_cure(await here.refused())
    assert (await here.comserv.get("/guests"))["items"], "what is known is still shown"
    await until("the log tells it", lambda: _now(here.logged("database is locked")), 20, 0.2)
    other.execute("COMMIT")
    other.close()
    await here.ended_well(job)


async def test_a_full_disk_is_told_and_everything_goes_on_once_there_is_room(here: Troubled, small_disk: Path) -> None:
    job = await here.slow_creation()
    with _filled(small_disk, here.pid):
        told_with_cure(await here.refused())
        status, told = await here.comserv.ask("GET", "/guests")
        assert status == 200 and told["items"], "what is known is still shown"
    await here.ended_well(job)


@contextlib.contextmanager
def _filled(folder: Path, pid: int) -> Iterator[None]:
    """Not one more block for the process; by the disk itself where it is a small one."""
    if not folder.is_mount():
        with _limited(pid, resource.RLIMIT_FSIZE, 4096):
            yield
        return
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


async def test_a_disk_on_which_each_write_lasts_makes_it_slow_and_nothing_else(here: Troubled) -> None:
    """Another writer takes the file for 0.3 s out of each 0.35 s."""
    stop = asyncio.Event()
    holding = asyncio.create_task(_hold_again_and_again(here.data / "comserv.db", stop))
    try:
        status, job = await here.create()
        assert status == 202, job
        began = time.monotonic()
        assert (await here.comserv.get("/guests"))["items"]
        assert time.monotonic() - began < 2, "reading does not wait for writes"
        await here.ended_well(job["id"])
    finally:
        stop.set()
        await holding


async def _hold_again_and_again(path: Path, stop: asyncio.Event) -> None:
    other = sqlite3.connect(path, isolation_level=None, timeout=20)
    while not stop.is_set():
        other.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(0.3)
        other.execute("COMMIT")
        await asyncio.sleep(0.05)
    other.close()


async def test_a_second_process_on_one_folder_is_refused_in_words_and_the_first_goes_on(here: Troubled) -> None:
    second = await asyncio.create_subprocess_exec(
        "comserv",
        "serve",
        "--port",
        "0",
        env={**os.environ, **here.comserv.settings, "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(second.communicate(), 60)
    words = " ".join(out.decode().split())
    assert second.returncode, words
    assert f"Another Comserv serves {here.data} (process {here.pid})" in words
    assert "COMSERV_DATA_DIR" in words
    await here.ended_well()


async def test_used_up_file_descriptors_stop_nothing_for_good(here: Troubled) -> None:
    job = await here.slow_creation()
    with _limited(here.pid, resource.RLIMIT_NOFILE, 8):  # fewer than it has open: not one more
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(3):
                await here.comserv.get("/guests?live=1")
        await until("the log tells it", lambda: _now(here.logged("Too many open files")), 20, 0.2)
    await here.ended_well(job)


@contextlib.contextmanager
def _limited(pid: int, what: int, most: int) -> Iterator[None]:
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


# --- PostgreSQL


@pytest.fixture(scope="module")
def postgresql() -> Iterator[OwnServer]:
    with own_server() as made:
        yield made


@pytest.fixture(scope="module")
async def beside(postgresql: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Troubled]:
    """One installation on a PostgreSQL of its own for one trouble after the other."""
    with psycopg.connect(postgresql.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE comserv")
    url = parse_url(postgresql.dsn).set(database="comserv").render_as_string(hide_password=False)
    async with troubled(tmp_path_factory.mktemp("postgresql"), COMSERV_DATABASE_URL=url) as made:
        yield made


async def test_a_postgresql_that_is_stopped_and_started_again_loses_nothing(
    beside: Troubled, postgresql: OwnServer
) -> None:
    job = await beside.slow_creation()
    postgresql.stop()
    told_with_cure(await beside.refused())
    await _page_says_it(beside)
    postgresql.start()
    await beside.ended_well(job)


async def test_sessions_that_postgresql_ends_in_the_middle_are_opened_again(
    beside: Troubled, postgresql: OwnServer
) -> None:
    job = await beside.slow_creation()
    for _ in range(5):
        with psycopg.connect(postgresql.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'comserv'")
        await asyncio.sleep(0.4)
    await beside.ended_well(job)


async def test_a_postgresql_whose_every_commit_lasts_a_tenth_of_a_second_makes_it_slow_and_nothing_else(
    beside: Troubled, postgresql: OwnServer
) -> None:
    postgresql.stop()
    postgresql.start("fsync=on", "synchronous_commit=on", "commit_delay=100000", "commit_siblings=0")
    await beside.ended_well()


async def _page_says_it(here: Troubled) -> None:
    async with here.comserv.session.get(f"{here.comserv.base}/sign-in") as reply:
        page = await reply.text()
    assert reply.status == 503
    assert SAYS in page and CURE in page


async def _now(value: bool) -> bool:
    return value
