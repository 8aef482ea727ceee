"""Guests: the list over all servers, one guest live, power, a change, and the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from comserv.domain.change import ChangeRequest
from comserv.domain.errors import Problem
from comserv.domain.guest import AgentReport, Guest, GuestConfig, GuestKey, GuestState, KnownAddress, PendingChange
from comserv.domain.job import Job
from comserv.domain.person import Actor
from comserv.domain.plan import Finding
from comserv.domain.power import PowerAction
from comserv.domain.task import TaskStatus


@dataclass(frozen=True)
class GuestView:
    """A guest as it is shown. as_of: the age of what is told. stale: its server does not answer or the picture is old.

    ours: what we changed ourselves and the sweep has not confirmed yet, by field name. job: an active job on it.
    """

    guest: Guest
    as_of: datetime | None
    stale: bool
    addresses: tuple[KnownAddress, ...] = ()
    ours: Mapping[str, str] = field(default_factory=dict)
    job: Job | None = None


@dataclass(frozen=True)
class GuestQuery:
    """text: part of name, vmid, tag or address. statuses: running, stopped, paused, suspended, unknown, template, locked.

    sort: name, vmid, server, node, status, cpu, memory, disk, uptime; a leading - turns it round. limit ≤ 500.
    """

    text: str = ""
    servers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    templates: bool | None = False
    sort: str = "name"
    cursor: str = ""
    limit: int = 100


@dataclass(frozen=True)
class GuestPage:
    """total: all that match; everything: all guests there are; counts: by status among those that match; revision grows on any change."""

    items: tuple[GuestView, ...]
    total: int
    everything: int
    counts: Mapping[str, int]
    stale: int
    next_cursor: str | None
    revision: str = ""


@dataclass(frozen=True)
class GuestLive:
    """One guest asked for now: `status/current`, configuration with what waits, and what may be done in this state.

    actions: each power verb → "" when it makes sense now, else the reason why not.
    """

    view: GuestView
    state: GuestState
    config: GuestConfig
    pending: tuple[PendingChange, ...]
    actions: Mapping[PowerAction, str]
    proxmox_url: str


@dataclass(frozen=True)
class Deletion:
    """What a deletion would take and leave, shown before it is asked for."""

    view: GuestView
    goes: tuple[str, ...]
    stays: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Outcome:
    """One of many asked for at once: its job, or why none was made."""

    key: GuestKey
    job: Job | None = None
    problem: Problem | None = None


class Guests:
    async def list(self, actor: Actor, query: GuestQuery) -> GuestPage:
        """From the picture, never from a server: it costs the servers nothing. Needs SEE."""
        raise NotImplementedError

    async def get(self, actor: Actor, key: GuestKey) -> GuestView:
        """The row as last seen. Raises NotFound."""
        raise NotImplementedError

    async def live(self, actor: Actor, key: GuestKey) -> GuestLive:
        """Asks the server. Raises NotFound, ProxmoxError."""
        raise NotImplementedError

    async def agent(self, actor: Actor, key: GuestKey) -> AgentReport:
        """Asks the guest's agent (for containers: the host). Raises RequestRefused when it is not configured or silent."""
        raise NotImplementedError

    async def tasks(self, actor: Actor, key: GuestKey) -> tuple[TaskStatus, ...]:
        """Proxmox's tasks of this guest, newest first, running ones first."""
        raise NotImplementedError

    async def power(self, actor: Actor, key: GuestKey, action: PowerAction, idempotency_key: str = "") -> Job:
        """Raises Conflict where the action makes no sense in the state we know, NotFound."""
        raise NotImplementedError

    async def power_many(self, actor: Actor, keys: Sequence[GuestKey], action: PowerAction) -> tuple[Outcome, ...]:
        """A job each, checked one by one."""
        raise NotImplementedError

    async def change(self, actor: Actor, key: GuestKey, change: ChangeRequest, idempotency_key: str = "") -> Job:
        """Raises Invalid, NotFound."""
        raise NotImplementedError

    async def deletion(self, actor: Actor, key: GuestKey) -> Deletion:
        """What would go and what would stay; asks the server."""
        raise NotImplementedError

    async def delete(self, actor: Actor, key: GuestKey, typed_name: str, idempotency_key: str = "") -> Job:
        """typed_name: the guest's name (or its VM id where it has none), typed by the person. Raises Invalid when it differs."""
        raise NotImplementedError
