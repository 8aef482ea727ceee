"""What a sweep costs in CPU: Comserv's own (client, decoding, packing, saving) beside bare aiohttp and msgspec on the same replies.

Both ask the same simulated server from this process, in turns; its CPU is taken, of all its threads, never wall time. One server
stands still, so that a picture is saved unchanged; one has new figures in every reply, as a real one does every 10 s.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from benchmarks import running
from benchmarks.figures import Comparison, Goal
from benchmarks.running import DidNotWork
from comserv import log
from comserv.domain.errors import ComservError
from comserv.domain.server import Server, Tls, TlsMode, parse_token_id
from comserv.jobs.clients import Clients
from comserv.jobs.sweep import WHOLE_EVERY, SweepLoop
from comserv.persistence import leases, pictures, servers
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault, load_or_create_key

NO_MORE_THAN = 4.0  # times the CPU of aiohttp and msgspec alone: every row is decoded, made a frozen value, and packed
FIXED_PRICE = 10.0  # ms more for a small server: three statements and a commit, whatever its size
SMALL = 500  # guests
STANDS_STILL, MOVES = "0.0001", "50"  # speeds of the simulator: figures renewed after a day, and after 0.2 s
RENEWED_AFTER = 0.25  # seconds
MS = 1000.0


class Row(msgspec.Struct):
    """What Comserv keeps of a row of /cluster/resources."""

    type: str
    id: str | int = ""
    node: str = ""
    vmid: int = 0
    name: str | int = ""
    status: str = ""
    template: bool | int | str | None = None
    lock: str = ""
    tags: str | int = ""
    pool: str | int = ""
    hastate: str = ""
    maxcpu: float | None = None
    cpu: float | None = None
    maxmem: float | None = None
    mem: float | None = None
    maxdisk: float | None = None
    disk: float | None = None
    uptime: float | None = None
    storage: str | int = ""
    plugintype: str = ""
    content: str = ""
    shared: bool | int | str | None = None


class Rows(msgspec.Struct):
    data: list[Row]


class Anything(msgspec.Struct):
    data: Any


class Bare:
    """The floor: a kept connection, TLS by fingerprint, and the reply decoded into typed rows."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url, self._round = session, f"{url}/api2/json", 0
        self._rows = msgspec.json.Decoder(Rows, strict=False)
        self._anything = msgspec.json.Decoder(Anything)

    async def once(self) -> None:
        """The same questions as Comserv's: version and status only in every sixth round."""
        self._rows.decode(await self._get("/cluster/resources"))
        if self._round % WHOLE_EVERY == 0:
            self._anything.decode(await self._get("/version"))
            self._anything.decode(await self._get("/cluster/status"))
        self._round += 1

    async def _get(self, path: str) -> bytes:
        async with self._session.get(f"{self._url}{path}") as reply:
            if reply.status != 200:
                raise DidNotWork(f"GET {path}: {reply.status}")
            return await reply.read()


async def measure(guests: int, rounds: int, *, moves: bool) -> Comparison:
    """moves: the figures are new in every reply. A round is WHOLE_EVERY sweeps of each."""
    log.configure("WARNING")
    speed = MOVES if moves else STANDS_STILL
    nodes = str(max(1, min(16, guests // 100)))
    with running.simulator("--guests", str(guests), "--nodes", nodes, "--templates", "1", "--speed", speed) as world:
        async with _ours(world) as loop, _bare(world) as bare:
            await loop.once()
            await bare.once()
            ours, floor = [], []
            for _ in range(rounds):
                floor.append(await _cpu(bare.once, moves))
                ours.append(await _cpu(loop.once, moves))
    what = "new figures" if moves else "nothing changed"
    goal = (Goal.MORE, FIXED_PRICE) if guests < SMALL else (Goal.RATIO, NO_MORE_THAN)
    name = f"CPU of a sweep, {guests:,} guests, {what}"
    return Comparison(name, "ms", tuple(ours), tuple(floor), "aiohttp + msgspec", *goal)


async def _cpu(sweep: Callable[[], Awaitable[Any]], moves: bool) -> float:
    """Milliseconds of CPU of one sweep, averaged over WHOLE_EVERY of them."""
    used = 0.0
    for _ in range(WHOLE_EVERY):
        if moves:
            await asyncio.sleep(RENEWED_AFTER)
        began = time.process_time()
        await sweep()
        used += time.process_time() - began
    return used / WHOLE_EVERY * MS


@asynccontextmanager
async def _ours(world: dict[str, Any]) -> AsyncIterator[SweepLoop]:
    """Comserv's sweep of one server, on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="comserv-bench-") as folder:
        vault = Vault(load_or_create_key(Path(folder) / "key"))
        database = Database(f"sqlite+aiosqlite:///{folder}/comserv.db", vault)
        clients = Clients(database)
        try:
            await database.start()
            token = world["tokens"]["full"]
            pin = Tls(TlsMode.FINGERPRINT, fingerprints={world["url"]: world["fingerprint"]})
            server = Server("bench", "bench", (world["url"],), parse_token_id(token["id"]), pin)
            async with database.write() as tx:
                await servers.add(tx, server, token["secret"])
                lease = await leases.raise_epoch(tx, server.id, database.process)
            yield SweepLoop(database, clients, lease, 10, lambda _: None)
            await _make_sure(database)
        finally:
            await clients.close()
            await database.close()


async def _make_sure(database: Database) -> None:
    """Raises DidNotWork where the sweeps failed: a failure is cheap."""
    try:
        async with database.read() as tx:
            health = await pictures.get_health(tx, "bench")
    except ComservError as error:
        raise DidNotWork(str(error)) from error
    if health is None or health.failures or health.last_good is None:
        raise DidNotWork(f"the sweeps failed: {health}")


@asynccontextmanager
async def _bare(world: dict[str, Any]) -> AsyncIterator[Bare]:
    token = world["tokens"]["full"]
    headers = {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}", "Accept": "application/json"}
    pin = aiohttp.Fingerprint(bytes.fromhex(world["fingerprint"].replace(":", "")))
    connector = aiohttp.TCPConnector(ssl=pin, keepalive_timeout=3)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield Bare(session, world["url"])
