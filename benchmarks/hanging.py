"""One server of many hangs: what that costs everything about the others. The same Comserv, with and without it, in turns."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from benchmarks.figures import Comparison, Goal, percentile
from benchmarks.running import DidNotWork
from benchmarks.watching import MOVES, Watched, watched_estate

NO_MORE_THAN = 1.1  # times
SETTLES = 3.0  # seconds until sweeps hang, or until they do no more
SWEEPS_EVERY = 2  # seconds, so that much hangs
HANGS = 0  # the number of the server that does
LOOK_EVERY = 0.05
JOB_WITHIN = 60.0
MS = 1000.0


@dataclass(frozen=True)
class Others:
    """Everything that is asked about the servers that do not hang."""

    watched: Watched
    guests: list[dict[str, Any]]

    def guest(self, number: int) -> dict[str, Any]:
        return self.guests[(number * 37) % len(self.guests)]

    async def page(self, number: int) -> None:
        await self.watched.page("/guests")

    async def api(self, number: int) -> None:
        await self.watched.api("GET", f"/guests?server={self.guest(number)['server']}")

    async def live(self, number: int) -> None:
        """Asks the guest's server, now."""
        guest = self.guest(number)
        await self.watched.api("GET", f"/guests/{guest['server']}/{guest['vmid']}?live=1")

    async def job(self, number: int) -> None:
        """A reset, from asking to its end."""
        guest = self.guest(number)
        told = await self.watched.api("POST", f"/guests/{guest['server']}/{guest['vmid']}/power", {"action": "reset"})
        end = time.monotonic() + JOB_WITHIN
        while told["state"] in ("queued", "running"):
            if time.monotonic() > end:
                raise DidNotWork(f"the job {told['id']} does not end")
            await asyncio.sleep(LOOK_EVERY)
            told = await self.watched.api("GET", f"/jobs/{told['id']}")
        if told["state"] != "succeeded":
            raise DidNotWork(f"the job {told['id']}: {told['error']}")

    async def ages(self) -> list[float]:
        """Milliseconds since each of them was seen."""
        found = (await self.watched.api("GET", "/servers"))["items"]
        now = datetime.now(UTC)
        others = [one for one in found if one["id"] != f"s{HANGS}"]
        return [(now - datetime.fromisoformat(one["as_of"])).total_seconds() * MS for one in others]


Ask = Callable[[Others, int], Awaitable[None]]
KINDS: dict[str, Ask] = {
    "page /guests": Others.page,
    "GET /guests of one server": Others.api,
    "a guest, asked live": Others.live,
    "a reset, to its end": Others.job,
}
AGES = "age of a picture"


async def measure(servers: int, guests: int, rounds: int, requests: int) -> list[Comparison]:
    """requests: of each kind in a round."""
    found: dict[bool, dict[str, list[float]]] = {
        hangs: {kind: [] for kind in (*KINDS, AGES)} for hangs in (True, False)
    }
    async with watched_estate(servers, guests, MOVES, COMSERV_SWEEP_SECONDS=str(SWEEPS_EVERY)) as watched:
        others = Others(watched, await _others(watched))
        await _round(others, 0, 2)  # imports and connections are not what is measured
        for number in range(2 * rounds):
            hangs = (number + number // 2) % 2 == 1  # without, with, with, without: what drifts meanwhile hits both
            await _hang(watched, hangs)
            await asyncio.sleep(SETTLES)
            for kind, value in (await _round(others, number * requests, requests)).items():
                found[hangs][kind].append(value)
        await _hang(watched, False)
    return [
        Comparison(
            f"one server of {servers} hangs: {kind}, of the others, p95",
            "ms",
            tuple(found[True][kind]),
            tuple(found[False][kind]),
            "none hangs",
            Goal.RATIO,
            NO_MORE_THAN,
        )
        for kind in (*KINDS, AGES)
    ]


async def _others(watched: Watched) -> list[dict[str, Any]]:
    page = await watched.api("GET", "/guests?type=qemu&status=running&limit=500")
    return [guest for guest in page["items"] if guest["server"] != f"s{HANGS}"]


async def _hang(watched: Watched, hangs: bool) -> None:
    """Nothing that is sent to the server is ever answered; or all is well again."""
    url, rule = f"{watched.world['servers'][HANGS]['url']}/_sim/faults", [{"match": {}, "effect": "hang"}]
    method, body = ("POST", rule) if hangs else ("DELETE", None)
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body, ssl=False) as reply:
        if reply.status != 200:
            raise DidNotWork(f"{method} {url}: {reply.status}")


async def _round(others: Others, start: int, requests: int) -> dict[str, float]:
    """The 95th percentile by kind, in ms; the kinds are asked in turns."""
    took: dict[str, list[float]] = {kind: [] for kind in (*KINDS, AGES)}
    for number in range(start, start + requests):
        for kind, ask in KINDS.items():
            began = time.perf_counter()
            await ask(others, number)
            took[kind].append((time.perf_counter() - began) * MS)
        took[AGES] += await others.ages()
    return {kind: percentile(values, 95) for kind, values in took.items()}
