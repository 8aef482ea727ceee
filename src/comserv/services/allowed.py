"""What a server's token may do with a guest, told before anything is asked of it: greyed buttons, and refusals with their cure."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from comserv.domain.cluster import Version
from comserv.domain.doctor import lacking_for, lacking_words
from comserv.domain.errors import ComservError, RightsMissing
from comserv.domain.features import BY_ID, FeatureId
from comserv.domain.guest import Guest
from comserv.domain.mending import Missing, mend
from comserv.domain.plan import Finding, Level
from comserv.domain.rights import RightsSeen
from comserv.jobs.clients import Clients
from comserv.jobs.rights import refresh
from comserv.persistence.database import Database
from comserv.services.estate import Estate, GuestView, Known

FOR_ONE_GUEST = (
    FeatureId.POWER,
    FeatureId.CHANGE_CPU,
    FeatureId.CHANGE_MEMORY,
    FeatureId.CHANGE_OPTIONS,
    FeatureId.DELETE_GUEST,
)
ALL_FOR_ONE_GUEST = frozenset(need.privilege for feature in FOR_ONE_GUEST for need in BY_ID[feature].needs)
JUST_LOOKED = timedelta(seconds=10)


class Allowed:
    def __init__(self, database: Database, estate: Estate, clients: Clients) -> None:
        self._db, self._estate, self._clients = database, estate, clients

    def denied(self, view: GuestView) -> Mapping[str, str]:
        """Feature → why not, a sentence; nothing where the rights are not known, or were looked at too long ago."""
        known = self._estate.server(view.guest.key.server)
        seen = known.current_rights(self._db.clock())
        if seen is None or seen.rights.at(f"/vms/{view.guest.key.vmid}") >= ALL_FOR_ONE_GUEST:
            return {}
        missing = {str(feature): self._missing(known, seen, view.guest, (feature,)) for feature in FOR_ONE_GUEST}
        return {feature: f"{lacking_words(lacking)}." for feature, lacking in missing.items() if lacking}

    async def check(self, guest: Guest, features: Iterable[FeatureId]) -> None:
        """Raises RightsMissing, after another look where the last is some seconds old: the right may have been given meanwhile.

        A server that does not answer now denies nothing; the job waits for it.
        """
        wanted, known = tuple(features), self._estate.server(guest.key.server)
        seen = known.current_rights(self._db.clock())
        if seen is None or not self._missing(known, seen, guest, wanted):
            return
        if self._db.clock() - seen.as_of > JUST_LOOKED:
            try:
                seen = known.rights = await refresh(self._db, await self._clients.of(known.server.id))
            except ComservError:
                return
        missing = self._missing(known, seen, guest, wanted)
        if missing:
            lines = mend(seen, known.server.token_id, missing, Version(seen.version)).text
            cure = f"Run as root on the server:\n{lines}"
            finding = Finding(Level.BLOCKER, "rights_missing", f"{lacking_words(missing)}.", cure, "server")
            raise RightsMissing([finding], server=known.server.id, cure=cure)

    def _missing(
        self, known: Known, seen: RightsSeen, guest: Guest, features: Iterable[FeatureId]
    ) -> tuple[Missing, ...]:
        found = (lacking_for(BY_ID[feature], seen, guest, known.picture.version) for feature in features)
        return tuple(dict.fromkeys(one for missing in found for one in missing))
