"""Mount points of a container: `rootfs` and `mp0` to `mp255`, as its configuration tells them, and their volumes."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import volumes
from pve_simulator.qemu.drives import format_size, parse_size
from pve_simulator.world.storage import Storage, Volume

if TYPE_CHECKING:
    from pve_simulator.server import Server

KEY = re.compile(r"rootfs|mp\d+")
UNUSED = re.compile(r"unused\d+")
NEW = re.compile(r"(?P<storage>[^/:\s,]+):(?P<size>\d+(?:\.\d+)?)")  # to be made, in GiB
GIB = 1024**3
BLOCK, GROUP = 4096, 32768  # of ext4: bytes, and blocks between two superblocks that are kept twice
BACKUPS = (1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343)  # groups that keep a superblock
FILLED = 8  # a new file system takes this part of its size at most: 1/8, and what an archive brings


@dataclass
class Mount:
    """A mount point: `volume` is a volume id, a device or a folder of the node."""

    key: str
    volume: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, key: str, text: str) -> Mount:
        """A mount point from its text; the volume may be told with or without its name."""
        first, *rest = text.split(",")
        options = dict(part.split("=", 1) for part in rest if "=" in part)
        if first.startswith("volume="):
            first = first.removeprefix("volume=")
        elif "=" in first:
            name, _, value = first.partition("=")
            options[name] = value
            first = options.pop("volume", "")
        return cls(key, first, options)

    def __str__(self) -> str:
        return ",".join([self.volume, *(f"{name}={value}" for name, value in sorted(self.options.items()))])

    @property
    def kind(self) -> str:
        """`volume`, `device` or `bind`."""
        if self.volume.startswith("/dev/"):
            return "device"
        return "bind" if self.volume.startswith("/") else "volume"

    @property
    def where(self) -> str:
        """Its place within the container."""
        return "/" if self.key == "rootfs" else self.options.get("mp", "")

    @property
    def backed_up(self) -> bool:
        """Whether backups hold it: the root always, the others where they are told to."""
        return self.key == "rootfs" or (self.kind == "volume" and self.options.get("backup") == "1")


def of(config: dict[str, str]) -> list[Mount]:
    """The mount points, the root first."""
    keys = sorted((key for key in config if KEY.fullmatch(key)), key=lambda key: (key != "rootfs", key))
    return [Mount.parse(key, config[key]) for key in keys]


def own(config: dict[str, str]) -> list[Mount]:
    """Those that are volumes of a storage."""
    return [mount for mount in of(config) if mount.kind == "volume"]


async def allocate(server: Server, node: str, vmid: int, mount: Mount, log: volumes.Log) -> Volume | None:
    """Makes the volume of a mount point that is told as `storage:GiB`, and puts it in; None for others.

    Raises ApiError or TaskError where the storage does not allow it.
    """
    new = NEW.fullmatch(mount.volume)
    if not new:
        return None
    volume = await make(server, node, vmid, new["storage"], int(float(new["size"]) * GIB), log)
    mount.volume, mount.options["size"] = volume.volid, format_size(volume.size)
    return volume


async def make(server: Server, node: str, vmid: int, storage: str, size: int, log: volumes.Log) -> Volume:
    """Makes an empty file system: an image, or a subvolume where the storage has those."""
    found = volumes.usable(server, storage, node)
    if "rootdir" not in found.content:
        raise ApiError(500, f"storage '{storage}' does not support content-type 'rootdir'")
    name = None
    if found.type == "zfspool":
        name = volumes.free_name(server, found, node, vmid).replace("vm-", "subvol-", 1)
    wanted = volumes.Wanted(storage, node, vmid, size, "raw", name, "rootdir")
    volume = await volumes.allocate(server, wanted, log)
    if found.type == "zfspool":
        volume.format = "subvol"
    else:
        created(size, log)
    return volume


def created(size: int, log: volumes.Log) -> None:
    """What mke2fs tells."""
    blocks = size // BLOCK
    backups = [number * GROUP for number in BACKUPS if number * GROUP < blocks]
    inodes = -(-blocks // 4 // 8) * 8
    log(f"Creating filesystem with {blocks} 4k blocks and {inodes} inodes")
    log(f"Filesystem UUID: {uuid.uuid4()}")
    log("Superblock backups stored on blocks: ")
    log("\t" + ", ".join(map(str, backups)))


def fill(server: Server, volume: Volume, node: str, size: int) -> None:
    """Lets an unpacked archive take its place; raises TaskError where there is none."""
    try:
        volumes.grow(server, volume, node, min(volume.size, max(volume.used, size)))
    except volumes.NoSpace:
        raise TaskError("command 'tar xpf -' failed: No space left on device") from None


def storages(server: Server, config: dict[str, str]) -> list[Storage]:
    """The storages that a container's volumes lie on."""
    names = dict.fromkeys(mount.volume.partition(":")[0] for mount in own(config))
    return [volumes.storage_of(server, name) for name in names]


def snapshot_possible(server: Server, node: str, config: dict[str, str]) -> bool:
    """Whether all mount points can be snapshotted: raw images on a directory cannot."""
    return all(
        mount.kind == "volume" and volumes.has_feature(server, "snapshot", mount.volume, node) for mount in of(config)
    )


def size_of(mount: Mount) -> int:
    """Bytes, as the configuration tells them."""
    return parse_size(mount.options.get("size", "0"))


def add_unused(config: dict[str, str], volid: str) -> None:
    """Keeps a volume under the first free `unusedN`."""
    number = next(number for number in range(256) if f"unused{number}" not in config)
    config[f"unused{number}"] = volid
