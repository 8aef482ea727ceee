"""Living pages: what a change costs on its way to the browsers that watch.

A watcher does what the page's script does: it fetches a page as a person who is signed in, opens the one stream that the page names, and
takes what comes. A real Chromium watches beside them, and its traffic has to be theirs.
"""

import asyncio
import html
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from playwright.async_api import Browser, Page, async_playwright

from benchmarks import running
from benchmarks.creation import registration
from benchmarks.figures import Comparison, Goal
from benchmarks.running import DidNotWork, Instance

MOST_BYTES, MOST_MS, MOST_ADDED = 4096.0, 300.0, 15.0  # % of a core
STANDS_STILL, MOVES = (
    "0.0001",
    "1",
)  # speeds of the simulator: figures renewed after a day, and after 10 s as by a real one
SWEEPS_EVERY = 2  # seconds, while single changes are made; else Comserv's own 10
QUIET = 1.0  # seconds after a change in which all that comes is counted to it
SEEN_WITHIN = 30.0  # seconds
LOOK_EVERY = 0.2
OVERVIEW_OF = 5  # of so many watchers one looks at the overview, the others at the list of guests
WATCHERS = 50
MS, PERCENT = 1000.0, 100.0
_STREAM = re.compile(rb'hx-sse:connect="([^"]+)"')

# Resolves with the clock's milliseconds of the frame after a text has come into the list
_UNTIL_SHOWN = """text => new Promise(done => {
  const there = () => document.querySelector('#p-guests').textContent.includes(text);
  const told = () => requestAnimationFrame(() => done(Date.now()));
  if (there()) return told();
  const looking = new MutationObserver(() => { if (there()) { looking.disconnect(); told(); } });
  looking.observe(document.body, { childList: true, subtree: true, characterData: true });
})"""


@dataclass
class Watcher:
    """One stream. got: (clock, bytes) of each piece that came; messages: how many parts came."""

    got: list[tuple[float, bytes]] = field(default_factory=list)

    async def watch(self, session: aiohttp.ClientSession, url: str) -> None:
        """Until it is cancelled. Raises DidNotWork where the stream ends by itself."""
        async with session.get(url, headers={"accept": "text/html, text/event-stream"}) as stream:
            if stream.content_type != "text/event-stream":
                raise DidNotWork(f"GET {url}: {stream.status} {stream.content_type}")
            async for piece in stream.content.iter_any():
                self.got.append((time.time(), piece))
        raise DidNotWork(f"the stream {url} has ended")

    def bytes_since(self, clock: float) -> int:
        return sum(len(piece) for at, piece in self.got if at >= clock)

    def came(self, text: bytes, since: float) -> float | None:
        """When the text had come in full."""
        read = b""
        for at, piece in self.got:
            if at >= since:
                read += piece
                if text in read:
                    return at
        return None


@dataclass
class Watched:
    """A running Comserv over simulated servers, and a person who is signed in."""

    instance: Instance
    session: aiohttp.ClientSession
    world: dict[str, Any]

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        own = {"authorization": f"Bearer {self.instance.token}"}
        url = f"{self.instance.url}/api/v1{path}"
        async with self.session.request(method, url, json=body, headers=own) as reply:
            told = await reply.json()
            if reply.status >= 300:
                raise DidNotWork(f"{method} {path}: {reply.status} {told}")
            return told

    async def register(self, guests: int) -> None:
        """All servers; returns once all their guests are known."""
        for number, server in enumerate(self.world["servers"]):
            await self.api("POST", "/servers", registration(f"s{number}", server))
        end = time.monotonic() + SEEN_WITHIN * 4
        while (await self.api("GET", "/guests?limit=1"))["total"] < guests:
            if time.monotonic() > end:
                raise DidNotWork("not all guests were seen")
            await asyncio.sleep(LOOK_EVERY)

    async def sign_in(self) -> None:
        path = running.sign_in_path(self.instance.folder)
        async with self.session.get(f"{self.instance.url}{path}", allow_redirects=False) as reply:
            if reply.status != 303:
                raise DidNotWork(f"the sign-in link: {reply.status}")

    async def page(self, path: str) -> bytes:
        async with self.session.get(f"{self.instance.url}{path}") as reply:
            body = await reply.read()
            if reply.status != 200 or reply.history:
                raise DidNotWork(f"GET {path}: {reply.status} {reply.url}")
            return body

    @asynccontextmanager
    async def watchers(self, count: int) -> AsyncIterator[list[Watcher]]:
        """Most at the list of guests, the others at the overview, all from pages of their own."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.watcher(_path(number))) for number in range(count)]

    @asynccontextmanager
    async def watcher(self, path: str) -> AsyncIterator[Watcher]:
        named = _STREAM.search(await self.page(path))
        if named is None:
            raise DidNotWork(f"the page {path} names no stream")
        watcher = Watcher()
        url = f"{self.instance.url}{html.unescape(named[1].decode())}"
        watching = asyncio.create_task(watcher.watch(self.session, url))
        try:
            while not watcher.got and not watching.done():  # noqa: ASYNC110 - a benchmark looks
                await asyncio.sleep(LOOK_EVERY / 10)
            yield watcher
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError, DidNotWork):
                await watching


def _path(number: int) -> str:
    return "/" if number % OVERVIEW_OF == OVERVIEW_OF - 1 else "/guests"


@dataclass
class Screen:
    """A real browser on the list of guests. received: bytes of its stream."""

    page: Page
    received: list[tuple[float, int]] = field(default_factory=list)

    async def shown(self, text: str) -> float:
        """The clock when it stands on the screen."""
        told = await asyncio.wait_for(self.page.evaluate(_UNTIL_SHOWN, text), SEEN_WITHIN)
        return float(told) / MS

    def bytes_since(self, clock: float) -> int:
        return sum(size for at, size in self.received if at >= clock)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Raises DidNotWork where there is none."""
    path = shutil.which("chromium")
    if path is None:
        raise DidNotWork("chromium is missing: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def screen(browser: Browser, watched: Watched) -> AsyncIterator[Screen]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{watched.instance.url}{running.sign_in_path(watched.instance.folder)}")
    made, streams = Screen(page), set[str]()
    network = await context.new_cdp_session(page)

    def sent(told: dict[str, Any]) -> None:
        if "/events" in told["request"]["url"]:
            streams.add(told["requestId"])

    def came(told: dict[str, Any]) -> None:
        if told["requestId"] in streams:
            made.received.append((time.time(), told["dataLength"]))

    network.on("Network.requestWillBeSent", sent)
    network.on("Network.dataReceived", came)
    await network.send("Network.enable")
    await page.goto(f"{watched.instance.url}/guests")
    await page.wait_for_selector("#p-guests tr[id]")
    try:
        yield made
    finally:
        await context.close()


@contextmanager
def estate(servers: int, guests: int, speed: str, **given: str) -> Iterator[tuple[Instance, dict[str, Any]]]:
    """A Comserv, and one simulator with so many servers of so many guests."""
    words = ("--servers", str(servers), "--guests", str(guests), "--templates", "0", "--speed", speed)
    nodes = str(max(1, guests // 100))
    with TemporaryDirectory(prefix="comserv-bench-") as made, running.simulator(*words, "--nodes", nodes) as world:
        token = running.make_administrator(Path(made))
        with running.comserv(Path(made), token, **given) as instance:
            yield instance, world


@asynccontextmanager
async def watched_estate(servers: int, guests: int, speed: str, **given: str) -> AsyncIterator[Watched]:
    with estate(servers, guests, speed, **given) as (instance, world):
        jar, connector = aiohttp.CookieJar(unsafe=True), aiohttp.TCPConnector(limit=0)
        quiet = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(cookie_jar=jar, connector=connector, timeout=quiet) as session:
            watched = Watched(instance, session, world)
            await watched.sign_in()
            await watched.register(servers * guests)
            yield watched


# --- one guest changes


async def measure_change(servers: int, guests: int, rounds: int) -> list[Comparison]:
    """Guests get another tag on their servers, one by one, and nothing else moves."""
    rarely = str(SWEEPS_EVERY)
    async with (
        watched_estate(servers, guests, STANDS_STILL, COMSERV_SWEEP_SECONDS=rarely) as watched,
        chromium() as browser,
    ):
        return await _change(watched, browser, f"one guest of {servers * guests:,} changed", rounds)


async def _change(watched: Watched, browser: Browser, what: str, rounds: int) -> list[Comparison]:
    async with screen(browser, watched) as shown, watched.watcher("/guests") as watcher:
        whole = float(len(await watched.page("/guests")))
        await _tag(watched, watcher, shown, 0)  # the first draws and compiles what is kept afterwards
        found = [await _tag(watched, watcher, shown, number) for number in range(1, rounds + 1)]
    sent, received, wire, seen = zip(*found, strict=True)
    return [
        Comparison(f"{what}: sent to a watcher", "bytes", sent, received, "Chromium", Goal.MOST, MOST_BYTES),
        Comparison(f"{what}: sent to a watcher", "bytes", sent, (whole,) * rounds, "the whole page"),
        Comparison(f"{what}: from sweep to screen", "ms", seen, wire, "to the wire's end", Goal.MOST, MOST_MS),
    ]


async def _tag(watched: Watched, watcher: Watcher, shown: Screen, number: int) -> tuple[float, float, float, float]:
    """(bytes to the watcher, bytes to Chromium, ms from the sweep to the watcher, ms from the sweep to the screen)."""
    listed = (await watched.api("GET", "/guests?limit=100"))["items"]
    guest = listed[(number * 13) % len(listed)]
    new = f"tag-{number}-of-{guest['vmid']}"
    began = time.time()
    seeing = asyncio.create_task(shown.shown(new))
    await _put_tag(watched, guest, new)
    seen = await seeing
    swept = datetime.fromisoformat((await watched.api("GET", f"/servers/{guest['server']}"))["as_of"]).timestamp()
    await asyncio.sleep(QUIET)
    came = watcher.came(new.encode(), began)
    if came is None or not began < swept < seen:
        raise DidNotWork(f"tagged at {began}, swept at {swept}, came at {came}, shown at {seen}")
    wire, screen = (came - swept) * MS, (seen - swept) * MS
    return float(watcher.bytes_since(swept)), float(shown.bytes_since(swept)), wire, screen


async def _put_tag(watched: Watched, guest: dict[str, Any], tag: str) -> None:
    """On the server itself, as somebody else would; what a list tells of tags is never older than that."""
    server = watched.world["servers"][int(guest["server"].removeprefix("s"))]
    token = server["tokens"]["full"]
    path = f"{server['url']}/api2/json/nodes/{guest['node']}/{guest['type']}/{guest['vmid']}/config"
    headers = {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}"}
    pin = aiohttp.Fingerprint(bytes.fromhex(server["fingerprint"].replace(":", "")))
    async with watched.session.put(path, data={"tags": tag}, headers=headers, ssl=pin) as reply:
        if reply.status != 200:
            raise DidNotWork(f"PUT {path}: {reply.status} {reply.reason}")


# --- many watch


async def measure_crowd(servers: int, guests: int, watchers: int, rounds: int, seconds: float) -> list[Comparison]:
    """All figures move as those of real servers do."""
    async with watched_estate(servers, guests, MOVES) as watched, chromium() as browser:
        who = f"{watchers} browsers watch {servers * guests:,} guests"
        return await _crowd(watched, browser, who, watchers, rounds, seconds)


async def _crowd(
    watched: Watched, browser: Browser, who: str, watchers: int, rounds: int, seconds: float
) -> list[Comparison]:
    """The CPU of the same Comserv with and without those who watch, in turns."""
    alone, crowd, theirs, chromiums = [], [], [], []
    for _ in range(rounds):
        alone.append(await _busy(watched.instance, seconds))
        async with screen(browser, watched) as shown, watched.watchers(watchers - 1) as all_of_them:
            await asyncio.sleep(QUIET)  # opening pages is not watching
            began = time.time()
            crowd.append(await _busy(watched.instance, seconds))
            theirs.append(all_of_them[0].bytes_since(began) / seconds)
            chromiums.append(shown.bytes_since(began) / seconds)
    same = (tuple(theirs), tuple(chromiums))
    return [
        Comparison(f"{who}: CPU", "% of a core", tuple(crowd), tuple(alone), "nobody", Goal.MORE, MOST_ADDED),
        Comparison(f"{who}: sent to each at the list", "bytes/s", *same, "Chromium among them"),
    ]


async def _busy(instance: Instance, seconds: float) -> float:
    """Percent of a core that it uses in that time."""
    cpu, began = instance.cpu, time.perf_counter()
    await asyncio.sleep(seconds)
    return (instance.cpu - cpu) / (time.perf_counter() - began) * PERCENT


async def quick() -> list[Comparison]:
    """Small and once, all on one Comserv: that it measures at all."""
    async with watched_estate(1, 20, STANDS_STILL, COMSERV_SWEEP_SECONDS="1") as watched, chromium() as browser:
        changed = await _change(watched, browser, "one of few", 1)
        return [*changed, *await _crowd(watched, browser, "few", 3, 1, 5.5)]  # a sign of life comes every 5 s
