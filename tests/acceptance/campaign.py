"""Rounds of creations during which Comserv is killed at chosen moments and replies are lost; after each the worlds are compared."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from tests.acceptance import moments
from tests.acceptance.creations import Creation, chosen, differences, secrets_of, unclean
from tests.acceptance.harness import Instance, Simulated, Trouble, until
from tests.acceptance.moments import STEPS, Moment
from tests.acceptance.rows import Rows

ENDS_WITHIN = 90.0  # seconds for a round's jobs once nobody is killed any more
COME_WITHIN = 150.0  # seconds for all moments of a round
LOOK_EVERY = 0.03  # seconds
LOST_SHARE = 0.45  # of creations that lose a reply besides


@dataclass
class Tally:
    """What was done. hits: by (step, phase) where open jobs stood at a kill; aimed: by (step, moment) that came."""

    kills: int = 0
    creations: int = 0
    rounds: int = 0
    retries: int = 0
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    aimed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        for name in ("kills", "creations", "rounds", "retries"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.hits += other.hits
        self.aimed += other.aimed

    def __str__(self) -> str:
        hits = ", ".join(f"{step}/{phase} {count}" for (step, phase), count in sorted(self.hits.items()))
        return (
            f"{self.kills} kills in {self.rounds} rounds of {self.creations} creations, {self.retries} retries; {hits}"
        )


@dataclass
class Campaign:
    """One Comserv and one server over many rounds."""

    comserv: Instance
    server: Simulated
    rows: Rows
    random: Random
    tally: Tally = field(default_factory=Tally)
    creations: list[Creation] = field(default_factory=list)
    before: set[int] = field(default_factory=set)
    templates: dict[int, dict[str, str]] = field(default_factory=dict)

    async def open(self) -> None:
        """What was there at first."""
        world = await self.server.world()
        self.before = {guest["vmid"] for guest in world["guests"]}
        self.templates = {guest["vmid"]: guest["config"] for guest in world["guests"] if guest["template"]}

    async def round(self, aims: Sequence[tuple[str, str]]) -> None:
        """A creation for each (step, moment), all at once, each killed there; then everything is compared."""
        first = len(self.creations)
        made = [self._chosen(first + offset, step, name) for offset, (step, name) in enumerate(aims)]
        targets = [
            moments.moment(step, name, creation, f"{creation.number}-{step}-{name}", self.random)
            for (step, name), creation in zip(aims, made, strict=True)
        ]
        rules = [rule for target in targets for rule in target.rules]
        rules += [rule for creation, (step, _) in zip(made, aims, strict=True) for rule in self._lost(creation, step)]
        await self.server.break_with(*rules)
        try:
            await self.carry_out(made, list(zip(targets, made, strict=True)))
        except Trouble as trouble:
            raise Trouble(f"{trouble}\nmoments: {aims}\nrules: {rules}\n{await self._told(made)}") from trouble
        await self.server.mend()

    async def carry_out(self, made: Sequence[Creation], targets: Sequence[tuple[Moment, Creation]] = ()) -> None:
        """Asks for all of them at once, kills at the moments, waits until all are made, and compares. Raises Trouble."""
        self.creations += made
        self.tally.creations += len(made)
        self.tally.rounds += 1
        asking = [asyncio.create_task(self._ask(creation)) for creation in made]
        try:
            await self._kill_at(list(targets), asking)
            await self._end(made, asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        await self._compare(made)

    def _chosen(self, number: int, step: str, name: str) -> Creation:
        template = self.random.choice(self.server.templates)
        asked: dict[str, Any] = {}
        if step == "grow":
            asked["disk_gb"] = 10
        if step in ("start", "prove"):
            asked["start_after_creation"] = True
        if step == "prove":  # the last template has no agent
            template = self.random.choice(self.server.templates[:-1])
        if step != "reserve" and name not in ("asked", "done"):
            asked["vmid"] = 2000 + number
        return chosen(self.random, number, template, **asked)

    def _lost(self, creation: Creation, but: str) -> list[moments.Rule]:
        """A lost reply in another step."""
        if self.random.random() > LOST_SHARE:
            return []
        step = self.random.choice([step for step in STEPS if step not in (but, "reserve", "prove")])
        kind = self.random.choice(moments.LOST)
        return [moments.lost(step, kind, creation, f"{creation.number}-{step}-{kind}")]

    # --- asking

    async def _ask(self, creation: Creation) -> None:
        """Until it is accepted. The same key makes one job of however many requests."""
        key = f"creation-{creation.number}"
        while not creation.job:
            try:
                status, told = await self.comserv.ask("POST", "/vms", creation.body, Idempotency_Key=key)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)
                continue
            if status == 202:
                creation.job = told["id"]
            elif status == 422 and {"server_unreachable", "vmid_unknown"} & {
                one["code"] for one in told.get("findings", ())
            }:
                await asyncio.sleep(0.5)  # a reply that was lost to the plan
            else:
                raise Trouble(f"{creation.name} was not accepted: {status} {told}")

    async def _job(self, creation: Creation) -> dict[str, Any] | None:
        """None while it is not accepted yet, or Comserv is being started."""
        if not creation.job:
            return None
        try:
            return await self.comserv.get(f"/jobs/{creation.job}")
        except (aiohttp.ClientError, TimeoutError):
            return None

    # --- killing

    async def _kill_at(self, targets: list[tuple[Moment, Creation]], asking: Sequence["asyncio.Task[None]"]) -> None:
        """At every target's moment that comes, until all have come or gone by."""
        end = time.monotonic() + COME_WITHIN
        while targets:
            _heed(asking)
            if time.monotonic() > end:
                raise Trouble(f"these moments neither came nor went by: {[(one.step, one.name) for one, _ in targets]}")
            come, gone = await self.come(targets)
            targets = [one for one in targets if one not in come and one not in gone]
            if not come:
                await asyncio.sleep(LOOK_EVERY)
                continue
            await asyncio.sleep(min(target.after for target, _ in come) / 1000)
            self.tally.aimed.update((target.step, target.name) for target, _ in come)
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, note where every job stood, and start again."""
        self.comserv.kill()
        self.tally.kills += 1
        self.tally.hits.update((job.step, job.phase) for job in self.rows.standing())
        await self.comserv.start()

    async def come(self, targets: list[tuple[Moment, Creation]]) -> tuple[list, list]:
        """(those whose moment is now, those whose job has ended without it)."""
        unspent = await self.server.unspent()
        come, gone = [], []
        for target, creation in targets:
            if target.tag and target.tag not in unspent:
                come.append((target, creation))
                continue
            job = await self._job(creation)
            if job is None:
                continue
            step = next(step for step in job["steps"] if step["name"] == target.step)
            if not target.tag and _so_far(step, target.until):
                come.append((target, creation))
            elif job["ended"]:
                gone.append((target, creation))
        return come, gone

    # --- ending

    async def _end(self, made: Sequence[Creation], asking: Sequence["asyncio.Task[None]"]) -> None:
        """Until all jobs have succeeded. One that failed by a refusal that was made up says so, and is tried again."""

        async def ended() -> bool:
            _heed(asking)
            jobs = [await self._job(creation) for creation in made]
            for creation, job in zip(made, jobs, strict=True):
                if job and job["state"] == "failed":
                    await self._try_again(creation, job)
            return all(job and job["state"] == "succeeded" for job in jobs)

        await until("all jobs succeeded", ended, ENDS_WITHIN, 0.1)

    async def _try_again(self, creation: Creation, job: dict[str, Any]) -> None:
        error = job["error"]
        if moments.REFUSED not in str(error.get("proxmox")):
            raise Trouble(f"{creation.name} failed: {error}")
        assert error["title"], error
        assert error["cure"], error
        assert [step["name"] for step in job["steps"] if step["state"] == "failed"], job
        assert not self._reserved(job["vmid"]), "a job that failed keeps no reservation"
        status, told = await self.comserv.ask("POST", f"/jobs/{creation.job}/retry", {"secrets": secrets_of(creation)})
        assert status == 202, told
        creation.retries += 1
        self.tally.retries += 1

    def _reserved(self, vmid: int) -> bool:
        return vmid in self.rows.reserved()

    # --- comparing

    async def _compare(self, made: Sequence[Creation]) -> None:
        world = await self.server.world()
        wrong = unclean(world, self.before, len(self.creations))
        for creation in made:
            job = await self.comserv.get(f"/jobs/{creation.job}")
            wrong += differences(creation, job, world, self.templates)
            wrong += _untold(creation, job, self.templates[creation.template])
            wrong += _made_twice(job, world)
        jobs = await self.comserv.every("/jobs")
        if len(jobs) != len(self.creations):
            wrong.append(f"{len(jobs)} jobs are kept, {len(self.creations)} were asked for")
        if left := self.rows.left_over():
            wrong.append(f"left in the database: {left}")
        if wrong:
            raise Trouble("\n".join(wrong))

    async def _told(self, made: Sequence[Creation]) -> str:
        """What the jobs and their calls say."""
        lines = []
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            for creation in made:
                job = await self._job(creation)
                lines.append(f"{creation.name} {creation.body}: {_short(job)}")
                if job and job["state"] != "succeeded":
                    calls = (await self.comserv.get(f"/jobs/{creation.job}/calls?limit=500"))["items"]
                    lines += [
                        f"    {one['at']} {one['method']} {one['path']} {one['status']} {one['reply'][:80]}"
                        for one in calls
                    ]
        return "\n".join(lines)


def _so_far(step: dict[str, Any], until: str) -> bool:
    return (
        step["state"] == "done" or (until == "running" and step["state"] == until) or (until == "task" and step["upid"])
    )


def _heed(asking: Sequence["asyncio.Task[None]"]) -> None:
    """Raises what a task failed with."""
    for task in asking:
        if task.done():
            task.result()


def _short(job: dict[str, Any] | None) -> str:
    if job is None:
        return "not accepted"
    steps = [
        f"{step['name']} {step['state']}" + (f" ({step['note']})" if step.get("note") else "") for step in job["steps"]
    ]
    return f"{job['id']} {job['vmid']} {job['state']} {steps} waiting {job['waiting']} error {job['error']} {job['warnings']}"


def _untold(creation: Creation, job: dict[str, Any], template: dict[str, str]) -> list[str]:
    """What a job that succeeded does not say."""
    states = {step["name"]: step["state"] for step in job["steps"]}
    body, result = creation.body, job["result"]
    wanted = dict.fromkeys(STEPS, "done")
    if "disk_gb" not in body:
        wanted["grow"] = "skipped"
    if not body.get("start_after_creation", True):
        wanted["start"] = "skipped"
    wrong = [f"{creation.name}: the steps are {states}"] if states != wanted else []
    if result.get("vmid") != job["vmid"] or result.get("name") != creation.name or not result.get("node"):
        wrong.append(f"{creation.name}: the result is {result}")
    if job["attempt"] != 1 + creation.retries or job["error"] or job["waiting"] or not job["ended"]:
        wrong.append(f"{creation.name}: {_short(job)}")
    has_agent = "agent" in template and body.get("start_after_creation", True)
    address = body["network"].get("ip_address")
    if has_agent and address and (result["addresses"] != [address] or job["warnings"]):
        wrong.append(f"{creation.name}: proven {result['addresses']}, warned {job['warnings']}")
    if not has_agent and not job["warnings"]:
        wrong.append(f"{creation.name}: nothing was proven, and nothing says so")
    return wrong


def _made_twice(job: dict[str, Any], world: dict[str, Any]) -> list[str]:
    """Clones to this VM id that went well, by their logs."""
    target = f" with ID {job['vmid']}"
    good = [
        task
        for task in world["tasks"]
        if task["type"] == "qmclone"
        and task["exitstatus"] == "OK"
        and any(line.endswith(target) for line in task["log"])
    ]
    return [] if len(good) == 1 else [f"{len(good)} clones to {job['vmid']} went well"]
