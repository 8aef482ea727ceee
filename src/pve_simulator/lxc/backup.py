"""Backups of containers: archives of files, with the configuration in them."""

from __future__ import annotations

from pve_simulator.errors import ApiError
from pve_simulator.lxc import mounts, power
from pve_simulator.lxc.create import GROWTH, UNPACK_RATE
from pve_simulator.lxc.mounts import Mount
from pve_simulator.qemu import backup
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest, section
from pve_simulator.world.storage import Storage, Volume

MIB = 1024**2


async def save(run: Run, guest: Guest, storage: Storage, node: str, options: dict[str, str]) -> Volume:
    """Backs a container up and gives the archive; raises TaskError or ApiError. `options` are vzdump's, as texts."""
    server, began = run.server, run.server.clock.time()
    suffix = backup.SUFFIX.get(options.get("compress", "0"), "")
    name = f"vzdump-lxc-{guest.vmid}-{backup.stamp(began, '%Y_%m_%d-%H_%M_%S')}.tar{suffix}"
    run.log(f"INFO: status = {guest.status}")
    if guest.lock:
        raise ApiError(500, f"CT is locked ({guest.lock})")
    mode = announce(run, guest, options.get("mode", "snapshot"))
    found = [server.estate.volume(mount.volume, node) for mount in mounts.of(guest.config) if mount.backed_up]
    size = max(1024, sum(volume.used for volume in found if volume) // GROWTH)
    facts = {"config": section(backup.saved_settings(guest.config))}
    guest.config["lock"] = "backup"
    try:
        await archive(run, guest, storage, f"{backup.folder(storage)}/{name}", size, mode)
    finally:
        guest.config.pop("lock", None)
    volume = Volume(
        f"{storage.id}:backup/{name}",
        "backup",
        f"tar{suffix}",
        size,
        used=-(-size // backup.BLOCK) * backup.BLOCK,
        ctime=int(began),
        vmid=guest.vmid,
        subtype="lxc",
        notes=backup.notes(guest, options.get("notes-template", ""), node),
        protected=options.get("protected") == "1",
        facts=facts,
    )
    if volume.notes:
        run.log("INFO: adding notes to backup")
    return server.estate.add_volume(volume, node)


def announce(run: Run, guest: Guest, mode: str) -> str:
    """The head of a container's part of the log, and the mode that is possible."""
    if guest.process is None:
        mode = "stop"
    elif mode == "snapshot" and not mounts.snapshot_possible(run.server, guest.node, guest.config):
        run.log("INFO: mode failure - some volumes do not support snapshots", "INFO: trying 'suspend' mode instead")
        mode = "suspend"
    run.log(f"INFO: backup mode: {mode}", "INFO: ionice priority: 7", f"INFO: CT Name: {guest.name}")
    for mount in mounts.of(guest.config):
        run.log(told(mount))
    return mode


def told(mount: Mount) -> str:
    """Whether a mount point goes into the archive."""
    if mount.backed_up:
        return f"INFO: including mount point {mount.key} ('{mount.where}') in backup"
    reason = "disabled" if mount.kind == "volume" else "not a volume"
    return f"INFO: excluding {mount.kind} mount point {mount.key} ('{mount.where}') from backup ({reason})"


async def archive(run: Run, guest: Guest, storage: Storage, where: str, size: int, mode: str) -> None:
    """Writes the archive; a running container is stopped or frozen for it as the mode says."""
    server, began, running = run.server, run.server.clock.time(), guest.process is not None
    if running and mode == "stop":
        run.log("INFO: stopping virtual guest")
        await power.stop(run, guest, power.SHUTDOWN)
    elif running:
        run.log("INFO: create storage snapshot 'vzdump'" if mode == "snapshot" else "INFO: suspend vm")
    run.log(f"INFO: creating vzdump archive '{where}'")
    await run.sleep(0.3 + size / UNPACK_RATE)
    backup.room(server, storage, guest.node, size)
    run.log(f"INFO: Total bytes written: {size} ({size / MIB:.1f}MiB, {UNPACK_RATE // MIB}MiB/s)")
    run.log(f"INFO: archive file size: {size // MIB}MB")
    if running and mode == "stop":
        run.log("INFO: restarting vm")
        await run.sleep(power.START)
        power.begin(run, guest)
    elif running and mode == "suspend":
        run.log("INFO: resume vm")
    if running and mode != "snapshot":
        run.log(f"INFO: guest is online again after {max(1, int(server.clock.time() - began))} seconds")
