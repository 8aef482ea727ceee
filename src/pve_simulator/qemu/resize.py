"""Disks that grow, and disks that move to another storage or another VM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import pending, power, volumes
from pve_simulator.qemu.drives import UNUSED, Drive, parse_size
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

RESIZE = 0.2  # seconds


async def grow(run: Run, guest: Guest, key: str, size: str) -> None:
    """Grows a disk to a size, or by one (`+1G`), the VM's file lock being held."""
    server = run.server
    if key not in guest.config:
        raise TaskError(f"disk '{key}' does not exist")
    drive = Drive.parse(key, guest.config[key])
    if drive.cdrom:
        raise TaskError("you can't resize a cdrom")
    volume = server.estate.volume(drive.file, guest.node)
    if volume is None:
        raise TaskError(f"volume '{drive.file}' does not exist")
    storage = volumes.usable(server, volume.storage, guest.node)
    wanted = parse_size(size.removeprefix("+")) + (volume.size if size.startswith("+") else 0)
    wanted = -(-wanted // 1024) * 1024
    if wanted < volume.size:
        raise TaskError("shrinking disks is not supported")
    if wanted == volume.size:
        return
    if volumes.is_base(drive.file):
        where = volumes.path(storage, drive.file)
        command = f"/usr/bin/qemu-img resize -f {volume.format} {where} {wanted}"
        raise TaskError(f"command '{command}' failed: exit code 1")
    if storage.type == "lvm" and wanted - volume.size > volumes.room(server, storage, guest.node):
        raise TaskError(
            f"command '/sbin/lvextend -L {wanted // 1024}k {volumes.path(storage, drive.file)}' failed: exit code 5"
        )
    await run.sleep(RESIZE)
    if volume.format == "qcow2":
        volume.used += volumes.tables(wanted - volume.size) + (0 if guest.process else volumes.CLUSTER)
    volume.size, drive.size = wanted, wanted
    volume.facts[volumes.GROWN] = "1"
    guest.config[key] = str(drive)
    if not guest.process:
        run.log("Image resized.")


def check_move(server: Server, guest: Guest, key: str, storage: str, form: str | None) -> Drive:
    """The disk that is to move; raises ApiError 500 where it cannot."""
    power.check_lock(guest)
    if key not in guest.config:
        raise ApiError(500, f"disk '{key}' does not exist")
    drive = Drive.parse(key, guest.config[key])
    if drive.cdrom and not drive.cloud_init:
        raise ApiError(500, "you can't move a cdrom")
    target = volumes.storage_of(server, storage)
    volume = server.estate.volume(drive.file, guest.node)
    if volume is None:
        raise ApiError(500, f"volume '{drive.file}' does not exist")
    same_form = volumes.disk_format(target, form or volume.format) == volume.format
    if volumes.parts(drive.file)[0] == storage and same_form:
        raise ApiError(500, "you can't move to the same storage with same format")
    if pending.in_snapshot(guest, drive.file):
        raise ApiError(500, "you can't move a disk with snapshots and delete the source")
    return drive


async def move(
    run: Run, vmid: int, node: str, key: str, storage: str, form: str | None, delete: bool, bandwidth: int | None
) -> None:
    """The worker of qmmove: copies a disk to another storage; the old volume becomes unused, or is destroyed."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        drive = check_move(server, guest, key, storage, form)
        source = server.estate.volume(drive.file, node)
        if source is None:
            raise TaskError(f"volume '{drive.file}' does not exist")
        run.log(f"create full clone of drive {key} ({drive.file})")
        wanted = volumes.Wanted(storage, node, vmid, source.size, form or source.format)
        volume = await volumes.allocate(server, wanted, run.log)
        try:
            await volumes.copy(run, source, volume, node, bandwidth)
        except (TaskError, ApiError) as fault:
            server.estate.remove_volume(volume.volid, node)
            raise TaskError(f"storage migration failed: {fault}") from None
        except BaseException:
            server.estate.remove_volume(volume.volid, node)
            raise
        old, drive.file = drive.file, volume.volid
        drive.size = volume.size
        guest.config[key] = str(drive)
        if delete:
            volumes.free(server, old, node)
        else:
            pending.add_unused(guest, old)


def reassign(server: Server, source: Guest, target: Guest, key: str, to: str) -> None:
    """Gives a disk of one VM to another on the same node (PVE::API2::Qemu, reassign_disk)."""
    for guest in (source, target):
        power.check_lock(guest)
    if to in target.config:
        raise ApiError(500, f"Key {to} is already in use for target VM '{target.vmid}'")
    drive = Drive.parse(key, source.config[key]) if not UNUSED.fullmatch(key) else Drive(key, source.config[key])
    volume = server.estate.volume(drive.file, source.node)
    if volume is None:
        raise ApiError(500, f"volume '{drive.file}' does not exist")
    storage = server.estate.storages[volume.storage]
    name = volumes.free_name(server, storage, target.node, target.vmid)
    server.estate.remove_volume(volume.volid, source.node)
    volume.volid = volumes.volume_id(storage, target.vmid, name, volume.format)
    volume.vmid = target.vmid
    server.estate.add_volume(volume, target.node)
    del source.config[key]
    moved = Drive(to, volume.volid, dict(drive.options))
    target.config[to] = volume.volid if re.match("unused", to) else str(moved)
