"""Live: what changed, as a stream of small notices that pages turn into re-rendered parts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """topic: `guests`, `server`, `job`, `counts`. key: the server's or job's id. id: grows, for Last-Event-ID."""

    id: int
    topic: str
    key: str


class Live:
    def follow(self, after: int | None = None) -> AsyncIterator[Notice]:
        """Notices from now on, or from `after` on where they are still held; ends when Comserv stops.

        Where too much was missed, one Notice with topic `everything` comes first.
        """
        raise NotImplementedError
