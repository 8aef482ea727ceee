"""What we changed on a guest ourselves, shown at once and marked as ours until the sweep confirms it; and what we made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from comserv.domain.guest import GuestKey


@dataclass(frozen=True)
class Overlay:
    """fields: names of `Guest` with their new values, as JSON has them; `{"gone": True}` for one that we removed."""

    guest: GuestKey
    fields: Mapping[str, Any] = field(default_factory=dict)
    job: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class MadeGuest:
    """Evidence that a guest is ours: the job and the task (UPID) that made it, and the `smbios1` uuid read when that ended."""

    guest: GuestKey
    job: str
    upid: str = ""
    smbios_uuid: str = ""
    at: datetime | None = None
