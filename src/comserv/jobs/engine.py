"""The engine: drives jobs through their stories, and knows no VM.

How to write a story
--------------------
A story is a coroutine that takes a `Run`, reads from top to bottom, and returns the job's result:

    async def tell(run: Run) -> dict[str, Any]:
        place = await run.step("reserve", partial(reserve, run), text="Reserving a VM id")
        await run.step("clone", partial(clone, run, place))
        return {"vmid": place["vmid"]}

    async def clone(run: Run, place: Mapping[str, Any], step: StepRun) -> dict[str, Any]:
        if not step.intent:                          # an earlier entry has not sent it, or we would know
            await step.intend({"vmid": place["vmid"], "at": run.now().timestamp()})
            await run.assert_owner()                 # right before each call that changes a server
            await step.task(str(await client.clone(…)))
        …                                            # else look at the server: adopt, send again, or say so
        step.on_done(partial(remember, place))       # written together with the result
        return {"upid": step.upid}

    engine = Engine(database, owner, [Story(JobKind.CREATE_VM, ("reserve", "clone"), tell)])

- The process may end at any point; then another entry tells the story again. A step that is done gives back its stored
  result; one that is not is entered again with what was written in `intent` and `upid`. Results and intents are JSON.
- Act on servers only within steps. Between steps a cancel ends the job; within one see `run.cancelled`, `run.pause`, and
  raise `CancelRequested` once Proxmox's task has been stopped.
- `raise Hold(reason, text, next_try=run.later(30))` where it cannot go on now. `raise StepFailed(problem)`, or any
  ComservError, fails the job. Never catch `Signal` or `Exception`.
- `run.place(vmid=…)` says which guest the job is about; `run.warn`, `step.note`, `run.record` are saved with the next write.
- `run.transaction()` for writes of your own; `step.intend(…, write)`, `step.on_done(write)` for those that belong to a step.

The engine ends a job in one transaction: rows, reservations (`Story.settle`), secrets, audit. Jobs of one guest run one
after the other in the order in which they were asked for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.errors import ComservError, DatabaseUnavailable, Problem
from comserv.domain.job import Job, JobKind, JobState, Step, StepState, Waiting, WaitReason
from comserv.domain.lease import Lease
from comserv.jobs.jobtimes import JobTimes
from comserv.jobs.limits import Limits
from comserv.jobs.owner import Owner
from comserv.jobs.run import Run, StepRun, plain
from comserv.jobs.story import CancelRequested, Hold, LostOwnership, Signal, StepFailed, Story, Write
from comserv.persistence import audit, jobs, jobsecrets, leases
from comserv.persistence.changes import EVERYTHING, Change, Subscription, Topic
from comserv.persistence.database import Database
from comserv.persistence.ending import end_tasks
from comserv.persistence.jobs import OpenJob

__all__ = [
    "CancelRequested",
    "Engine",
    "Hold",
    "LostOwnership",
    "Run",
    "Signal",
    "StepFailed",
    "StepRun",
    "Story",
    "Write",
]

log = structlog.get_logger(__name__)

HOLD_LIMIT = timedelta(hours=24)
AGAIN_SECONDS = 2.0
AGAIN_AFTER_FAULT_SECONDS = 30.0
POLL_SECONDS = 30.0


@dataclass
class _Driver:
    """The task that drives a job here, over all its entries. woken: go on now instead of at the next try."""

    job_id: str
    lease: Lease
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    run: Run | None = None
    task: "asyncio.Task[None] | None" = None


@dataclass(frozen=True)
class _Ending:
    state: JobState
    result: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None


class Engine:
    """Drives the jobs of the servers that `owner` owns. Start it before the owner, and stop it after."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        stories: Iterable[Story],
        *,
        hold_limit: timedelta = HOLD_LIMIT,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        times: JobTimes | None = None,
    ) -> None:
        """Times are those of `database.clock`; `sleep` waits for a next try (tests fake both)."""
        self._database, self._owner, self._hold_limit, self._sleep = database, owner, hold_limit, sleep
        self._stories: dict[JobKind, Story] = {story.kind: story for story in stories}
        self._limits, self._times = Limits(), times or JobTimes()
        self._leases: dict[str, Lease] = {}
        self._drivers: dict[str, _Driver] = {}
        self._following: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        owner.watch(self)

    async def start(self) -> None:
        ready = asyncio.Event()
        self._following = asyncio.create_task(self._follow(ready))
        await ready.wait()

    async def stop(self) -> None:
        """Drivers stop as at a crash, and go on from their rows the next time."""
        if self._following:
            await end_tasks([self._following])
        self._leases.clear()
        await self._end(list(self._drivers.values()))
        await end_tasks(set(self._looks))

    def wake(self, job_id: str) -> None:
        """A held job is entered again now."""
        if driver := self._drivers.get(job_id):
            driver.woken.set()

    def wake_server(self, server: str) -> None:
        """All held jobs of a server, for example since it answers again."""
        for driver in self._drivers.values():
            if driver.lease.server == server:
                driver.woken.set()

    def driving(self, server: str) -> int:
        """How many jobs are driven there now."""
        return sum(1 for driver in self._drivers.values() if driver.lease.server == server)

    # --- servers come and go

    async def gained(self, lease: Lease) -> None:
        self._leases[lease.server] = lease
        try:
            await self._look(lease.server)
        except DatabaseUnavailable as error:
            log.warning("jobs cannot be read yet", server=lease.server, detail=error.detail)

    async def lost(self, server: str) -> None:
        self._leases.pop(server, None)
        await self._end([driver for driver in self._drivers.values() if driver.lease.server == server])

    async def _end(self, drivers: Sequence[_Driver]) -> None:
        await end_tasks([driver.task for driver in drivers if driver.task])

    # --- what is there to drive

    async def _follow(self, ready: asyncio.Event) -> None:
        """Heed what changed; look at everything from time to time, should a change have been missed."""
        async with self._database.changes.subscribe(Topic.JOB) as changes:
            ready.set()
            while True:
                try:
                    batch = await _batch(changes)
                    if batch is None or any(change.topic is Topic.ALL for change in batch):
                        for server in list(self._leases):
                            await self._look(server)
                    else:
                        await self._heed(batch)
                except DatabaseUnavailable as error:
                    log.warning("jobs cannot be read", detail=error.detail)
                    await asyncio.sleep(AGAIN_SECONDS)
                    changes.put(EVERYTHING)
                except Exception:  # the outermost edge of this loop: it goes on, and the log tells
                    log.exception("looking for jobs failed, it is tried again")
                    await asyncio.sleep(AGAIN_SECONDS)
                    changes.put(EVERYTHING)

    async def _heed(self, batch: Sequence[Change]) -> None:
        news = [change.key for change in batch if self._is_news(change)]
        if not news:
            return
        async with self._database.read() as tx:
            found = await jobs.open_jobs(tx, news)
        places = {(server, job.vmid) for server, job in found if server in self._leases}
        if len(places) > 3:
            places = {(server, None) for server, _ in places}
        for server, vmid in places:
            await self._look(server, vmid)

    def _is_news(self, change: Change) -> bool:
        """Not what a driver of ours wrote itself."""
        driver = self._drivers.get(change.key)
        return driver is None or driver.run is None or change.revision > driver.run.job.revision

    async def _look(self, server: str, vmid: int | None = None) -> None:
        """Start what can be driven on this server (or guest), pass on cancels, and line up the rest."""
        async with self._database.read() as tx:
            found = await jobs.open_on(tx, server, vmid)
        lease = self._leases.get(server)
        if lease is None:
            return
        behind: list[tuple[OpenJob, str]] = []
        for job, first in _lines(found):
            if driver := self._drivers.get(job.id):
                _pass_on_cancel(driver, job)
            elif first is None or job.cancel_requested:
                self._start(lease, job)
            elif not job.waiting:
                behind.append((job, first))
        if behind:
            await self._line_up(lease, behind)

    def _start(self, lease: Lease, job: OpenJob) -> None:
        driver = _Driver(job.id, lease)
        self._drivers[job.id] = driver
        driver.task = asyncio.create_task(self._drive(driver), name=f"job {job.id}")

    async def _line_up(self, lease: Lease, behind: Sequence[tuple[OpenJob, str]]) -> None:
        async with self._database.write() as tx:
            if await leases.holds(tx, lease):
                for job, first in behind:
                    await jobs.line_up(tx, job.id, f"Waits for the job {first} on the same guest.")

    # --- driving one job

    async def _drive(self, driver: _Driver) -> None:
        """Enter the story until the job has ended, or is not ours any more."""
        with structlog.contextvars.bound_contextvars(job=driver.job_id, server=driver.lease.server):
            try:
                while next_try := await self._enter_at_the_edge(driver):
                    await self._park(driver, next_try)
            except LostOwnership:
                log.info("the server is not ours any more")
                if self._leases.get(driver.lease.server) == driver.lease:
                    del self._leases[driver.lease.server]
            finally:
                del self._drivers[driver.job_id]
                look = asyncio.create_task(self._look_after(driver))
                self._looks.add(look)
                look.add_done_callback(self._looks.discard)

    async def _enter_at_the_edge(self, driver: _Driver) -> datetime | None:
        """When to enter again, or None. The outermost edge of the engine itself: what fails here is entered again."""
        driver.woken.clear()
        try:
            return await self._enter(driver)
        except DatabaseUnavailable as error:
            log.warning("the database does not answer, the job goes on later", detail=error.detail)
            return self._database.clock() + timedelta(seconds=AGAIN_SECONDS)
        except LostOwnership:
            raise
        except Exception:  # the outermost edge of one job: the others go on
            log.exception("the engine failed, the job is entered again")
            return self._database.clock() + timedelta(seconds=AGAIN_AFTER_FAULT_SECONDS)

    async def _look_after(self, driver: _Driver) -> None:
        """The next in line; or the same job, should somebody have tried it again already."""
        try:
            await self._look(driver.lease.server, driver.run.job.vmid if driver.run else None)
        except DatabaseUnavailable as error:
            log.warning("the next job waits for the next look", detail=error.detail)

    async def _enter(self, driver: _Driver) -> datetime | None:
        """One entry; when to try again, or None where the job has ended."""
        async with self._database.read() as tx:
            job = await jobs.get(tx, driver.job_id)
        if job.state.ended:
            return None
        run = driver.run = Run(self._database, self._owner, driver.lease, self._limits, job)
        ending = await self._tell(run)
        if isinstance(ending, Hold):
            ending = await self._hold(run, ending)
        if isinstance(ending, datetime):
            return ending
        await self._settle(run, ending)
        return None

    async def _tell(self, run: Run) -> _Ending | Hold:
        story = self._stories.get(run.job.kind)
        if story is None:
            return _Ending(JobState.FAILED, problem=_no_story(run.job.kind))
        try:
            if run.job.state is JobState.QUEUED and run.cancel_requested:
                return _Ending(JobState.CANCELLED)
            await run.begin()
            return _Ending(JobState.SUCCEEDED, result=await story.tell(run) or {})
        except Hold as hold:
            return hold
        except CancelRequested:
            return _Ending(JobState.CANCELLED)
        except StepFailed as failed:
            return _Ending(JobState.FAILED, problem=failed.problem)
        except (DatabaseUnavailable, LostOwnership):
            raise
        except ComservError as error:
            return _Ending(JobState.FAILED, problem=error.problem())
        except Exception as error:  # the outermost edge of a story: its job fails and says so
            log.exception("a story failed with a fault of ours")
            return _Ending(JobState.FAILED, problem=_fault(run.job, error))

    async def _hold(self, run: Run, hold: Hold) -> "_Ending | datetime":
        """Park it until then, unless it was held too long without getting anywhere, or is to be cancelled.

        A maintenance may last: somebody wants it, and it does not count as being held.
        """
        now = run.now()
        wanted = hold.reason is WaitReason.MAINTENANCE
        since = _waits_since(run.job, hold, now)
        deadline = (now if wanted else since) + self._hold_limit
        if now >= deadline:
            return _Ending(JobState.FAILED, problem=_held_too_long(hold, self._hold_limit))
        if not (run.cancel_requested and hold.cancellable):
            waiting = Waiting(hold.reason, since, hold.next_try, hold.text)
            await run.commit(waiting=waiting, held_since=None if wanted else since)
        if run.cancel_requested and hold.cancellable:
            return _Ending(JobState.CANCELLED)
        return min(hold.next_try or deadline, deadline)

    async def _park(self, driver: _Driver, next_try: datetime) -> None:
        seconds = max(0.0, (next_try - self._database.clock()).total_seconds())
        tasks = [asyncio.ensure_future(driver.woken.wait()), asyncio.ensure_future(self._sleep(seconds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _settle(self, run: Run, ending: _Ending) -> None:
        """Everything that ends a job, in one transaction."""
        story = self._stories.get(run.job.kind) or Story(run.job.kind, (), _untold)
        if ending.state is JobState.CANCELLED and (remains := await story.on_cancel(run)):
            run.warn(remains)
        async with run.transaction() as tx:
            ended = _ended(run.job, ending, tx.now)
            for step, before in zip(ended.steps, run.job.steps, strict=True):
                if step is not before:
                    await jobs.save_step(tx, ended.id, step)
            ended = await jobs.save(tx, ended)
            await jobsecrets.forget(tx, ended.id)
            await story.settle(tx, ended)
            await audit.add(tx, _audit_entry(ended))
        run.job = ended
        self._times.ended(ended)
        log.info("job ended", state=str(ended.state), problem=ended.error.title if ended.error else "")


# --- decisions, pure


def _waits_since(job: Job, hold: Hold, now: datetime) -> datetime:
    if hold.reason is not WaitReason.MAINTENANCE:
        return job.held_since or now
    return job.waiting.since if job.waiting and job.waiting.reason is hold.reason else now


def _lines(found: Sequence[OpenJob]) -> list[tuple[OpenJob, str | None]]:
    """Each job with the one that stands first on the same guest, None where that is itself. One that runs is first."""
    first: dict[int, str] = {}
    for job in sorted(found, key=lambda job: (job.state is not JobState.RUNNING, job.queued, job.id)):
        if job.vmid is not None:
            first.setdefault(job.vmid, job.id)
    heads = set(first.values())
    return [(job, None if job.vmid is None or job.id in heads else first[job.vmid]) for job in found]


def _ended(job: Job, ending: _Ending, now: datetime) -> Job:
    """Done steps stay as they are; what was not reached is skipped by a success, and waits for a retry otherwise."""
    note = ending.problem.title if ending.problem else "Cancelled."

    def end(step: Step) -> Step:
        if ending.state is JobState.SUCCEEDED:
            open_step = step.state in (StepState.WAITING, StepState.RUNNING)
            return replace(step, state=StepState.SKIPPED, ended=now) if open_step else step
        return replace(step, state=StepState.FAILED, ended=now, note=note) if step.state is StepState.RUNNING else step

    return replace(
        job,
        state=ending.state,
        ended=now,
        waiting=None,
        held_since=None,
        steps=tuple(end(step) for step in job.steps),
        result=plain(ending.result) or job.result,
        error=ending.problem,
    )


def _audit_entry(job: Job) -> AuditEntry:
    return AuditEntry(
        who=job.requested_by,
        via=job.via,
        action=str(job.kind),
        object=f"guest {job.guest}" if job.guest else f"server {job.server}",
        outcome=Outcome(str(job.state)),
        detail=job.error.title if job.error else job.title,
        job=job.id,
    )


def _pass_on_cancel(driver: _Driver, job: OpenJob) -> None:
    if job.cancel_requested and driver.run:
        driver.run.cancel_asked(job.running_task)
        driver.woken.set()


async def _batch(changes: Subscription) -> list[Change] | None:
    """All that has come; None where nothing came for a while."""
    try:
        batch = [await asyncio.wait_for(changes.get(), POLL_SECONDS)]
    except TimeoutError:
        return None
    while (more := changes.get_nowait()) is not None:
        batch.append(more)
    return batch


async def _untold(run: Run) -> Mapping[str, Any]:
    return {}


def _no_story(kind: JobKind) -> Problem:
    return Problem("no_story", f"This Comserv cannot do jobs of the kind {kind}.", cure="Start a version that can.")


def _fault(job: Job, error: Exception) -> Problem:
    return Problem(
        "internal_fault",
        "Something went wrong inside Comserv.",
        f"{type(error).__name__}; what was done until then is in the steps.",
        f"Look for the job {job.id} in Comserv's log and report what you find there; then try the job again.",
    )


def _held_too_long(hold: Hold, limit: timedelta) -> Problem:
    hours = limit.total_seconds() / 3600
    last = hold.problem
    return Problem(
        "held_too_long",
        f"The job was held for {hours:g} h and got no further.",
        " ".join(text for text in (hold.text, last.title if last else "", last.detail if last else "") if text),
        (last.cure if last and last.cure else "Solve what it waited for") + "\nThen try the job again.",
        last.proxmox if last else None,
    )
