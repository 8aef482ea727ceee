"""Empties a node: one task that begins a migration for each guest, and as many at once as are allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pve_simulator.api.access_users import names
from pve_simulator.call import Call, as_root, endpoint
from pve_simulator.errors import ApiError, PermissionDenied, TaskError
from pve_simulator.migration import resources
from pve_simulator.migration.checks import target_of
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest


def chosen(call: Call) -> list[Guest]:
    """The guests of the node that are meant; raises PermissionDenied where the caller may not migrate one of them."""
    wanted = names(call.get("vms", ""))
    if not call.may("/", "VM.Migrate"):
        if not wanted:
            raise PermissionDenied("/, VM.Migrate")
        for vmid in wanted:
            call.check(f"/vms/{vmid}", "VM.Migrate")
    here = sorted((guest for guest in call.estate.guests.values() if guest.node == call.node.name), key=by_vmid)
    return [guest for guest in here if not wanted or str(guest.vmid) in wanted]


def by_vmid(guest: Guest) -> str:
    """VMIDs in the order in which Proxmox goes through them: as texts."""
    return str(guest.vmid)


@endpoint("POST", "/nodes/{node}/migrateall")
async def migrate_all(call: Call) -> str:
    guests, target = chosen(call), target_of(call)
    told = call.get("max-workers") or call.get("maxworkers") or call.estate.options.get("max_workers")
    if not told:
        raise ApiError(500, "either 'max-workers' parameter or max_workers in datacenter.cfg must be set!")
    workers, with_disks = int(told), bool(call.get("with-local-disks"))

    async def work(run: Run) -> None:
        await empty(run, guests, target, workers, with_disks)

    return call.task("migrateall", "", work)


async def empty(run: Run, guests: Sequence[Guest], target: str, workers: int, with_disks: bool) -> None:
    """Migrates guests beside each other; raises TaskError where none could be begun."""
    if not guests:
        run.warn("no virtual guests matched, nothing to do..")
        return
    active: set[asyncio.Task[None]] = set()
    begun = 0
    for guest in guests:
        worker = await begin(run, guest, target, with_disks)
        if worker is None:
            continue
        begun += 1
        active.add(worker)
        while len(active) >= workers:
            _, active = await asyncio.wait(active, return_when=asyncio.FIRST_COMPLETED)
    if active:
        await asyncio.wait(active)
    if not begun:
        raise TaskError("no migrations worker started...")
    run.log(f"All jobs finished, used {begun} workers in total.")


async def begin(run: Run, guest: Guest, target: str, with_disks: bool) -> asyncio.Task[None] | None:
    """Begins one migration in root's name; None where something keeps the guest, told in the log."""
    online = guest.process is not None
    options: dict[str, Any] = {"target": target}
    if guest.type == "lxc":
        run.log(f"Migrating CT {guest.vmid}")
        options["restart"] = online
    else:
        reasons = kept(run, guest, target, online and not with_disks)
        if reasons:
            run.log(f"Check VM {guest.vmid}: skip VM {guest.vmid} - precondition check failed:", *reasons)
            return None
        run.log(f"Check VM {guest.vmid}: precondition check passed", f"Migrating VM {guest.vmid}")
        options |= {"online": online, "with-local-disks": with_disks}
    try:
        upid = await as_root(run.server, "POST", f"/nodes/{{node}}/{guest.type}/{{vmid}}/migrate", guest, **options)
    except ApiError as refusal:
        run.warn(refusal.message)
        return None
    return run.server.tasks.workers.get(upid)


def kept(run: Run, guest: Guest, target: str, disks_count: bool) -> list[str]:
    """What keeps a VM where it is, as the log tells it."""
    server = run.server
    found = {
        "local disks": [row["volid"] for row in resources.local_disks(server, guest)] if disks_count else [],
        "local resources": resources.local_resources(guest),
        "unavailable storages": resources.lacking(server, guest, target),
        "unavailable resources": resources.unmapped(server, guest, target),
    }
    return [f"  Has {what}: {', '.join(reasons)}" for what, reasons in found.items() if reasons]


@endpoint("POST", "/cluster/bulk-action/guest/migrate")
async def bulk_migrate(call: Call) -> str:
    """Guests of any nodes that the caller may migrate, to one node."""
    target = call["target"]
    if target not in call.estate.nodes:
        raise ApiError(500, f"no such cluster node '{target}'")
    wanted = {str(vmid) for vmid in call.get("vms") or []}
    guests = [
        guest
        for guest in sorted(call.estate.guests.values(), key=by_vmid)
        if (not wanted or str(guest.vmid) in wanted)
        and guest.node != target
        and call.may(f"/vms/{guest.vmid}", "VM.Migrate")
    ]
    workers = int(call.get("max-workers") or call.get("maxworkers") or 1)
    with_disks = bool(call.get("with-local-disks"))

    async def work(run: Run) -> None:
        await empty(run, guests, target, workers, with_disks)

    return call.task("bulkmigrate", "", work)
