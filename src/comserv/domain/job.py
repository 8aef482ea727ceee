"""A job: our own durable work, made of steps, that survives a crash; the rows behind it are the only truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from comserv.domain.errors import Problem
from comserv.domain.guest import GuestKey


class JobKind(StrEnum):
    CREATE_VM = "create_vm"
    POWER = "power"
    CHANGE_GUEST = "change_guest"
    DELETE_GUEST = "delete_guest"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class StepState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class WaitReason(StrEnum):
    SERVER_DOWN = "server_down"
    LOCK = "lock"
    LIMIT = "limit"
    OUTCOME_UNKNOWN = "outcome_unknown"
    AGENT = "agent"
    MAINTENANCE = "maintenance"


class RunningTask(StrEnum):
    """What a cancel does with Proxmox's task that is running: let it finish, or stop it."""

    FINISH = "finish"
    STOP = "stop"


@dataclass(frozen=True)
class Waiting:
    reason: WaitReason
    since: datetime
    next_try: datetime | None = None
    text: str = ""


@dataclass(frozen=True)
class Step:
    """intent: what was written before it acted; result: what came of it; log: the last lines of Proxmox's log; percent 0 to 100."""

    name: str
    state: StepState = StepState.WAITING
    text: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    upid: str = ""
    percent: float | None = None
    log: tuple[str, ...] = ()
    intent: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Job:
    """id: sortable by time, for example `0d7k3v9a1x4q2m7t`. title: "Create web-01". request: without secrets.

    revision grows with each change of the job or of one of its steps. queued: when it was asked for, or tried again.
    held_since: since when it is held without any progress, over several tries.
    """

    id: str
    kind: JobKind
    state: JobState
    title: str
    server: str
    vmid: int | None
    node: str
    requested_by: str
    via: str
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    waiting: Waiting | None = None
    attempt: int = 1
    steps: tuple[Step, ...] = ()
    cancel_requested: bool = False
    running_task: RunningTask = RunningTask.FINISH
    request: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: Problem | None = None
    revision: int = 0
    queued: datetime | None = None
    held_since: datetime | None = None

    @property
    def guest(self) -> GuestKey | None:
        return GuestKey(self.server, self.vmid) if self.vmid is not None else None

    def step(self, name: str) -> Step:
        return next((step for step in self.steps if step.name == name), Step(name))

    def log_context(self) -> dict[str, Any]:
        return {"job": self.id, "kind": str(self.kind), "server": self.server, "vmid": self.vmid}


@dataclass(frozen=True)
class JobSecret:
    """What a job needs once, in its step `step`, for example `cloud_init.password`: kept encrypted, deleted when used."""

    name: str
    step: str
    value: str = field(repr=False, default="")


@dataclass(frozen=True)
class CallRecord:
    """One call behind a job: parameters without secrets; `reply` is the first 4 kB of a failed one. ms: how long it took."""

    at: datetime
    method: str
    path: str
    parameters: Mapping[str, str]
    status: int | None
    ms: float
    upid: str = ""
    reply: str = ""
