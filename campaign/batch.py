"""A batch: twenty runs at once, each on a server of its own, over one Comserv of one or three processes that is killed."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from campaign import draw as drawing
from campaign import truth, world
from campaign.bystanders import BYSTANDERS
from campaign.draw import BATCH, BatchDraw, Draw, Kill
from campaign.faults import Call, Placed
from campaign.installation import Installation, Prepared, installed
from campaign.operations import OPERATIONS, Needs, again, remove_remains
from campaign.root import patiently
from campaign.stage import Stage, Wish
from tests.acceptance.harness import Simulated, Trouble, simulated
from tests.databases import Cluster

SPEED = 20
WORLD = ("--guests", "6", "--templates", "3")
STRIKES_WITHIN = 12.0  # seconds; a fault whose call has not come by then does not come any more
LOOK_EVERY = 0.2  # seconds
LOOK_SOON = 0.05  # for what begins only then
FAULTS_STAND = 6.0  # seconds after everything was asked, then all is lifted
RUN_ENDS_WITHIN = 300.0

Calls = Mapping[str, Mapping[Call, int]]
"""By operation, what it sends when nothing goes wrong, and how often."""


@dataclass
class Result:
    """What came of one run."""

    draw: Draw
    database: str
    placed: tuple[Placed, ...]
    hit: tuple[Placed, ...]
    killed: int
    breaches: list[str]
    seconds: float
    states: list[str] = field(default_factory=list)
    calls: Counter[Call] = field(default_factory=Counter)
    evidence: dict[str, Any] = field(
        default_factory=dict
    )  # of one with breaches: jobs, their calls, the world, all requests


async def run_batch(
    shared: BatchDraw,
    draws: Sequence[Draw],
    calls: Calls,
    prepared: Prepared,
    cluster: Cluster | None,
    folder: Path,
) -> list[Result]:
    """All of these runs at once. draws: of this batch, or some of it."""
    async with _opened(shared, prepared, cluster, folder) as (servers, comserv):
        stages = [Stage(one, f"s{one.number:02d}", servers[one.number], comserv, one.random("stage")) for one in draws]
        ready = await asyncio.gather(*(_prepared(stage) for stage in stages), return_exceptions=True)
        for error in ready:
            if isinstance(error, BaseException):
                raise error
        for stage in stages:
            stage.placed = drawing.placed(stage.draw, calls.get(stage.draw.operation, {}))
        killing = asyncio.create_task(_kill(shared.kills, stages, comserv))
        results = await asyncio.gather(*(_run(stage, shared.database) for stage in stages))
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing
        for result in results:
            result.killed = sum(one.starts - 1 for one in comserv.processes)
        return results


@asynccontextmanager
async def _opened(
    shared: BatchDraw, prepared: Prepared, cluster: Cluster | None, folder: Path
) -> AsyncIterator[tuple[list[Simulated], Installation]]:
    options = ("--servers", str(BATCH), "--nodes", str(shared.nodes), "--speed", str(SPEED), *WORLD)
    random = Draw(shared.seed, shared.number, "", False, False, "", 0, "").random("installation")
    async with (
        simulated(folder / "servers", *options) as made,
        installed(prepared, folder / "comserv", shared.database, cluster, random) as comserv,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
    ):
        yield [Simulated(told, made.process, session) for told in made.told["servers"]], comserv


async def _prepared(stage: Stage) -> None:
    """Its guest is in the state that the operation needs, and its server is known to Comserv."""
    needs = OPERATIONS[stage.draw.operation].needs
    if needs != Needs():
        stage.target = await _target(stage, needs)
        stage.touched.add(stage.vmid)
    await asyncio.sleep(1.2 * 10 / SPEED)  # until the server's own list knows it
    if OPERATIONS[stage.draw.operation].register:
        await stage.comserv.register(stage.server, stage.simulated)
    else:
        stage.registered = False
    stage.before = await stage.root.world()
    if stage.target:
        stage.target = world.guests(stage.before)[stage.vmid]
    await stage.simulated.control("DELETE", "requests")


async def _target(stage: Stage, needs: Needs) -> world.Json:
    found = (await stage.root.world())["guests"]
    fitting = [guest for guest in found if guest["type"] == needs.type and not guest["template"]]
    if not fitting:
        return await _made(stage, needs)
    guest = stage.random.choice(fitting)
    await stage.root.bring(guest, needs.state)
    return guest


async def _made(stage: Stage, needs: Needs) -> world.Json:
    """A world without such a guest gets one."""
    node, vmid = (await stage.root.world())["guests"][0]["node"], 700
    if needs.type == "qemu":
        template = stage.simulated.templates[0]
        at = next(one["node"] for one in (await stage.root.world())["guests"] if one["vmid"] == template)
        await stage.root.done("POST", f"/nodes/{at}/qemu/{template}/clone", newid=vmid, name="needed", full=1)
    else:
        given = {
            "vmid": vmid,
            "hostname": "needed",
            "ostemplate": "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
        }
        await stage.root.done("POST", f"/nodes/{node}/lxc", **given, rootfs="local-lvm:4", memory=512)
    guest = await stage.root.guest(vmid)
    assert guest is not None, f"no {needs.type} could be made"
    await stage.root.bring(guest, needs.state)
    return guest


# --- one run


async def _run(stage: Stage, database: str) -> Result:
    began = time.monotonic()
    stage.began = began
    try:
        async with asyncio.timeout(RUN_ENDS_WITHIN):
            await _through(stage)
            found = await truth.breaches(stage)
    except (Trouble, TimeoutError) as error:
        found = [*stage.wrong, f"{type(error).__name__}: {error or 'the run did not end'} {await _standing(stage)}"]
    except Exception as error:  # the outermost edge of a run: the others go on, and it is told as a breach
        found = [*stage.wrong, f"the check itself failed: {type(error).__name__}: {error}"]
    states = [str(wish.told.get("state")) if wish.job else f"refused {wish.status}" for wish in stage.wishes]
    requests = await stage.simulated.requests()
    sent = Counter(Call.of(row["method"], row["path"]) for row in requests if "!" in row["who"])
    seconds = time.monotonic() - began
    result = Result(stage.draw, database, stage.placed, tuple(stage.hit), 0, found, seconds, states, sent)
    if found:
        result.evidence = await _evidence(stage, requests)
    return result


async def _evidence(stage: Stage, requests: Sequence[world.Json]) -> dict[str, Any]:
    """What somebody needs who looks for the cause."""
    jobs = {}
    for wish in stage.wishes:
        _, job = await stage.comserv.ask_patiently("GET", f"/jobs/{wish.job}") if wish.job else (0, wish.told)
        _, calls = (
            await stage.comserv.ask_patiently("GET", f"/jobs/{wish.job}/calls?limit=500") if wish.job else (0, {})
        )
        jobs[wish.job or f"{wish.method} {wish.path}"] = {
            "job": job,
            "calls": calls.get("items"),
            "refused": wish.refused,
        }
    after = await stage.root.world()
    return {"jobs": jobs, "before": stage.before, "after": after, "requests": requests}


async def _standing(stage: Stage) -> str:
    """Where the jobs stand that did not end."""
    told = []
    for wish in stage.wishes:
        if wish.job:
            _, job = await stage.comserv.ask_patiently("GET", f"/jobs/{wish.job}")
            told.append(f"{job.get('title')}: {job.get('state')} {job.get('waiting')}")
    return "; ".join(told)


async def _through(stage: Stage) -> None:
    """Faults, the operation, somebody else; then everything is lifted, and what failed is tried again or removed."""
    await stage.simulated.break_with(*(one.rule for one in stage.placed))
    watching = [asyncio.create_task(_watch(stage, one)) for one in stage.placed]
    other = asyncio.create_task(_other(stage))
    try:
        acting = asyncio.create_task(OPERATIONS[stage.draw.operation].act(stage))
        await asyncio.wait([acting], timeout=FAULTS_STAND)
        await _struck(stage, watching)
        await _mend(stage, watching)
        await acting
        await other
    finally:
        for task in (*watching, other):
            task.cancel()
        await asyncio.gather(*watching, other, return_exceptions=True)
        stage.struck.set()
    await _settle(stage)


async def _struck(stage: Stage, watching: Sequence["asyncio.Task[None]"]) -> None:
    """Until all faults have struck and been lifted, or nothing goes on any more that could meet them."""
    end = time.monotonic() + FAULTS_STAND
    while time.monotonic() < end and not all(task.done() for task in watching):
        if not await stage.comserv.busy([wish.job for wish in stage.wishes if wish.job]):
            return
        await asyncio.sleep(LOOK_EVERY)


async def _mend(stage: Stage, watching: Sequence["asyncio.Task[None]"]) -> None:
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    unspent = await stage.simulated.unspent()
    stage.hit += [
        one for one in stage.placed if one not in stage.hit and not one.fault.lasting and one.tag not in unspent
    ]
    await stage.simulated.mend()
    if any(one.fault.name == "certificate_renewed" for one in stage.hit) and stage.registered:
        await stage.comserv.trust(stage.server, stage.simulated)


async def _watch(stage: Stage, one: Placed) -> None:
    """Notes that the fault has struck; one that lasts begins then, and is lifted after its time."""
    end = time.monotonic() + STRIKES_WITHIN
    while one.tag in await stage.simulated.unspent():
        if time.monotonic() > end:
            return
        await asyncio.sleep(LOOK_SOON if one.fault.lasting else LOOK_EVERY)
    stage.hit.append(one)
    stage.struck.set()
    if not one.fault.lasting:
        return
    await stage.simulated.break_with(one.standing)
    await asyncio.sleep(one.lifted_after)
    rules = await stage.simulated.control("GET", "faults")
    await stage.simulated.mend()
    await stage.simulated.break_with(*(rule for rule in rules if rule.get("tag") != one.standing["tag"]))


async def _other(stage: Stage) -> None:
    if stage.draw.other:
        await asyncio.sleep(stage.draw.other_after)
        await BYSTANDERS[stage.draw.other](stage)


async def _settle(stage: Stage) -> None:
    """All jobs have ended; those that failed are tried again once, or what they left is removed."""
    for wish in list(stage.wishes):
        if not wish.job:
            continue
        job = await stage.comserv.ended(wish.job)
        if job["state"] in ("failed", "cancelled") and stage.draw.again == "retry" and not wish.removed:
            first = job
            await again(stage, wish)
            job = await stage.comserv.ended(wish.job)
            if job["state"] == "failed" and not _may_stay_failed(stage):
                stage.wrong.append(
                    f"{job['title']} failed again without any fault: {truth._error(job)} (first: {truth._error(first)})"
                )
        if job["kind"] == "create_vm" and job["state"] in ("failed", "cancelled"):
            await _remains(stage, wish, job)
        wish.told = job


def _may_stay_failed(stage: Stage) -> bool:
    """What somebody else did, what another wish removed, and what a dead node left, is not undone by another try."""
    return bool(stage.other_did) or stage.node_died or any(wish.is_removal for wish in stage.wishes)


async def _remains(stage: Stage, wish: Wish, job: world.Json) -> None:
    """What a creation left is told, and goes if that is wished."""
    status, told = await stage.comserv.ask_patiently("GET", f"/jobs/{wish.job}/remains")
    guest = await stage.root.guest(job["vmid"]) if job["vmid"] else None
    if status != 200 or not told["text"]:
        stage.wrong.append(f"what is left of {job['title']} is not told: {status} {told}")
        return
    if guest is not None and guest["vmid"] in stage.others_guests:
        guest = None
    if guest and not told["removable"] and not stage.node_died and not stage.other_did:
        stage.wrong.append(f"{job['title']} left {job['vmid']}, which cannot be removed here: {told['text']}")
    if not guest and told["removable"]:
        stage.wrong.append(f"remains of {job['title']} are told as removable, and none are there: {told['text']}")
    if guest and told["removable"] and stage.draw.again == "remove":
        if guest["status"] == "running":
            await patiently(partial(_stop, stage, guest))
        await remove_remains(stage, wish)
        last = stage.wishes[-1]
        if last.job:
            removal = await stage.comserv.ended(last.job)
            last.told = removal
            if removal["state"] != "succeeded" and not stage.other_did:
                stage.wrong.append(f"remains were not removed: {truth._error(removal)}")


async def _stop(stage: Stage, guest: world.Json) -> None:
    await stage.root.done("POST", f"/nodes/{guest['node']}/qemu/{guest['vmid']}/status/stop")


# --- killing


async def _kill(kills: Sequence[Kill], stages: Sequence[Stage], comserv: Installation) -> None:
    """SIGKILL at each moment, and started again."""
    by_number = {stage.draw.number: stage for stage in stages}
    began = time.monotonic()
    for kill in sorted(kills, key=lambda one: one.alone):
        stage = by_number.get(kill.run)
        if stage is None:
            await asyncio.sleep(max(0.0, began + kill.alone - time.monotonic()))
        else:
            await stage.struck.wait()
            await asyncio.sleep(kill.after)
        one = comserv.processes[kill.process % len(comserv.processes)]
        one.kill()
        await asyncio.sleep(kill.away)
        await one.start()


__all__ = ["Result", "run_batch"]
