"""Figures for Prometheus: what this process knows and does, read from memory. They cost the servers nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter

from comserv.domain.errors import DatabaseUnavailable
from comserv.domain.job import Job
from comserv.domain.person import Action, Actor
from comserv.domain.retry import BREAKS_AFTER
from comserv.domain.server import ServerState
from comserv.jobs.clients import Clients
from comserv.jobs.jobtimes import JobTimes
from comserv.persistence import servers
from comserv.persistence.database import Database
from comserv.proxmox.meter import Timing
from comserv.services.estate import Estate, Known
from comserv.services.permission import permit


@dataclass(frozen=True)
class Times:
    """A histogram. labels: their values. buckets: (upper bound in seconds, count of all up to it), the last one without a bound."""

    labels: tuple[str, ...]
    buckets: tuple[tuple[float, int], ...]
    seconds: float


@dataclass(frozen=True)
class ServerFigures:
    """age: seconds since its picture was taken, None where there is none. sweep: seconds that the last good one took.

    guests: by status. requests: by purpose and class of status, what this process sent.
    """

    id: str
    state: ServerState
    maintenance: bool
    stale: bool
    age: float | None
    sweep: float | None
    failures: int
    breaker_open: bool
    guests: Mapping[str, int]
    in_flight: int
    waiting: int
    requests: tuple[Times, ...]


@dataclass(frozen=True)
class Figures:
    """jobs: open ones by (kind, state, what they wait for). database: seconds of a small reading, None where it does not answer."""

    servers: tuple[ServerFigures, ...]
    jobs: Mapping[tuple[str, str, str], int]
    job_times: tuple[Times, ...]
    database: float | None


class Metrics:
    def __init__(self, database: Database, estate: Estate, clients: Clients, times: JobTimes) -> None:
        self._db, self._estate, self._clients, self._times = database, estate, clients, times

    async def read(self, actor: Actor) -> Figures:
        """Needs SEE."""
        await permit(self._db, actor, Action.SEE, "metrics")
        return await self.figures()

    async def figures(self) -> Figures:
        """The same for whoever may ask from this machine itself."""
        return Figures(
            servers=tuple(self._of_server(known) for known in self._estate.servers()),
            jobs=Counter(_labels(job) for job in self._estate.open_jobs.values()),
            job_times=tuple(_times(labels, timing) for labels, timing in self._times.times.items()),
            database=await self._database_seconds(),
        )

    async def _database_seconds(self) -> float | None:
        began = perf_counter()
        try:
            async with self._db.read() as tx:
                await servers.every(tx)
        except DatabaseUnavailable:
            return None
        return perf_counter() - began

    def _of_server(self, known: Known) -> ServerFigures:
        now, health, meter = self._db.clock(), known.health, self._clients.meter(known.server.id)
        resting, as_of = known.server.maintenance is not None, known.picture.as_of
        return ServerFigures(
            id=known.server.id,
            state=ServerState.MAINTENANCE if resting else health.state,
            maintenance=resting,
            stale=known.stale(now),
            age=(now - as_of).total_seconds() if as_of else None,
            sweep=health.latency_ms / 1000 if health.latency_ms is not None else None,
            failures=health.failures,
            breaker_open=health.failures >= BREAKS_AFTER and not resting,
            guests=Counter(str(guest.status) for guest in known.picture.guests if not guest.template),
            in_flight=meter.in_flight,
            waiting=meter.waiting,
            requests=tuple(_times((str(what), status), timing) for (what, status), timing in meter.timings.items()),
        )


def _labels(job: Job) -> tuple[str, str, str]:
    return str(job.kind), str(job.state), str(job.waiting.reason) if job.waiting else ""


def _times(labels: Iterable[str], timing: Timing) -> Times:
    counts = tuple(accumulate(timing.counts))
    return Times(tuple(labels), tuple(zip((*timing.bounds, float("inf")), counts, strict=True)), timing.seconds)
