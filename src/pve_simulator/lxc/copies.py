"""What copies or moves a container's volumes: clones, templates, other storages, more room."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.lxc import mounts, settings
from pve_simulator.lxc.mounts import Mount
from pve_simulator.qemu import machine, volumes
from pve_simulator.qemu.drives import format_size, parse_size
from pve_simulator.server import Server
from pve_simulator.tasks import Run, failure_text
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

NOT_COPIED = {"lock", "parent", "snaptime", "snapstate", "template"}
RATE = 512 * 1024**2  # bytes that rsync copies in a second
RESIZE, CONVERT, BEGIN = 0.3, 0.3, 0.2  # seconds


@dataclass
class Clone:
    """What is asked of a clone, checked."""

    source: Guest
    vmid: int
    full: bool
    target: str = ""
    hostname: str | None = None
    description: str | None = None
    storage: str | None = None
    snapshot: str | None = None
    pool: str | None = None
    bandwidth: int | None = None
    made: list[Volume] = field(default_factory=list)

    @property
    def config(self) -> dict[str, str]:
        """The configuration that is cloned."""
        return self.source.snapshots[self.snapshot] if self.snapshot else self.source.config


def check(server: Server, clone: Clone) -> None:
    """Raises ApiError 500 for what is refused before the task begins; the texts of features as for VMs."""
    source = clone.source
    settings.unlocked(source)
    if clone.snapshot and clone.snapshot not in source.snapshots:
        raise ApiError(500, f"snapshot '{clone.snapshot}' does not exist")
    if clone.storage and not clone.full:
        raise ApiError(500, "parameter 'storage' not allowed for linked clones")
    if clone.vmid in server.estate.guests:
        raise ApiError(500, f"unable to create CT {clone.vmid}: config file already exists")
    if clone.full and source.process and not clone.snapshot:
        raise ApiError(500, "Cannot do full clones on a running container without snapshots")
    for mount in mounts.of(clone.config):
        if mount.kind != "volume":
            raise ApiError(500, f"unable to clone mountpoint '{mount.key}' (type {mount.kind})")
        used = volumes.storage_of(server, clone.storage or mount.volume.partition(":")[0])
        if clone.target and clone.target != source.node and not used.shared:
            raise ApiError(500, f"can't clone CT to node '{clone.target}' (CT uses local storage)")
        if not clone.full and not volumes.has_feature(server, "clone", mount.volume, source.node):
            raise ApiError(500, f"Linked clone feature is not supported for '{mount.volume}' ({mount.key})")


def begin(server: Server, clone: Clone) -> Guest:
    """Takes the new VMID, and locks the source's configuration (`disk`)."""
    guest = Guest(clone.vmid, clone.source.node, "lxc", {"lock": "create"}, created=server.clock.time())
    server.estate.guests[clone.vmid] = guest
    clone.source.config["lock"] = "disk"
    server.changed()
    return guest


async def work(run: Run, clone: Clone, guest: Guest) -> None:
    """The worker of vzclone. A failing one leaves neither target nor volumes behind."""
    try:
        run.strike()
        await run.sleep(BEGIN)
        config = new_config(clone)
        for mount in mounts.own(clone.config):
            kind = "full" if clone.full else "linked"
            run.log(f"create {kind} clone of mountpoint {mount.key} ({mount.volume})")
            volume = await copy(run, clone, mount) if clone.full else link(run, clone, mount)
            clone.made.append(volume)
            fresh = Mount(mount.key, volume.volid, dict(mount.options) | {"size": format_size(volume.size)})
            config[mount.key] = str(fresh)
        guest.config = config
        guest.node = clone.target or guest.node
        if clone.pool and clone.pool in run.server.estate.pools:
            run.server.estate.pools[clone.pool].guests.append(guest.vmid)
    except (Exception, asyncio.CancelledError) as fault:
        for volume in clone.made:
            run.server.estate.remove_volume(volume.volid, clone.source.node)
        run.server.estate.guests.pop(clone.vmid, None)
        if isinstance(fault, (ApiError, TaskError)):
            raise TaskError(f"clone failed: {failure_text(fault)}") from None
        if isinstance(fault, asyncio.CancelledError):
            raise TaskError("clone failed: interrupted by signal") from None
        raise
    finally:
        clone.source.config.pop("lock", None)
        run.server.changed()


def new_config(clone: Clone) -> dict[str, str]:
    """What a clone inherits, with network cards of its own."""
    old = clone.config
    gone = {mount.key for mount in mounts.of(old)} | NOT_COPIED
    config = {key: value for key, value in old.items() if key not in gone and not mounts.UNUSED.fullmatch(key)}
    for number in machine.cards(config):
        parts = [part for part in config[f"net{number}"].split(",") if not part.startswith("hwaddr=")]
        config[f"net{number}"] = settings.filed(f"net{number}", ",".join(parts))
    if clone.hostname:
        config["hostname"] = clone.hostname
    if clone.description is not None:
        config["description"] = clone.description
    return config


def found(run: Run, clone: Clone, mount: Mount) -> Volume:
    """The volume of a mount point; raises TaskError where it is gone."""
    volume = run.server.estate.volume(mount.volume, clone.source.node)
    if volume is None:
        raise TaskError(f"volume '{mount.volume}' does not exist")
    return volume


async def copy(run: Run, clone: Clone, mount: Mount) -> Volume:
    """A copy of a mount point, file by file."""
    return await copied(run, found(run, clone, mount), clone.source.node, clone.vmid, clone.storage, clone.bandwidth)


async def copied(
    run: Run, source: Volume, node: str, vmid: int, storage: str | None, bandwidth: int | None = None
) -> Volume:
    """A fresh volume with what another one holds, as rsync makes it."""
    volume = await mounts.make(run.server, node, vmid, storage or source.storage, source.size, run.log)
    try:
        await run.sleep(source.used / (min(RATE, bandwidth * 1024) if bandwidth else RATE))
        mounts.fill(run.server, volume, node, source.used)
    except BaseException:
        run.server.estate.remove_volume(volume.volid, node)
        raise
    run.log("Number of files: 21,904 (reg: 16,731, dir: 2,173, link: 2,990, dev: 2, special: 8)")
    run.log(
        f"Total file size: {source.used:,} bytes", "sent 623,514 bytes  received 1,129 bytes  1,249,286.00 bytes/sec"
    )
    return volume


def link(run: Run, clone: Clone, mount: Mount) -> Volume:
    """An overlay on a template's volume."""
    volume = volumes.link(run.server, found(run, clone, mount), clone.source.node, clone.vmid, run.log)
    volume.content = "rootdir"
    return volume


def check_template(server: Server, guest: Guest) -> None:
    """Raises ApiError 500 where a container cannot become a template."""
    if guest.snapshots:
        raise ApiError(500, "unable to create template, because CT contains snapshots")
    if guest.template:
        raise ApiError(500, "you can't convert a template to a template")
    if guest.process:
        raise ApiError(500, "you can't convert a CT to template if the CT is running")
    settings.unlocked(guest)


def make_template(server: Server, guest: Guest) -> None:
    """Volumes become bases."""
    for mount in mounts.own(guest.config):
        mount.volume = volumes.make_base(server, mount.volume, guest.node)
        guest.config[mount.key] = str(mount)
    guest.config["template"] = "1"
    server.changed()


def check_resize(server: Server, guest: Guest, key: str, size: str) -> tuple[Mount, Volume, int]:
    """The mount point, its volume and its bytes to be; raises ApiError 500."""
    settings.unlocked(guest)
    if key not in guest.config:
        raise ApiError(500, f"disk '{key}' does not exist")
    mount = Mount.parse(key, guest.config[key])
    volume = server.estate.volume(mount.volume, guest.node)
    if volume is None:
        raise ApiError(500, f"volume '{mount.volume}' does not exist")
    if volumes.owner(mount.volume) != guest.vmid:
        raise ApiError(500, f"can't resize mount point owned by another container ({volumes.owner(mount.volume)})")
    wanted = parse_size(size.removeprefix("+")) + (volume.size if size.startswith("+") else 0)
    if wanted < volume.size:
        raise ApiError(500, "unable to shrink disk size")
    if wanted == volume.size:
        raise ApiError(500, "disk is already at specified size")
    return mount, volume, wanted


async def resize(run: Run, guest: Guest, mount: Mount, volume: Volume, wanted: int) -> None:
    """The worker of resize."""
    await run.sleep(RESIZE)
    where = volumes.path(run.server.estate.storages[volume.storage], volume.volid)
    if volume.format == "raw" and volumes.holds_files(run.server.estate.storages[volume.storage]):
        run.log("Image resized.")
    volume.size, mount.options["size"] = wanted, format_size(wanted)
    guest.config[mount.key] = str(mount)
    if volume.format != "subvol":
        run.log(
            "resize2fs 1.47.2 (1-Jan-2025)",
            f"The filesystem on {where} is now {wanted // mounts.BLOCK} (4k) blocks long.",
        )


async def move(run: Run, guest: Guest, key: str, storage: str, delete: bool, bandwidth: int | None) -> None:
    """The worker of move_volume; the file lock is held. The old volume becomes unused, or is destroyed."""
    server = run.server
    check_move(guest, key)
    mount = Mount.parse(key, guest.config[key])
    source = server.estate.volume(mount.volume, guest.node)
    if source is None:
        raise TaskError(f"volume '{mount.volume}' does not exist")
    guest.config["lock"] = "disk"
    try:
        volume = await copied(run, source, guest.node, guest.vmid, storage, bandwidth)
    finally:
        guest.config.pop("lock", None)
    old = mount.volume
    mount.volume = volume.volid
    guest.config[key] = str(mount)
    if delete:
        volumes.free(server, old, guest.node)
    else:
        mounts.add_unused(guest.config, old)


def check_move(guest: Guest, key: str) -> None:
    """Raises ApiError 500 where a mount point cannot move."""
    settings.unlocked(guest)
    if guest.process:
        raise ApiError(500, "cannot move volumes of a running container")
    if key not in guest.config:
        raise ApiError(500, f"{key} not defined in container config" if key != "rootfs" else "no rootfs")
