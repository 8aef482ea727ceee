"""A plan: what a job will do, call by call, with its placement and its findings, shown before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    BLOCKER = "blocker"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One result of a pre-check. code: stable, for programs (`hostname_taken`); field: of the request (`network.ip_address`), or empty."""

    level: Level
    code: str
    text: str
    cure: str = ""
    field: str = ""


@dataclass(frozen=True)
class PlannedCall:
    """One call that will be sent; secrets in parameters are shown as `•••`."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class NodeChoice:
    """A node that was weighed: chosen, possible or not, and why in words."""

    node: str
    chosen: bool
    possible: bool
    reason: str


@dataclass(frozen=True)
class Placement:
    """reasons: why this node and this storage, whole sentences."""

    server: str
    node: str
    storage: str
    full_clone: bool
    reasons: tuple[str, ...] = ()
    choices: tuple[NodeChoice, ...] = ()


@dataclass(frozen=True)
class Plan:
    placement: Placement
    calls: tuple[PlannedCall, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def blocked(self) -> bool:
        return any(finding.level == Level.BLOCKER for finding in self.findings)
