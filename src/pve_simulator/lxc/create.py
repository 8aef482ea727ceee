"""A container from a template or from a backup, and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.lxc import mounts, power, settings
from pve_simulator.qemu import backup, volumes
from pve_simulator.tasks import Run, failure_text
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

if TYPE_CHECKING:
    from pve_simulator.server import Server

UNPACK_RATE = 200 * 1024**2  # bytes a second
GROWTH = 3  # how much bigger an archive is unpacked
DESTROY = 0.3  # seconds
DEFAULTS = {"arch": "amd64", "memory": "512", "ostype": "debian", "swap": "512"}
SYSTEMS = ("debian", "ubuntu", "alpine", "archlinux", "centos", "fedora", "gentoo", "nixos", "opensuse", "devuan")


def reserve(server: Server, vmid: int, node: str) -> Guest:
    """Takes a VMID; raises ApiError 500 where it is taken."""
    there = server.estate.guests.get(vmid)
    if there is not None:
        kind = "CT" if there.type == "lxc" else "VM"
        raise ApiError(500, f"unable to create CT {vmid} - {kind} {vmid} already exists on node '{there.node}'")
    guest = Guest(vmid, node, "lxc", {"lock": "create"}, created=server.clock.time())
    server.estate.guests[vmid] = guest
    server.changed()
    return guest


async def build(run: Run, guest: Guest, wanted: dict[str, str], template: str, storage: str) -> None:
    """The worker of vzcreate, but for what follows when it stands. A failing one leaves nothing."""
    server = run.server
    made: list[Volume] = []
    try:
        run.strike()
        archive = server.estate.volume(template, guest.node)
        if archive is None:
            raise TaskError(f"volume '{template}' does not exist")
        config = DEFAULTS | {"ostype": system_of(template)} | wanted
        config.setdefault("rootfs", f"{storage}:4")
        await make_mounts(run, guest, config, made)
        await unpack(run, guest, made, archive)
        run.log("Detected container architecture: amd64")
        guest.config = config
    except (ApiError, TaskError) as fault:
        undo(server, guest, made)
        raise TaskError(f"unable to create CT {guest.vmid} - {failure_text(fault)}") from None
    except (Exception, asyncio.CancelledError):
        undo(server, guest, made)
        raise
    server.changed()


async def make_mounts(run: Run, guest: Guest, config: dict[str, str], made: list[Volume]) -> None:
    """Makes the volumes that a configuration asks for, the root first."""
    for mount in mounts.of(config):
        volume = await mounts.allocate(run.server, guest.node, guest.vmid, mount, run.log)
        if volume is not None:
            made.append(volume)
            config[mount.key] = str(mount)


async def unpack(run: Run, guest: Guest, made: list[Volume], archive: Volume) -> None:
    """Unpacks an archive into the root."""
    size = archive.used * GROWTH if archive.used else archive.size * GROWTH
    run.log(f"extracting archive '{volumes.path(run.server.estate.storages[archive.storage], archive.volid)}'")
    await run.sleep(0.3 + size / UNPACK_RATE)
    if made:
        mounts.fill(run.server, made[0], guest.node, size)
    run.log(f"Total bytes read: {size} ({size / 1024**2:.1f}MiB, {UNPACK_RATE // 1024**2}MiB/s)")


def system_of(template: str) -> str:
    """The system that a template's name tells."""
    name = volumes.file_name(template)
    return next((known for known in SYSTEMS if name.startswith(known)), "debian")


def undo(server: Server, guest: Guest, made: list[Volume]) -> None:
    """Takes away what a failed creation left."""
    for volume in made:
        server.estate.remove_volume(volume.volid, guest.node)
    server.estate.guests.pop(guest.vmid, None)
    server.changed()


async def restore(
    run: Run, guest: Guest, archive: Volume, given: dict[str, str], storage: str | None, unique: bool, new: bool
) -> None:
    """The worker of vzrestore: the backed-up configuration, with what was given in its place."""
    server, made = run.server, list[Volume]()
    before = dict(guest.config)
    try:
        run.strike()
        if guest.process is not None:
            raise TaskError(f"CT {guest.vmid} is running")
        run.log(f"recovering backed-up configuration from '{archive.volid}'")
        config = backup.parse(archive.facts.get("config", "")) | given
        if not new:
            for mount in mounts.own(before):
                volumes.free(server, mount.volume, guest.node)
        for mount in mounts.own(config):
            if mounts.NEW.fullmatch(mount.volume):
                continue  # what was not backed up comes back empty
            size = mounts.size_of(mount) / mounts.GIB
            mount.volume = f"{storage or mount.volume.partition(':')[0]}:{size:g}"
            config[mount.key] = str(mount)
        await make_mounts(run, guest, config, made)
        run.log(f"restoring '{archive.volid}' now..")
        await unpack(run, guest, made, archive)
        run.log("Detected container architecture: amd64", "merging backed-up and given configuration..")
        if unique:
            for key in [key for key in config if key.startswith("net") and key[3:].isdigit()]:
                parts = [part for part in config[key].split(",") if not part.startswith("hwaddr=")]
                config[key] = settings.filed(key, ",".join(parts))
        guest.config = config
    except (ApiError, TaskError) as fault:
        failed_restore(server, guest, made, before, new)
        raise TaskError(f"unable to restore CT {guest.vmid} - {failure_text(fault)}") from None
    except (Exception, asyncio.CancelledError):
        failed_restore(server, guest, made, before, new)
        raise
    server.changed()


def failed_restore(server: Server, guest: Guest, made: list[Volume], before: dict[str, str], new: bool) -> None:
    """A new container goes; one that was there keeps what it had, as far as its volumes are still there."""
    if new:
        undo(server, guest, made)
        return
    guest.config = before
    server.changed()


def check_destroy(guest: Guest, force: bool) -> None:
    """Raises ApiError 500 where a container may not be destroyed."""
    settings.unlocked(guest)
    if guest.config.get("protection") == "1":
        raise ApiError(500, f"can't remove CT {guest.vmid} - protection mode enabled")
    if guest.process and not force:
        raise ApiError(500, f"unable to destroy CT {guest.vmid} - container is running")


async def destroy(run: Run, guest: Guest, force: bool, purge: bool, unreferenced: bool) -> None:
    """The worker of vzdestroy; the file lock is held."""
    server = run.server
    check_destroy(guest, force)
    if purge:
        run.log(f"purging CT {guest.vmid} from related configurations..")
    named = [mount.volume for config in (guest.config, *guest.snapshots.values()) for mount in mounts.own(config)]
    for volid in named:
        if volumes.is_base(volid) and volumes.clones_of(server, volid):
            raise TaskError(f"base volume '{volid}' is still in use by linked cloned")
    await power.stop(run, guest)
    await run.sleep(DESTROY)
    named += [value.split(",")[0] for key, value in guest.config.items() if mounts.UNUSED.fullmatch(key)]
    if unreferenced:
        named += [v.volid for v in server.estate.volumes.values() if v.vmid == guest.vmid and v.content == "rootdir"]
    for volid in dict.fromkeys(named):
        if volumes.owner(volid) == guest.vmid:
            server.estate.remove_volume(volid, guest.node)
