"""Moves a VM to another node, with its local disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, ParameterError, TaskError
from pve_simulator.qemu import machine, power, volumes
from pve_simulator.qemu.drives import Drive, drives, human, unused
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

NETWORK_RATE = 1024**3  # bytes a second between nodes
BEGIN = 1.0  # seconds


def volumes_of(guest: Guest) -> list[tuple[Drive, bool]]:
    """The VM's drives, each with whether it is attached."""
    attached = [(drive, True) for drive in drives(guest.config) if ":" in drive.file]
    return attached + [(drive, False) for drive in unused(guest.config)]


def local(server: Server, guest: Guest) -> list[tuple[Drive, bool]]:
    """Those on storages that only this node sees."""
    known = server.estate.storages
    return [
        (drive, attached)
        for drive, attached in volumes_of(guest)
        if (name := volumes.parts(drive.file)[0]) in known and not known[name].shared
    ]


def local_disks(server: Server, guest: Guest) -> list[dict[str, Any]]:
    """As the API tells them."""
    told: list[dict[str, Any]] = []
    for drive, attached in local(server, guest):
        row: dict[str, Any] = {
            "volid": drive.file,
            "cdrom": int(drive.cdrom),
            "is_attached": int(attached),
            "is_unused": int(not attached),
            "is_cloudinit": int(drive.cloud_init),
            "is_tpmstate": int(drive.key == "tpmstate0"),
            "is_vmstate": 0,
            "shared": 0,
            "replicate": 1,
        }
        volume = server.estate.volume(drive.file, guest.node)
        told.append(row | ({"drivename": drive.key, "size": volume.size if volume else 0} if attached else {}))
    return told


def lacking(server: Server, guest: Guest, node: str) -> list[str]:
    """The VM's storages that a node has not."""
    used = {volumes.parts(drive.file)[0] for drive, _ in volumes_of(guest)}
    known = server.estate.storages
    return sorted(name for name in used if name not in known or not known[name].on(node))


def check(server: Server, guest: Guest, target: str, online: bool, with_disks: bool) -> None:
    """Raises what Proxmox refuses before the task."""
    power.check_lock(guest)
    if guest.process and not online:
        raise ParameterError({"online": "can't migrate running VM without --online"})
    if guest.process and not with_disks and any(not drive.cdrom for drive, _ in local(server, guest)):
        raise ApiError(500, f"can't live migrate attached local disks without with-local-disks option (to '{target}')")


async def move(run: Run, vmid: int, node: str, target: str, storage: str | None) -> None:
    """The worker of qmigrate."""
    server, estate = run.server, run.server.estate
    async with run.lock(vmid):
        guest = estate.guest(vmid, "qemu", node)
        power.check_lock(guest)
        if server.node_down(target):
            raise TaskError(f"migration aborted (duration 00:00:03): Can't connect to destination address '{target}'")
        guest.config["lock"] = "migrate"
        try:
            run.log(f"starting migration of VM {vmid} to node '{target}' ({estate.nodes[target].address})")
            await run.sleep(BEGIN)
            for drive, _ in local(server, guest):
                await move_volume(run, guest, drive, target, storage)
            if guest.process:
                run.log("starting online/live migration")
                await run.sleep(machine.memory(guest.config) / NETWORK_RATE)
        finally:
            guest.config.pop("lock", None)
        guest.node = target
        server.changed()
        run.log("migration finished successfully")


async def move_volume(run: Run, guest: Guest, drive: Drive, target: str, storage: str | None) -> None:
    """Copies a local volume to the target and gives the VM the copy; images of CDs have to be there."""
    server, source = run.server, run.server.estate.volume(drive.file, guest.node)
    if source is None:
        raise TaskError(f"volume '{drive.file}' does not exist")
    if drive.cdrom and not drive.cloud_init:
        raise TaskError(f"can't migrate local cdrom drive '{drive.file}'")
    run.log(f"found local disk '{drive.file}' (attached)", f"copying local disk image '{drive.file}'")
    wanted = volumes.Wanted(storage or source.storage, target, guest.vmid, source.size, source.format)
    volume = await volumes.allocate(server, wanted, run.log)
    await run.sleep(source.used / NETWORK_RATE)
    volumes.grow(server, volume, target, source.used)
    run.log(f"{source.used} bytes ({human(source.used)}) copied")
    volume.facts = volumes.content(source)
    server.estate.remove_volume(source.volid, guest.node)
    drive.file = volume.volid
    guest.config[drive.key] = str(drive)
