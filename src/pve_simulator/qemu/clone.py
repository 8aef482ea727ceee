"""Clones: linked to a base volume or full, of a stopped VM or a running one, of now or of a snapshot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import cloudinit, disks, machine, options, power, volumes
from pve_simulator.qemu.drives import UNUSED, Drive, drives, human
from pve_simulator.tasks import Run, failure_text
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

if TYPE_CHECKING:
    from pve_simulator.server import Server

TEMPORARY = " qmclone temporary file"
BEGIN = 0.2  # seconds before the first disk
LEAST = 0.1  # true seconds that a full clone lasts at least: whoever comes meanwhile is not sped up
NOT_COPIED = {
    "lock",
    "parent",
    "snaptime",
    "vmstate",
    "template",
    "runningcpu",
    "runningmachine",
    "running-nets-host-mtu",
}


@dataclass
class Clone:
    """What is asked of a clone, checked. `bandwidth` in KiB a second."""

    source: Guest
    vmid: int
    full: bool
    target: str = ""
    name: str | None = None
    description: str | None = None
    storage: str | None = None
    form: str | None = None
    snapshot: str | None = None
    pool: str | None = None
    bandwidth: int | None = None
    made: list[Volume] = field(default_factory=list)

    @property
    def config(self) -> dict[str, str]:
        """The configuration that is cloned."""
        return self.source.snapshots[self.snapshot] if self.snapshot else self.source.config

    def seen(self, source: Volume) -> Volume:
        """A disk as it is read: one in a snapshot is whole, whatever it grew since."""
        return replace(source, facts=volumes.content(source)) if self.snapshot else source


def check(server: Server, clone: Clone) -> None:
    """Raises ApiError 500 for what Proxmox refuses before the task begins."""
    source, node = clone.source, clone.source.node
    power.check_lock(source)
    if clone.snapshot and clone.snapshot not in source.snapshots:
        raise ApiError(500, f"snapshot '{clone.snapshot}' does not exist")
    for name, value in (("storage", clone.storage), ("format", clone.form)):
        if value and not clone.full:
            raise ApiError(500, f"parameter '{name}' not allowed for linked clones")
    for drive in copied(clone.config):
        used = clone.storage or volumes.parts(drive.file)[0]
        shared = volumes.storage_of(server, used).shared
        if clone.target and clone.target != node and not shared:
            raise ApiError(500, f"can't clone VM to node '{clone.target}' (VM uses local storage)")
    if clone.vmid in server.estate.guests:
        raise ApiError(500, f"unable to create VM {clone.vmid}: config file already exists")
    for drive in copied(clone.config):
        full = clone.full or drive.cloud_init
        if full and not volumes.has_feature(server, "copy", drive.file, node):
            raise ApiError(500, f"Full clone feature is not supported for drive '{drive.key}'")
        if not full and not volumes.has_feature(server, "clone", drive.file, node):
            raise ApiError(500, f"Linked clone feature is not supported for '{drive.file}' ({drive.key})")


def copied(config: dict[str, str]) -> list[Drive]:
    """The drives whose volumes a clone gets anew: all but CD-ROMs."""
    return [drive for drive in drives(config) if not drive.cdrom or drive.cloud_init]


def begin(server: Server, clone: Clone) -> Guest:
    """Takes the new VMID: the target is there, locked and told as temporary, while its disks are made."""
    temporary = {"lock": "clone", "description": TEMPORARY}
    guest = Guest(clone.vmid, clone.source.node, "qemu", temporary, created=server.clock.time())
    server.estate.guests[clone.vmid] = guest
    server.changed()
    return guest


async def work(run: Run, clone: Clone, guest: Guest) -> None:
    """The worker of qmclone. A failing one leaves neither target nor volumes behind."""
    try:
        async with source_lock(run, clone), run.lock(clone.vmid):
            loop = asyncio.get_running_loop()
            least = loop.time() + (LEAST if clone.full else 0)
            await run.sleep(BEGIN)
            run.log(f"creating a clone of VM {clone.source.vmid} with ID {clone.vmid}")
            config = new_config(clone)
            await make_disks(run, clone, guest, config)
            await asyncio.sleep(least - loop.time())
            finish(run.server, clone, guest, config)
    except (Exception, asyncio.CancelledError) as fault:
        undo(run.server, clone)
        if isinstance(fault, (ApiError, TaskError)):
            raise TaskError(f"clone failed: {failure_text(fault)}") from None
        if isinstance(fault, asyncio.CancelledError):
            raise TaskError("clone failed: interrupted by signal") from None
        raise


@contextlib.asynccontextmanager
async def source_lock(run: Run, clone: Clone) -> AsyncIterator[None]:
    """Holds the source's lock: alone where it runs, else shared with other clones."""
    async with run.lock(clone.source.vmid, shared=clone.source.process is None):
        yield


def new_config(clone: Clone) -> dict[str, str]:
    """The target's configuration but for the disks: what a clone inherits, with an identity of its own."""
    old, gone = clone.config, {drive.key for drive in copied(clone.config)} | NOT_COPIED
    config = {name: value for name, value in old.items() if name not in gone and not UNUSED.fullmatch(name)}
    for number in machine.cards(config):
        card = options.network(config[f"net{number}"])
        config[f"net{number}"] = options.network_text({**card, "macaddr": options.new_mac()})
    rest = [part for part in config.get("smbios1", "").split(",") if part and not part.startswith("uuid=")]
    config["smbios1"] = ",".join([f"uuid={options.new_uuid()}", *rest])
    if "vmgenid" in config:
        config["vmgenid"] = options.new_uuid()
    config["name"] = clone.name or f"Copy-of-VM-{old.get('name', clone.source.vmid)}"
    if clone.description is not None:
        config["description"] = clone.description
    if clone.snapshot and clone.description is None:
        config.pop("description", None)
    return config


async def make_disks(run: Run, clone: Clone, guest: Guest, config: dict[str, str]) -> None:
    """Makes the target's disks one after another, and writes each into its configuration."""
    running = clone.source.process is not None and clone.snapshot is None
    mirrors: list[tuple[Drive, Volume]] = []
    for drive in copied(clone.config):
        source = run.server.estate.volume(drive.file, guest.node)
        if source is None:
            raise TaskError(f"volume '{drive.file}' does not exist")
        full = clone.full or drive.cloud_init
        run.log(f"create {'full' if full else 'linked'} clone of drive {drive.key} ({drive.file})")
        fresh = Drive(drive.key, drive.file, dict(drive.options))
        if drive.cloud_init:
            form = clone.form or source.format
            volume = await disks.allocate_cloud_init(run, guest, fresh, clone.storage or source.storage, form)
        elif full:
            volume = await copy_disk(run, clone, guest, source, running)
            mirrors += [(drive, volume)] if running else []
        else:
            volume = volumes.link(run.server, source, guest.node, guest.vmid, run.log)
            await run.sleep(volumes.ALLOCATION)
        clone.made.append(volume)
        fresh.file, fresh.size = volume.volid, volume.size
        config[drive.key] = str(fresh)
        guest.config = {**config, "lock": "clone"}
        run.server.changed()
    if mirrors:
        await complete_mirror(run, clone, mirrors)


async def copy_disk(run: Run, clone: Clone, guest: Guest, source: Volume, running: bool) -> Volume:
    """A full copy of a disk: of a stopped VM by qemu-img, of a running one by mirroring it."""
    wanted = volumes.Wanted(
        clone.storage or source.storage, guest.node, guest.vmid, source.size, clone.form or source.format
    )
    volume = await volumes.allocate(run.server, wanted, run.log)
    try:
        if running:
            await mirror(run, clone, source, volume)
        else:
            await volumes.copy(run, clone.seen(source), volume, guest.node, clone.bandwidth)
    except BaseException:
        run.server.estate.remove_volume(volume.volid, guest.node)
        raise
    volume.facts = volumes.content(source)
    return volume


async def mirror(run: Run, clone: Clone, source: Volume, volume: Volume) -> None:
    """Mirrors a running VM's disk until both are alike; a line each second."""
    key = next(drive.key for drive in copied(clone.config) if drive.file == source.volid)
    limit = f" with bandwidth limit: {clone.bandwidth} KB/s" if clone.bandwidth else ""
    run.log(f"drive mirror is starting for drive-{key}{limit}")
    rate = clone.bandwidth * 1024 if clone.bandwidth else volumes.DATA_RATE
    whole, seconds = human(source.size), max(0.2, (source.used if source.used > volumes.EMPTY else 0) / rate)
    passed, start = 0.0, volume.used
    try:
        while passed < seconds:
            step = min(1.0, seconds - passed)
            await run.sleep(step)
            passed += step
            share = passed / seconds
            volumes.grow(run.server, volume, clone.source.node, start + int(source.used * share))
            ready = ", ready" if share >= 1 else ""
            done = f"transferred {human(source.size * share)} of {whole} ({100 * share:.2f}%)"
            run.log(f"mirror-{key}: {done} in {int(passed)}s{ready}")
    except volumes.NoSpace:
        run.log(f"mirror-{key}: Cancelling block job")
        raise TaskError(
            f"block job (mirror) error: drive-{key}: 'mirror' has been cancelled (No space left on device)"
        ) from None
    except asyncio.CancelledError:
        run.log(f"mirror-{key}: Cancelling block job")
        raise TaskError("block job (mirror) error: received interrupt") from None


async def complete_mirror(run: Run, clone: Clone, mirrors: list[tuple[Drive, Volume]]) -> None:
    """Lets go of the mirrors at one moment, the guest's file systems being frozen or the guest paused."""
    source = clone.source
    run.log("all 'mirror' jobs are ready")
    frozen = machine.agent_enabled(source.config)
    if not frozen:
        run.log("skipping guest-agent 'guest-fsfreeze-freeze', disabled in VM options")
    elif not await power.ping(run.server, source):
        frozen = False
        run.log(f"QEMU Guest Agent is not running - VM {source.vmid} qga command 'guest-ping' failed - got timeout")
        run.log("skipping guest agent 'guest-fsfreeze-freeze' command: the agent is not running inside of the guest")
    run.log("issuing guest agent 'guest-fsfreeze-freeze' command" if frozen else "suspend vm")
    await run.sleep(0.2)
    for drive, _ in mirrors:
        run.log(f"mirror-{drive.key}: Cancelling block job", f"mirror-{drive.key}: Done.")
    run.log("issuing guest agent 'guest-fsfreeze-thaw' command" if frozen else "resume vm")


def finish(server: Server, clone: Clone, guest: Guest, config: dict[str, str]) -> None:
    """The target becomes a VM like any other."""
    guest.config = config
    guest.node = clone.target or guest.node
    cloudinit.generate(server.estate, guest)
    if clone.pool and clone.pool in server.estate.pools:
        server.estate.pools[clone.pool].guests.append(guest.vmid)
    server.changed()


def undo(server: Server, clone: Clone) -> None:
    """Takes away what a failed clone left."""
    for volume in clone.made:
        server.estate.remove_volume(volume.volid, clone.source.node)
    server.estate.guests.pop(clone.vmid, None)
    server.changed()
