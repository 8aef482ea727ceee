"""The load that Comserv puts on a server: what it asked in the last minute and what for, and what took long."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

SLOWEST_SHOWN = 5


class Purpose(StrEnum):
    """What a request is sent for. `look`: read in the background, addresses of guests and how a server stands."""

    SWEEP = "sweep"
    TASK_POLL = "task_poll"
    JOB = "job"
    PLAN = "plan"
    PAGE = "page"
    TEST = "test"
    LOOK = "look"


@dataclass(frozen=True)
class SlowCall:
    """status: None where no answer came."""

    method: str
    path: str
    ms: float
    at: datetime
    purpose: Purpose
    status: int | None = None


@dataclass(frozen=True)
class Load:
    """Of one process on one server, at one moment. by_purpose: requests in the last minute. errors: of them those that were
    answered with 5xx or not at all. waiting: calls that wait until another has ended. slowest: of the last ten minutes."""

    process: str
    at: datetime
    by_purpose: Mapping[Purpose, int] = field(default_factory=dict)
    errors: int = 0
    in_flight: int = 0
    waiting: int = 0
    slowest: tuple[SlowCall, ...] = ()

    @property
    def requests(self) -> int:
        return sum(self.by_purpose.values())


def together(loads: Iterable[Load]) -> Load | None:
    """What several processes ask of one server; None where none of them asked anything."""
    found = list(loads)
    if not found:
        return None
    by_purpose: Counter[Purpose] = Counter()
    for one in found:
        by_purpose.update(one.by_purpose)
    slowest = sorted((call for one in found for call in one.slowest), key=lambda call: -call.ms)
    return Load(
        process=", ".join(one.process for one in found),
        at=max(one.at for one in found),
        by_purpose=dict(by_purpose),
        errors=sum(one.errors for one in found),
        in_flight=sum(one.in_flight for one in found),
        waiting=sum(one.waiting for one in found),
        slowest=tuple(slowest[:SLOWEST_SHOWN]),
    )
