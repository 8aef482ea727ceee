"""Find or do: what Ctrl-K lists for what is typed."""

from collections.abc import Iterable
from dataclasses import dataclass

from comserv.domain.outage import Coverage
from comserv.domain.person import Action, Actor
from comserv.domain.power import PowerAction, PowerFacts, possible_actions
from comserv.persistence import jobs
from comserv.persistence.database import Database
from comserv.persistence.jobs import JobFilter
from comserv.services.estate import Estate, GuestView
from comserv.services.permission import permit

VERBS = {
    PowerAction.START: ("start", "boot"),
    PowerAction.SHUTDOWN: ("shutdown", "shut", "down"),
    PowerAction.STOP: ("stop", "kill"),
    PowerAction.REBOOT: ("reboot", "restart"),
    PowerAction.RESET: ("reset",),
    PowerAction.SUSPEND: ("suspend", "pause"),
    PowerAction.HIBERNATE: ("hibernate",),
    PowerAction.RESUME: ("resume",),
}
PAGES = (
    ("overview", "Overview", Action.SEE),
    ("guests", "Guests", Action.SEE),
    ("create", "Create a VM", Action.CREATE_VM),
    ("jobs", "Jobs", Action.SEE),
    ("servers", "Servers", Action.SEE),
    ("add-server", "Add a server", Action.MANAGE_SERVERS),
    ("people", "People", Action.MANAGE_PEOPLE),
    ("audit", "Audit", Action.SEE_AUDIT),
    ("account", "Your account", Action.OWN_ACCOUNT),
)
JOBS_LOOKED_AT = 100
MOST_MATCHES = 8


@dataclass(frozen=True)
class Match:
    """group: `guest`, `verb`, `job`, `server`, `page`. subject: rack/105, a job's or server's id, a page's name. verb: start …"""

    group: str
    title: str
    subtitle: str
    subject: str
    verb: str = ""


class Finder:
    def __init__(self, database: Database, estate: Estate) -> None:
        self._db, self._estate = database, estate

    async def find(self, actor: Actor, text: str, limit: int = 20) -> tuple[Match, ...]:
        """Guests, verbs on them ("start shop-03"), jobs, servers; only what the role may do."""
        await permit(self._db, actor, Action.SEE, "find")
        words = text.lower().split()[:8]
        if not words:
            return tuple(self._pages(actor, []))
        verb, rest = _verb(words)
        found = [*self._verbs(actor, verb, rest)] if verb and rest else []
        found += [*self._guests(words), *self._servers(words), *self._pages(actor, words)]
        found += await self._jobs(words)
        return tuple(found[:limit])

    async def coverage(self, actor: Actor) -> Coverage:
        """Which servers' guests are found as last seen."""
        await permit(self._db, actor, Action.SEE, "find")
        return self._estate.coverage(self._db.clock())

    def _guests(self, words: list[str]) -> Iterable[Match]:
        for view in self._matching(words):
            guest = view.guest
            place = f"{guest.key.server} / {guest.node}, {guest.status}" + (", as last seen" if view.stale else "")
            yield Match("guest", guest.name or f"VM {guest.key.vmid}", f"{guest.key.vmid} on {place}", str(guest.key))

    def _matching(self, words: list[str]) -> list[GuestView]:
        found = [row for row in self._estate.rows() if all(word in row.search for word in words)]
        found.sort(key=lambda row: (not row.place[0].startswith(words[0]), row.guest.name, row.guest.key))
        now = self._db.clock()
        return [row.view(now) for row in found[:MOST_MATCHES]]

    def _verbs(self, actor: Actor, verb: PowerAction, rest: list[str]) -> Iterable[Match]:
        if not actor.may(Action.POWER):
            return
        for view in self._matching(rest)[:6]:
            guest = view.guest
            facts = PowerFacts(guest.type, guest.status, guest.lock, guest.template, bool(guest.hastate))
            if not possible_actions(facts)[verb]:
                title = f"{VERBS[verb][0].capitalize()} {guest.name or guest.key.vmid}"
                yield Match("verb", title, f"{guest.key.server} / {guest.node}", str(guest.key), str(verb))

    def _servers(self, words: list[str]) -> Iterable[Match]:
        for known in self._estate.servers():
            server = known.server
            if all(word in f"{server.id} {server.name} {' '.join(server.addresses)}".lower() for word in words):
                yield Match("server", server.name, f"{server.id}, {known.health.state}", server.id)

    def _pages(self, actor: Actor, words: list[str]) -> Iterable[Match]:
        for name, title, action in PAGES:
            if actor.may(action) and all(word in title.lower() for word in words):
                yield Match("page", title, "Page", name)

    async def _jobs(self, words: list[str]) -> list[Match]:
        async with self._db.read() as tx:
            recent = (await jobs.page(tx, JobFilter(), limit=JOBS_LOOKED_AT)).items
        found = [job for job in recent if all(word in f"{job.title} {job.id} {job.server}".lower() for word in words)]
        return [Match("job", job.title, f"{job.state}, on {job.server}", job.id) for job in found[:6]]


def _verb(words: list[str]) -> tuple[PowerAction | None, list[str]]:
    """The verb that the words begin with, and the rest."""
    for action, spellings in VERBS.items():
        if words[0] in spellings:
            rest = words[1:]
            return action, rest[1:] if rest and words[0] == "shut" and rest[0] == "down" else rest
    return None, words
