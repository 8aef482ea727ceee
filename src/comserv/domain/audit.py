"""An audit row: who did or tried what, on which object, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """`done` for a change that is made or accepted; the rest as jobs end, and `refused` for what was not allowed."""

    DONE = "done"
    REFUSED = "refused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class AuditEntry:
    """who: a person's name or `local`, empty for nobody. action: as in `Action` or a job's kind. object: `guest rack/105`.

    count: how many equal refusals within a minute this row stands for; the last of them was at `last`.
    """

    who: str
    action: str
    object: str
    outcome: Outcome
    via: str = ""
    address: str = ""
    detail: str = ""
    job: str = ""
    request_id: str = ""
    id: int = 0
    at: datetime | None = None
    last: datetime | None = None
    count: int = 1
