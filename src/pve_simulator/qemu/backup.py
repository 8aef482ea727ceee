"""Backups of VMs: archives that hold a configuration and its disks, made and restored.

An archive is a volume; `facts["config"]` is the configuration file, `facts["scsi0"]` and the like a disk as
`bytes,bytes used,system`.
"""

from __future__ import annotations

import random
import time
import uuid
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import cloudinit, volumes
from pve_simulator.qemu.drives import KEYS, UNUSED, Drive, drives, human, unused
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest, section
from pve_simulator.world.storage import Storage, Volume

if TYPE_CHECKING:
    from pve_simulator.server import Server

BLOCK = 4096
RATE = 400 * 1024**2  # bytes of disk read in a second
SUFFIX = {"zstd": ".zst", "gzip": ".gz", "1": ".lzo", "lzo": ".lzo"}
FILTERS = {"zstd": "zstd --threads=1", "gzip": "gzip --rsyncable", "1": "lzop", "lzo": "lzop"}
NOT_SAVED = ("lock", "parent", "vmstate", "digest")


def saved_settings(config: dict[str, str]) -> dict[str, str]:
    """What of a configuration goes into an archive."""
    return {key: value for key, value in config.items() if key not in NOT_SAVED and not UNUSED.fullmatch(key)}


def stamp(at: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time as backup logs write it."""
    return time.strftime(form, time.localtime(at))


def folder(storage: Storage) -> str:
    """Where a storage keeps archives."""
    return f"{storage.path}/dump"


async def save(run: Run, guest: Guest, storage: Storage, node: str, options: dict[str, str]) -> Volume:
    """Backs a VM up and gives the archive; raises TaskError or ApiError. `options` are vzdump's own, as texts."""
    server, began = run.server, run.server.clock.time()
    compress = options.get("compress", "0")
    name = f"vzdump-qemu-{guest.vmid}-{stamp(began, '%Y_%m_%d-%H_%M_%S')}.vma{SUFFIX.get(compress, '')}"
    archive = f"{folder(storage)}/{name}"
    running = guest.process is not None
    announce(run, guest, options, running, archive)
    if guest.lock:
        raise ApiError(500, f"VM is locked ({guest.lock})")
    guest.config["lock"] = "backup"
    try:
        saved = [drive for drive in drives(guest.config) if not drive.cdrom and drive.options.get("backup") != "0"]
        facts = {"config": section(saved_settings(guest.config))}
        size = await read_disks(run, guest, saved, facts, archive, FILTERS.get(compress, "cat"))
        room(server, storage, node, size)
    finally:
        guest.config.pop("lock", None)
    volume = Volume(
        f"{storage.id}:backup/{name}",
        "backup",
        f"vma{SUFFIX.get(compress, '')}",
        size,
        used=-(-size // BLOCK) * BLOCK,
        ctime=int(began),
        vmid=guest.vmid,
        subtype="qemu",
        notes=notes(guest, options.get("notes-template", ""), node),
        protected=options.get("protected") == "1",
        facts=facts,
    )
    server.estate.add_volume(volume, node)
    run.log(f"INFO: archive file size: {human(size).replace(' ', '').replace('i', '') if size > 1024 else '0KB'}")
    if volume.notes:
        run.log("INFO: adding notes to backup")
    return volume


def announce(run: Run, guest: Guest, options: dict[str, str], running: bool, archive: str) -> None:
    """The head of a guest's part of the log."""
    mode = options.get("mode", "snapshot") if running else "stop"
    told = ["INFO: backup mode: " + mode, "INFO: ionice priority: 7", f"INFO: VM Name: {guest.name}"]
    if running and mode == "snapshot":
        told = [told[2], told[0], told[1]]
    if guest.lock:
        run.log(f"INFO: status = {guest.status}")
        return
    run.log(f"INFO: status = {guest.status}", *told)
    if running and mode != "snapshot":
        run.log("INFO: stopping virtual guest" if mode == "stop" else "INFO: suspending guest")
    for drive in drives(guest.config):
        if not drive.cdrom and drive.options.get("backup") != "0":
            run.log(f"INFO: include disk '{drive.key}' '{drive.file}' {drive.options.get('size', '')}".rstrip())
    for drive in unused(guest.config):
        run.log(f"INFO: skip unused drive '{drive.file}' (not included into backup)")
    run.log(f"INFO: creating vzdump archive '{archive}'")


async def read_disks(run: Run, guest: Guest, saved: list[Drive], facts: dict[str, str], archive: str, pipe: str) -> int:
    """Reads the disks into `facts`; the archive's size in bytes."""
    total = 0
    if not saved:
        run.log("INFO: backup contains no disks", "INFO: starting diskless backup")
        base = archive.partition(".vma")[0]
        run.log(f"INFO: /usr/bin/vma create -v -c {base}.tmp/qemu-server.conf exec:{pipe} > {base}.vma.dat")
        await run.sleep(0.3)
        return 400 + len(facts["config"]) // 4
    run.log("INFO: starting kvm to execute backup task" if guest.process is None else "INFO: started backup task")
    for drive in saved:
        volume = run.server.estate.volume(drive.file, guest.node)
        if volume is None:
            raise TaskError(f"volume '{drive.file}' does not exist")
        for step in range(1, 5):
            await run.sleep(volume.used / RATE / 4)
            part = volume.size * step // 4
            run.log(f"INFO: {25 * step:3d}% ({human(part)} of {human(volume.size)})")
        facts[drive.key] = f"{volume.size},{volume.used},{volume.facts.get('system', '')}"
        total += volume.used
    return max(1024, int(total * 0.6))


def room(server: Server, storage: Storage, node: str, size: int) -> None:
    """Raises TaskError where an archive finds no place."""
    if size > volumes.room(server, storage, node):
        raise TaskError("vma_queue_write: write error - No space left on device")


def notes(guest: Guest, template: str, node: str) -> str:
    """A notes template with its values."""
    values = {"{{guestname}}": guest.name, "{{vmid}}": str(guest.vmid), "{{node}}": node, "{{cluster}}": ""}
    for mark, value in values.items():
        template = template.replace(mark, value)
    return template.replace("\\n", "\n").replace("\\\\", "\\")


def parse(text: str) -> dict[str, str]:
    """The settings of a configuration file's first section."""
    lines = text.splitlines()
    config = dict(line.split(": ", 1) for line in lines if not line.startswith("#") and ": " in line)
    described = [line[1:] for line in lines if line.startswith("#")]
    return {**config, **({"description": "\n".join(described)} if described else {})}


async def restore(
    run: Run, guest: Guest, archive: Volume, options: dict[str, str], storage: str | None, unique: bool
) -> None:
    """Fills a VM that holds the lock `create` from an archive; `options` are settings given with the call."""
    server = run.server
    kept = parse(archive.facts.get("config", ""))
    where = volumes.path(server.estate.storages[archive.storage], archive.volid)
    pid = run.task.pid
    unpack = "zstd -q -d -c " + where + " | vma extract" if where.endswith(".zst") else f"vma extract {where}"
    run.log(f"restore vma archive: {unpack} -v -r /var/tmp/vzdumptmp{pid}.fifo - /var/tmp/vzdumptmp{pid}")
    run.log(f"CFG: size: {len(archive.facts.get('config', ''))} name: qemu-server.conf")
    run.log(f"CTIME: {time.strftime('%a %b %e %H:%M:%S %Y', time.localtime(archive.ctime))}")
    if not any(key in archive.facts for key in KEYS):
        run.log("vma archive contains no image data")
    for key in sorted(key for key in archive.facts if key in KEYS):
        kept[key] = await restore_disk(run, guest, archive, Drive.parse(key, kept[key]), storage)
    for drive in drives(kept):
        if drive.cloud_init:
            fresh = await volumes.allocate(
                server,
                volumes.Wanted(
                    storage or drive.file.partition(":")[0],
                    guest.node,
                    guest.vmid,
                    volumes.CLOUD_INIT_SIZE,
                    "qcow2",
                    f"vm-{guest.vmid}-cloudinit",
                ),
                run.log,
            )
            drive.file = fresh.volid
            kept[drive.key] = str(drive)
    kept = {key: value for key, value in kept.items() if not key.startswith("unused")}
    kept["vmgenid"] = str(uuid.uuid4())
    if unique:
        kept["smbios1"] = f"uuid={uuid.uuid4()}"
        for key in [key for key in kept if key.startswith("net") and key[3:].isdigit()]:
            kept[key] = renewed(kept[key])
    guest.config = {**kept, **options}
    cloudinit.generate(server.estate, guest)
    run.log("rescan volumes...")


async def restore_disk(run: Run, guest: Guest, archive: Volume, drive: Drive, storage: str | None) -> str:
    """Makes a disk of an archive anew and gives its entry in the configuration."""
    size, used, system = archive.facts[drive.key].split(",")
    source = storage or drive.file.partition(":")[0]
    form = drive.file.rpartition(".")[2] if "." in drive.file else None
    wanted = volumes.Wanted(source, guest.node, guest.vmid, int(size), form)
    volume = await volumes.allocate(run.server, wanted, run.log)
    await run.sleep(int(used) / RATE)
    volumes.grow(run.server, volume, guest.node, int(used))
    volume.facts = {"system": system} if system else {}
    drive.file = volume.volid
    run.log(f"map 'drive-{drive.key}' to '{volumes.path(run.server.estate.storages[source], volume.volid)}'")
    return str(drive)


def renewed(card: str) -> str:
    """A network card with a fresh address."""
    fresh = "BC:24:11:" + ":".join(f"{random.randrange(256):02X}" for _ in range(3))
    first, comma, rest = card.partition(",")
    return f"{first.partition('=')[0]}={fresh}{comma}{rest}"
