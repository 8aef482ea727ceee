"""The doctor: what a server's token may do, feature by feature, with the lines that mend the rest; and the look that tells it anew."""

from dataclasses import dataclass
from datetime import datetime

from comserv.domain.doctor import Diagnosis, examine
from comserv.domain.features import NEVER, Never
from comserv.domain.person import Action, Actor
from comserv.domain.plan import Finding
from comserv.domain.rights import RightsSeen
from comserv.domain.tokennotes import token_notes
from comserv.jobs.clients import Clients
from comserv.jobs.rights import refresh
from comserv.persistence.database import Database
from comserv.services.estate import Estate, Known
from comserv.services.permission import permit

__all__ = ["Doctor", "DoctorReport"]


@dataclass(frozen=True)
class DoctorReport:
    """as_of: when it was looked at, None where that never was; then there is no diagnosis. old: too long ago to forbid anything by.

    notes: what else is known of the token. never: what no token can do.
    """

    server: str
    token: str
    as_of: datetime | None = None
    old: bool = False
    version: str = ""
    diagnosis: Diagnosis | None = None
    notes: tuple[Finding, ...] = ()
    never: tuple[Never, ...] = NEVER


class Doctor:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients

    async def get(self, actor: Actor, server_id: str) -> DoctorReport:
        """From the last look; asks no server. Needs SEE. Raises NotFound."""
        await permit(self._db, actor, Action.SEE, f"server {server_id}")
        known = self._estate.server(server_id)
        return self._report(known, known.rights)

    async def look(self, actor: Actor, server_id: str) -> DoctorReport:
        """Looks again. Needs TEST_SERVER. Raises NotFound, Conflict (disabled), ProxmoxError."""
        await permit(self._db, actor, Action.TEST_SERVER, f"server {server_id}")
        known = self._estate.server(server_id)
        known.rights = await refresh(self._db, await self._clients.of(server_id))
        return self._report(known, known.rights)

    def _report(self, known: Known, seen: RightsSeen | None) -> DoctorReport:
        token, now = known.server.token_id, self._db.clock()
        if seen is None or seen.token != str(token):
            return DoctorReport(known.server.id, str(token))
        picture = known.picture if known.picture.as_of else None
        return DoctorReport(
            server=known.server.id,
            token=str(token),
            as_of=seen.as_of,
            old=known.current_rights(now) is None,
            version=seen.version,
            diagnosis=examine(seen, picture, token),
            notes=token_notes(seen, token, now),
        )
