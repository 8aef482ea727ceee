"""A container's way to another node: stopped, or stopped for the time of it (`restart`)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.highavailability import rules
from pve_simulator.migration import checks, transfer
from pve_simulator.migration.journal import Journal, words
from pve_simulator.migration.machine import connect
from pve_simulator.migration.mapping import Map
from pve_simulator.migration.scan import COPIED, Local
from pve_simulator.qemu import highavailability, volumes
from pve_simulator.qemu.drives import Drive
from pve_simulator.world.guest import Guest, Process

if TYPE_CHECKING:
    from pve_simulator.call import Call
    from pve_simulator.migration.transfer import Way
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

START, SHUTDOWN = 1.0, 2.0  # seconds of the real server
MOUNT_POINT = re.compile(r"rootfs|mp\d+|unused\d+")


@dataclass(frozen=True)
class Move:
    """A container's move as it was asked for and allowed."""

    guest: Guest
    target: str
    storages: Map
    restart: bool = False
    online: bool = False
    bandwidth: int | None = None


def preconditions(call: Call) -> dict[str, Any]:
    """What `GET .../migrate` tells of a container: only high availability keeps it off a node beforehand."""
    call.server.quorum.need(call.node.name)
    guest = call.guest("lxc")
    told: dict[str, Any] = {"running": int(guest.process is not None)}
    blocking: dict[str, list[dict[str, str]]] = {}
    if highavailability.managed(call.estate, guest):
        told["dependent-ha-resources"], blocking = rules.motion(call.server, f"ct:{guest.vmid}")
    others = [name for name in call.estate.nodes if name != guest.node]
    refused = {name: {"blocking-ha-resources": blocking[name]} for name in others if name in blocking}
    return told | {"allowed-nodes": [name for name in others if name not in refused], "not-allowed-nodes": refused}


def checked(call: Call) -> Move:
    """A container's move, in the order in which Proxmox looks at it; raises ApiError, ParameterError, PermissionDenied."""
    target = checks.target_of(call)
    guest = call.guest("lxc")
    if guest.process and not call.get("online") and not call.get("restart"):
        raise ApiError(500, "can't migrate running container without --online or --restart")
    asked = checks.storage_map(call, "target-storage")
    if "target-storage" in call:
        checks.check_storages(call, asked, target, "rootdir", "container directories")
    bandwidth = int(call["bwlimit"]) if call.get("bwlimit") else None
    return Move(guest, target, asked, bool(call.get("restart")), bool(call.get("online")), bandwidth)


async def migrate(run: Run, move: Move) -> None:
    """The worker of vzmigrate. Raises TaskError `migration aborted`, or `migration problems`."""
    journal, server, vmid = Journal(run), run.server, move.guest.vmid
    node = move.guest.node
    async with run.lock(vmid):
        process: Process | None = None
        try:
            guest = server.estate.guest(vmid, "lxc", node)
            way = transfer.Way(server, node, server, move.target, vmid, move.bandwidth)
            process = guest.process
            await prepare(journal, guest, move, way)
            await copy(journal, guest, move, way)
        except (ApiError, TaskError, asyncio.CancelledError) as fault:
            raise journal.abort(words(fault)) from None
        arrive(journal, guest, way)
        if process is not None:
            await start(journal, guest, "target")
        journal.finish()


async def prepare(journal: Journal, guest: Guest, move: Move, way: Way) -> None:
    """Looks whether the container can go, and shuts it down; raises TaskError or ApiError."""
    if guest.lock:
        raise TaskError(f"CT is locked ({guest.lock})")
    if guest.process and not move.restart:
        raise TaskError("lxc live migration is currently not implemented")
    for key, volid in mounts(guest):
        look(way.source, guest, move, way, key, volid)
    await connect(journal, way)
    if guest.process:
        journal.info(f"shutdown CT {guest.vmid}")
        await journal.run.sleep(SHUTDOWN)
        guest.process = None


def mounts(guest: Guest) -> list[tuple[str, str]]:
    """Mount points with what is mounted there."""
    return [(key, text.split(",")[0]) for key, text in sorted(guest.config.items()) if MOUNT_POINT.fullmatch(key)]


def look(server: Server, guest: Guest, move: Move, way: Way, key: str, volid: str) -> None:
    """Raises TaskError or ApiError where a mount point keeps the container from moving."""
    if volid.startswith("/"):
        kind = "device" if volid.startswith("/dev/") else "bind"
        if "shared=1" not in guest.config[key]:
            raise TaskError(f"cannot migrate local {kind} mount point '{key}'")
        return
    name = volumes.parts(volid)[0]
    shared = volumes.usable(server, name, guest.node).shared
    wanted = name if shared else move.storages.of(name)
    if "rootdir" not in volumes.usable(way.target, wanted, way.to_node).content:
        raise ApiError(500, f"{volid}: content type 'rootdir' is not available on storage '{wanted}'")


async def copy(journal: Journal, guest: Guest, move: Move, way: Way) -> None:
    """Locks the container and copies its local volumes; where that fails it is as it was, and starts again."""
    server, ran = way.source, move.restart and any("shutdown CT" in line for line in journal.run.task.log)
    journal.info(f"starting migration of CT {guest.vmid} to node '{way.to_node}' ({transfer.address(way)})")
    guest.config["lock"] = "migrate"
    server.changed()
    try:
        for one in scan(journal, guest, move, way):
            await transfer.copy(journal, way, one)
    except (ApiError, TaskError, asyncio.CancelledError) as fault:
        text = words(fault)
        journal.error(text)
        journal.info("aborting phase 1 - cleanup resources")
        for made in way.made.values():  # the real one leaves them, and says so
            journal.error(f"found stale volume copy '{made.volid}' on node '{way.to_node}'")
        journal.info("start final cleanup")
        guest.config.pop("lock", None)
        if ran:
            await start(journal, guest, "source")
        raise TaskError(text) from None


def scan(journal: Journal, guest: Guest, move: Move, way: Way) -> list[Local]:
    """The volumes to copy, told in the log; raises TaskError where one cannot be."""
    found, errors = list[Local](), list[str]()
    for key, volid in mounts(guest):
        storage = way.source.estate.storages.get(volid.partition(":")[0])
        if storage is None or volid.startswith("/"):
            continue
        if storage.shared:
            journal.info(f"volume '{volid}' is on shared storage '{storage.id}'")
            continue
        volume = way.source.estate.volume(volid, guest.node)
        if volume is None:
            raise TaskError(f"volume '{volid}' does not exist")
        journal.info(f"found local volume '{volid}' (in current VM config)")
        if guest.snapshots and storage.type != "zfspool":
            errors.append(f"can't migrate local volume '{volid}': non-migratable snapshot exists")
        elif storage.type not in COPIED:
            errors.append(f"can't migrate local volume '{volid}': storage type '{storage.type}' not supported")
        found.append(Local(Drive(key, volid), volume, move.storages.of(storage.id), False, "attached"))
    if errors:
        journal.info(*errors)
        raise TaskError("can't migrate CT - check log")
    return found


def arrive(journal: Journal, guest: Guest, way: Way) -> None:
    """The container is now the target's."""
    transfer.renamed(guest, {volid: made.volid for volid, made in way.made.items()})
    guest.node = way.to_node
    transfer.drop_sources(journal, way)
    journal.info("start final cleanup")
    guest.config.pop("lock", None)
    way.target.changed()


async def start(journal: Journal, guest: Guest, where: str) -> None:
    """Starts a container that ran before."""
    journal.info(f"start container on {where} node")
    if where == "target":
        journal.info(f"# /usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={guest.node}' pct start {guest.vmid}")
    await journal.run.sleep(START)
    server = journal.run.server
    node = server.estate.nodes[guest.node]
    guest.process = Process(node.next_pid(), server.clock.time(), cpu=0.01)
    server.changed()
