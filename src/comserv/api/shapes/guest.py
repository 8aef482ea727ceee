"""A guest as it was last seen, and what it says when it is asked now."""

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from comserv.api.shapes.job import Job
from comserv.api.shapes.outage import Outage
from comserv.api.shapes.plan import Finding
from comserv.api.shapes.problem import Problem
from comserv.domain import guest as domain
from comserv.domain.task import TaskRow, TaskStatus
from comserv.services.guests import Deletion, GuestLive, GuestPage, GuestView, Outcome


class KnownAddress(Struct):
    """An address that we know, from where, and when it was true."""

    address: str
    source: domain.AddressSource
    as_of: datetime


class PendingChange(Struct):
    """A value that waits for the next stop; `pending` null: it is to be deleted."""

    key: str
    value: str
    pending: str | None


class Live(Struct):
    """Asked for just now: `status/current`. actions: each power verb → "" where it makes sense now, else why not."""

    status: domain.GuestStatus
    qmpstatus: str
    lock: str | None
    uptime: int
    cpu: float | None
    cores: float | None
    memory: int | None
    memory_used: int | None
    disk: int | None
    agent: bool
    ha_managed: bool
    ha_state: str | None
    pending: list[PendingChange]
    actions: dict[str, str]
    proxmox_url: str

    @classmethod
    def of(cls, live: GuestLive) -> "Live":
        state = live.state
        return cls(
            status=state.status,
            qmpstatus=state.qmpstatus,
            lock=state.lock or None,
            uptime=state.uptime,
            cpu=state.cpu,
            cores=state.cores,
            memory=state.memory,
            memory_used=state.memory_used,
            disk=state.disk,
            agent=state.agent,
            ha_managed=state.ha_managed,
            ha_state=state.ha_state or None,
            pending=pending_changes(live),
            actions={str(action): why for action, why in live.actions.items()},
            proxmox_url=live.proxmox_url,
        )


def pending_changes(live: GuestLive) -> list[PendingChange]:
    return [PendingChange(change.key, change.value, change.pending) for change in live.pending]


class Guest(Struct):
    """A VM (`qemu`) or a container (`lxc`), as last seen at `as_of`; `stale`: its server does not answer, or that is old.

    Sizes in bytes, cpu 0 to 1, uptime in seconds. ours: what we changed and the sweep has not confirmed yet, by field.
    job: the id of an active job on it. live: only where it was asked for with `?live=1`.
    """

    server: str
    vmid: int
    type: domain.GuestType
    name: str
    node: str
    status: domain.GuestStatus
    template: bool
    lock: str | None
    tags: list[str]
    pool: str | None
    cores: float | None
    cpu: float | None
    memory: int | None
    memory_used: int | None
    disk: int | None
    disk_used: int | None
    uptime: int | None
    ha_state: str | None
    addresses: list[KnownAddress]
    as_of: datetime | None
    stale: bool
    ours: dict[str, str]
    job: str | None
    live: Live | UnsetType = UNSET

    @classmethod
    def of(cls, view: GuestView, live: GuestLive | None = None) -> "Guest":
        guest = view.guest
        return cls(
            server=guest.key.server,
            vmid=guest.key.vmid,
            type=guest.type,
            name=guest.name,
            node=guest.node,
            status=guest.status,
            template=guest.template,
            lock=guest.lock or None,
            tags=list(guest.tags),
            pool=guest.pool or None,
            cores=guest.cores,
            cpu=guest.cpu,
            memory=guest.memory,
            memory_used=guest.memory_used,
            disk=guest.disk,
            disk_used=guest.disk_used,
            uptime=guest.uptime,
            ha_state=guest.hastate or None,
            addresses=[KnownAddress(known.address, known.source, known.as_of) for known in view.addresses],
            as_of=view.as_of,
            stale=view.stale,
            ours=dict(view.ours),
            job=view.job.id if view.job else None,
            live=Live.of(live) if live else UNSET,
        )


class GuestList(Struct):
    """total: all that match, everything: all there are; counts: by status among those that match; stale: how many of them.

    servers: how many it tells of; incomplete: those of them whose guests are as last seen.
    """

    items: list[Guest]
    next_cursor: str | None
    total: int
    everything: int
    counts: dict[str, int]
    stale: int
    servers: int
    incomplete: list[Outage]

    @classmethod
    def of(cls, page: GuestPage) -> "GuestList":
        guests, counts, known = [Guest.of(view) for view in page.items], dict(page.counts), page.coverage
        missing = Outage.all_of(known)
        return cls(guests, page.next_cursor, page.total, page.everything, counts, page.stale, known.servers, missing)


class GuestConfig(Struct):
    """The configuration as Proxmox keeps it, every value as text, and what of it waits for the next stop."""

    values: dict[str, str]
    digest: str
    pending: list[PendingChange]


class AgentAddress(Struct):
    """One address of one interface."""

    interface: str
    mac: str
    address: str
    prefix: int


class AgentReport(Struct):
    """What the guest agent told just now."""

    as_of: datetime
    hostname: str
    os: str
    addresses: list[AgentAddress]

    @classmethod
    def of(cls, report: domain.AgentReport) -> "AgentReport":
        addresses = [AgentAddress(one.interface, one.mac, one.address, one.prefix) for one in report.addresses]
        return cls(report.as_of, report.hostname, report.os, addresses)


class Task(Struct):
    """Proxmox's own asynchronous work. exitstatus is null while it runs."""

    upid: str
    type: str
    node: str
    user: str
    started: datetime
    ended: datetime | None
    running: bool
    ok: bool
    exitstatus: str | None

    @classmethod
    def of(cls, task: TaskRow) -> "Task":
        upid, ok = task.upid, TaskStatus(task.upid, task.running, task.exitstatus, task.ended).ok
        return cls(
            upid.text,
            upid.type,
            upid.node,
            upid.user,
            upid.started,
            task.ended,
            task.running,
            ok,
            task.exitstatus or None,
        )


class TaskList(Struct):
    """Running ones first, then newest first."""

    items: list[Task]
    next_cursor: str | None


class DeletionPreview(Struct):
    """What a deletion would take, and what it would leave, in whole sentences. confirm: what has to be typed."""

    server: str
    vmid: int
    confirm: str
    goes: list[str]
    stays: list[str]
    findings: list[Finding]

    @classmethod
    def of(cls, deletion: Deletion) -> "DeletionPreview":
        guest = deletion.view.guest
        findings = [Finding.of(finding) for finding in deletion.findings]
        name = guest.name or str(guest.key.vmid)
        return cls(guest.key.server, guest.key.vmid, name, list(deletion.goes), list(deletion.stays), findings)


class PowerOutcome(Struct):
    """One of many: its job, or why none was made."""

    server: str
    vmid: int
    job: Job | None
    problem: Problem | None

    @classmethod
    def of(cls, outcome: Outcome) -> "PowerOutcome":
        job = Job.of(outcome.job) if outcome.job else None
        problem = Problem.of(outcome.problem) if outcome.problem else None
        return cls(outcome.key.server, outcome.key.vmid, job, problem)


class PowerOutcomes(Struct):
    """In the order in which they were asked for."""

    items: list[PowerOutcome]


class GuestChange(Struct):
    """What is left away or null stays as it is. memory_mb in MiB; tags replace those there are."""

    cpu_cores: int | None = None
    memory_mb: int | None = None
    name: str | None = None
    tags: list[str] | None = None
    notes: str | None = None
    start_on_boot: bool | None = None
