"""Jobs with their steps: the only truth of what was asked, what was done, and what comes next.

A job's driver owns its rows and saves them with `save` and `save_step`; others may only ask for a cancel or a retry.
"""

import secrets as randomness
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from comserv.domain.errors import Conflict, NotFound, Problem, SecretsMissing
from comserv.domain.job import Job, JobKind, JobSecret, JobState, RunningTask, Step, StepState, Waiting, WaitReason
from comserv.domain.page import Page
from comserv.persistence import jobsecrets
from comserv.persistence.changes import Topic
from comserv.persistence.database import Transaction
from comserv.persistence.paging import check_limit, decode_cursor, encode_cursor, page_of
from comserv.persistence.tables import EPOCH, job_steps, jobs

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
ENDED = [str(state) for state in JobState if state.ended]
OPEN = [str(state) for state in JobState if not state.ended]


def new_id(now: datetime) -> str:
    """16 characters, sorted by time: 10 for milliseconds, 6 by chance."""
    number = ((now - EPOCH) // timedelta(milliseconds=1) << 30) | randomness.randbits(30)
    return "".join(DIGITS[number >> shift & 31] for shift in range(75, -5, -5))


@dataclass(frozen=True)
class JobFilter:
    """Empty fields filter nothing. states: any of them. vmid only together with server."""

    states: tuple[JobState, ...] = ()
    server: str = ""
    vmid: int | None = None
    person: str = ""
    kinds: tuple[JobKind, ...] = ()


@dataclass(frozen=True)
class OpenJob:
    """What the engine needs to know of a job that has not ended."""

    id: str
    state: JobState
    vmid: int | None
    queued: datetime
    waiting: bool
    cancel_requested: bool
    running_task: RunningTask
    revision: int


async def add(tx: Transaction, job: Job, secrets: Iterable[JobSecret] = ()) -> Job:
    """Queue it: `job` with its steps' names, without state of its own. Its secrets are kept encrypted for one step each."""
    fresh = replace(job, state=JobState.QUEUED, created=tx.now, queued=tx.now, revision=1)
    await tx.execute(insert(jobs).values(id=job.id, created=tx.now, attempt=job.attempt, revision=1, **_columns(fresh)))
    rows = [{"job": job.id, "position": at, **_step_columns(step)} for at, step in enumerate(job.steps)]
    if rows:
        await tx.execute(insert(job_steps), rows)
    await jobsecrets.keep(tx, job.id, secrets)
    tx.changed(Topic.JOB, job.id, 1)
    return fresh


async def get(tx: Transaction, job_id: str) -> Job:
    """With all of its steps. Raises NotFound."""
    row = (await tx.execute(select(jobs).where(jobs.c.id == job_id))).first()
    if row is None:
        raise NotFound(noun="job", name=job_id)
    return _job(row, (await _steps(tx, [job_id])).get(job_id, ()))


async def page(tx: Transaction, wanted: JobFilter, *, limit: int = 50, cursor: str | None = None) -> Page[Job]:
    """Newest first; steps without log and intent. Raises Invalid for a foreign cursor or limit."""
    statement = select(jobs).where(*_conditions(wanted)).order_by(jobs.c.id.desc()).limit(check_limit(limit) + 1)
    if cursor:
        statement = statement.where(jobs.c.id < decode_cursor(cursor, str)[0])
    rows = (await tx.execute(statement)).all()
    steps = await _steps(tx, [row.id for row in rows[:limit]], brief=True)
    return page_of(rows, limit, lambda row: _job(row, steps.get(row.id, ())), lambda row: encode_cursor(row.id))


async def open_on(tx: Transaction, server: str, vmid: int | None = None) -> tuple[OpenJob, ...]:
    """Jobs on a server (or on one guest of it) that have not ended, the first asked first."""
    here = (jobs.c.server == server) & jobs.c.state.in_(OPEN)
    statement = select(*_OPEN_JOB).where(here).order_by(jobs.c.queued, jobs.c.id)
    if vmid is not None:
        statement = statement.where(jobs.c.vmid == vmid)
    return tuple(_open_job(row) for row in await tx.execute(statement))


async def open_jobs(tx: Transaction, job_ids: Sequence[str]) -> tuple[tuple[str, OpenJob], ...]:
    """Of these jobs those that have not ended, each with its server."""
    rows = await tx.execute(select(*_OPEN_JOB).where(jobs.c.id.in_(job_ids), jobs.c.state.in_(OPEN)))
    return tuple((row.server, _open_job(row)) for row in rows)


async def save(tx: Transaction, job: Job) -> Job:
    """The driver's view of the job's own row; gives it back with what others asked meanwhile, and a new revision."""
    values = _columns(job)
    for others in ("cancel_requested", "running_task", "request", "queued"):
        del values[others]
    statement = update(jobs).where(jobs.c.id == job.id).values(revision=jobs.c.revision + 1, **values)
    fresh = (await tx.execute(statement.returning(jobs.c.cancel_requested, jobs.c.running_task, jobs.c.revision))).one()
    tx.changed(Topic.JOB, job.id, fresh.revision)
    asked = RunningTask(fresh.running_task or RunningTask.FINISH)
    return replace(job, cancel_requested=fresh.cancel_requested, running_task=asked, revision=fresh.revision)


async def save_step(tx: Transaction, job_id: str, step: Step) -> None:
    """One step as it is now. The caller saves the job in the same transaction, which raises the revision."""
    here = (job_steps.c.job == job_id) & (job_steps.c.name == step.name)
    await tx.execute(update(job_steps).where(here).values(_step_columns(step)))


async def line_up(tx: Transaction, job_id: str, text: str) -> None:
    """A queued job shows that it waits for another one."""
    values = {"waiting_reason": str(WaitReason.LIMIT), "waiting_since": tx.now, "waiting_text": text}
    mine = (jobs.c.id == job_id) & (jobs.c.state == str(JobState.QUEUED))
    statement = update(jobs).where(mine).values(revision=jobs.c.revision + 1, **values)
    revision = (await tx.execute(statement.returning(jobs.c.revision))).scalar()
    if revision is not None:
        tx.changed(Topic.JOB, job_id, revision)


async def request_cancel(tx: Transaction, job_id: str, running_task: RunningTask = RunningTask.FINISH) -> Job:
    """Raises NotFound, and Conflict where it has ended. Asking again may change `running_task`."""
    statement = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(OPEN))
    asked = {"cancel_requested": True, "running_task": str(running_task), "revision": jobs.c.revision + 1}
    done = await tx.execute(statement.values(asked))
    job = await get(tx, job_id)
    if not done.rowcount:
        raise Conflict(f"The job has {job.state} already.", cure="Only a job that has not ended can be cancelled.")
    tx.changed(Topic.JOB, job_id, job.revision)
    return job


async def retry(tx: Transaction, job_id: str, secrets: Mapping[str, str]) -> Job:
    """Queue a failed or cancelled job again: the same id, the next attempt; what is done stays done, what was written
    before an act stays known. Raises NotFound, Conflict, SecretsMissing."""
    job = await get(tx, job_id)
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict(f"The job is {job.state}.", cure="Only a failed or cancelled job can be tried again.")
    missing = await jobsecrets.renew(tx, job, secrets)
    if missing:
        raise SecretsMissing(missing)
    again = update(jobs).where(jobs.c.id == job_id, jobs.c.state == str(job.state), jobs.c.attempt == job.attempt)
    if not (await tx.execute(again.values(_fresh_attempt(tx.now, job)))).rowcount:
        raise Conflict("Somebody else tried it again just now.", cure="Look at the job.")
    for step in job.steps:
        if step.state is not StepState.DONE:
            await save_step(tx, job_id, replace(step, state=StepState.WAITING, started=None, ended=None, note=""))
    job = await get(tx, job_id)
    tx.changed(Topic.JOB, job_id, job.revision)
    return job


def _fresh_attempt(now: datetime, job: Job) -> dict[str, Any]:
    nothing = dict.fromkeys(("started", "ended", "waiting_since", "waiting_next_try", "held_since", "error"))
    return {
        **nothing,
        "state": str(JobState.QUEUED),
        "waiting_reason": "",
        "waiting_text": "",
        "cancel_requested": False,
        "running_task": str(RunningTask.FINISH),
        "queued": now,
        "attempt": job.attempt + 1,
        "warnings": [],
        "result": {},
        "revision": jobs.c.revision + 1,
    }


async def count_open(tx: Transaction, server: str) -> int:
    return len(await open_on(tx, server))


async def remove_ended_before(tx: Transaction, before: datetime, most: int = 1000) -> int:
    """Retention: the oldest jobs that ended before that, with steps, calls and idempotency keys. How many."""
    old = select(jobs.c.id).where(jobs.c.state.in_(ENDED), jobs.c.ended < before).order_by(jobs.c.id).limit(most)
    return (await tx.execute(delete(jobs).where(jobs.c.id.in_(old)))).rowcount


def _conditions(wanted: JobFilter) -> list[Any]:
    conditions: list[Any] = []
    if wanted.states:
        conditions.append(jobs.c.state.in_([str(state) for state in wanted.states]))
    if wanted.server:
        conditions.append(jobs.c.server == wanted.server)
    if wanted.vmid is not None:
        conditions.append(jobs.c.vmid == wanted.vmid)
    if wanted.person:
        conditions.append(jobs.c.requested_by == wanted.person)
    if wanted.kinds:
        conditions.append(jobs.c.kind.in_([str(kind) for kind in wanted.kinds]))
    return conditions


async def _steps(tx: Transaction, job_ids: Sequence[str], *, brief: bool = False) -> dict[str, tuple[Step, ...]]:
    shown = [column for column in job_steps.c if not brief or column.name not in ("log", "intent", "result")]
    statement = select(*shown).where(job_steps.c.job.in_(job_ids)).order_by(job_steps.c.job, job_steps.c.position)
    steps: dict[str, list[Step]] = {}
    for row in await tx.execute(statement):
        steps.setdefault(row.job, []).append(_step(row, brief))
    return {job: tuple(found) for job, found in steps.items()}


def _columns(job: Job) -> dict[str, Any]:
    waiting = job.waiting
    return {
        "kind": str(job.kind),
        "state": str(job.state),
        "title": job.title,
        "server": job.server,
        "vmid": job.vmid,
        "node": job.node,
        "requested_by": job.requested_by,
        "via": job.via,
        "queued": job.queued,
        "started": job.started,
        "ended": job.ended,
        "waiting_reason": str(waiting.reason) if waiting else "",
        "waiting_since": waiting.since if waiting else None,
        "waiting_next_try": waiting.next_try if waiting else None,
        "waiting_text": waiting.text if waiting else "",
        "held_since": job.held_since,
        "cancel_requested": job.cancel_requested,
        "running_task": str(job.running_task),
        "request": dict(job.request),
        "result": dict(job.result),
        "warnings": list(job.warnings),
        "error": msgspec.to_builtins(job.error) if job.error else None,
    }


def _step_columns(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "state": str(step.state),
        "text": step.text,
        "started": step.started,
        "ended": step.ended,
        "upid": step.upid,
        "percent": step.percent,
        "log": list(step.log),
        "intent": dict(step.intent),
        "result": dict(step.result),
        "note": step.note,
    }


def _job(row: Any, steps: tuple[Step, ...]) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        title=row.title,
        server=row.server,
        vmid=row.vmid,
        node=row.node,
        requested_by=row.requested_by,
        via=row.via,
        created=row.created,
        queued=row.queued,
        started=row.started,
        ended=row.ended,
        waiting=_waiting(row),
        held_since=row.held_since,
        attempt=row.attempt,
        steps=steps,
        cancel_requested=row.cancel_requested,
        running_task=RunningTask(row.running_task or RunningTask.FINISH),
        request=row.request,
        result=row.result,
        warnings=tuple(row.warnings),
        error=msgspec.convert(row.error, Problem) if row.error else None,
        revision=row.revision,
    )


def _waiting(row: Any) -> Waiting | None:
    if not row.waiting_reason:
        return None
    return Waiting(WaitReason(row.waiting_reason), row.waiting_since, row.waiting_next_try, row.waiting_text)


def _step(row: Any, brief: bool) -> Step:
    step = Step(row.name, StepState(row.state), row.text, row.started, row.ended, row.upid, row.percent, note=row.note)
    return step if brief else replace(step, log=tuple(row.log), intent=row.intent, result=row.result)


_OPEN_JOB = (
    *(jobs.c.id, jobs.c.server, jobs.c.state, jobs.c.vmid, jobs.c.queued, jobs.c.waiting_reason),
    *(jobs.c.cancel_requested, jobs.c.running_task, jobs.c.revision),
)


def _open_job(row: Any) -> OpenJob:
    waiting = bool(row.waiting_reason)
    asked = RunningTask(row.running_task or RunningTask.FINISH)
    return OpenJob(
        row.id, JobState(row.state), row.vmid, row.queued, waiting, row.cancel_requested, asked, row.revision
    )
