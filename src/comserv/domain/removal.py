"""The end of a guest: what goes with it, what stays, and what stands against it."""

from collections.abc import Iterator
from dataclasses import dataclass

from comserv.domain.guest import Guest, GuestConfig, GuestState, GuestStatus, GuestType
from comserv.domain.hardware import Disk, disks, unused_disks
from comserv.domain.ownership import smbios_uuid
from comserv.domain.plan import Finding, Level, PlannedCall
from comserv.domain.units import size


@dataclass(frozen=True)
class RemovalFacts:
    """None: not readable. linked_clones: guests whose disks need this template's. snapshots: names, without `current`.

    backups: how many backups of it are known. backup_jobs: whether a backup job names it. stale: its server does not answer.
    """

    guest: Guest
    config: GuestConfig | None = None
    state: GuestState | None = None
    snapshots: tuple[str, ...] | None = None
    linked_clones: tuple[Guest, ...] = ()
    backups: int | None = None
    backup_jobs: bool | None = None
    stale: bool = False


@dataclass(frozen=True)
class Removal:
    """goes, stays: whole sentences. blocked: a finding is a blocker."""

    goes: tuple[str, ...]
    stays: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> bool:
        return any(finding.level == Level.BLOCKER for finding in self.findings)


def plan_removal(facts: RemovalFacts) -> Removal:
    """What a person has to see before the name is typed."""
    return Removal(tuple(_goes(facts)), tuple(_stays(facts)), tuple(_findings(facts)))


def _own_disks(config: GuestConfig, vmid: int) -> tuple[tuple[Disk, ...], tuple[Disk, ...]]:
    """Volumes that bear the guest's number, which Proxmox removes, and others that it only refers to."""
    mine, others = [], []
    for disk in (*disks(config), *unused_disks(config)):
        if disk.storage and disk.volume != "none":
            owned = f"-{vmid}-" in disk.volume.rpartition("/")[2].rpartition(":")[2]
            (mine if owned else others).append(disk)
    return tuple(mine), tuple(others)


def _goes(facts: RemovalFacts) -> Iterator[str]:
    guest = facts.guest
    kind = "container" if guest.type == GuestType.LXC else "VM"
    yield f"The {kind} {guest.key.vmid}{f' ({guest.name})' if guest.name else ''} with its configuration."
    if facts.config is None:
        yield "All of its disks; which they are could not be read."
    else:
        for disk in _own_disks(facts.config, guest.key.vmid)[0]:
            told = f" ({size(disk.size)})" if disk.size is not None else ""
            unused = ", not in use" if disk.key.startswith("unused") else ""
            yield f"{'The cloud-init drive' if disk.cloud_init else 'The disk'} {disk.key}{unused}: {disk.volume}{told}."
    if facts.snapshots:
        yield f"{len(facts.snapshots)} snapshot{'s' if len(facts.snapshots) > 1 else ''}: {', '.join(facts.snapshots)}."
    if guest.pool:
        yield f"Its place in the pool {guest.pool}."
    yield "Permissions and firewall rules made for it."


def _stays(facts: RemovalFacts) -> Iterator[str]:
    if facts.config is not None:
        for disk in _own_disks(facts.config, facts.guest.key.vmid)[1]:
            yield f"{disk.volume}, which {disk.key} refers to."
        bases = sorted({disk.linked_to for disk in disks(facts.config) if disk.linked_to})
        for base in bases:
            yield f"The template's disk {base}, which its disk was linked to."
    yield "Its backups" + (f": {facts.backups} are known." if facts.backups else ", if there are any.")
    if facts.backup_jobs:
        yield "Backup jobs that name it; they go on for the others."


def _findings(facts: RemovalFacts) -> Iterator[Finding]:
    guest, state = facts.guest, facts.state
    status = state.status if state else guest.status
    lock = (state.lock if state else "") or guest.lock
    if facts.stale:
        text = "Its server does not answer, so what is told here may be old."
        yield Finding(Level.WARNING, "stale", text, "Wait until the server answers.")
    if status in (GuestStatus.RUNNING, GuestStatus.PAUSED):
        text = "It runs, and Proxmox removes only stopped guests."
        yield Finding(Level.BLOCKER, "running", text, "Shut it down or stop it first.")
    if status == GuestStatus.SUSPENDED or lock == "suspended":
        text = "It is hibernated; the memory that was saved goes too."
        yield Finding(Level.WARNING, "hibernated", text, "Start it first if what runs in it is still needed.")
    elif lock:
        text = f"It is locked ({lock})."
        cure = f"Wait until that task has ended. If none runs, remove the lock on the server: {_unlock(guest)}."
        yield Finding(Level.BLOCKER, "locked", text, cure)
    if facts.config is not None and facts.config.get("protection") == "1":
        text = "Its protection forbids removing it."
        yield Finding(Level.BLOCKER, "protected", text, "Switch protection off in its options first.")
    if (state and state.ha_managed) or (guest.hastate and guest.hastate != "ignored"):
        text = "It is managed by HA, and its HA resource would be left without a guest."
        kind = "ct" if guest.type == GuestType.LXC else "vm"
        cure = f"Remove it from HA first: ha-manager remove {kind}:{guest.key.vmid}."
        yield Finding(Level.BLOCKER, "ha_managed", text, cure)
    if facts.linked_clones:
        names = ", ".join(one.name or str(one.key.vmid) for one in facts.linked_clones)
        text = f"Linked clones need its disk: {names}."
        yield Finding(Level.BLOCKER, "linked_clones", text, "Remove those first, or make full clones of them.")
    elif guest.template:
        text = "It is a template; linked clones of it that are not seen here would keep it from going."
        yield Finding(Level.WARNING, "template", text, "Make sure that nobody needs it.")
    if facts.config is None:
        text = "Its configuration could not be read."
        yield Finding(Level.WARNING, "config_unread", text, "Give the token VM.Audit on it, or try again.")


def _unlock(guest: Guest) -> str:
    return f"{'pct' if guest.type == GuestType.LXC else 'qm'} unlock {guest.key.vmid}"


def removal_call(type: GuestType, node: str, vmid: int) -> PlannedCall:
    """`DELETE /nodes/{node}/{type}/{vmid}`; parameters go into the query string (semantics section 1).

    Without `purge`, so that an HA resource or a job that names the guest is not changed unseen; without
    `destroy-unreferenced-disks`, so that nothing goes that was not shown.
    """
    return PlannedCall("DELETE", f"/nodes/{node}/{type}/{vmid}")


def identity(type: GuestType, config: GuestConfig) -> str:
    """What tells this guest from another one with the same VM id: the smbios1 uuid of a VM, else the configuration's digest."""
    return (smbios_uuid(config) if type == GuestType.QEMU else "") or config.digest
