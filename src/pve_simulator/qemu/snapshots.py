"""Snapshots of a VM: taken, gone back to, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import machine, options, pending, power, volumes
from pve_simulator.qemu.drives import UNUSED, drives, human
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

RESERVED = ("current", "pending")
SNAPSHOT, DELETE, ROLLBACK = 0.3, 0.3, 0.3  # seconds
OWN = {"snaptime", "description", "vmstate", "runningcpu", "runningmachine", "running-nets-host-mtu", "snapstate"}


def rows(guest: Guest) -> list[dict[str, Any]]:
    """`GET .../snapshot`: all snapshots, and the present as `current`."""
    told: list[dict[str, Any]] = []
    for name, values in guest.snapshots.items():
        row: dict[str, Any] = {"name": name, "description": values.get("description", "")}
        row |= {"snaptime": int(values.get("snaptime", 0)), "vmstate": int("vmstate" in values)}
        told.append(row | ({"parent": values["parent"]} if "parent" in values else {}))
    now: dict[str, Any] = {"name": "current", "description": "You are here!", "digest": guest.digest()}
    now["running"] = int(guest.process is not None)
    return [*told, now | ({"parent": guest.config["parent"]} if "parent" in guest.config else {})]


def find(guest: Guest, name: str) -> dict[str, str]:
    """A snapshot's configuration; raises ApiError 500 where there is none."""
    if name not in guest.snapshots:
        raise ApiError(500, f"snapshot '{name}' does not exist")
    return guest.snapshots[name]


def possible(server: Server, guest: Guest) -> bool:
    """Whether every disk can be snapshotted."""
    kept = [drive for drive in drives(guest.config) if not drive.cdrom]
    return all(volumes.has_feature(server, "snapshot", drive.file, guest.node) for drive in kept)


async def take(run: Run, vmid: int, node: str, name: str, description: str | None, memory: bool) -> None:
    """The worker of qmsnapshot."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        power.check_lock(guest)
        if guest.template:
            raise TaskError("you can't take a snapshot if it's a template")
        if name in guest.snapshots:
            raise TaskError(f"snapshot name '{name}' already used")
        if not possible(server, guest):
            raise TaskError("snapshot feature is not available")
        guest.config["lock"] = "snapshot"
        try:
            values = saved(guest) | ({"description": description} if description is not None else {})
            values["snaptime"] = str(server.clock.seconds())
            if memory and guest.process:
                values |= await save_memory(run, guest, name)
            await run.sleep(SNAPSHOT)
            for drive in drives(guest.config):
                if not drive.cdrom:
                    run.log(f"snapshotting 'drive-{drive.key}' ({drive.file})")
                    if volume := server.estate.volume(drive.file, guest.node):
                        volumes.snapshotted(volume)
                    if guest.process:
                        run.log("internal qemu snapshot")
        finally:
            guest.config.pop("lock", None)
        guest.snapshots[name] = values
        guest.config["parent"] = name


def saved(guest: Guest) -> dict[str, str]:
    """What a snapshot keeps of a configuration."""
    left = {"lock", "description", "snaptime", "vmstate"}
    return {name: value for name, value in guest.config.items() if name not in left and not UNUSED.fullmatch(name)}


async def save_memory(run: Run, guest: Guest, name: str) -> dict[str, str]:
    """Saves a running VM's memory to a volume."""
    storage = guest.config.get("vmstatestorage") or power.state_storage(run.server, guest)
    state = await power.state_volume(run, guest, f"vm-{guest.vmid}-state-{name}", storage)
    run.log(f"saving VM state and RAM using storage '{storage}'")
    size = machine.memory(guest.config) * 0.36
    seconds = size / power.STATE_RATE
    run.log(f"{7.02:.2f} MiB in 0s")
    await run.sleep(seconds)
    run.log(f"completed saving the VM state in {int(seconds)}s, saved {human(size)}")
    return power.running_facts(guest) | {"vmstate": state}


async def roll_back(run: Run, vmid: int, node: str, name: str, start: bool) -> None:
    """The worker of qmrollback: a running VM is stopped unasked; one saved with its memory goes on from there."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        if guest.template:
            raise TaskError("you can't rollback if vm is a template")
        if name not in guest.snapshots:
            raise TaskError(f"snapshot '{name}' does not exist")
        power.check_lock(guest)
        guest.config["lock"] = "rollback"
        try:
            if guest.process:
                await power.kill(run, guest)
            await run.sleep(ROLLBACK)
            values = guest.snapshots[name]
            restore(server, guest, name, values)
        finally:
            guest.config.pop("lock", None)
        if "vmstate" in values:
            if "running-nets-host-mtu" in values:
                run.log("netdev net0: using 'host_mtu=1500' for migration compat")
            await begin(run, guest)
            power.awake(server, guest)
        elif start:
            await power.start_locked(run, guest)


async def begin(run: Run, guest: Guest) -> None:
    """Begins a VM from its saved memory."""
    node = run.server.estate.nodes[guest.node]
    machine.check_start(run.server, guest, node)
    machine.begin(run.server, guest, node)
    await run.sleep(power.START)


def restore(server: Server, guest: Guest, name: str, values: dict[str, str]) -> None:
    """Puts a snapshot's configuration in place of the present one; disks that it does not know become unused."""
    before = guest.config
    kept = {key: value for key, value in before.items() if UNUSED.fullmatch(key)}
    guest.config = {key: value for key, value in values.items() if key not in OWN} | kept
    if "description" in before:
        guest.config["description"] = before["description"]
    guest.config |= {"parent": name, "lock": "rollback", "vmgenid": options.new_uuid()}
    guest.pending.clear()
    guest.pending_delete.clear()
    known = {drive.file for drive in drives(guest.config)}
    for drive in drives(before):
        if not drive.cdrom and drive.file not in known and volumes.owner(drive.file) == guest.vmid:
            pending.add_unused(guest, drive.file)
    server.changed()


async def delete(run: Run, vmid: int, node: str, name: str, force: bool) -> None:
    """The worker of qmdelsnapshot; what came after the snapshot then follows what came before it."""
    server = run.server
    async with run.lock(vmid):
        guest = server.estate.guest(vmid, "qemu", node)
        if name not in guest.snapshots:
            raise TaskError(f"snapshot '{name}' does not exist")
        power.check_lock(guest)
        guest.config["lock"] = "snapshot-delete"
        try:
            await run.sleep(DELETE)
        finally:
            guest.config.pop("lock", None)
        gone = guest.snapshots.pop(name)
        if "vmstate" in gone:
            server.estate.remove_volume(gone["vmstate"], node)
        for values in (guest.config, *guest.snapshots.values()):
            if values.get("parent") == name:
                values.pop("parent")
                values |= {"parent": gone["parent"]} if "parent" in gone else {}
