"""How hard a server is asked: three settings, each a pace within what Comserv promises to every server."""

from dataclasses import dataclass
from enum import StrEnum


class Gentleness(StrEnum):
    GENTLE = "gentle"
    USUAL = "usual"
    EAGER = "eager"


@dataclass(frozen=True)
class Pace:
    """calls: in flight at once. heavy_per_node: of them those that a node works for. rarer: times as long between two sweeps.

    pauses: times as long between two looks at a running task, and between two guests whose addresses are read.
    """

    calls: int = 4
    heavy_per_node: int = 2
    rarer: float = 1
    pauses: float = 1


PACES = {
    Gentleness.GENTLE: Pace(calls=2, heavy_per_node=1, rarer=3, pauses=3),
    Gentleness.USUAL: Pace(),
    Gentleness.EAGER: Pace(pauses=0.5),
}
"""None of them exceeds 4 calls in flight, 2 heavy ones per node and the usual sweeps: those are promised to every server."""
