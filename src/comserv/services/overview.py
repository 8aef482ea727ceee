"""The overview: what needs attention, how the servers stand, what runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from comserv.domain.job import Job, JobState
from comserv.domain.person import Action, Actor
from comserv.domain.picture import Storage
from comserv.domain.server import ServerState
from comserv.persistence import jobs
from comserv.persistence.database import Database
from comserv.persistence.jobs import JobFilter
from comserv.services.estate import Estate
from comserv.services.permission import permit
from comserv.services.servers import ServerView, view_of

FULL = 0.9  # of a storage or a node's memory
HELD_LONG = timedelta(minutes=5)
ENDED_SHOWN = 12


@dataclass(frozen=True)
class Attention:
    """tone: `bad` or `warn`. what: a whole sentence. kind + subject: where it leads (`server` rack, `job` id, `guest` rack/105)."""

    tone: str
    what: str
    why: str
    since: datetime | None
    kind: str
    subject: str


@dataclass(frozen=True)
class Summary:
    attention: tuple[Attention, ...]
    servers: tuple[ServerView, ...]
    running: tuple[Job, ...]
    ended_today: tuple[Job, ...]


@dataclass(frozen=True)
class Counts:
    """For the side bar."""

    guests: int
    jobs_running: int
    servers: int
    servers_down: int
    servers_unreached: int


class Overview:
    def __init__(self, database: Database, estate: Estate) -> None:
        self._db, self._estate = database, estate

    async def summary(self, actor: Actor) -> Summary:
        """Needs SEE."""
        await permit(self._db, actor, Action.SEE, "overview")
        now = self._db.clock()
        views = tuple(view_of(known, now) for known in self._estate.servers())
        running = tuple(sorted(self._estate.open_jobs.values(), key=lambda job: job.id, reverse=True))
        async with self._db.read() as tx:
            ended = (await jobs.page(tx, JobFilter(states=tuple(s for s in JobState if s.ended)), limit=200)).items
        today = tuple(job for job in ended if job.ended and now - job.ended < timedelta(days=1))
        found = [
            *(one for view in views for one in _of_server(view)),
            *_of_jobs(today),
            *_of_held(running, now),
        ]
        found.sort(key=lambda one: (one.tone != "bad", -(one.since.timestamp() if one.since else 0)))
        return Summary(tuple(found), views, running, today[:ENDED_SHOWN])

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


def _of_server(view: ServerView) -> Iterable[Attention]:
    server, health = view.server, view.health
    if health.state is ServerState.DOWN:
        shown = f"Its {view.guests} guests are shown as last seen." if view.guests else "It has no guest that we know."
        why = f"{_sentence(health.error_detail or health.error_title)} {shown}"
        yield Attention("bad", f"{server.id} does not answer.", why, health.failing_since, "server", server.id)
        return
    if health.state is ServerState.UNREACHED and health.failures:
        why = health.error_detail or health.error_title
        yield Attention("bad", f"{server.id} was never reached.", why, health.failing_since, "server", server.id)
        return
    if view.picture.quorate is False:
        why = "Nothing can be changed there until enough nodes see each other."
        yield Attention("bad", f"{server.id} has no quorum.", why, view.picture.as_of, "server", server.id)
    for node in view.picture.nodes:
        if not node.online:
            why = "The cluster does not see it; its guests do not run, or cannot be reached."
            yield Attention(
                "bad", f"{server.id} / {node.name} is offline.", why, view.picture.as_of, "server", server.id
            )
    if health.state is ServerState.SLOW:
        why = f"Its last answer took {health.latency_ms or 0:.0f} ms."
        yield Attention("warn", f"{server.id} answers slowly.", why, health.last_good, "server", server.id)
    yield from _full_storages(view)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _full_storages(view: ServerView) -> Iterable[Attention]:
    seen: set[str] = set()
    for storage in view.picture.storages:
        if not _is_full(storage) or (storage.shared and storage.name in seen):
            continue
        seen.add(storage.name)
        place = view.server.id if storage.shared else f"{view.server.id} / {storage.node}"
        percent = 100 * (storage.used or 0) / (storage.total or 1)
        why = "New disks will not fit, and snapshots may stop guests."
        what = f"{storage.name} on {place} is {percent:.0f} % full."
        yield Attention("warn", what, why, view.picture.as_of, "server", view.server.id)


def _is_full(storage: Storage) -> bool:
    return bool(storage.active and storage.total and storage.used is not None and storage.used >= FULL * storage.total)


def _of_jobs(ended: Iterable[Job]) -> Iterable[Attention]:
    for job in ended:
        if job.state is JobState.FAILED and job.error:
            yield Attention("bad", f"{job.title} failed.", job.error.title, job.ended, "job", job.id)


def _of_held(running: Iterable[Job], now: datetime) -> Iterable[Attention]:
    for job in running:
        if job.waiting and now - job.waiting.since > HELD_LONG:
            yield Attention("warn", f"{job.title} is held.", job.waiting.text, job.waiting.since, "job", job.id)
