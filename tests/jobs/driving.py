"""An engine that runs within a test, and waiting for what becomes of a job."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from comserv.domain.job import Job
from comserv.jobs.engine import Engine, Run, Story
from comserv.jobs.owner import FolderOwner, Owner
from comserv.jobs.sharedowner import SharedOwner
from comserv.persistence import jobs
from comserv.persistence.changes import Topic
from comserv.persistence.database import Database
from tests.persistence.examples import a_job, with_server

STEPS = ("reserve", "clone", "configure")


def an_owner(database: Database, folder: Path) -> Owner:
    return SharedOwner(database) if database.postgresql else FolderOwner(database, folder)


@asynccontextmanager
async def driven(database: Database, folder: Path, *stories: Story, **options: Any) -> AsyncIterator[Engine]:
    """The engine with its owner, as a process has them."""
    owner = an_owner(database, folder)
    engine = Engine(database, owner, stories, **options)
    await engine.start()
    await owner.start()
    try:
        yield engine
    finally:
        await owner.stop()
        await engine.stop()


async def asked(database: Database, *server_ids: str, **values: Any) -> Job:
    """A job that somebody asks for; servers are made where they are missing."""
    async with database.write() as tx:
        for server in server_ids:
            await with_server(tx, server)
        return await jobs.add(tx, a_job(**values))


async def until(database: Database, job_id: str, condition: Callable[[Job], object], seconds: float = 15) -> Job:
    """The job as soon as it is so; fails after `seconds` and shows the job."""
    job = None
    try:
        async with asyncio.timeout(seconds), database.changes.subscribe(Topic.JOB) as changes:
            while True:
                async with database.read() as tx:
                    job = await jobs.get(tx, job_id)
                if condition(job):
                    return job
                await changes.get()
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {job}") from None


async def ended(database: Database, job_id: str, seconds: float = 15) -> Job:
    return await until(database, job_id, lambda job: job.state.ended, seconds)


def step_states(job: Job) -> list[str]:
    return [str(step.state) for step in job.steps]


async def do_nothing(step: object) -> None:
    return None


async def tell_three_steps(run: Run) -> dict[str, Any]:
    for name in STEPS:
        await run.step(name, do_nothing)
    return {"vmid": run.job.vmid}
