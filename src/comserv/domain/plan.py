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
class Decision:
    """What the plan chose, and the job carries out; made of plain values, so that a step can keep it as JSON.

    node: where the VM will stand. template_node: where the clone call is sent. storage: of the new disk (empty: the
    template's own, told by no readable configuration). vmid: a candidate, settled by the reservation. disk_key: the disk
    that is grown, for example `scsi0`. memory, disk: what the VM will take of node and storage, in bytes.
    template_notes: the template's own notes, carried over where the request has none.
    """

    server: str
    node: str
    template_node: str
    template_vmid: int
    vmid: int | None
    storage: str
    full: bool
    disk_key: str = ""
    bridge: str = ""
    memory: int = 0
    disk: int = 0
    agent: bool = False
    template_notes: str = ""

    @property
    def moves(self) -> bool:
        """The clone goes to another node than the template's."""
        return self.node != self.template_node


@dataclass(frozen=True)
class Plan:
    """decision: None where too little is known, or too much is missing, to decide."""

    placement: Placement
    calls: tuple[PlannedCall, ...] = ()
    findings: tuple[Finding, ...] = ()
    decision: Decision | None = None

    @property
    def blockers(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == Level.BLOCKER)

    @property
    def blocked(self) -> bool:
        return any(finding.level == Level.BLOCKER for finding in self.findings)
