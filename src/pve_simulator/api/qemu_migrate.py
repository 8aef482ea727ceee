"""A VM's way to another node of its cluster, or to another server."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.highavailability import requests
from pve_simulator.migration import checks, machine, remote
from pve_simulator.qemu import highavailability
from pve_simulator.tasks import Run

VM = "/nodes/{node}/qemu/{vmid}"


@endpoint("GET", f"{VM}/migrate")
async def precondition(call: Call) -> dict[str, Any]:
    return checks.preconditions(call)


@endpoint("POST", f"{VM}/migrate")
async def migrate(call: Call) -> str:
    move = checks.checked(call)
    if highavailability.managed(call.estate, move.guest) and not call.by_manager:
        return requests.migrate(call, move.guest, move.target)

    async def work(run: Run) -> None:
        await machine.migrate(run, move)

    return call.task("qmigrate", move.guest.vmid, work)


@endpoint("POST", f"{VM}/remote_migrate")
async def remote_migrate(call: Call) -> str:
    move = await remote.checked(call)

    async def work(run: Run) -> None:
        await remote.migrate(run, move)

    return call.task("qmigrate", move.guest.vmid, work)
