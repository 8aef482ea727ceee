"""The load that Comserv puts on a server."""

from datetime import datetime

from msgspec import Struct

from comserv.domain.gentleness import Gentleness
from comserv.domain.load import Purpose
from comserv.domain.load import SlowCall as DomainSlowCall
from comserv.services.load import LoadView


class SlowCall(Struct):
    """A call that took long, of the last ten minutes. status: null where no answer came."""

    method: str
    path: str
    ms: float
    at: datetime
    purpose: Purpose
    status: int | None

    @classmethod
    def of(cls, one: DomainSlowCall) -> "SlowCall":
        return cls(one.method, one.path, one.ms, one.at, one.purpose, one.status)


class Breaker(Struct):
    """state: closed, open (nothing is sent before next_try) or resting (in maintenance). failures: sweeps in a row."""

    state: str
    failures: int
    next_try: datetime | None


class Budget(Struct):
    """What Comserv allows itself there: calls in flight, heavy ones on a node, seconds between two sweeps, and between two looks
    at a running task, from its first seconds to later ones."""

    calls_in_flight: int
    heavy_per_node: int
    sweep_seconds: float
    task_pauses: list[float]


class ServerLoad(Struct):
    """requests: in the last minute, in all and by what for. errors: of them those answered with 5xx or not at all.

    as_of: when it was counted; what other processes than the server's owner asked is counted as of now where they answer you.
    """

    server: str
    gentleness: Gentleness
    as_of: datetime | None
    requests: int
    by_purpose: dict[str, int]
    errors: int
    in_flight: int
    waiting: int
    slowest: list[SlowCall]
    breaker: Breaker
    budget: Budget

    @classmethod
    def of(cls, view: LoadView) -> "ServerLoad":
        load, pace = view.load, view.pace
        return cls(
            server=view.server,
            gentleness=view.gentleness,
            as_of=load.at if load else None,
            requests=load.requests if load else 0,
            by_purpose={str(purpose): count for purpose, count in view.kinds},
            errors=load.errors if load else 0,
            in_flight=load.in_flight if load else 0,
            waiting=load.waiting if load else 0,
            slowest=[SlowCall.of(one) for one in load.slowest] if load else [],
            breaker=Breaker(view.breaker, view.failures, view.next_try),
            budget=Budget(pace.calls, pace.heavy_per_node, view.sweep_seconds, list(view.task_pauses)),
        )
