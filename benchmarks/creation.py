"""A creation by Comserv beside a bare script of the same calls, on the same simulated server, one after the other.

The script knows everything beforehand: it asks for a free number, clones, posts the configuration, grows the disk and starts, and
looks at each task every 200 ms. Comserv plans, reserves, writes down each step before and after, and proves what came of it.
"""

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import running
from benchmarks.figures import Comparison, Goal
from benchmarks.running import DidNotWork

LOOK_EVERY = 0.2  # seconds between two looks of the script, at a task and at the agent
FOLLOW_EVERY = 0.5  # of the benchmark itself, at Comserv's job
ENDED = ("succeeded", "failed", "cancelled")
RUNS_WITHIN, PROVEN_WITHIN = 0.5, 2.0  # seconds more than the script
GROWN_TO = 12  # GiB
AGENT_WITHIN = 60.0
PROVEN_ROUNDS = 2


@dataclass
class Timed:
    """Seconds from the first call on until the VM ran, and until its agent told the address; how many calls that took."""

    ran: float = 0.0
    proven: float = 0.0
    calls_until_ran: int = 0


Pair = tuple[list[Timed], list[Timed]]  # (by Comserv, by the script), round by round


@dataclass
class Script:
    """What a person would write in an afternoon. calls: how many it has sent."""

    session: aiohttp.ClientSession
    base: str
    node: str
    template: int
    disk: str
    calls: int = 0

    async def call(self, method: str, path: str, **data: Any) -> Any:
        self.calls += 1
        async with self.session.request(method, f"{self.base}{path}", data=data or None) as reply:
            if reply.status != 200:
                raise DidNotWork(f"{method} {path}: {reply.status} {reply.reason}")
            return (await reply.json(content_type=None))["data"]

    async def done(self, upid: str) -> None:
        path = f"/nodes/{self.node}/tasks/{upid}/status"
        while (status := await self.call("GET", path))["status"] != "stopped":  # noqa: ASYNC110 # a script polls
            await asyncio.sleep(LOOK_EVERY)
        if status["exitstatus"] != "OK":
            raise DidNotWork(f"{upid}: {status['exitstatus']}")

    async def create(self, name: str, address: str, running_now: asyncio.Event, agent: bool) -> Timed:
        """running_now: set once the VM runs. agent: whether it has one; then it is waited for."""
        began = time.perf_counter()
        vmid = await self.call("GET", "/cluster/nextid")
        guest = f"/nodes/{self.node}/qemu/{vmid}"
        clone = {"newid": vmid, "name": name, "full": 0}
        await self.done(await self.call("POST", f"/nodes/{self.node}/qemu/{self.template}/clone", **clone))
        config = {
            "cores": 2,
            "memory": 1024,
            "ipconfig0": f"ip={address}/24,gw=10.20.30.1",
            "ciuser": "bench",
            "agent": int(agent),
        }
        await self.done(await self.call("POST", f"{guest}/config", **config))
        await self.done(await self.call("PUT", f"{guest}/resize", disk=self.disk, size=f"{GROWN_TO}G"))
        await self.done(await self.call("POST", f"{guest}/status/start"))
        ran, calls = time.perf_counter() - began, self.calls
        running_now.set()
        if agent:
            await self.agent_tells(guest, address)
        return Timed(ran, time.perf_counter() - began, calls)

    async def agent_tells(self, guest: str, address: str) -> None:
        end = time.monotonic() + AGENT_WITHIN
        while time.monotonic() < end:
            with contextlib.suppress(DidNotWork):
                if address in str(await self.call("GET", f"{guest}/agent/network-get-interfaces")):
                    return
            await asyncio.sleep(LOOK_EVERY)
        raise DidNotWork(f"the agent of {guest} did not tell {address}")


@dataclass(frozen=True)
class Ours:
    """Comserv, by REST. server: the id under which it knows the simulated one."""

    session: aiohttp.ClientSession
    base: str
    server: str
    template: int

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.session.request(method, f"{self.base}/api/v1{path}", json=body) as reply:
            told = await reply.json()
            if reply.status >= 300:
                raise DidNotWork(f"{method} {path}: {reply.status} {told}")
            return told

    async def create(self, name: str, address: str, running_now: asyncio.Event, agent: bool) -> tuple[Timed, int]:
        """(what was timed, the VM id): by the times that Comserv wrote down, on this machine's clock; its end is looked at now
        and then. running_now: set once the VM runs."""
        body = {
            "server": self.server,
            "hostname": name,
            "template": {"server": self.server, "vmid": self.template},
            "cpu_cores": 2,
            "memory_mb": 1024,
            "disk_gb": GROWN_TO,
            "network": {"type": "static", "ip_address": address, "subnet_mask": "24", "gateway": "10.20.30.1"},
            "cloud_init": {"user": "bench"},
            "start_after_creation": True,
            "enable_qemu_agent": agent,
        }
        began = time.time()
        job = await self.call("POST", "/vms", body)
        while job["state"] not in ENDED:
            await asyncio.sleep(FOLLOW_EVERY)
            job = await self.call("GET", f"/jobs/{job['id']}")
            if _started(job):
                running_now.set()
        if job["state"] != "succeeded" or (agent and job["warnings"]):
            raise DidNotWork(f"{name}: {job['state']} {job['error']} {job['warnings']}")
        timed = Timed(_seconds(_started(job)) - began, _seconds(job["ended"]) - began)
        return timed, job["result"]["vmid"]


def _started(job: dict[str, Any]) -> str:
    """When the start was done; empty before."""
    return next(step["ended"] or "" for step in job["steps"] if step["name"] == "start")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass
class Rounds:
    """Both, in turns, on one simulated server. Where VMs have an agent, the next is made while the last boots."""

    ours: Ours
    control: aiohttp.ClientSession
    world: dict[str, Any]
    node: str
    disk: str
    free: Iterator[int]

    def address(self) -> str:
        """One that nobody has had yet: Comserv remembers whose they are, over all its servers."""
        return f"10.20.30.{next(self.free)}"

    async def run(self, numbers: Iterable[int], agent: bool) -> Pair:
        found: tuple[list[asyncio.Task[Timed]], list[asyncio.Task[Timed]]] = ([], [])
        try:
            async with asyncio.TaskGroup() as group:
                for number in numbers:
                    kinds = (self.by_ours, self.by_script) if number % 2 else (self.by_script, self.by_ours)
                    for kind in kinds:
                        runs = asyncio.Event()
                        task = group.create_task(kind(number, runs, agent))
                        found[kind == self.by_script].append(task)
                        await (runs.wait() if agent else task)
        except* DidNotWork as faults:
            raise DidNotWork("; ".join(map(str, faults.exceptions))) from faults
        return [task.result() for task in found[0]], [task.result() for task in found[1]]

    async def by_ours(self, number: int, runs: asyncio.Event, agent: bool) -> Timed:
        began = time.time()
        timed, vmid = await self.ours.create(f"ours-{number}", self.address(), runs, agent)
        timed.calls_until_ran = await self.sent(vmid, began, began + timed.ran)
        return timed

    async def by_script(self, number: int, runs: asyncio.Event, agent: bool) -> Timed:
        script = Script(self.control, f"{self.world['url']}/api2/json", self.node, self.ours.template, self.disk)
        return await script.create(f"script-{number}", self.address(), runs, agent)

    async def sent(self, vmid: int, since: float, until: float) -> int:
        """How many calls Comserv sent for this VM: all in that time but those about other guests (the script only asks agents then)."""
        who = self.world["tokens"]["full"]["id"]
        async with self.control.get(f"{self.world['url']}/_sim/requests") as reply:
            rows = await reply.json(content_type=None)
        about = [re.search(r"/(?:qemu|lxc)/(\d+)", row["path"]) for row in rows]
        of_others = [found is not None and int(found[1]) not in (vmid, self.ours.template) for found in about]
        return sum(
            row["who"] == who and since <= row["at"] <= until and not other
            for row, other in zip(rows, of_others, strict=True)
        )


async def measure(rounds: int, fast_rounds: int) -> list[Comparison]:
    """At the simulator's own speed, and ten times as fast."""
    with tempfile.TemporaryDirectory(prefix="comserv-bench-") as folder, contextlib.ExitStack() as stack:
        token = running.make_administrator(Path(folder))
        instance = stack.enter_context(running.comserv(Path(folder), token))
        found, free = [], iter(range(10, 250))
        for speed, count in (("1", rounds), ("10", fast_rounds)):
            with running.simulator("--guests", "4", "--templates", "1", "--speed", speed) as world:
                found += await _at_speed(instance, world, speed, count, free)
        return found


async def _at_speed(
    instance: running.Instance, world: dict[str, Any], speed: str, rounds: int, free: Iterator[int]
) -> list[Comparison]:
    own = {"Authorization": f"Bearer {instance.token}"}
    async with aiohttp.ClientSession(headers=own) as session, _to_proxmox(world) as control:
        ours = Ours(session, instance.url, f"speed-{speed}", world["templates"][0])
        await ours.call("POST", "/servers", registration(ours.server, world))
        async with control.get(f"{world['url']}/_sim/world") as reply:
            known = (await reply.json(content_type=None))["guests"]
        template = next(guest for guest in known if guest["vmid"] == ours.template)
        disk = template["config"]["boot"].removeprefix("order=").split(";")[0]
        both = Rounds(ours, control, world, template["node"], disk, free)
        await both.run([0], agent=False)  # connections, caches and imports are not what is measured
        until_ran = await both.run(range(1, rounds + 1), agent=False)
        until_proven = await both.run(range(rounds + 1, rounds + 1 + PROVEN_ROUNDS), agent=True)
    return comparisons(speed, until_ran, until_proven)


def comparisons(speed: str, until_ran: Pair, until_proven: Pair) -> list[Comparison]:
    def compared(pair: Pair, what: str, unit: str, of: str, goal: Goal = Goal.NONE, limit: float = 0.0) -> Comparison:
        ours, script = (tuple(float(getattr(one, of)) for one in timed) for timed in pair)
        return Comparison(f"creation at speed {speed}: {what}", unit, ours, script, "script, 200 ms polls", goal, limit)

    return [
        compared(until_ran, "until the VM runs", "s", "ran", Goal.MORE, RUNS_WITHIN),
        compared(until_proven, "until its address is proven", "s", "proven", Goal.MORE, PROVEN_WITHIN),
        compared(until_ran, "calls until the VM runs", "calls", "calls_until_ran"),
    ]


def registration(server: str, world: dict[str, Any]) -> dict[str, Any]:
    """The body that registers a simulated server."""
    token = world["tokens"]["full"]
    return {
        "id": server,
        "name": server,
        "addresses": [world["url"]],
        "token_id": token["id"],
        "token_secret": token["secret"],
        "tls": {"mode": "fingerprint", "fingerprint": world["fingerprint"]},
    }


@asynccontextmanager
async def _to_proxmox(world: dict[str, Any]) -> AsyncIterator[aiohttp.ClientSession]:
    """The script's session, with the token that Comserv uses too."""
    token = world["tokens"]["full"]
    headers = {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}"}
    pin = aiohttp.Fingerprint(bytes.fromhex(world["fingerprint"].replace(":", "")))
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=pin)) as session:
        yield session
