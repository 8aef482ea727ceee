"""A reservation: what a running job will take of a server, so that no second job plans with it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from comserv.domain.guest import GuestKey

Taken = Literal["vmid", "hostname", "address"]


@dataclass(frozen=True)
class Reservation:
    """hostname and addresses (without prefix) may be empty; memory in MiB, disk in GiB. Freed when its job settles."""

    guest: GuestKey
    job: str
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    node: str = ""
    storage: str = ""
    memory_mb: int = 0
    disk_gb: float = 0
    created: datetime | None = None
