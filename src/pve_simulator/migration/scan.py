"""Looks through a VM's volumes before anything is copied: what goes along, and what keeps the VM where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.migration.journal import words
from pve_simulator.migration.mapping import Map
from pve_simulator.migration.resources import volumes_of
from pve_simulator.qemu import volumes
from pve_simulator.qemu.drives import Drive
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

if TYPE_CHECKING:
    from pve_simulator.migration.journal import Journal
    from pve_simulator.server import Server

COPIED = ("dir", "btrfs", "zfspool", "lvmthin", "lvm")  # kinds of storage whose volumes can be copied


@dataclass(frozen=True)
class Local:
    """A volume that has to be copied: to which storage, and whether the running VM writes to it (`online`)."""

    drive: Drive
    volume: Volume
    storage: str
    online: bool
    told: str  # how the log names it


@dataclass(frozen=True)
class Terms:
    """How a VM is moved."""

    target: Server
    node: str
    storages: Map
    running: bool
    with_disks: bool
    remote: bool = False


def scan(journal: Journal, server: Server, guest: Guest, terms: Terms) -> list[Local]:
    """The volumes to copy, told in the log; raises TaskError where one keeps the VM from moving."""
    found: list[Local] = []
    errors: list[str] = []
    for drive, attached in volumes_of(guest):
        try:
            one = look(server, guest, drive, attached, terms)
        except (ApiError, TaskError) as fault:
            errors.append(f"can't migrate local disk '{drive.file}': {words(fault)}")
        else:
            found += [one] if one else []
    if terms.running and not terms.with_disks and not terms.remote:
        text = "can't live migrate attached local disks without with-local-disks option"
        errors += [f"can't migrate local disk '{one.drive.file}': {text}" for one in found if one.told == "attached"]
    found.sort(key=lambda one: one.volume.volid)
    for one in found:
        kind = "generated" if one.drive.cloud_init else "local"
        told = "in current VM config" if one.drive.cloud_init else one.told
        journal.info(f"found {kind} disk '{one.volume.volid}' ({told})")
    if errors:
        journal.info(*sorted(errors))
        raise TaskError("Problem found while scanning volumes - can't migrate VM - check log")
    for one in found:
        check_kind(server, one, terms)
    return found


def look(server: Server, guest: Guest, drive: Drive, attached: bool, terms: Terms) -> Local | None:
    """What is to be done about a volume: nothing where it is shared. Raises ApiError or TaskError."""
    name = volumes.parts(drive.file)[0]
    storage = volumes.usable(server, name, guest.node)
    shared = storage.shared and not terms.remote
    wanted = name if shared else terms.storages.of(name)
    volumes.usable(terms.target, wanted, terms.node)
    if shared:
        return None
    volume = server.estate.volume(drive.file, guest.node)
    if volume is None:
        raise TaskError(f"volume '{drive.file}' does not exist")
    if drive.cdrom and not drive.cloud_init:
        raise TaskError("local cdrom image")
    if volumes.owner(drive.file) != guest.vmid:
        raise TaskError(f"owned by other VM (owner = VM {volumes.owner(drive.file)})")
    if any(drive.file == text.split(",")[0] for told in guest.snapshots.values() for text in told.values()):
        if terms.running:
            raise TaskError("online storage migration not possible if non-replicated snapshot exists")
        if terms.remote:
            raise TaskError("remote migration with snapshots not supported yet")
        if storage.type != "zfspool" and volume.format != "qcow2":
            raise TaskError("non-migratable snapshot exists")
    if volumes.is_base(drive.file) and volumes.clones_of(server, drive.file):
        raise TaskError("referenced by linked clone(s)")
    online = terms.running and attached and not drive.cdrom
    return Local(drive, volume, wanted, online, "attached" if attached else "unused")


def check_kind(server: Server, one: Local, terms: Terms) -> None:
    """Raises TaskError for a volume that cannot be copied by itself."""
    kind = server.estate.storages[one.volume.storage].type
    if kind not in COPIED and not terms.remote:
        raise TaskError(
            f"Problem found while scanning volumes - can't migrate '{one.volume.volid}' - "
            f"storage type '{kind}' not supported"
        )
    base = one.volume.parent
    if base and base.partition(":")[2] in one.volume.volid:  # its own name tells it; thin LVM's do not
        raise TaskError(
            f"Problem found while scanning volumes - can't migrate '{one.volume.volid}' as it's a clone of "
            f"'{volumes.file_name(base)}'"
        )
