"""`.../snapshot`."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.qemu import options, snapshots
from pve_simulator.tasks import Run

ALL = "/nodes/{node}/qemu/{vmid}/snapshot"
ONE = f"{ALL}/{{snapname}}"


@endpoint("GET", ALL)
async def listed(call: Call) -> list[dict[str, Any]]:
    return snapshots.rows(call.guest())


@endpoint("POST", ALL)
async def take(call: Call) -> str:
    guest, name = call.guest(), call["snapname"]
    if name in snapshots.RESERVED:
        raise ApiError(500, f"unable to use snapshot name '{name}' (reserved name)")
    vmid, node, description, memory = guest.vmid, guest.node, call.get("description"), bool(call.get("vmstate"))

    async def work(run: Run) -> None:
        await snapshots.take(run, vmid, node, name, description, memory)

    return call.task("qmsnapshot", vmid, work)


@endpoint("GET", ONE)
async def index(call: Call) -> list[dict[str, str]]:
    return [{"cmd": "rollback"}, {"cmd": "config"}]


@endpoint("DELETE", ONE)
async def delete(call: Call) -> str:
    guest, name, force = call.guest(), call["snapname"], bool(call.get("force"))

    async def work(run: Run) -> None:
        await snapshots.delete(run, guest.vmid, guest.node, name, force)

    return call.task("qmdelsnapshot", guest.vmid, work)


@endpoint("GET", f"{ONE}/config")
async def config(call: Call) -> dict[str, Any]:
    return options.typed(snapshots.find(call.guest(), call["snapname"]))


@endpoint("PUT", f"{ONE}/config")
async def describe(call: Call) -> None:
    async with call.server.locks.hold(call["vmid"]):
        values = snapshots.find(call.guest(), call["snapname"])
        if "description" in call:
            values["description"] = call["description"]


@endpoint("POST", f"{ONE}/rollback")
async def roll_back(call: Call) -> str:
    guest, name, start = call.guest(), call["snapname"], bool(call.get("start"))

    async def work(run: Run) -> None:
        await snapshots.roll_back(run, guest.vmid, guest.node, name, start)

    return call.task("qmrollback", guest.vmid, work)
