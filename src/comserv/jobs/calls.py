"""One call of a step that changes a server: intended, sent once, looked for when its outcome is not known, and followed.

The step's intent holds when it was sent (`at`), when an error reply came (`error_at`) and its task once that is known. A step that
is entered again finds it there and looks first; `domain/lostreply.py` says what the look means. These times are the server's own
(`Caller.now`): its tasks tell theirs by the same clock, and ours may be set while a call is on its way.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from comserv.domain.errors import (
    DigestMismatch,
    GuestLocked,
    GuestMissing,
    LockTimeout,
    OutcomeUnknown,
    ParametersRefused,
    PermissionMissing,
    Problem,
    ProxmoxError,
    ProxmoxSaid,
    ReplyUnreadable,
    RequestRefused,
    ServerInMaintenance,
    ServerUnreachable,
    TaskMissing,
    TokenRefused,
    VmidTaken,
)
from comserv.domain.job import CallRecord, RunningTask, StepState, WaitReason
from comserv.domain.lostreply import (
    CLOCK_SKEW,
    Adopt,
    AlreadySo,
    ChangedByOther,
    Gone,
    KeepLooking,
    Next,
    SendAgain,
    Sent,
    TakenByOther,
    TaskFailed,
    TaskSeen,
    WaitForTask,
)
from comserv.domain.plan import PlannedCall
from comserv.domain.task import TaskRow, TaskStatus, Upid, parse_upid
from comserv.domain.taskend import TaskEnd, explain
from comserv.jobs.run import Run, StepRun
from comserv.jobs.story import CancelRequested, Hold, StepFailed
from comserv.jobs.taskwatch import TaskWatch
from comserv.persistence import jobcalls
from comserv.proxmox.client import Client
from comserv.proxmox.encoding import masked_text

log = structlog.get_logger()
LOOK_EVERY = 2.0  # seconds between two looks while an outcome is unknown
TRY_LATER = 5.0  # seconds until a server that does not answer, or a lock, is tried again
REST = 60.0  # seconds; a job held for a maintenance is woken at its end, and looks by itself should that be missed
MOST_SENDS = 6

Look = Callable[[Sent], Awaitable[Next]]
SAYS_NO = ("paused", "not_running", "still_running", "protected")
"""Refusals that Proxmox words before it begins anything (semantics section 9); the look is still made."""
NOT_CARRIED_OUT = (
    ParametersRefused,
    PermissionMissing,
    TokenRefused,
    GuestLocked,
    GuestMissing,
    LockTimeout,
    DigestMismatch,
)
"""Proxmox's own words that say by themselves that nothing was done; any other error reply is looked into."""
TELLS = (GuestMissing, TaskMissing, VmidTaken, ParametersRefused)
"""Refusals of a read that are its answer; any other one tells nothing about what is there."""


class Recorder:
    """The client's observer for a run: asks for ownership right before each change, and keeps each call with the job."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def before_write(self) -> None:
        await self._run.assert_owner()

    async def called(self, record: CallRecord) -> None:
        self._run.record(record)


@dataclass(frozen=True)
class Ended:
    """task: None where what was asked was so already, or no task is known of it."""

    task: TaskStatus | None = None
    upid: Upid | None = None


class Refused(Exception):
    """The call was not carried out for a reason that the story itself may answer: a changed digest, a taken VM id."""

    def __init__(self, error: RequestRefused | None, outcome: Next | None = None) -> None:
        self.error, self.outcome = error, outcome
        super().__init__(str(error or outcome))


class Caller:
    """Carries out the calls of one run. doing: a noun with its object for people, "The clone of web-01"."""

    def __init__(
        self, run: Run, client: Client, watch: TaskWatch, outcome_wait: timedelta, secrets: tuple[str, ...] = ()
    ) -> None:
        """secrets: masked wherever they stand in what a task says."""
        self.run, self.client, self._watch, self._wait, self._secrets = run, client, watch, outcome_wait, secrets

    async def task(
        self,
        step: StepRun,
        call: PlannedCall,
        look: Look,
        doing: str,
        *,
        heavy_on: str = "",
        accept_failure: bool = False,
    ) -> Ended:
        """Sends, or finds what an earlier entry sent, and follows its task to the end.

        accept_failure: a task that ended badly is given back instead of failing the step. Raises Refused, and the engine's signals.
        """
        upid = await self._begun(step, call, look, doing, heavy_on)
        if upid is None:
            return Ended()
        status = await self._follow(step, upid, look, doing)
        if status is None:
            return Ended(upid=upid)
        if not status.ok and not accept_failure:
            await self._failed(step, status, doing)
        return Ended(status, upid)

    async def finish(self, step: StepRun, look: Look, doing: str) -> Ended:
        """What was asked is so already: a task of an earlier entry that may still work on it is followed to its end, so that
        the step does not end before it. Sends nothing."""
        upid = await self._sent_before(step, look)
        return Ended(await self._follow(step, upid, look, doing), upid) if upid else Ended()

    async def _sent_before(self, step: StepRun, look: Look) -> Upid | None:
        if "upid" in step.intent:
            return parse_upid(self.client.server.id, str(step.intent["upid"]))
        if "at" not in step.intent:
            return None
        outcome = await self.look(look, self._sent(step, await self.now()))
        if not isinstance(outcome, WaitForTask):
            return None
        await self._known(step, outcome.upid)
        return outcome.upid

    async def _begun(self, step: StepRun, call: PlannedCall, look: Look, doing: str, heavy_on: str) -> Upid | None:
        intent = step.intent
        if "upid" in intent:
            return parse_upid(self.client.server.id, str(intent["upid"]))
        if "at" in intent:
            return await self._find_out(step, call, look, doing, heavy_on)
        return await self._send(step, call, look, doing, heavy_on)

    async def _send(self, step: StepRun, call: PlannedCall, look: Look, doing: str, heavy_on: str) -> Upid | None:
        sends = int(step.intent.get("sends", 0)) + 1
        if sends > MOST_SENDS:
            raise StepFailed(
                Problem("reply_lost", f"{doing} was sent {MOST_SENDS} times, and each time its reply was lost.")
            )
        await step.intend(
            {
                **_lasting(step.intent),
                "at": await self.now(),
                "sends": sends,
                "call": f"{call.method} {call.path}",
                "token": str(self.client.server.token_id),
                "digest": call.parameters.get("digest", ""),
            }
        )
        try:
            upid = await self.client.begin(call, heavy_on=heavy_on)
        except ServerUnreachable as error:
            await self.account(step)
            raise self.held(error) from error
        except (OutcomeUnknown, ReplyUnreadable) as error:
            await step.intend({**step.intent, "error_at": await self.now()})
            log.info("a reply was lost", detail=error.detail, **self.run.job.log_context())
            return await self._find_out(step, call, look, doing, heavy_on)
        except ProxmoxError as error:
            return await self._error_reply(step, call, look, doing, heavy_on, error)
        await self._known(step, upid)
        return upid

    async def _error_reply(
        self, step: StepRun, call: PlannedCall, look: Look, doing: str, heavy_on: str, error: ProxmoxError
    ) -> Upid | None:
        if isinstance(error, GuestLocked | LockTimeout):
            await self.account(step)
            raise Hold(WaitReason.LOCK, f"{doing} waits: {error.detail}", self.run.later(TRY_LATER)) from error
        if isinstance(error, NOT_CARRIED_OUT):
            await self.account(step)
            if isinstance(error, RequestRefused):
                raise Refused(error) from error
            raise error
        said = error.proxmox or ProxmoxSaid(500, error.detail)
        if isinstance(error, RequestRefused) and explain(said.message, doing).problem.code in SAYS_NO:
            await self.account(step)
            raise Refused(error) from error
        await step.intend({**step.intent, "error_at": await self.now(), "said": [said.status, said.message]})
        return await self._find_out(step, call, look, doing, heavy_on)

    async def _find_out(self, step: StepRun, call: PlannedCall, look: Look, doing: str, heavy_on: str) -> Upid | None:
        sent = self._sent(step, await self.now())
        outcome = await self.look(look, sent)
        match outcome:
            case Adopt(upid) | WaitForTask(upid) | TaskFailed(upid):
                step.note("The task was found in the server's list after its reply was lost.")
                await self._known(step, upid)
                return upid
            case AlreadySo():
                return None
            case SendAgain(reason):
                await self._give_up_if_refused(step, doing)
                log.info("sent again", reason=reason, **self.run.job.log_context())
                return await self._send(step, call, look, doing, heavy_on)
            case KeepLooking(until, reason):
                text = f"The reply was lost. {reason} Nothing is sent again meanwhile."
                wait = min(LOOK_EVERY, max(0.2, (until - sent.looked_at).total_seconds()))
                raise Hold(WaitReason.OUTCOME_UNKNOWN, text, self.run.later(wait), cancellable=False)
            case TakenByOther() | ChangedByOther():  # a later try sends anew, and knows that it is not the first
                await step.intend({"spent": step.intent.get("spent", []), "refused": True})
                raise Refused(None, outcome)
            case Gone():
                raise Refused(None, outcome)

    async def _give_up_if_refused(self, step: StepRun, doing: str) -> None:
        """An error reply in Proxmox's own words, and nothing of it is there: that was its answer."""
        said = step.intent.get("said")
        if not said:
            return
        await self.account(step)
        raise self.waits(explain(str(said[1]), doing, self.client.server.id, int(said[0])), doing)

    async def now(self) -> datetime:
        """What time it is on the server. A server that does not answer holds the job."""
        return await self.reads(self.client.now())

    def _sent(self, step: StepRun, now: datetime) -> Sent:
        error_at = step.intent.get("error_at")
        return Sent(
            at=_time(step.intent["at"]),
            looked_at=now,
            back_at=now,
            token=str(self.client.server.token_id),
            error_at=_time(error_at) if error_at else None,
            wait=self._wait,
            sent_with=str(step.intent.get("token", "")),
        )

    async def look(self, look: Look, sent: Sent) -> Next:
        """A look that the server does not answer, or refuses, holds the job; nothing is concluded from it."""
        try:
            return await look(sent)
        except (ServerUnreachable, ReplyUnreadable, RequestRefused) as error:
            raise self.held(error) from error

    async def _follow(self, step: StepRun, upid: Upid, look: Look, doing: str) -> TaskStatus | None:
        async def listen(lines: tuple[str, ...]) -> None:
            lines = tuple(masked_text(line, self._secrets) for line in lines)
            if lines != step.now.log:
                await step.progress(log=lines, percent=_percent(lines))
            await self._stop_if_asked(upid)

        try:
            status = await self._watch.ended(upid, listen, self.client)
            return replace(status, exitstatus=masked_text(status.exitstatus, self._secrets))
        except TaskMissing:
            outcome = await self.look(look, self._sent(step, await self.now()))
            if isinstance(outcome, AlreadySo | Adopt):
                return None
            text = f"{doing}: the server does not know the task any more. Looking at what came of it."
            await step.intend({name: value for name, value in step.intent.items() if name != "upid"})
            raise Hold(WaitReason.OUTCOME_UNKNOWN, text, self.run.later(LOOK_EVERY), cancellable=False) from None
        except (ServerUnreachable, ReplyUnreadable, RequestRefused) as error:
            raise self.held(error) from error

    async def _stop_if_asked(self, upid: Upid) -> None:
        """Asked again at each look: a stop whose reply was lost, or that was refused, is told by how the task ends."""
        if self.run.cancel_requested and self.run.running_task is RunningTask.STOP:
            try:
                await self.client.task(upid).stop()
            except (OutcomeUnknown, RequestRefused, PermissionMissing) as error:
                log.info("the task was not stopped yet", detail=error.detail, **self.run.job.log_context())

    async def _failed(self, step: StepRun, status: TaskStatus, doing: str) -> None:
        """A task that ended badly: a stop that we asked for is a cancel, a lock is waited for, all else fails the step."""
        await self.account(step)
        if status.stopped_by_somebody and self.run.cancel_requested:
            raise CancelRequested
        raise self.waits(explain(status.exitstatus, doing, self.client.server.id), doing)

    async def _known(self, step: StepRun, upid: Upid) -> None:
        await step.task(upid.text, intent={**step.intent, "upid": upid.text})

    async def account(self, step: StepRun) -> None:
        """What was sent is accounted for: not carried out, or its task has ended. A later look passes that task over."""
        spent = (
            [*step.intent.get("spent", []), step.intent["upid"]]
            if "upid" in step.intent
            else step.intent.get("spent", [])
        )
        kept = {name: value for name, value in _lasting(step.intent).items() if name not in ("sends", "spent")}
        await step.intend({**kept, **({"spent": spent} if spent else {})})

    def held(self, error: ProxmoxError) -> Hold:
        return held(self.run, error)

    def waits(self, end: TaskEnd, doing: str) -> Hold | StepFailed:
        """What follows from a refusal or a failed task: tried again later where waiting helps, else the step has failed."""
        if end.wait_for is None:
            return StepFailed(end.problem)
        said = end.problem.proxmox.message if end.problem.proxmox else end.problem.title
        return Hold(end.wait_for, f"{doing} waits: {said}", self.run.later(TRY_LATER), problem=end.problem)

    async def tasks(self, step: StepRun, node: str, since: datetime, types: Iterable[str]) -> tuple[TaskSeen, ...]:
        """The node's tasks of these types since then, newest first, each with the VM id that it makes; without those that
        are accounted for, by this step or by another job."""
        wanted = set(types)
        listed = await self.client.node(node).tasks.list("all", since=since - CLOCK_SKEW)
        rows = [row for row in listed if row.upid.type in wanted]
        async with self.run.reading() as tx:
            others = await jobcalls.of_others(tx, self.run.job.id, [row.upid.text for row in rows])
        gone = others | set(step.intent.get("spent", ()))
        return tuple([TaskSeen(_status(row), await self._makes(row)) for row in rows if row.upid.text not in gone])

    async def _makes(self, row: TaskRow) -> int | None:
        """Of a clone the first line of its log tells it; None where that cannot be read yet."""
        if row.upid.type not in ("qmclone", "vzclone"):
            return int(row.upid.id) if row.upid.id.isdigit() else None
        if row.upid.text not in self._watch.targets:
            lines = (await self.client.task(row.upid).log(0, 5)).lines
            found = next((target for line in lines if (target := _target(line)) is not None), None)
            if found is None:
                return None
            self._watch.targets[row.upid.text] = found
        return self._watch.targets[row.upid.text]

    async def reads(self, reading: Awaitable[Any]) -> Any:
        """A read of a story; a server that does not answer holds the job. So does a refusal once something was sent: it tells
        nothing about what came of that. Before, it is the job's end, since nothing is there yet."""
        try:
            return await reading
        except (ServerUnreachable, ReplyUnreadable) as error:
            raise self.held(error) from error
        except RequestRefused as error:
            if isinstance(error, TELLS) or not any(step.intent or step.upid for step in self.run.job.steps):
                raise
            raise self.held(error) from error


def held(run: Run, error: ProxmoxError) -> Hold:
    """The server does not answer, does not tell what is there, or is not to be asked: the job waits for it, and says so.
    What was sent is not left alone by a cancel."""
    text = f"{error.title} {error.detail}".strip()
    under_way = any("at" in step.intent for step in run.job.steps if step.state is StepState.RUNNING)
    reason, again = WaitReason.SERVER_DOWN, TRY_LATER
    if isinstance(error, ServerInMaintenance):
        reason, again = WaitReason.MAINTENANCE, REST
    elif isinstance(error, RequestRefused):
        reason, text = WaitReason.OUTCOME_UNKNOWN, f"What is there could not be read: {error.detail} It is read again."
    return Hold(reason, text, run.later(again), problem=error.problem(), cancellable=not under_way)


def _status(row: TaskRow) -> TaskStatus:
    return TaskStatus(row.upid, row.running, row.exitstatus, row.ended)


def _target(line: str) -> int | None:
    """`creating a clone of VM 102 with ID 110` (recordings 09): 110."""
    _, found, rest = line.partition(" with ID ")
    number = rest.split(" ")[0].strip("'\"")
    return int(number) if found and number.isdigit() else None


def _lasting(intent: Mapping[str, Any]) -> dict[str, Any]:
    """What of an intent outlives one sending."""
    return {
        name: value
        for name, value in intent.items()
        if name not in ("at", "upid", "error_at", "said", "call", "digest")
    }


def _time(text: object) -> datetime:
    return text if isinstance(text, datetime) else datetime.fromisoformat(str(text))


def _percent(lines: tuple[str, ...]) -> float | None:
    """`transferred 1.5 GiB of 2.4 GiB (62.14%)`: the last one of the log."""
    for line in reversed(lines):
        _, found, rest = line.rpartition("(")
        number, percent, _ = rest.partition("%)")
        if found and percent:
            try:
                return min(100.0, max(0.0, float(number)))
            except ValueError:
                continue
    return None
