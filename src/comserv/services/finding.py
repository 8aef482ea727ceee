"""Find or do: what Ctrl-K lists for what is typed."""

from dataclasses import dataclass

from comserv.domain.person import Actor


@dataclass(frozen=True)
class Match:
    """group: `guest`, `verb`, `job`, `server`, `page`. subject: rack/105, a job's or server's id, a page's name. verb: start …"""

    group: str
    title: str
    subtitle: str
    subject: str
    verb: str = ""


class Finder:
    async def find(self, actor: Actor, text: str, limit: int = 20) -> tuple[Match, ...]:
        """Guests, verbs on them ("start shop-03"), jobs, servers; only what the role may do."""
        raise NotImplementedError
