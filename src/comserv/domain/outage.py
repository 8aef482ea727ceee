"""What a list cannot tell freshly: which servers are not heard of, since when, why, and when they are asked again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from comserv.domain.picture import Health, Picture
from comserv.domain.server import Server, ServerState


@dataclass(frozen=True)
class Outage:
    """One server whose figures are old. as_of: their age, None where it was never seen. since: of the outage itself.

    next_try: None where nobody asks it again by itself; in maintenance, when that ends.
    """

    server: str
    state: ServerState
    since: datetime | None
    reason: str
    next_try: datetime | None
    as_of: datetime | None

    @property
    def wanted(self) -> bool:
        """Somebody asked for it; it is no trouble."""
        return self.state is ServerState.MAINTENANCE


@dataclass(frozen=True)
class Coverage:
    """Of how many servers something tells, and which of them were not heard of lately."""

    servers: int
    outages: tuple[Outage, ...] = ()

    @property
    def heard(self) -> int:
        return self.servers - len(self.outages)

    @property
    def words(self) -> str:
        """`4 servers`, or `3 of 4 servers` where one is not heard of."""
        many = f"{self.servers:,} server{'' if self.servers == 1 else 's'}"
        return f"{self.heard:,} of {many}" if self.outages else many


def outage_of(server: Server, health: Health, picture: Picture, *, stale: bool) -> Outage | None:
    """None for a server whose figures are fresh."""
    rest = server.maintenance
    if rest:
        return Outage(server.id, ServerState.MAINTENANCE, rest.since, _rest_words(rest.why), rest.until, picture.as_of)
    if not stale:
        return None
    if health.error_title or health.error_detail:
        since = health.failing_since or picture.as_of
        return Outage(server.id, health.state, since, _why(health), health.next_try, picture.as_of)
    if picture.as_of is None:
        return Outage(server.id, ServerState.UNREACHED, None, "It is asked for the first time.", None, None)
    return Outage(server.id, health.state, picture.as_of, "No sweep of it has ended since.", None, picture.as_of)


def _rest_words(why: str) -> str:
    return f"In maintenance: {why.rstrip('.')}." if why else "In maintenance."


def _why(health: Health) -> str:
    text = health.error_detail or health.error_title
    return text if text.endswith((".", "!", "?")) else f"{text}."


def coverage(servers: int, outages: Iterable[Outage | None]) -> Coverage:
    """Those of trouble before those of maintenance, the newest first."""
    found = [one for one in outages if one]
    found.sort(key=lambda one: (one.wanted, -(one.since.timestamp() if one.since else 0), one.server))
    return Coverage(servers, tuple(found))
