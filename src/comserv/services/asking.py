"""How a request becomes a job: its row and steps, its idempotency key and its audit row, in one transaction."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from comserv.domain.guest import GuestKey
from comserv.domain.job import Job, JobKind, JobSecret, JobState, Step
from comserv.domain.person import Actor
from comserv.persistence import idempotency, jobs
from comserv.persistence.database import Database, Transaction
from comserv.services.permission import write_audit

Write = Callable[[Transaction, Job], Awaitable[None]]


def new_job(
    database: Database,
    actor: Actor,
    kind: JobKind,
    title: str,
    guest: GuestKey,
    node: str,
    request: Mapping[str, Any],
    steps: Iterable[str],
) -> Job:
    """A job that is about to be asked for. request: without secrets."""
    now = database.clock()
    return Job(
        id=jobs.new_id(now),
        kind=kind,
        state=JobState.QUEUED,
        title=title,
        server=guest.server,
        vmid=guest.vmid,
        node=node,
        requested_by=actor.name,
        via=actor.via,
        created=now,
        steps=tuple(Step(name) for name in steps),
        request=request,
    )


async def known_job(database: Database, actor: Actor, key: str, body: Mapping[str, Any]) -> Job | None:
    """The job that an earlier request with this key made, None where the key is new. Raises IdempotencyMismatch."""
    if not key:
        return None
    async with database.read() as tx:
        found = await idempotency.find(tx, actor.name, key, body)
        return await jobs.get(tx, found) if found else None


async def ask(
    database: Database,
    actor: Actor,
    job: Job,
    *,
    key: str = "",
    body: Mapping[str, Any] | None = None,
    secrets: Iterable[JobSecret] = (),
    write: Write | None = None,
) -> Job:
    """The job, or the one that an earlier request with the same key made. write: goes into the same transaction.

    key: the Idempotency-Key, or empty. Raises IdempotencyMismatch where the key came with another body.
    """
    async with database.write() as tx:
        if key:
            claimed = await idempotency.claim(tx, actor.name, key, body or dict(job.request), job.id)
            if claimed != job.id:
                return await jobs.get(tx, claimed)
        added = await jobs.add(tx, job, secrets)
        if write:
            await write(tx, added)
        await write_audit(tx, actor, str(job.kind), f"guest {job.guest}", detail=job.title, job=job.id)
        return added
