"""A VM's way to another node of its cluster."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.qemu import migration
from pve_simulator.tasks import Run

MIGRATE = "/nodes/{node}/qemu/{vmid}/migrate"


@endpoint("GET", MIGRATE)
async def precondition(call: Call) -> dict[str, Any]:
    guest = call.guest()
    others = [name for name in call.estate.nodes if name != guest.node]
    lacking = {name: migration.lacking(call.server, guest, name) for name in others}
    told: dict[str, Any] = {
        "running": int(guest.process is not None),
        "local_disks": migration.local_disks(call.server, guest),
        "local_resources": [],
        "mapped-resources": [],
        "mapped-resource-info": {},
        "has-dbus-vmstate": 1,
    }
    if guest.process is None:
        told["allowed_nodes"] = [name for name in others if not lacking[name]]
        told["not_allowed_nodes"] = {
            name: {"unavailable_storages": storages} for name, storages in lacking.items() if storages
        }
    return told


@endpoint("POST", MIGRATE)
async def migrate(call: Call) -> str:
    target = call["target"]
    if target in ("localhost", call.node.name):
        raise ParameterError({"target": "target is local node."})
    if target not in call.estate.nodes:
        raise ApiError(500, f"no such cluster node '{target}'")
    guest = call.guest()
    migration.check(call.server, guest, target, bool(call.get("online")), bool(call.get("with-local-disks")))
    storage = call.get("targetstorage")

    async def work(run: Run) -> None:
        await migration.move(run, guest.vmid, guest.node, target, storage)

    return call.task("qmigrate", guest.vmid, work)
