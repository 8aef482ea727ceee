"""Clones and templates."""

from __future__ import annotations

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, PermissionDenied
from pve_simulator.qemu import clone, destroy, machine, options, volumes
from pve_simulator.qemu.power import find
from pve_simulator.tasks import Run

VM = "/nodes/{node}/qemu/{vmid}"


@endpoint("POST", f"{VM}/clone")
async def make_clone(call: Call) -> str:
    pool, target = call.get("pool"), call.get("target")
    if pool and pool not in call.estate.pools:
        raise PermissionDenied(f"pool '{pool}' does not exist")
    guest = find(call.server, call["vmid"], call.node.name)
    storage = call.get("storage")
    if storage:
        call.check(f"/storage/{storage}", "Datastore.AllocateSpace")
        volumes.usable(call.server, storage, call.node.name)
    if target and target not in ("localhost", call.node.name) and target not in call.estate.nodes:
        raise ApiError(500, f"no such cluster node '{target}'")
    full = call.get("full")
    asked = clone.Clone(
        guest,
        call["newid"],
        not guest.template if full is None else full,
        "" if target == "localhost" else target or "",
        call.get("name"),
        call.get("description"),
        storage,
        call.get("format"),
        call.get("snapname"),
        pool,
        int(call["bwlimit"]) if call.get("bwlimit") else None,
    )
    clone.check(call.server, asked)
    check_access(call, asked)
    made = clone.begin(call.server, asked)

    async def work(run: Run) -> None:
        await clone.work(run, asked, made)

    return call.task("qmclone", guest.vmid, work)


def check_access(call: Call, asked: clone.Clone) -> None:
    """Raises PermissionDenied where the caller may not write to the storages, or use the bridges."""
    for drive in clone.copied(asked.config):
        name = asked.storage or volumes.parts(drive.file)[0]
        call.check(f"/storage/{name}", "Datastore.AllocateSpace")
    for number in machine.cards(asked.config):
        bridge = options.network(asked.config[f"net{number}"]).get("bridge")
        if bridge:
            call.check(f"/sdn/zones/localnetwork/{bridge}", "SDN.Use")


@endpoint("POST", f"{VM}/template")
async def make_template(call: Call) -> str:
    guest, disk = call.guest(), call.get("disk")
    destroy.check_template(guest, disk)

    async def work(run: Run) -> None:
        await destroy.convert(run, guest.vmid, guest.node, disk)

    return call.task("qmtemplate", guest.vmid, work)
