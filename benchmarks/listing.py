"""The list of guests with 10,000 guests on a hundred servers beside one with 100 on one: two running Comservs that sweep simulated servers
all the while, asked in turns, from the same client; the memory of the larger one; and how long it takes to start on its database.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import msgspec

from benchmarks import running, starting
from benchmarks.figures import Comparison, Goal, percentile
from benchmarks.running import DidNotWork, Instance
from comserv.domain.server import Server, Tls, TlsMode, parse_token_id
from comserv.persistence import servers
from comserv.persistence.database import Database
from comserv.persistence.vault import Vault, load_or_create_key

MANY, FEW = (100, 100), (1, 100)  # servers, guests of each
NO_MORE_THAN = 3.0  # times as long as with a hundredth of the guests
MEMORY = 200.0  # MB of the whole process
FIRST_PAGE_WITHIN = 2.5  # seconds
REQUESTS = 40  # a round
SWEEPING_FOR = (
    300.0  # seconds until the memory is looked at, at a sweep of every server a second: half an hour of an installation
)
KNOWN_WITHIN = 120.0  # seconds
MS, MB = 1000.0, 1e6

Ask = Callable[["Asked"], Awaitable[None]]


async def fill(folder: Path, estate: Sequence[dict[str, Any]]) -> None:
    """Registers simulated servers without asking them anything."""
    database = Database(f"sqlite+aiosqlite:///{folder}/comserv.db", Vault(load_or_create_key(folder / "key")))
    try:
        await database.start()
        async with database.write() as tx:
            for number, world in enumerate(estate):
                token, url = world["tokens"]["full"], world["url"]
                pin = Tls(TlsMode.FINGERPRINT, fingerprints={url: world["fingerprint"]})
                server = Server(f"s{number}", f"Server {number}", (url,), parse_token_id(token["id"]), pin)
                await servers.add(tx, server, token["secret"])
    finally:
        await database.close()


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
        if (await self.get("/guests")).count(b"<tr") < FEW[1] - 5:
            raise DidNotWork("the page shows no guests")

    async def api(self) -> None:
        await self.get("/api/v1/guests?limit=100")


async def measure(rounds: int, sweeping_for: float = SWEEPING_FOR) -> list[Comparison]:
    async with AsyncExitStack() as stack:
        many, few = [await stack.enter_async_context(_asked(*size)) for size in (MANY, FEW)]
        since, found = time.monotonic(), []
        for what, ask in (("page /guests", Asked.page), ("GET /api/v1/guests?limit=100", Asked.api)):
            found.append(await _compare(many, few, what, ask, rounds))
        await asyncio.sleep(max(0.0, since + sweeping_for - time.monotonic()))
        resident = [one.instance.memory / MB for one in (many, few)]
    name = f"memory, {_words(MANY)}, after {sweeping_for:.0f} s of sweeps every second"
    return [*found, Comparison(name, "MB", (resident[0],), (resident[1],), _words(FEW), Goal.MOST, MEMORY)]


async def _compare(many: Asked, few: Asked, what: str, ask: Ask, rounds: int) -> Comparison:
    """The 95th percentile of a round's requests; the first requests warm both up."""
    for one in (many, few):
        await ask(one)
    slow, slow_few = [], []
    for number in range(rounds):
        for one, times in ((many, slow), (few, slow_few))[:: 1 if number % 2 else -1]:
            times.append(percentile([await _timed(one, ask) for _ in range(REQUESTS)], 95))
    name = f"p95 of {what}, {_words(MANY)}"
    return Comparison(name, "ms", tuple(slow), tuple(slow_few), _words(FEW), Goal.RATIO, NO_MORE_THAN)


def _words(size: tuple[int, int]) -> str:
    return f"{size[0] * size[1]:,} guests on {size[0]} server{'s' if size[0] > 1 else ''}"


async def _timed(one: Asked, ask: Ask) -> float:
    """Milliseconds; a request comes at any moment between two sweeps."""
    await asyncio.sleep(random.uniform(0, 0.05))
    began = time.perf_counter()
    await ask(one)
    return (time.perf_counter() - began) * MS


@contextmanager
def simulated(count: int, guests: int) -> Iterator[Sequence[dict[str, Any]]]:
    size = ("--servers", str(count), "--guests", str(guests), "--nodes", "4", "--templates", "1")
    with running.simulator(*size) as world:
        yield world["servers"]


@asynccontextmanager
async def _asked(count: int, guests: int) -> AsyncIterator[Asked]:
    """Once every server was swept."""
    with TemporaryDirectory(prefix="comserv-bench-") as made, ExitStack() as stack:
        folder = Path(made)
        token = running.make_administrator(folder)
        await fill(folder, stack.enter_context(simulated(count, guests)))
        instance = stack.enter_context(running.comserv(folder, token, COMSERV_SWEEP_SECONDS="1"))
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            asked = Asked(instance, session)
            await sign_in(asked)
            await known(asked, count * guests)
            yield asked


async def sign_in(asked: Asked) -> None:
    path = running.sign_in_path(asked.instance.folder)
    async with asked.session.get(f"{asked.instance.url}{path}", allow_redirects=False) as reply:
        if reply.status != 303:
            raise DidNotWork(f"the sign-in link: {reply.status}")
    asked.session.headers["Authorization"] = f"Bearer {asked.instance.token}"


async def known(asked: Asked, guests: int) -> None:
    """Waits until so many guests are listed. Raises DidNotWork."""
    end = time.monotonic() + KNOWN_WITHIN
    while msgspec.json.decode(await asked.get("/api/v1/guests?limit=1"))["total"] < guests:
        if time.monotonic() > end:
            raise DidNotWork(f"{guests} guests were not known within {KNOWN_WITHIN:.0f} s")
        await asyncio.sleep(0.2)


async def first_page(rounds: int) -> Comparison:
    """Seconds from the start of `comserv serve` until the page of guests came, 10,000 guests in its database and its servers gone; beside
    it a bare server that imports the same packages and answers one path."""
    ours, bare = [], []
    with TemporaryDirectory(prefix="comserv-bench-") as made:
        folder = Path(made)
        token = running.make_administrator(folder)
        with simulated(*MANY) as estate:
            await fill(folder, estate)
            with running.comserv(folder, token) as instance:
                async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                    asked = Asked(instance, session)
                    await sign_in(asked)
                    await known(asked, MANY[0] * MANY[1])
                    cookies = {cookie.key: cookie.value for cookie in session.cookie_jar}
        for _ in range(rounds):
            with starting.bare_server(folder) as seconds:
                bare.append(seconds)
            began = time.perf_counter()
            with running.comserv(folder, token) as instance:
                async with aiohttp.ClientSession(cookies=cookies) as session:
                    await Asked(instance, session).page()
                ours.append(time.perf_counter() - began)
    name = f"start to first page, {_words(MANY)}"
    beside = "a server of the same packages, one path"
    return Comparison(name, "s", tuple(ours), tuple(bare), beside, Goal.MOST, FIRST_PAGE_WITHIN)
