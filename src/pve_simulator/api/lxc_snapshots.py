"""`/nodes/{node}/lxc/{vmid}/snapshot`."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.lxc import settings, snapshots
from pve_simulator.qemu.snapshots import RESERVED
from pve_simulator.tasks import Run

ALL = "/nodes/{node}/lxc/{vmid}/snapshot"
ONE = f"{ALL}/{{snapname}}"


def found(call: Call) -> dict[str, str]:
    """A snapshot's configuration; raises ApiError 500."""
    guest, name = call.guest("lxc"), call["snapname"]
    if name not in guest.snapshots:
        raise ApiError(500, f"snapshot '{name}' does not exist")
    return guest.snapshots[name]


@endpoint("GET", ALL)
async def listed(call: Call) -> list[dict[str, Any]]:
    return snapshots.rows(call.guest("lxc"))


@endpoint("POST", ALL)
async def take(call: Call) -> str:
    guest, name, description = call.guest("lxc"), call["snapname"], call.get("description")
    if name in (*RESERVED, "vzdump"):
        raise ApiError(500, f"unable to use snapshot name '{name}' (reserved name)")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await snapshots.take(run, guest, name, description)

    return call.task("vzsnapshot", guest.vmid, work)


@endpoint("GET", ONE)
async def index(call: Call) -> list[dict[str, str]]:
    return [{"cmd": "rollback"}, {"cmd": "config"}]


@endpoint("DELETE", ONE)
async def delete(call: Call) -> str:
    guest, name = call.guest("lxc"), call["snapname"]

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await snapshots.delete(run, guest, name)

    return call.task("vzdelsnapshot", guest.vmid, work)


@endpoint("GET", f"{ONE}/config")
async def config(call: Call) -> dict[str, Any]:
    return settings.shown(found(call))


@endpoint("PUT", f"{ONE}/config")
async def describe(call: Call) -> None:
    async with call.server.locks.hold(call["vmid"]):
        values = found(call)
        if "description" in call:
            values["description"] = call["description"]


@endpoint("POST", f"{ONE}/rollback")
async def roll_back(call: Call) -> str:
    guest, name, start = call.guest("lxc"), call["snapname"], bool(call.get("start"))

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await snapshots.roll_back(run, guest, name, start)

    return call.task("vzrollback", guest.vmid, work)
