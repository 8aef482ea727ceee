"""A lease: that one process owns a server, since which take-over (epoch)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lease:
    """owner: the process's own random id. epoch: grows with each take-over, so that stale writes are known as such."""

    server: str
    owner: str
    epoch: int
