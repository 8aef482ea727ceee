"""What sweeps of a whole estate cost in CPU, the database included: Comserv's own beside two others on the same replies.

The floor is aiohttp with a pinned certificate and msgspec into typed rows; the peer is proxmoxer in threads. All three ask the same
simulated servers from this process, in turns; in a round the peer asks each once, the faster two three times. The CPU of this process is
taken, of all its threads, never wall time. Servers are asked every 10 s and close what is idle after 5: so every sweep begins with new
connections, for all three alike. The simulator renews figures every 10 s, as a real server does: nearly every guest has new ones.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import proxmoxer
import urllib3

from benchmarks import running
from benchmarks.figures import Comparison, Goal
from benchmarks.running import DidNotWork
from comserv import log
from comserv.domain.errors import ComservError
from comserv.domain.server import Server, Tls, TlsMode, parse_token_id
from comserv.jobs.clients import Clients
from comserv.jobs.keeping import Keeper
from comserv.jobs.sweep import WHOLE_EVERY, SweepLoop
from comserv.persistence import leases, pictures, servers
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault, load_or_create_key

OF_THE_FLOOR, OF_THE_PEER = 1.5, 1 / 3
SWEEPS = (
    3  # of a round: Comserv writes figures every 30 s, which is every third sweep, and they are written once a round
)
THREADS = 16
IDLE = 3.2  # seconds after which no connection is kept any more
MS = 1000.0


class Row(msgspec.Struct, gc=False):
    """What Comserv keeps of a row of /cluster/resources."""

    type: str
    node: str = ""
    vmid: int = 0
    name: str | int | float = ""
    status: str = ""
    template: bool | int | str | None = None
    lock: str = ""
    tags: str | int | float = ""
    pool: str | int | float = ""
    hastate: str = ""
    maxcpu: int | float | None = None
    cpu: int | float | None = None
    maxmem: int | float | None = None
    mem: int | float | None = None
    maxdisk: int | float | None = None
    disk: int | float | None = None
    uptime: int | float | None = None
    storage: str | int | float = ""
    plugintype: str = ""
    content: str = ""
    shared: bool | int | str | None = None


class Rows(msgspec.Struct):
    data: list[Row]


class Anything(msgspec.Struct):
    data: Any


@dataclass
class Contestant:
    """sweep: asks a server once; whole: its version and status too. settle: what is left to do when all were asked."""

    sweep: Callable[[dict[str, Any], bool], Awaitable[Any]]
    settle: Callable[[], Awaitable[Any]]
    sweeps: int = SWEEPS
    used: float = 0.0
    asked: int = 0
    rounds: list[float] = field(default_factory=list)
    ended: float = 0.0

    async def ask(self, estate: Sequence[dict[str, Any]], whole: bool) -> None:
        """Every server once, two at a time."""
        await asyncio.sleep(max(0.0, self.ended + IDLE - time.monotonic()))
        waiting = iter(estate)

        async def some() -> None:
            for server in waiting:
                await self.sweep(server, whole)

        async with self.measured():
            await asyncio.gather(some(), some())
        self.asked, self.ended = self.asked + len(estate), time.monotonic()

    async def end_round(self) -> None:
        async with self.measured():
            await self.settle()
        self.rounds.append(self.used / self.asked * MS)
        self.used, self.asked = 0.0, 0

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        began = time.process_time()
        yield
        self.used += time.process_time() - began


async def measure(count: int, guests: int, nodes: int, rounds: int) -> list[Comparison]:
    """Milliseconds of CPU per server and sweep. A first round, which is not counted, warms all three up."""
    log.configure("WARNING")
    size = ("--servers", str(count), "--guests", str(guests), "--nodes", str(nodes), "--templates", "1")
    async with AsyncExitStack() as stack:
        world = stack.enter_context(running.simulator(*size))
        estate: list[dict[str, Any]] = world["servers"]
        made = (_comserv(estate), _bare(estate), _proxmoxer(estate))
        contestants = [await stack.enter_async_context(one) for one in made]
        for number in range((rounds + 1) * SWEEPS):
            for one in contestants:
                if number % SWEEPS < one.sweeps:
                    await one.ask(estate, number % WHOLE_EVERY == 0)
            if number % SWEEPS == SWEEPS - 1:
                for one in contestants:
                    await one.end_round()
    ours, floor, peer = (tuple(one.rounds[1:]) for one in contestants)
    what = f"CPU of a sweep, {count} servers of {guests:,} guests"
    return [
        Comparison(what, "ms", ours, floor, "aiohttp + msgspec", Goal.RATIO, OF_THE_FLOOR),
        Comparison(what, "ms", ours, peer, f"proxmoxer in {THREADS} threads", Goal.RATIO, OF_THE_PEER),
    ]


@asynccontextmanager
async def _comserv(estate: Sequence[dict[str, Any]]) -> AsyncIterator[Contestant]:
    """Comserv's loops, one a server, on a database of their own."""
    with tempfile.TemporaryDirectory(prefix="comserv-bench-") as folder:
        database = Database(f"sqlite+aiosqlite:///{folder}/comserv.db", Vault(load_or_create_key(Path(folder) / "key")))
        clients, keeper = Clients(database), Keeper(database)
        try:
            await database.start()
            loops = {server["url"]: await _loop(database, clients, keeper, server) for server in estate}
            yield Contestant(lambda server, _: loops[server["url"]].once(), keeper.written)
            await _make_sure(database, len(estate))
        finally:
            await clients.close()
            await database.close()


async def _loop(database: Database, clients: Clients, keeper: Keeper, world: dict[str, Any]) -> SweepLoop:
    token, url = world["tokens"]["full"], world["url"]
    pin = Tls(TlsMode.FINGERPRINT, fingerprints={url: world["fingerprint"]})
    name = f"s{urlsplit(url).port}"
    server = Server(name, name, (url,), parse_token_id(token["id"]), pin)
    async with database.write() as tx:
        await servers.add(tx, server, token["secret"])
        lease = await leases.raise_epoch(tx, server.id, database.process)
    return SweepLoop(database, clients, keeper, lease, 10.0, lambda _: None)


async def _make_sure(database: Database, count: int) -> None:
    """Raises DidNotWork where sweeps failed: a failure is cheap."""
    try:
        async with database.read() as tx:
            healths = [await pictures.get_health(tx, server.id) for server in await servers.every(tx)]
    except ComservError as error:
        raise DidNotWork(str(error)) from error
    bad = [health for health in healths if health is None or health.failures or health.last_good is None]
    if bad or len(healths) != count:
        raise DidNotWork(f"sweeps failed: {bad[:3]}")


@asynccontextmanager
async def _bare(estate: Sequence[dict[str, Any]]) -> AsyncIterator[Contestant]:
    """A session a server, since each has a certificate of its own."""
    rows, anything = msgspec.json.Decoder(Rows, strict=False), msgspec.json.Decoder(Anything)
    async with AsyncExitStack() as stack:
        sessions = {}
        for world in estate:
            token = world["tokens"]["full"]
            headers = {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}", "Accept": "application/json"}
            pin = aiohttp.Fingerprint(bytes.fromhex(world["fingerprint"].replace(":", "")))
            connector = aiohttp.TCPConnector(ssl=pin, keepalive_timeout=3)
            session = aiohttp.ClientSession(headers=headers, connector=connector)
            sessions[world["url"]] = await stack.enter_async_context(session)

        async def get(world: dict[str, Any], path: str) -> bytes:
            async with sessions[world["url"]].get(f"{world['url']}/api2/json{path}") as reply:
                if reply.status != 200:
                    raise DidNotWork(f"GET {path}: {reply.status}")
                return await reply.read()

        async def sweep(world: dict[str, Any], whole: bool) -> None:
            rows.decode(await get(world, "/cluster/resources"))
            if whole:
                anything.decode(await get(world, "/version"))
                anything.decode(await get(world, "/cluster/status"))

        yield Contestant(sweep, _nothing)


@asynccontextmanager
async def _proxmoxer(estate: Sequence[dict[str, Any]]) -> AsyncIterator[Contestant]:
    """As programs use it: an object a server, calls in threads, certificates not looked at (it knows no fingerprints)."""
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    apis = {world["url"]: _api(world) for world in estate}
    with ThreadPoolExecutor(THREADS) as threads:

        def ask(world: dict[str, Any], whole: bool) -> None:
            api = apis[world["url"]]
            if not api.cluster.resources.get():
                raise DidNotWork("proxmoxer was told nothing")
            if whole:
                api.version.get()
                api.cluster.status.get()

        async def sweep(world: dict[str, Any], whole: bool) -> None:
            await asyncio.get_running_loop().run_in_executor(threads, ask, world, whole)

        yield Contestant(sweep, _nothing, sweeps=1)


def _api(world: dict[str, Any]) -> Any:
    user, _, name = world["tokens"]["full"]["id"].partition("!")
    place = urlsplit(world["url"])
    return proxmoxer.ProxmoxAPI(
        place.hostname,
        port=place.port,
        user=user,
        token_name=name,
        token_value=world["tokens"]["full"]["secret"],
        verify_ssl=False,
    )


async def _nothing() -> None:
    """All is done."""
