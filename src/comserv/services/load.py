"""The load that we put on a server, and the setting that says how gentle we are with it."""

from dataclasses import dataclass, replace
from datetime import datetime

from comserv.domain.gentleness import Gentleness, Pace
from comserv.domain.load import Load, Purpose, together
from comserv.domain.person import Action, Actor
from comserv.domain.retry import BREAKS_AFTER
from comserv.jobs.clients import Clients
from comserv.jobs.taskwatch import PACE
from comserv.persistence import servers
from comserv.persistence.database import Database
from comserv.services.estate import Estate
from comserv.services.permission import permit, write_audit


@dataclass(frozen=True)
class LoadView:
    """load: None where nothing was asked yet. pace: the budget. sweep_seconds: between two sweeps. task_pauses: seconds between
    two looks at a running task, from its first seconds to later ones. breaker: `closed`, `open` (nothing is sent until
    next_try) or `resting` in maintenance. failures: sweeps in a row."""

    server: str
    gentleness: Gentleness
    pace: Pace
    sweep_seconds: float
    task_pauses: tuple[float, ...]
    load: Load | None
    breaker: str
    failures: int
    next_try: datetime | None

    @property
    def kinds(self) -> tuple[tuple[Purpose, int], ...]:
        """Requests in the last minute, by what for; all of them, also those that are none."""
        asked = self.load.by_purpose if self.load else {}
        return tuple((purpose, asked.get(purpose, 0)) for purpose in Purpose)


class Loads:
    def __init__(self, database: Database, estate: Estate, clients: Clients, sweep_seconds: float) -> None:
        self._db, self._estate, self._clients, self._every = database, estate, clients, sweep_seconds

    async def get(self, actor: Actor, server_id: str) -> LoadView:
        """The owner's figures as of its last sweep, and this process's own as of now. Raises NotFound."""
        await permit(self._db, actor, Action.SEE, f"server {server_id}")
        known = self._estate.server(server_id)
        server, health = known.server, known.health
        is_open = health.failures >= BREAKS_AFTER and health.next_try is not None
        return LoadView(
            server=server_id,
            gentleness=server.gentleness,
            pace=server.pace,
            sweep_seconds=self._every * server.pace.rarer,
            task_pauses=tuple(pause * server.pace.pauses for _, pause in PACE),
            load=self._load(server_id, health.load),
            breaker="resting" if server.maintenance else "open" if is_open else "closed",
            failures=health.failures,
            next_try=health.next_try,
        )

    def _load(self, server_id: str, owners: Load | None) -> Load | None:
        ours = self._clients.meter(server_id).load(self._db.process)
        others = [owners] if owners and owners.process != ours.process else []
        return together([ours, *others])

    async def set_gentleness(self, actor: Actor, server_id: str, gentleness: Gentleness) -> None:
        """It counts from the next call on, in every process. Raises NotFound."""
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        async with self._db.write() as tx:
            server = await servers.get(tx, server_id)
            await servers.change(tx, replace(server, gentleness=gentleness))
            await write_audit(tx, actor, "set_gentleness", f"server {server_id}", detail=str(gentleness))
        await self._clients.refresh(server_id)
