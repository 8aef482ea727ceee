"""The overview: what needs attention, how the servers stand, what runs."""

import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from comserv.domain.attention import Attention, Facts, ServerFacts, attention
from comserv.domain.job import Job, JobState
from comserv.domain.outage import Coverage, coverage
from comserv.domain.person import Action, Actor
from comserv.domain.server import ServerState
from comserv.persistence import jobs
from comserv.persistence.database import Database
from comserv.persistence.jobs import JobFilter
from comserv.services.estate import Estate
from comserv.services.permission import permit
from comserv.services.servers import ServerView, view_of

ENDED_SHOWN = 12


@dataclass(frozen=True)
class Summary:
    attention: tuple[Attention, ...]
    servers: tuple[ServerView, ...]
    running: tuple[Job, ...]
    ended_today: tuple[Job, ...]

    @property
    def coverage(self) -> Coverage:
        return coverage(len(self.servers), (view.outage for view in self.servers))


@dataclass(frozen=True)
class Counts:
    """For the side bar."""

    guests: int
    jobs_running: int
    servers: int
    servers_down: int
    servers_unreached: int


class Overview:
    def __init__(self, database: Database, estate: Estate, folder: Path | None = None) -> None:
        """folder: where our own database lies, None where a server of its own keeps it."""
        self._db, self._estate, self._folder = database, estate, folder

    def _disk_left(self) -> int | None:
        try:
            return shutil.disk_usage(self._folder).free if self._folder else None
        except OSError:  # the database itself tells what is wrong with its folder
            return None

    async def summary(self, actor: Actor) -> Summary:
        """Needs SEE."""
        await permit(self._db, actor, Action.SEE, "overview")
        now = self._db.clock()
        views = tuple(view_of(known, now, known.last_test) for known in self._estate.servers())
        running = tuple(sorted(self._estate.open_jobs.values(), key=lambda job: job.id, reverse=True))
        async with self._db.read() as tx:
            ended = (await jobs.page(tx, JobFilter(states=tuple(s for s in JobState if s.ended)), limit=200)).items
        today = tuple(job for job in ended if job.ended and now - job.ended < timedelta(days=1))
        found = attention(Facts(tuple(map(facts_of, views)), running, today, self._disk_left()), now)
        return Summary(found, views, running, today[:ENDED_SHOWN])

    async def counts(self, actor: Actor) -> Counts:
        """Needs SEE."""
        await permit(self._db, actor, Action.SEE, "overview")
        known = self._estate.servers()
        states = [one.health.state for one in known if not one.server.maintenance]
        return Counts(
            guests=sum(not guest.template for one in known for guest in one.picture.guests),
            jobs_running=len(self._estate.open_jobs),
            servers=len(known),
            servers_down=states.count(ServerState.DOWN),
            servers_unreached=states.count(ServerState.UNREACHED),
        )


def facts_of(view: ServerView) -> ServerFacts:
    test = view.last_test
    stages, tested = (test.stages, test.at) if test else ((), None)
    return ServerFacts(view.server, view.health, view.picture, view.stale, view.guests, stages, tested)
