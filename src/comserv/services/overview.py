"""The overview: what needs attention, how the servers stand, what runs."""

from dataclasses import dataclass
from datetime import datetime

from comserv.domain.job import Job
from comserv.domain.person import Actor
from comserv.services.servers import ServerView


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
    async def summary(self, actor: Actor) -> Summary:
        """Needs SEE."""
        raise NotImplementedError

    async def counts(self, actor: Actor) -> Counts:
        raise NotImplementedError
