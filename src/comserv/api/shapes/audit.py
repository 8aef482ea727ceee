"""A row of the audit."""

from datetime import datetime

from msgspec import Struct

from comserv.domain import audit as domain
from comserv.domain.audit import Outcome


class AuditEntry(Struct):
    """A change or a refused attempt, on a subject like `guest rack/105`. job: the id of the job behind it.

    count: how many equal refusals within a minute this stands for; the last of them was at `last`.
    """

    id: int
    at: datetime | None
    last: datetime | None
    who: str
    via: str
    action: str
    subject: str
    outcome: Outcome
    detail: str
    job: str | None
    address: str
    request_id: str
    count: int

    @classmethod
    def of(cls, entry: domain.AuditEntry) -> "AuditEntry":
        return cls(
            id=entry.id,
            at=entry.at,
            last=entry.last,
            who=entry.who,
            via=entry.via,
            action=entry.action,
            subject=entry.object,
            outcome=entry.outcome,
            detail=entry.detail,
            job=entry.job or None,
            address=entry.address,
            request_id=entry.request_id,
            count=entry.count,
        )


class AuditList(Struct):
    """Newest first."""

    items: list[AuditEntry]
    next_cursor: str | None
