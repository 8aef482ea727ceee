"""A VM from an archive: new, or in the place of one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import backup, create, options, volumes
from pve_simulator.qemu.drives import KEYS, drives
from pve_simulator.tasks import Run, failure_text
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

if TYPE_CHECKING:
    from pve_simulator.call import Call

INCOMPLETE = (
    "error before or during data restore, some or all disks were not completely restored. "
    "VM {} state is NOT cleaned up."
)


def begin(call: Call, pool: str | None) -> str:
    """Begins `qmrestore`; raises ApiError 500 where there is no such archive or the VMID is taken."""
    server, vmid, node = call.server, call["vmid"], call.node.name
    archive = server.estate.volume(call["archive"], node)
    if archive is None or archive.content != "backup":
        raise ApiError(500, f"volume '{call['archive']}' does not exist")
    there = server.estate.guests.get(vmid)
    if there is not None and not call.get("force"):
        raise ApiError(500, f"unable to restore VM {vmid} - VM {vmid} already exists on node '{there.node}'")
    if there is not None:
        call.check(f"/vms/{vmid}", "VM.Backup")
    if "storage" in call:
        call.check(f"/storage/{call['storage']}", "Datastore.AllocateSpace")
        volumes.usable(server, call["storage"], node)
    guest = there or create.reserve(server, vmid, node, "create")
    given = {name: value for name, value in call.parameters.items() if name not in options.NO_OPTIONS}
    settings = {name: options.filed(name, options.text(value)) for name, value in given.items() if name not in KEYS}

    async def work(run: Run) -> None:
        async with run.lock(vmid):
            await replace(run, guest, archive, settings, call.get("storage"), bool(call.get("unique")), there is None)
        if pool in server.estate.pools and vmid not in server.estate.pools[pool].guests:
            server.estate.pools[pool].guests.append(vmid)
        if call.get("start"):
            await create.start_after(run, guest)

    return call.task("qmrestore", vmid, work)


async def replace(
    run: Run, guest: Guest, archive: Volume, settings: dict[str, str], storage: str | None, unique: bool, new: bool
) -> None:
    """Restores into a VM whose file lock is held; what fails is told in Proxmox's words."""
    try:
        if guest.process is not None:
            raise TaskError("vm is running")
        before = [drive.file for drive in drives(guest.config) if not drive.cdrom or drive.cloud_init]
        for volid in before:
            volumes.free(run.server, volid, guest.node)
        await backup.restore(run, guest, archive, settings, storage, unique)
    except (ApiError, TaskError) as fault:
        run.log(INCOMPLETE.format(guest.vmid))
        if new:
            run.server.estate.guests.pop(guest.vmid, None)
        raise TaskError(f"unable to restore VM {guest.vmid} - {failure_text(fault)}") from None
