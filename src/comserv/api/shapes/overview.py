"""The overview, what is found, and whether we are well."""

from datetime import datetime

from msgspec import Struct

from comserv.api.shapes.job import Job
from comserv.api.shapes.outage import Outage
from comserv.api.shapes.server import Server
from comserv.services.finding import Match as DomainMatch
from comserv.services.overview import Counts as DomainCounts
from comserv.services.overview import Summary


class Attention(Struct):
    """What wants to be looked at. kind and subject say where it leads: `server` rack, `job` id, `guest` rack/105. cure: what to do."""

    tone: str
    what: str
    why: str
    since: datetime | None
    kind: str
    subject: str
    cure: str


class Counts(Struct):
    """How many there are."""

    guests: int
    jobs_running: int
    servers: int
    servers_down: int
    servers_unreached: int


class Overview(Struct):
    """What needs attention first, how the servers stand, what runs and what ended today."""

    attention: list[Attention]
    counts: Counts
    servers: list[Server]
    incomplete: list[Outage]
    running: list[Job]
    ended_today: list[Job]

    @classmethod
    def of(cls, summary: Summary, counts: DomainCounts) -> "Overview":
        return cls(
            attention=[Attention(a.tone, a.what, a.why, a.since, a.kind, a.subject, a.cure) for a in summary.attention],
            counts=Counts(
                counts.guests, counts.jobs_running, counts.servers, counts.servers_down, counts.servers_unreached
            ),
            servers=[Server.of(view) for view in summary.servers],
            incomplete=Outage.all_of(summary.coverage),
            running=[Job.of(job) for job in summary.running],
            ended_today=[Job.of(job) for job in summary.ended_today],
        )


class Match(Struct):
    """group: guest, verb, job, server or page. subject: rack/105, a job's or server's id. verb: start, stop …"""

    group: str
    title: str
    subtitle: str
    subject: str
    verb: str

    @classmethod
    def of(cls, match: DomainMatch) -> "Match":
        return cls(match.group, match.title, match.subtitle, match.subject, match.verb)


class MatchList(Struct):
    """Best first. incomplete: servers whose guests are found as last seen."""

    items: list[Match]
    next_cursor: str | None
    incomplete: list[Outage]


class Alive(Struct):
    """Comserv answers and reads its database. set_up: an administrator exists."""

    status: str
    version: str
    set_up: bool
