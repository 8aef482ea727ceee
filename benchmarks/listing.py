"""The list of guests with 10,000 guests beside one with 100: two running Comservs, asked in turns, from the same client.

Their pictures are put into the database beforehand; their servers are disabled, so that no sweep paints over them.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from benchmarks import running
from benchmarks.figures import Comparison, Goal
from benchmarks.running import DidNotWork, Instance
from comserv.domain.guest import Guest, GuestKey, GuestStatus, GuestType
from comserv.domain.picture import Node, Picture, Storage
from comserv.domain.server import Server, parse_token_id
from comserv.persistence import pictures, servers
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault, load_or_create_key

MANY, FEW = 10_000, 100
SERVERS = 5
NODES = 8  # per server
GIB = 1 << 30
NO_MORE_THAN = 2.0  # times as long, and as much CPU, as with a hundredth of the guests
AFTER_A_CHANGE = 5.0  # times: views and order are made anew, for a hundred times as many
MEMORY = 2.0  # times
REQUESTS = 8  # per round
MS = 1000.0

Ask = Callable[["Asked"], Awaitable[None]]


def guests_of(server: str, count: int) -> tuple[Guest, ...]:
    """Guests as an estate has them: most run, a tenth are containers, names and tags repeat."""
    roles = ("web", "db", "cache", "mail", "build", "queue", "proxy", "app")
    return tuple(
        Guest(
            key=GuestKey(server, 100 + number),
            type=GuestType.LXC if number % 10 == 0 else GuestType.QEMU,
            node=f"{server}-n{number % NODES}",
            name=f"{roles[number % len(roles)]}-{(number * 7919) % 100_000:05}",
            status=GuestStatus.STOPPED if number % 7 == 0 else GuestStatus.RUNNING,
            tags=("prod", roles[number % len(roles)]) if number % 3 else (),
            cores=float(1 + number % 8),
            cpu=None if number % 7 == 0 else (number % 97) / 100,
            memory=(1 + number % 16) * GIB,
            memory_used=(1 + number % 16) * GIB // 2,
            disk=(8 + number % 100) * GIB,
            uptime=None if number % 7 == 0 else number * 61,
        )
        for number in range(count)
    )


async def fill(folder: Path, guests: int) -> None:
    """SERVERS disabled servers with their pictures, in the database of that folder."""
    database = Database(f"sqlite+aiosqlite:///{folder}/comserv.db", Vault(load_or_create_key(folder / "key")))
    try:
        await database.start()
        for number in range(SERVERS):
            await _add(database, f"s{number}", guests // SERVERS)
    finally:
        await database.close()


async def _add(database: Database, name: str, guests: int) -> None:
    token = parse_token_id("bench@pve!bench")
    nodes = tuple(Node(f"{name}-n{one}", True, 0.3, 64, 512 * GIB, 200 * GIB, 86_400) for one in range(NODES))
    storages = tuple(Storage(node.name, "local", "dir", frozenset({"images"}), total=GIB, used=1) for node in nodes)
    seen = datetime.now(UTC)
    picture = Picture(name, seen, 1, "9.1.6", name, True, nodes, storages, guests_of(name, guests))
    packed = await pictures.pack(picture)
    async with database.write() as tx:
        await servers.add(tx, Server(name, name, ("https://127.0.0.1:1",), token, enabled=False), "0" * 36)
        await pictures.save(tx, packed)


@dataclass
class Asked:
    """A running Comserv, and a browser that is signed in to it."""

    instance: Instance
    session: aiohttp.ClientSession

    async def get(self, path: str) -> bytes:
        async with self.session.get(f"{self.instance.url}{path}") as reply:
            body = await reply.read()
            if reply.status != 200 or reply.history:
                raise DidNotWork(f"GET {path}: {reply.status} {reply.url}")
            return body

    async def page(self) -> None:
        if (await self.get("/guests")).count(b"<tr") < FEW:
            raise DidNotWork("the page shows no guests")

    async def api(self) -> None:
        await self.get("/api/v1/guests?limit=100")

    async def page_after_change(self) -> None:
        """Something of one server changed since the last look, as after each of its sweeps."""
        body = {"name": f"renamed {time.monotonic_ns()}"}
        headers = {"Authorization": f"Bearer {self.instance.token}"}
        async with self.session.patch(f"{self.instance.url}/api/v1/servers/s0", json=body, headers=headers) as reply:
            if reply.status != 200:
                raise DidNotWork(f"PATCH: {reply.status} {await reply.text()}")
        await self.page()


async def measure(rounds: int) -> list[Comparison]:
    async with AsyncExitStack() as stack:
        many, few = [await stack.enter_async_context(_asked(count)) for count in (MANY, FEW)]
        found = memory(many, few)
        for what, ask, limit in (
            ("page /guests", Asked.page, NO_MORE_THAN),
            ("GET /api/v1/guests?limit=100", Asked.api, NO_MORE_THAN),
            ("page /guests after a change", Asked.page_after_change, AFTER_A_CHANGE),
        ):
            found += await _compare(many, few, what, ask, limit, rounds)
    return found


def memory(many: Asked, few: Asked) -> list[Comparison]:
    """Right after the start, and again after the first page."""
    mib = 1 << 20
    resident = [one.instance.memory / mib for one in (many, few)]
    name = f"memory of serve, {MANY:,} guests"
    return [Comparison(name, "MiB", (resident[0],), (resident[1],), f"{FEW} guests", Goal.RATIO, MEMORY)]


async def _compare(many: Asked, few: Asked, what: str, ask: Ask, limit: float, rounds: int) -> list[Comparison]:
    """Latency and CPU of a request, each the mean of a round; the first requests warm it up."""
    for one in (many, few):
        await ask(one)
        await ask(one)
    times: dict[str, list[tuple[float, float]]] = {"many": [], "few": []}
    for _ in range(rounds):
        times["few"].append(await _round(few, ask))
        times["many"].append(await _round(many, ask))
    (slow, busy), (slow_few, busy_few) = (tuple(zip(*times[which], strict=True)) for which in ("many", "few"))
    name, beside, goal = f"{what}, {MANY:,} guests", f"{FEW} guests", Goal.RATIO
    return [
        Comparison(f"latency of {name}", "ms", slow, slow_few, beside, goal, limit),
        Comparison(f"CPU of {name}", "ms", busy, busy_few, beside, goal, limit),
    ]


async def _round(one: Asked, ask: Ask) -> tuple[float, float]:
    """(the fastest of REQUESTS, ms; CPU of each on average, ms)."""
    fastest, before = float("inf"), one.instance.cpu
    for _ in range(REQUESTS):
        began = time.perf_counter()
        await ask(one)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest * MS, (one.instance.cpu - before) / REQUESTS * MS


@asynccontextmanager
async def _asked(guests: int) -> AsyncIterator[Asked]:
    with TemporaryDirectory(prefix="comserv-bench-") as made, ExitStack() as stack:
        folder = Path(made)
        token = running.make_administrator(folder)
        await fill(folder, guests)
        instance = stack.enter_context(running.comserv(folder, token))
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            asked = Asked(instance, session)
            await _sign_in(asked)
            yield asked


async def _sign_in(asked: Asked) -> None:
    path = running.sign_in_path(asked.instance.folder)
    async with asked.session.get(f"{asked.instance.url}{path}", allow_redirects=False) as reply:
        if reply.status != 303:
            raise DidNotWork(f"the sign-in link: {reply.status}")
    asked.session.headers["Authorization"] = f"Bearer {asked.instance.token}"
