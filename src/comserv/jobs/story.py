"""What a story says to the engine: its steps, its endings, and the signals that it raises.

Signal
├── Hold               it cannot go on now; enter it again later, or when woken
├── StepFailed         this step cannot be done; the job fails with this problem
├── CancelRequested    a cancel was asked for, and this is a place where it can end
└── LostOwnership      another process drives the job now: stop, and write nothing
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from comserv.domain.errors import Problem
from comserv.domain.job import Job, JobKind, WaitReason
from comserv.persistence import reservations
from comserv.persistence.database import Transaction

if TYPE_CHECKING:
    from comserv.jobs.run import Run

Write = Callable[[Transaction], Awaitable[Any]]
"""Something to be written in the same transaction as what the engine writes."""


class Signal(Exception):
    """Control flow between a story and the engine; not an error that people see."""


class Hold(Signal):
    """Park the job: it stays running with `waiting` set, and is entered again at `next_try` or when it is woken.

    next_try: None waits to be woken. problem: what to say when it was held too long. cancellable: whether a cancel may end
    it here; not where something was sent and nobody knows whether it was carried out.
    """

    def __init__(
        self,
        reason: WaitReason,
        text: str,
        next_try: datetime | None = None,
        *,
        problem: Problem | None = None,
        cancellable: bool = True,
    ) -> None:
        self.reason, self.text, self.next_try = reason, text, next_try
        self.problem, self.cancellable = problem, cancellable
        super().__init__(text)


class StepFailed(Signal):
    """The job fails with this problem; the step that runs with it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.title)


class CancelRequested(Signal):
    """End as cancelled. Raised between steps by the engine; within a step by a story that has stopped its task."""


class LostOwnership(Signal):
    """The server has another owner now. Never catch it."""


async def free_reservations(tx: Transaction, job: Job) -> None:
    """The usual end: what the job had reserved is free again, since the guest itself now takes the place, or nothing does."""
    await reservations.free(tx, job.id)


async def nothing_remains(run: Run) -> str:
    return ""


@dataclass(frozen=True)
class Story:
    """A kind of job, told.

    steps: their names in order. tell: see `jobs/engine.py`. settle: called in the transaction that ends the job, with the
    job as it ends; free or keep its reservations there. on_cancel: what remains after a cancel, in words, or nothing.
    """

    kind: JobKind
    steps: tuple[str, ...]
    tell: Callable[[Run], Awaitable[Mapping[str, Any] | None]]
    settle: Callable[[Transaction, Job], Awaitable[None]] = free_reservations
    on_cancel: Callable[[Run], Awaitable[str]] = nothing_remains
