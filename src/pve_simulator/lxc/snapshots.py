"""Snapshots of a container: taken, gone back to, deleted."""

from __future__ import annotations

from typing import Any

from pve_simulator.errors import TaskError
from pve_simulator.lxc import mounts, power, settings
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

WORK = 0.3  # seconds
OWN = ("snaptime", "description", "snapstate")


def rows(guest: Guest) -> list[dict[str, Any]]:
    """`GET .../snapshot`: all snapshots, and the present as `current`."""
    told: list[dict[str, Any]] = []
    for name, values in guest.snapshots.items():
        row: dict[str, Any] = {"name": name, "description": values.get("description", "")}
        row["snaptime"] = int(values.get("snaptime", 0))
        told.append(row | ({"parent": values["parent"]} if "parent" in values else {}))
    now: dict[str, Any] = {"name": "current", "description": "You are here!", "digest": guest.digest()}
    now["running"] = int(guest.process is not None)
    return [*told, now | ({"parent": guest.config["parent"]} if "parent" in guest.config else {})]


async def take(run: Run, guest: Guest, name: str, description: str | None) -> None:
    """The worker of vzsnapshot; the file lock is held."""
    settings.unlocked(guest)
    if guest.template:
        raise TaskError("you can't take a snapshot if it's a template")
    if name in guest.snapshots:
        raise TaskError(f"snapshot name '{name}' already used")
    if not mounts.snapshot_possible(run.server, guest.node, guest.config):
        raise TaskError("snapshot feature is not available")
    guest.config["lock"] = "snapshot"
    try:
        await run.sleep(WORK)
    finally:
        guest.config.pop("lock", None)
    values = {key: value for key, value in guest.config.items() if not mounts.UNUSED.fullmatch(key)}
    values.pop("description", None)
    values["snaptime"] = str(run.server.clock.seconds())
    guest.snapshots[name] = values | ({"description": description} if description is not None else {})
    guest.config["parent"] = name


async def roll_back(run: Run, guest: Guest, name: str, start: bool) -> None:
    """The worker of vzrollback: stops a running container without asking."""
    if name not in guest.snapshots:
        raise TaskError(f"snapshot '{name}' does not exist")
    settings.unlocked(guest)
    values = guest.snapshots[name]
    guest.config["lock"] = "rollback"
    try:
        await power.stop(run, guest)
        await run.sleep(WORK)
    finally:
        guest.config.pop("lock", None)
    kept = {key: value for key, value in guest.config.items() if mounts.UNUSED.fullmatch(key) or key == "description"}
    known = {mount.volume for mount in mounts.own(values)}
    gone = [mount.volume for mount in mounts.own(guest.config) if mount.volume not in known]
    guest.config = {key: value for key, value in values.items() if key not in OWN} | kept | {"parent": name}
    guest.pending.clear()
    guest.pending_delete.clear()
    for volid in gone:
        mounts.add_unused(guest.config, volid)
    if start:
        await power.start(run, guest)


async def delete(run: Run, guest: Guest, name: str) -> None:
    """The worker of vzdelsnapshot; what came after the snapshot then follows what came before it."""
    if name not in guest.snapshots:
        raise TaskError(f"snapshot '{name}' does not exist")
    settings.unlocked(guest)
    guest.config["lock"] = "snapshot-delete"
    try:
        await run.sleep(WORK)
    finally:
        guest.config.pop("lock", None)
    gone = guest.snapshots.pop(name)
    for values in (guest.config, *guest.snapshots.values()):
        if values.get("parent") == name:
            values.pop("parent")
            values |= {"parent": gone["parent"]} if "parent" in gone else {}
