"""Maintenance: nothing is sent to a server until somebody, or its time, ends it. What is known of it stays on show."""

from dataclasses import replace
from datetime import datetime, timedelta

from comserv.domain.maintenance import begin_maintenance
from comserv.domain.person import Action, Actor
from comserv.domain.server import ServerState
from comserv.jobs.clients import Clients
from comserv.persistence import jobs, servers
from comserv.persistence.database import Database
from comserv.services.estate import Estate
from comserv.services.permission import permit, write_audit

QUIET_WITHIN = 5.0  # seconds that the answer waits for a sweep that is under way, also one of another process


class Maintenances:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients

    async def held_jobs(self, actor: Actor, server_id: str) -> int:
        """How many jobs of the server have not ended: they would wait."""
        await permit(self._db, actor, Action.SEE, f"server {server_id}")
        async with self._db.read() as tx:
            return await jobs.count_open(tx, server_id)

    async def begin(
        self,
        actor: Actor,
        server_id: str,
        why: str = "",
        until: datetime | None = None,
        *,
        lasts: timedelta | None = None,
    ) -> None:
        """until, or lasts: when it ends by itself.

        Once more with another reason or end is allowed; who and since stay. Calls in flight end; jobs there are held.

        Raises Invalid, NotFound.
        """
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        async with self._db.write() as tx:
            server = await servers.get(tx, server_id)
            until = tx.now + lasts if lasts else until
            wanted, before = begin_maintenance(actor.name, tx.now, why, until), server.maintenance
            if before is not None:
                wanted = replace(wanted, by=before.by, since=before.since)
            await servers.change(tx, replace(server, maintenance=wanted))
            told = f"until {until.isoformat(timespec='minutes')}" if until else "until it is ended"
            detail = f"{told}: {wanted.why}" if wanted.why else told
            await write_audit(tx, actor, "begin_maintenance", f"server {server_id}", detail=detail)
        await self._settled(server_id, resting=True)

    async def end(self, actor: Actor, server_id: str) -> None:
        """It is asked again at once, and jobs that were held go on. Does nothing where there is none. Raises NotFound."""
        await permit(self._db, actor, Action.MANAGE_SERVERS, f"server {server_id}")
        async with self._db.write() as tx:
            server = await servers.get(tx, server_id)
            if server.maintenance is None:
                return
            await servers.change(tx, replace(server, maintenance=None))
            await write_audit(tx, actor, "end_maintenance", f"server {server_id}")
        await self._settled(server_id, resting=False)

    async def _settled(self, server_id: str, *, resting: bool) -> None:
        """Nothing of this process is sent from here on; the owner of the server, wherever it runs, has taken notice or had its time."""
        await self._clients.refresh(server_id)

        def is_so() -> bool:
            known = self._estate.find(server_id)
            if known is None:
                return True
            told = not resting or known.health.state is ServerState.MAINTENANCE
            return bool(known.server.maintenance) is resting and told

        await self._estate.wait_for(is_so, QUIET_WITHIN)
