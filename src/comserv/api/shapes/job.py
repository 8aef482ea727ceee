"""A job with its steps, and the calls behind it."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from comserv.api.shapes.problem import Problem
from comserv.domain import job as domain


class Waiting(Struct):
    """Why a job does not go on at the moment."""

    reason: domain.WaitReason
    since: datetime
    next_try: datetime | None
    text: str


class Step(Struct):
    """A step. upid: Proxmox's task; percent: 0 to 100 where Proxmox's log tells it; log: its last lines."""

    name: str
    state: domain.StepState
    text: str
    started: datetime | None
    ended: datetime | None
    upid: str | None
    percent: float | None
    log: list[str]
    note: str

    @classmethod
    def of(cls, step: domain.Step) -> "Step":
        upid = step.upid or None
        return cls(
            step.name,
            step.state,
            step.text,
            step.started,
            step.ended,
            upid,
            step.percent,
            list(step.log),
            step.note,
        )


class JobItem(Struct):
    """One of the things of a job over many things."""

    key: str
    state: domain.JobState


class Job(Struct):
    """Durable work. `request` is what was asked, without secrets; `attempt` counts from 1; `revision` grows with each change."""

    id: str
    kind: domain.JobKind
    state: domain.JobState
    title: str
    server: str
    vmid: int | None
    node: str | None
    requested_by: str
    via: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    waiting: Waiting | None
    attempt: int
    steps: list[Step]
    items: list[JobItem]
    cancel_requested: bool
    running_task: domain.RunningTask
    request: dict[str, Any]
    result: dict[str, Any]
    warnings: list[str]
    error: Problem | None
    revision: int

    @classmethod
    def of(cls, job: domain.Job) -> "Job":
        waiting = job.waiting
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            title=job.title,
            server=job.server,
            vmid=job.vmid,
            node=job.node or None,
            requested_by=job.requested_by,
            via=job.via,
            created=job.created,
            started=job.started,
            ended=job.ended,
            waiting=Waiting(waiting.reason, waiting.since, waiting.next_try, waiting.text) if waiting else None,
            attempt=job.attempt,
            steps=[Step.of(step) for step in job.steps],
            items=[],
            cancel_requested=job.cancel_requested,
            running_task=job.running_task,
            request=dict(job.request),
            result=dict(job.result),
            warnings=list(job.warnings),
            error=Problem.of(job.error) if job.error else None,
            revision=job.revision,
        )


class JobList(Struct):
    """Newest first."""

    items: list[Job]
    next_cursor: str | None


class Call(Struct):
    """One call to Proxmox: parameters without secrets; `reply` is the first 4 kB of a failed one; ms: how long it took."""

    at: datetime
    method: str
    path: str
    parameters: dict[str, str]
    status: int | None
    ms: float
    upid: str | None
    reply: str

    @classmethod
    def of(cls, call: domain.CallRecord) -> "Call":
        parameters = dict(call.parameters)
        return cls(
            call.at,
            call.method,
            call.path,
            parameters,
            call.status,
            round(call.ms, 1),
            call.upid or None,
            call.reply,
        )


class CallList(Struct):
    """Oldest first."""

    items: list[Call]
    next_cursor: str | None


class Remains(Struct):
    """What of a creation that did not end well is there and provably ours; `text` says it in words."""

    server: str | None
    vmid: int | None
    text: str
    removable: bool
