"""Copies volumes to another node or server, and what goes wrong when that is lost meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pve_simulator.errors import TaskError
from pve_simulator.migration.mapping import Map
from pve_simulator.qemu import volumes
from pve_simulator.qemu.drives import human
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

if TYPE_CHECKING:
    from pve_simulator.migration.journal import Journal
    from pve_simulator.migration.scan import Local
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

NETWORK_RATE = 1024**3  # bytes a second between nodes


class Lost(TaskError):
    """The target is gone; the text is what ssh or QEMU says of it."""


@dataclass
class Way:
    """From one node to another: `bandwidth` in KiB a second; `made` is what was allocated at its end."""

    source: Server
    from_node: str
    target: Server
    to_node: str
    vmid: int  # at the target
    bandwidth: int | None = None
    bridges: Map = field(default_factory=Map)  # only to another server
    made: dict[str, Volume] = field(default_factory=dict)  # by the id of what each is a copy of

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return min(NETWORK_RATE, self.bandwidth * 1024) if self.bandwidth else NETWORK_RATE

    def open(self) -> bool:
        """Whether the other end is there."""
        return not self.target.node_down(self.to_node)

    async def pass_time(self, run: Run, seconds: float, text: str) -> None:
        """Works for some seconds of the real server; raises Lost with `text` as soon as the other end is gone."""
        left = seconds
        while left > 0:
            await run.sleep(min(left, 1.0))
            left -= 1.0
            if not self.open():
                raise Lost(text)


async def allocate(journal: Journal, way: Way, one: Local) -> Volume:
    """Makes the volume at the other end: by the same name where that is free, but for its number."""
    target, source = way.target, one.volume
    name, storage = volumes.file_name(source.volid).partition(".")[0], target.estate.storages[one.storage]
    name = name.replace(f"-{source.vmid}-", f"-{way.vmid}-") if source.vmid else name
    form = volumes.disk_format(storage, source.format)
    if target.estate.volume(volumes.volume_id(storage, way.vmid, name, form), way.to_node):
        name = volumes.free_name(target, storage, way.to_node, way.vmid)
    wanted = volumes.Wanted(one.storage, way.to_node, way.vmid, source.size, form, name)
    made = await volumes.allocate(target, wanted, journal.info)
    way.made[source.volid] = made
    return made


async def copy(journal: Journal, way: Way, one: Local) -> Volume:
    """Copies a volume that nobody writes to, as `pvesm export | pvesm import` does. Raises TaskError."""
    run, source = journal.run, one.volume
    failed = f"storage migration for '{source.volid}' to storage '{one.storage}' failed"
    command = f"command 'set -o pipefail && pvesm export {source.volid} raw+size - -with-snapshots 0 | /usr/bin/ssh"
    lost = f"{failed} - {command} -e none -o 'BatchMode=yes' root@{address(way)} -- pvesm import'"
    if not way.open():
        raise Lost(f"{lost} failed: exit code 255")
    made = await allocate(journal, way, one)
    seconds = max(0.1, source.used / way.rate)
    steps, start = max(1, min(20, int(seconds))), made.used
    for step in range(1, steps + 1):
        await way.pass_time(run, seconds / steps, f"{lost} failed: exit code 255")
        share = step / steps
        try:
            volumes.grow(way.target, made, way.to_node, start + int(source.used * share))
        except volumes.NoSpace:
            journal.info("dd: error writing: No space left on device")
            raise TaskError(f"{failed} - {command} failed: exit code 1") from None
        if step < steps:
            journal.info(copied(source.size * share, seconds * share))
    journal.info(f"{source.size // 65536}+0 records in", f"{source.size // 65536}+0 records out")
    journal.info(copied(source.size, seconds), f"successfully imported '{made.volid}'")
    settle(source, made)
    journal.info(f"volume '{source.volid}' is '{made.volid}' on the target")
    return made


def copied(size: float, seconds: float) -> str:
    """dd's line."""
    rate = size / max(seconds, 0.001)
    return f"{int(size)} bytes ({size / 1e9:.1f} GB, {human(size)}) copied, {seconds:.4g} s, {rate / 1e6:.0f} MB/s"


def settle(source: Volume, made: Volume) -> None:
    """The copy holds what the source held."""
    made.facts, made.content = volumes.content(source), source.content
    made.notes = source.notes


async def mirror(journal: Journal, way: Way, one: Local, made: Volume) -> None:
    """Mirrors a disk that a running VM writes to; a line each second. Raises TaskError."""
    run, source, key = journal.run, one.volume, one.drive.key
    limit = f" with bandwidth limit: {way.bandwidth} KB/s" if way.bandwidth else ""
    journal.plain(f"drive mirror is starting for drive-{key}{limit}")
    seconds, start, passed = max(0.2, source.used / way.rate), made.used, 0.0
    failed = f"block job (mirror) error: drive-{key}: 'mirror' has been cancelled"
    while passed < seconds:
        step = min(1.0, seconds - passed)
        await way.pass_time(run, step, failed)
        passed += step
        share = passed / seconds
        try:
            volumes.grow(way.target, made, way.to_node, start + int(source.used * share))
        except volumes.NoSpace:
            journal.plain(f"mirror-{key}: Cancelling block job")
            raise TaskError(f"{failed} (No space left on device)") from None
        done = f"transferred {human(source.size * share)} of {human(source.size)} ({100 * share:.2f}%)"
        journal.plain(f"mirror-{key}: {done} in {int(passed)}s{', ready' if share >= 1 else ''}")
    settle(source, made)


def drop_copies(way: Way) -> None:
    """Takes away what was made at the other end, where that is still there."""
    if way.open():
        for made in way.made.values():
            way.target.estate.remove_volume(made.volid, way.to_node)
        way.target.changed()


def drop_sources(journal: Journal, way: Way) -> None:
    """Takes away what was copied."""
    for volid in way.made:
        storage = way.source.estate.storages.get(volid.partition(":")[0])
        way.source.estate.remove_volume(volid, way.from_node)
        if storage and storage.type in ("lvm", "lvmthin"):
            journal.plain(f'  Logical volume "{volumes.file_name(volid)}" successfully removed.')


def renamed(guest: Guest, ids: dict[str, str]) -> None:
    """Gives a guest's configuration and snapshots the volumes' new names."""
    for values in (guest.config, guest.pending, *guest.snapshots.values()):
        for key, text in values.items():
            volume, comma, rest = text.partition(",")
            if volume in ids:
                values[key] = f"{ids[volume]}{comma}{rest}"


def address(way: Way) -> str:
    """Of the node at the other end."""
    return way.target.estate.nodes[way.to_node].address
