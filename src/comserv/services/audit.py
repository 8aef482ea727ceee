"""The audit: a row for each change and each refused attempt."""

from dataclasses import dataclass
from datetime import datetime

from comserv.domain.person import Actor


@dataclass(frozen=True)
class AuditEntry:
    """outcome: `done`, `asked`, `refused`, `failed`. count: how often within a minute, where a flood was folded."""

    id: int
    at: datetime
    who: str
    via: str
    action: str
    subject: str
    outcome: str
    detail: str = ""
    address: str = ""
    request_id: str = ""
    count: int = 1


@dataclass(frozen=True)
class AuditQuery:
    who: str = ""
    action: str = ""
    subject: str = ""
    outcome: str = ""
    cursor: str = ""
    limit: int = 100


@dataclass(frozen=True)
class AuditPage:
    items: tuple[AuditEntry, ...]
    next_cursor: str | None


class Audit:
    async def list(self, actor: Actor, query: AuditQuery) -> AuditPage:
        """Newest first. Needs SEE_AUDIT."""
        raise NotImplementedError
