"""The audit: a row for each change and each refused attempt."""

from dataclasses import dataclass

from comserv.domain.audit import AuditEntry, Outcome
from comserv.domain.errors import Invalid
from comserv.domain.page import Page
from comserv.domain.person import Action, Actor
from comserv.persistence import audit
from comserv.persistence.database import Database
from comserv.services.permission import permit

__all__ = ["Audit", "AuditEntry", "AuditPage", "AuditQuery"]

AuditPage = Page[AuditEntry]


@dataclass(frozen=True)
class AuditQuery:
    """Empty fields filter nothing; `subject` is compared whole, for example `guest rack/105`."""

    who: str = ""
    action: str = ""
    subject: str = ""
    outcome: str = ""
    cursor: str = ""
    limit: int = 100


class Audit:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def require(self, actor: Actor, action: Action, subject: str = "") -> None:
        """Raises Forbidden, after the refused attempt was written down."""
        await permit(self._db, actor, action, subject)

    async def list(self, actor: Actor, query: AuditQuery) -> AuditPage:
        """Newest first. Needs SEE_AUDIT."""
        await permit(self._db, actor, Action.SEE_AUDIT, "audit")
        if query.outcome not in ("", *map(str, Outcome)):
            raise Invalid(fields={"outcome": f"one of {', '.join(Outcome)}"})
        wanted = audit.AuditFilter(
            query.who, query.action, query.subject, Outcome(query.outcome) if query.outcome else None
        )
        async with self._db.read() as tx:
            return await audit.page(tx, wanted, limit=query.limit, cursor=query.cursor or None)
