"""Several Comserv processes on one PostgreSQL: how soon servers are taken up elsewhere when their owner is killed, stopped or cut off."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import psycopg

from benchmarks import running
from benchmarks.creation import registration
from benchmarks.figures import Comparison, Goal
from benchmarks.running import DidNotWork, Instance
from tests.databases import Cluster, own_server
from tests.jobs.processes import Wire

TAKEN_WITHIN = 5.0  # seconds
LOOK_EVERY = 0.02  # seconds
WITHIN = 120.0  # seconds in which anything has to happen
SPEED = "20"  # of the simulated servers, so that they are not what limits


@dataclass
class Shared:
    """The database, and what all processes on it have in common."""

    folder: Path
    url: str
    token: str
    world: dict[str, Any]
    database: psycopg.Connection[tuple[Any, ...]]

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(statement.encode(), values or None).fetchall()

    def owners(self) -> set[str]:
        """Processes that say that they are alive."""
        return {owner for (owner,) in self.ask("SELECT owner FROM owners")}

    def owned(self) -> dict[str, str]:
        """Each server's last owner."""
        return dict(self.ask("SELECT server, owner FROM leases"))  # pyright: ignore[reportArgumentType] # rows of two

    async def until(self, what: str, happened: Callable[[], bool]) -> float:
        """Seconds until then."""
        began = time.monotonic()
        while not happened():
            if time.monotonic() - began > WITHIN:
                raise DidNotWork(f"not within {WITHIN:.0f} s: {what}")
            await asyncio.sleep(LOOK_EVERY)
        return time.monotonic() - began

    @asynccontextmanager
    async def process(self, name: str, url: str = "") -> AsyncIterator["Process"]:
        """Once it owns its share. url: of the database, where it is another way there."""
        before = self.owners()
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        given = {"COMSERV_DATABASE_URL": url or self.url, "COMSERV_KEY_FILE": str(self.folder / "key")}
        with ExitStack() as stack:
            started = running.comserv(folder, self.token, **given)
            instance = await asyncio.to_thread(stack.enter_context, started)  # the wire works meanwhile
            await self.until(f"{name} says that it is alive", lambda: bool(self.owners() - before))
            (owner,) = self.owners() - before
            if self.owned():
                await self.until(f"{name} owns its share", lambda: owner in self.owned().values())
            yield Process(instance, owner)


@dataclass(frozen=True)
class Process:
    instance: Instance
    owner: str


@contextmanager
def shared(servers: int, guests: int) -> Iterator[Shared]:
    """A PostgreSQL of its own, and a simulator."""
    words = ("--servers", str(servers), "--guests", str(guests), "--templates", "0", "--speed", SPEED)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="comserv-bench-")))
        world = stack.enter_context(running.simulator(*words))
        url = Cluster(stack.enter_context(own_server()).dsn).new_database(None)
        token = running.make_administrator(folder, COMSERV_DATABASE_URL=url, COMSERV_KEY_FILE=str(folder / "key"))
        plain = url.replace("postgresql+psycopg://", "postgresql://")
        database = stack.enter_context(psycopg.connect(plain, autocommit=True))
        yield Shared(folder, url, token, world, database)


async def _register(made: Shared, one: Process) -> None:
    headers = {"Authorization": f"Bearer {made.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for number, server in enumerate(made.world["servers"]):
            body = registration(f"s{number}", server)
            async with session.post(f"{one.instance.url}/api/v1/servers", json=body) as reply:
                if reply.status != 201:
                    raise DidNotWork(f"POST /servers: {reply.status} {await reply.text()}")
    await made.until("all servers are owned", lambda: len(made.owned()) == len(made.world["servers"]))


# --- an owner is gone


async def measure_taking_over(servers: int, rounds: int) -> list[Comparison]:
    with shared(servers, 5) as made:
        host, port = made.database.info.host, made.database.info.port
        async with Wire(host, port).laid() as wire, made.process("stays") as stays:
            await _register(made, stays)
            through = made.url.replace(f"{host}:{port}", f"127.0.0.1:{wire.port}")
            found: dict[str, list[float]] = {"stopped": [], "cut off": [], "killed": []}
            for _ in range(rounds):
                async with made.process("goes", through) as goes:
                    os.kill(goes.instance.pid, signal.SIGSTOP)
                    try:
                        found["stopped"].append(await _taken_over(made, goes))
                    finally:
                        os.kill(goes.instance.pid, signal.SIGCONT)
                    await made.until("it owns again", lambda goes=goes: goes.owner in made.owned().values())
                    wire.cut()
                    found["cut off"].append(await _taken_over(made, goes))
                    wire.mend()
                    await made.until("it owns again", lambda goes=goes: goes.owner in made.owned().values())
                    os.kill(goes.instance.pid, signal.SIGKILL)
                    found["killed"].append(await _taken_over(made, goes))
    return [
        Comparison(
            f"{servers} servers of an owner that is {how} are taken up",
            "s",
            tuple(seconds),
            (TAKEN_WITHIN,) * len(seconds),
            "the limit",
            Goal.MOST,
            TAKEN_WITHIN,
        )
        for how, seconds in found.items()
    ]


async def _taken_over(made: Shared, gone: Process) -> float:
    """Seconds until another owns the last of its servers."""
    return await made.until("another owns them", lambda: gone.owner not in made.owned().values())


async def quick() -> list[Comparison]:
    """Small and once: that it measures at all."""
    return await measure_taking_over(2, 1)
