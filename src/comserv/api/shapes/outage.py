"""Servers that a list tells of as last seen only."""

from datetime import datetime

from msgspec import Struct

from comserv.domain.outage import Coverage
from comserv.domain.outage import Outage as DomainOutage
from comserv.domain.server import ServerState


class Outage(Struct):
    """A server whose figures are old. as_of: their age, null: never seen. since: of the outage. next_try: when it is asked again;
    null: not by itself, or it is not known."""

    server: str
    state: ServerState
    since: datetime | None
    reason: str
    next_try: datetime | None
    as_of: datetime | None

    @classmethod
    def of(cls, one: DomainOutage) -> "Outage":
        return cls(one.server, one.state, one.since, one.reason, one.next_try, one.as_of)

    @classmethod
    def all_of(cls, coverage: Coverage) -> "list[Outage]":
        return [cls.of(one) for one in coverage.outages]
