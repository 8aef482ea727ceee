"""The end of a VM, of its disks and of what names it; and its change into a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import disks, highavailability, power, volumes
from pve_simulator.qemu.drives import drives, unused
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

DESTROY, CONVERT = 0.2, 0.3  # seconds of the real server


def check(server: Server, guest: Guest, purge: bool) -> None:
    """Raises ApiError 500 where a VM may not be destroyed."""
    if highavailability.resource(server.estate, guest) is not None and not purge:
        text = f"unable to remove VM {guest.vmid} - used in HA resources and purge parameter not set."
        raise ApiError(500, text)
    if guest.config.get("protection") == "1":
        raise ApiError(500, f"can't remove VM {guest.vmid} - protection mode enabled")
    if guest.process:
        raise ApiError(500, f"VM {guest.vmid} is running - destroy failed")


async def destroy(run: Run, vmid: int, node: str, purge: bool, unreferenced: bool, skiplock: bool) -> None:
    """The worker of qmdestroy."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        check(server, guest, purge)
        power.check_lock(guest, skip=skiplock)
        if purge:
            run.log(f"purging VM {vmid} from related configurations..")
        if guest.template:
            check_bases(server, guest)
        await run.sleep(DESTROY)
        remove_volumes(run, guest, unreferenced)
        forget(server, guest, purge)


def check_bases(server: Server, guest: Guest) -> None:
    """Raises TaskError where linked clones stand on a template."""
    for drive in drives(guest.config):
        if not drive.cdrom and volumes.clones_of(server, drive.file):
            raise TaskError(f"base volume '{drive.file}' is still in use by linked cloned")


def remove_volumes(run: Run, guest: Guest, unreferenced: bool) -> None:
    """Destroys the VM's own volumes; what linked clones stand on stays, with a line in the log."""
    server = run.server
    named = [drive.file for config in (guest.config, *guest.snapshots.values()) for drive in drives(config)]
    named += [drive.file for drive in unused(guest.config)]
    named += [config["vmstate"] for config in (guest.config, *guest.snapshots.values()) if "vmstate" in config]
    if unreferenced:
        owned = [volume for volume in server.estate.volumes.values() if volume.vmid == guest.vmid]
        named += [volume.volid for volume in owned if volume.content == "images" and volume.node in ("", guest.node)]
    named = [volid for volid in dict.fromkeys(named) if ":" in volid and not volid.startswith("/")]
    for volid in named:
        disks.check_name(server, volid)
    for volid in named:
        if volumes.owner(volid) != guest.vmid:
            continue
        try:
            volumes.free(server, volid, guest.node)
        except ApiError as fault:
            run.log(f"Could not remove disk '{volid}', check manually: {fault.message}")


def forget(server: Server, guest: Guest, purge: bool) -> None:
    """Takes a VM out of all that names it: pools and access lists always, the rest where it is purged."""
    estate = server.estate
    estate.guests.pop(guest.vmid, None)
    for pool in estate.pools.values():
        pool.guests = [vmid for vmid in pool.guests if vmid != guest.vmid]
    estate.acl = [entry for entry in estate.acl if entry.path != f"/vms/{guest.vmid}"]
    if purge:
        estate.sections.get("ha/resources", {}).pop(f"{'vm' if guest.type == 'qemu' else 'ct'}:{guest.vmid}", None)
        for job in estate.sections.get("jobs", {}).values():
            listed = [vmid for vmid in job.get("vmid", "").split(",") if vmid and vmid != str(guest.vmid)]
            if "vmid" in job:
                job["vmid"] = ",".join(listed)
    server.changed()


def check_template(guest: Guest, disk: str | None) -> None:
    """Raises ApiError 500 where a VM cannot become a template."""
    power.check_lock(guest)
    if guest.snapshots:
        raise ApiError(500, "unable to create template, because VM contains snapshots")
    if guest.template and not disk:
        raise ApiError(500, "you can't convert a template to a template")
    if guest.process:
        raise ApiError(500, "you can't convert a VM to template if VM is running")


async def convert(run: Run, vmid: int, node: str, disk: str | None) -> None:
    """The worker of qmtemplate: disks become base volumes; cloud-init's drive stays as it is."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        check_template(guest, disk)
        await run.sleep(CONVERT)
        for drive in drives(guest.config):
            if drive.cdrom or (disk and drive.key != disk):
                continue
            drive.file = volumes.make_base(server, drive.file, node)
            guest.config[drive.key] = str(drive)
        guest.config["template"] = "1"
        server.changed()
