"""The end of a guest: what goes with it, what stays, and what stands against it."""

from dataclasses import dataclass

from comserv.domain.guest import Guest, GuestConfig, GuestState, GuestType
from comserv.domain.plan import Finding, PlannedCall


@dataclass(frozen=True)
class RemovalFacts:
    """None: not readable. linked_clones: guests whose disks need this template's. snapshots: names, without `current`."""

    guest: Guest
    config: GuestConfig | None = None
    state: GuestState | None = None
    snapshots: tuple[str, ...] | None = None
    linked_clones: tuple[Guest, ...] = ()
    backup_jobs: bool | None = None


@dataclass(frozen=True)
class Removal:
    """goes, stays: whole sentences. blocked: a finding is a blocker."""

    goes: tuple[str, ...]
    stays: tuple[str, ...]
    findings: tuple[Finding, ...]
    blocked: bool


def plan_removal(facts: RemovalFacts) -> Removal:
    raise NotImplementedError


def removal_call(type: GuestType, node: str, vmid: int) -> PlannedCall:
    """`DELETE /nodes/{node}/{type}/{vmid}`; parameters go into the query string (semantics section 1)."""
    raise NotImplementedError


def identity(type: GuestType, config: GuestConfig) -> str:
    """What tells this guest from another one with the same VM id: the smbios1 uuid of a VM, else the configuration's digest."""
    raise NotImplementedError
