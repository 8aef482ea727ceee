"""Volumes: how they are named and made, what they take of a storage, how data comes onto them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu.drives import human
from pve_simulator.world.storage import Storage, Volume

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

Log = Callable[[str], None]

FILES = ("dir", "nfs", "cifs", "btrfs", "cephfs", "glusterfs")  # kinds of storage that hold disks as files
SUBFOLDERS = {
    "iso": "template/iso",
    "vztmpl": "template/cache",
    "import": "import",
    "backup": "dump",
    "snippets": "snippets",
}
MIB, GIB = 1024**2, 1024**3
DATA_RATE = GIB  # bytes of data copied in a second
SCAN_RATE = 5 * GIB  # bytes of a disk, empty or not, looked through in a second
EMPTY = 4 * MIB  # volumes that hold less are copied at once
STEP = 0.03  # part of a copy between two lines of its log
ALLOCATION = 0.02  # seconds to make a volume
GROWN = "grown"  # a fact: the volume got longer after it was made
SNAPSHOTS = "snapshots"  # a fact: there were snapshots within the file
OWN_FACTS = (GROWN, SNAPSHOTS)  # facts of the file, not of what it holds
CLOUD_INIT_SIZE = 4 * MIB
CLUSTER, BLOCK = 65536, 4096  # bytes: what qcow2 counts in, and what a file system does


def storage_of(server: Server, name: str) -> Storage:
    """A storage's configuration; raises ApiError 500 where there is none."""
    found = server.estate.storages.get(name)
    if found is None:
        raise ApiError(500, f"storage '{name}' does not exist")
    return found


def usable(server: Server, name: str, node: str) -> Storage:
    """A storage that works on a node; raises ApiError 500 where it does not."""
    storage = storage_of(server, name)
    if storage.disable:
        raise ApiError(500, f"storage '{name}' is disabled")
    if not storage.on(node):
        raise ApiError(500, f"storage '{name}' is not available on node '{node}'")
    return storage


def holds_files(storage: Storage) -> bool:
    """Whether disks are files there."""
    return storage.type in FILES


def parts(volid: str) -> tuple[str, str]:
    """Storage and name within it."""
    storage, _, name = volid.partition(":")
    return storage, name


def is_base(volid: str) -> bool:
    """Whether a volume is the base of linked clones."""
    return re.search(r"(?:^|[:/])base-\d+-[^/]+$", volid) is not None


def file_name(volid: str) -> str:
    """The last part of a volume's name."""
    return re.split(r"[:/]", volid)[-1]


def owner(volid: str) -> int | None:
    """The VMID that a disk's name tells."""
    found = re.search(r"(?:vm|base|subvol)-(\d+)-", file_name(volid))
    return int(found[1]) if found else None


def path(storage: Storage, volid: str) -> str:
    """Where a volume lies on its node."""
    name = file_name(volid)
    if holds_files(storage):
        folder, slash, _ = parts(volid)[1].partition("/")
        if slash and folder in SUBFOLDERS:
            return f"{storage.path}/{SUBFOLDERS[folder]}/{name}"
        return f"{storage.path}/images/{owner(volid)}/{name}"
    group = storage.options.get("vgname") or storage.options.get("pool") or storage.id
    return f"/dev/zvol/{group}/{name}" if storage.type == "zfspool" else f"/dev/{group}/{name}"


def disk_format(storage: Storage, wanted: str | None) -> str:
    """The format a disk gets on a storage; block storages know raw only."""
    if not holds_files(storage):
        return "raw"
    return wanted if wanted in ("raw", "qcow2", "vmdk") else "raw"


def free_name(server: Server, storage: Storage, node: str, vmid: int) -> str:
    """The first disk name of a VM that is free on a storage, without format: `vm-101-disk-0`."""
    taken = {
        int(found[1])
        for volume in server.estate.volumes_on(storage.id, node)
        if (found := re.search(rf"(?:vm|base|subvol)-{vmid}-disk-(\d+)", file_name(volume.volid)))
    }
    number = next(number for number in range(10_000) if number not in taken)
    return f"vm-{vmid}-disk-{number}"


def volume_id(storage: Storage, vmid: int, name: str, form: str, base: str | None = None) -> str:
    """The id of a disk by its name; `base` is the id of the volume that a linked clone stands on."""
    if holds_files(storage):
        own = f"{vmid}/{name}.{form}"
        return f"{base}/{own}" if base else f"{storage.id}:{own}"
    keeps_base = base and storage.type in ("zfspool", "rbd")
    return f"{base}/{name}" if keeps_base else f"{storage.id}:{name}"


def formatting(where: str, form: str, size: int, backing: str | None = None, backing_form: str = "qcow2") -> str:
    """qemu-img's line about a new file."""
    if form == "vmdk":
        return f"Formatting '{where}', fmt=vmdk size={size} compat6=off hwversion=undefined"
    if form != "qcow2":
        return f"Formatting '{where}', fmt={form} size={size} preallocation=off"
    clusters = "cluster_size=131072 extended_l2=on" if backing else "cluster_size=65536 extended_l2=off"
    behind = f" backing_file={backing} backing_fmt={backing_form}" if backing else ""
    return (
        f"Formatting '{where}', fmt=qcow2 {clusters} preallocation=metadata compression_type=zlib size={size}{behind} "
        "lazy_refcounts=off refcount_bits=16"
    )


def overhead(storage: Storage, form: str, size: int, linked: bool = False) -> int:
    """Bytes that an empty volume takes."""
    if not holds_files(storage):
        return size if storage.type == "lvm" else 0
    if form == "qcow2":
        return (397312 if linked else 200704) + size // 8192
    return 4096 if size else 0


def tables(size: int) -> int:
    """Bytes that the tables of so much of a qcow2 disk take, in whole blocks of the file system."""
    return -(-size // (8192 * BLOCK)) * BLOCK


def snapshotted(volume: Volume) -> None:
    """The first snapshot within a qcow2 file takes two blocks; later ones find them free again or beside them."""
    if volume.format == "qcow2" and SNAPSHOTS not in volume.facts:
        volume.facts[SNAPSHOTS] = "1"
        volume.used += 2 * BLOCK


def room(server: Server, storage: Storage, node: str) -> int:
    """Bytes that are left on a storage; a fault rule can make it full."""
    if server.faults.full(storage.id, node):
        return 0
    return max(0, storage.total - server.estate.used(storage.id, node))


def refuse_full(storage: Storage, volid: str) -> TaskError:
    """What making a volume on a full storage ends with."""
    if holds_files(storage):
        where = path(storage, volid)
        return TaskError(f"unable to create image: qemu-img: {where}: Could not create file: No space left on device")
    group, pool = storage.options.get("vgname", storage.id), storage.options.get("thinpool", "data")
    return TaskError(
        f"lvcreate '{group}/{file_name(volid)}' error:   Cannot create new thin volume, "
        f"free space in thin pool {group}/{pool} reached threshold."
    )


@dataclass(frozen=True)
class Wanted:
    """A disk to be made: where, for whom, in bytes; `name` without format, by default the next free one."""

    storage: str
    node: str
    vmid: int
    size: int
    form: str | None = None
    name: str | None = None
    content: str = "images"


async def allocate(server: Server, wanted: Wanted, log: Log) -> Volume:
    """Makes an empty disk under the storage's lock; raises ApiError or TaskError where the storage does not allow it."""
    storage = usable(server, wanted.storage, wanted.node)
    if wanted.content not in storage.content:
        raise ApiError(500, f"storage '{storage.id}' does not support content-type '{wanted.content}'")
    form = disk_format(storage, wanted.form)
    key = "storage" if storage.shared else f"{wanted.node}/storage"
    async with server.locks.hold(f"{key}-{storage.id}", 60, log):
        name = wanted.name or free_name(server, storage, wanted.node, wanted.vmid)
        volid = volume_id(storage, wanted.vmid, name, form)
        taken = overhead(storage, form, wanted.size)
        if server.faults.full(storage.id, wanted.node) or taken > room(server, storage, wanted.node):
            raise refuse_full(storage, volid)
        await server.clock.sleep(ALLOCATION)
        volume = Volume(volid, wanted.content, form, wanted.size, used=taken, ctime=int(time.time()), vmid=wanted.vmid)
        server.estate.add_volume(volume, wanted.node)
    log(
        formatting(path(storage, volid), form, wanted.size)
        if holds_files(storage)
        else f'  Logical volume "{name}" created.'
    )
    return volume


def free(server: Server, volid: str, node: str) -> None:
    """Destroys a volume; raises ApiError 500 where linked clones stand on it. A missing one is no fault."""
    if clones_of(server, volid):
        raise ApiError(500, f"base volume '{parts(volid)[1]}' is still in use by linked clones")
    server.estate.remove_volume(volid, node)


def clones_of(server: Server, volid: str) -> list[Volume]:
    """The volumes that stand on one."""
    return [volume for volume in server.estate.volumes.values() if volume.parent == volid]


async def copy(run: Run, source: Volume, target: Volume, node: str, bandwidth: int | None = None) -> None:
    """Copies a disk's data as `qemu-img convert` does, line by line; `bandwidth` in KiB a second.

    The target's use grows with it. A storage that fills ends the copy in the middle, and so does an interruption:
    both raise TaskError with Proxmox's own text.
    """
    whole, data = human(source.size), source.used if source.used > EMPTY else 0
    run.log(f"transferred 0.0 B of {whole} (0.00%)")
    rate = min(DATA_RATE, bandwidth * 1024) if bandwidth else DATA_RATE
    steps = max(1, int(1 / STEP)) if data else 1
    start = target.used
    try:
        for step in range(1, steps + 1):
            await run.sleep((data / rate + source.size / SCAN_RATE) / steps)
            grow(run.server, target, node, start + data * step // steps)
            share = step / steps
            run.log(f"transferred {human(source.size * share)} of {whole} ({100 * share:.2f}%)")
    except NoSpace as fault:
        run.log(f"qemu-img: error while writing at byte {fault.at}: No space left on device")
        raise TaskError(f"copy failed: {convert(run.server, source, target)} failed: exit code 1") from None
    except asyncio.CancelledError:
        raise TaskError(f"copy failed: {convert(run.server, source, target)} failed: interrupted by signal") from None
    if data or source.format == "raw" or GROWN in source.facts:  # what qemu-img finds unallocated at the end
        run.log(f"transferred {whole} of {whole} (100.00%)")
    target.facts = content(source)


def content(volume: Volume) -> dict[str, str]:
    """What a volume holds, for its copy."""
    return {name: value for name, value in volume.facts.items() if name not in OWN_FACTS}


class NoSpace(Exception):
    """A storage is full; `at` is the byte of the volume that found no place."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def grow(server: Server, volume: Volume, node: str, used: int) -> None:
    """Lets a volume take more of its storage; raises NoSpace where there is none."""
    storage = server.estate.storages[volume.storage]
    if used - volume.used > room(server, storage, node):
        raise NoSpace(volume.used)
    volume.used = max(volume.used, used)


def convert(server: Server, source: Volume, target: Volume) -> str:
    """The command that copies."""
    where, to = (path(server.estate.storages[volume.storage], volume.volid) for volume in (source, target))
    return f"command '/usr/bin/qemu-img convert -p -n -f {source.format} -O {target.format} {where} zeroinit:{to}'"


def link(server: Server, base: Volume, node: str, vmid: int, log: Log) -> Volume:
    """Makes an overlay on a base volume."""
    storage = usable(server, base.storage, node)
    form = "qcow2" if holds_files(storage) else "raw"
    name = free_name(server, storage, node, vmid)
    volid = volume_id(storage, vmid, name, form, base.volid)
    taken = overhead(storage, form, base.size, linked=True)
    if server.faults.full(storage.id, node) or taken > room(server, storage, node):
        raise refuse_full(storage, volid)
    if holds_files(storage):
        below = f"../{base.vmid}/{file_name(base.volid)}"
        log(f"clone {parts(base.volid)[1]}: images, {name}.{form}, {vmid} to {name}.{form} (base={below})")
        log(formatting(path(storage, volid), form, base.size, below, base.format))
    else:
        log(f'  Logical volume "{name}" created.')
    volume = Volume(
        volid, "images", form, base.size, "", taken, int(time.time()), vmid, base.volid, facts=content(base)
    )
    return server.estate.add_volume(volume, node)


def make_base(server: Server, volid: str, node: str) -> str:
    """Turns a disk into a base volume and gives its new id; raises ApiError 500 where the storage cannot."""
    volume = server.estate.volume(volid, node)
    if volume is None:
        raise ApiError(500, f"volume '{volid}' does not exist")
    if is_base(volid):
        return volid
    storage = usable(server, volume.storage, node)
    if storage.type == "lvm":
        raise ApiError(500, f"you can't convert a VM to template on storage '{storage.id}'")
    name = file_name(volid).replace("vm-", "base-", 1)
    fresh = f"{storage.id}:{volume.vmid}/{name}" if holds_files(storage) else f"{storage.id}:{name}"
    server.estate.remove_volume(volid, node)
    volume.volid, volume.parent = fresh, None
    server.estate.add_volume(volume, node)
    return fresh


def has_feature(server: Server, feature: str, volid: str, node: str, running: bool = False) -> bool:
    """Whether a volume can be snapshotted, cloned (linked) or copied."""
    storage, volume = server.estate.storages.get(parts(volid)[0]), server.estate.volume(volid, node)
    if storage is None or volume is None:
        return False
    if feature == "copy":
        return True
    if feature == "clone":
        return is_base(volid) and storage.type != "lvm"
    if is_base(volid):
        return False
    return volume.format == "qcow2" if holds_files(storage) else storage.type != "lvm"
