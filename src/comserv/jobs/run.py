"""A run: one entry into a job's story, by the process that owns the job's server. What a story has in its hands.

Everything a run writes goes through `transaction`, which first makes sure that the server is still ours.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from comserv.domain.job import CallRecord, Job, JobState, RunningTask, Step, StepState, Waiting, WaitReason
from comserv.domain.lease import Lease
from comserv.jobs.limits import Limits
from comserv.jobs.owner import Owner
from comserv.jobs.story import CancelRequested, LostOwnership, Write
from comserv.persistence import jobcalls, jobs, jobsecrets, leases
from comserv.persistence.database import Database, Transaction
from comserv.persistence.tables import encode_json

PROGRESS_SECONDS = 0.5
LOG_LINES = 200

Result = Mapping[str, Any]
Action = Callable[["StepRun"], Awaitable[Result | None]]


class Run:
    """One entry into a story. `job` is as it was last saved, with what is noted but not saved yet."""

    def __init__(self, database: Database, owner: Owner, lease: Lease, limits: Limits, job: Job) -> None:
        self.job = job
        self.cancelled = asyncio.Event()
        """Set as soon as a cancel is asked for."""
        self._database, self._owner, self._lease, self._limits = database, owner, lease, limits
        self._saving = asyncio.Lock()
        self._calls: list[CallRecord] = []
        self._take(job, job)

    def now(self) -> datetime:
        return self._database.clock()

    def later(self, seconds: float) -> datetime:
        """For `Hold(…, next_try=run.later(30))`."""
        return self.now() + timedelta(seconds=seconds)

    # --- steps

    async def step(self, name: str, action: Action, *, text: str = "") -> Result:
        """The stored result where the step is done, else what `action` brings, stored together with the writes that it
        asked for. Before it begins, a cancel ends the job here. text: what the step does, for people."""
        step = self.job.step(name)
        if step.state is StepState.DONE:
            return step.result
        self._end_if_cancelled(step)
        if step.state is not StepState.RUNNING or (text and step.text != text):
            started = step.started if step.state is StepState.RUNNING else self.now()
            begun = {
                "state": StepState.RUNNING,
                "text": text or step.text,
                "started": started,
                "ended": None,
                "note": "",
            }
            await self.commit(step=name, changes=begun)
            self._end_if_cancelled(step)
        running = StepRun(self, name)
        try:
            result = await action(running)
        finally:
            await running.quiet()
        return await running.done(result)

    async def skip(self, name: str, note: str = "") -> None:
        """The story does not need this step; `note` says why."""
        if self.job.step(name).state is StepState.WAITING:
            await self.commit(step=name, changes={"state": StepState.SKIPPED, "note": note})

    def _end_if_cancelled(self, step: Step) -> None:
        """A step that has sent something before is entered again, so that its task is not left alone."""
        if self.job.cancel_requested and not step.intent and not step.upid:
            raise CancelRequested

    # --- what a story notes, saved with whatever is written next

    def warn(self, text: str) -> None:
        """A warning that stays with the job; the same text only once."""
        if text not in self.job.warnings:
            self.job = replace(self.job, warnings=(*self.job.warnings, text))

    def place(self, *, vmid: int | None = None, node: str = "") -> None:
        """The job is now about this guest, or runs on this node: later jobs for the same guest queue behind it."""
        self.job = replace(self.job, vmid=vmid if vmid is not None else self.job.vmid, node=node or self.job.node)

    def record(self, call: CallRecord) -> None:
        """A call that was sent for this job, its secrets masked."""
        self._calls.append(call)

    # --- cancel

    @property
    def cancel_requested(self) -> bool:
        return self.job.cancel_requested

    @property
    def running_task(self) -> RunningTask:
        """What a cancel wants of Proxmox's task that runs."""
        return self.job.running_task

    def cancel_asked(self, running_task: RunningTask) -> None:
        """The engine heard of a cancel."""
        self.job = replace(self.job, cancel_requested=True, running_task=running_task)
        self.cancelled.set()

    async def pause(self, seconds: float) -> bool:
        """Wait so long, or until a cancel is asked for; whether one was."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.cancelled.wait(), seconds)
        return self.cancel_requested

    # --- ownership, secrets, limits

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A write transaction that holds the lease from its first statement on. Raises LostOwnership. Do not nest."""
        self._check_owned()
        async with self._saving:
            async with self._database.write() as tx:
                if not await leases.holds(tx, self._lease):
                    raise LostOwnership
                yield tx
                calls = tuple(self._calls)
                await jobcalls.record(tx, self.job.id, calls)
            del self._calls[: len(calls)]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """One snapshot, to look only."""
        async with self._database.read() as tx:
            yield tx

    async def assert_owner(self) -> None:
        """Right before each call that changes a server. Raises LostOwnership."""
        self._check_owned()
        if not await self._owner.confirm(self._lease):
            raise LostOwnership

    def _check_owned(self) -> None:
        if not self._owner.holds(self._lease):
            raise LostOwnership

    async def secret(self, name: str) -> str | None:
        """For example `cloud_init.password`; None where none was given. Keep it in no result and no intent."""
        async with self._database.read() as tx:
            return await jobsecrets.read(tx, self.job.id, name)

    @asynccontextmanager
    async def limit(self, name: str, size: int, text: str = "") -> AsyncIterator[None]:
        """At most `size` runs of this process hold the limit `name` (`template:rack/9000`) at once, the first come first.
        A run that has to wait shows it; a cancel meanwhile ends the wait, where nothing was sent yet."""
        if self._limits.full(name, size):
            await self.commit(waiting=Waiting(WaitReason.LIMIT, self.now(), None, text or f"Waits for {name}."))
        if not await self._limits.acquire(name, size, self.cancelled if self._untouched() else None):
            raise CancelRequested
        try:
            if self.job.waiting and self.job.waiting.reason is WaitReason.LIMIT:
                await self.commit(waiting=None)
            yield
        finally:
            self._limits.release(name)

    def _untouched(self) -> bool:
        running = [step for step in self.job.steps if step.state is StepState.RUNNING]
        return not any(step.intent or step.upid for step in running)

    # --- saving

    async def commit(
        self, *writes: Write, step: str = "", changes: Mapping[str, Any] | None = None, **job_values: Any
    ) -> None:
        """Save the job with these values and the step `step` with these changes, and make `writes`, in one transaction."""
        async with self.transaction() as tx:
            before = self.job
            job = replace(before, **job_values)
            if step:
                changed = replace(job.step(step), **(changes or {}))
                job = replace(job, steps=tuple(changed if old.name == step else old for old in job.steps))
                await jobs.save_step(tx, job.id, changed)
            for write in writes:
                await write(tx)
            fresh = await jobs.save(tx, job)
        self._take(fresh, before)

    def _take(self, fresh: Job, before: Job) -> None:
        """What was saved, with what was noted while it was."""
        if self.job is not before:
            noted = {"warnings": self.job.warnings, "vmid": self.job.vmid, "node": self.job.node}
            fresh = replace(fresh, **noted)
            if self.job.cancel_requested:
                fresh = replace(fresh, cancel_requested=True, running_task=self.job.running_task)
        self.job = fresh
        if fresh.cancel_requested:
            self.cancelled.set()

    async def begin(self) -> None:
        """The job leaves the queue."""
        if self.job.state is JobState.QUEUED:
            await self.commit(state=JobState.RUNNING, started=self.now(), waiting=None)


class StepRun:
    """A step that runs. `intent` and `upid` are what an earlier entry wrote before and after it acted: look there first."""

    def __init__(self, run: Run, name: str) -> None:
        self._run, self._name = run, name
        self._writes: list[Write] = []
        self._shown = -PROGRESS_SECONDS
        self._showing: asyncio.Task[None] | None = None
        self._quiet = asyncio.Event()
        self._unsaved: dict[str, Any] = {}

    @property
    def now(self) -> Step:
        """The step as it stands."""
        return self._run.job.step(self._name)

    @property
    def intent(self) -> Mapping[str, Any]:
        return self.now.intent

    @property
    def upid(self) -> str:
        return self.now.upid

    async def intend(self, intent: Mapping[str, Any], *writes: Write) -> None:
        """Write down what is about to be sent, before it is sent; `writes` go into the same transaction."""
        await self._save(*writes, intent=plain(intent))

    async def task(self, upid: str, *writes: Write, intent: Mapping[str, Any] | None = None) -> None:
        """Proxmox took it on as this task. intent: what is to be known from now on, in the same transaction."""
        changes: dict[str, Any] = {"upid": upid} if intent is None else {"upid": upid, "intent": plain(intent)}
        await self._save(*writes, held=False, **changes)

    def on_done(self, write: Write) -> None:
        """`write` is made in the transaction that stores the step's result."""
        self._writes.append(write)

    def forget_secrets(self) -> None:
        """The job's secrets go once this step is proven, in the transaction that stores its result."""

        async def forget(tx: Transaction) -> None:
            await jobsecrets.forget(tx, self._run.job.id)

        self.on_done(forget)

    def note(self, text: str) -> None:
        """A sentence that stays with the step, saved with whatever is written next."""
        self._unsaved["note"] = text

    async def progress(
        self, *, text: str | None = None, percent: float | None = None, log: Sequence[str] | None = None
    ) -> None:
        """What people watch: saved at most twice a second, the last one always. log: all lines so far."""
        told = {"text": text, "percent": percent, "log": None if log is None else tuple(log[-LOG_LINES:])}
        self._unsaved.update({name: value for name, value in told.items() if value is not None})
        wait = self._shown + PROGRESS_SECONDS - time.monotonic()
        if self._showing is not None and not self._showing.done():
            return
        if wait <= 0:
            await self._save()
        else:
            self._showing = asyncio.create_task(self._save_later(wait))

    async def _save_later(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._quiet.wait(), seconds)
        except TimeoutError:
            await self._save()

    async def quiet(self) -> None:
        """No more progress after this; what is not saved yet is saved with the end."""
        self._quiet.set()
        if self._showing is not None:
            await self._showing

    async def _save(self, *writes: Write, held: bool = True, **changes: Any) -> None:
        """Saving a step is a sign of life: it does not wait any more. held: whether it is still where it was held."""
        self._shown = time.monotonic()
        unsaved, self._unsaved = self._unsaved, {}
        values: dict[str, Any] = {"waiting": None} if held else {"waiting": None, "held_since": None}
        await self._run.commit(*writes, step=self._name, changes={**unsaved, **changes}, **values)

    async def done(self, result: Result | None) -> Result:
        kept = plain(result or {})
        ended = {"state": StepState.DONE, "ended": self._run.now(), "result": kept}
        await self._save(*self._writes, held=False, **ended)
        return kept


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from the database, so that the first entry and a later one see the same."""
    return msgspec.json.decode(encode_json(value))
