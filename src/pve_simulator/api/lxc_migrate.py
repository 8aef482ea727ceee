"""A container's way to another node of its cluster."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.highavailability import requests
from pve_simulator.migration import container
from pve_simulator.qemu import highavailability
from pve_simulator.tasks import Run

MIGRATE = "/nodes/{node}/lxc/{vmid}/migrate"


@endpoint("GET", MIGRATE)
async def precondition(call: Call) -> dict[str, Any]:
    return container.preconditions(call)


@endpoint("POST", MIGRATE)
async def migrate(call: Call) -> str:
    move = container.checked(call)
    if highavailability.managed(call.estate, move.guest) and not call.by_manager:
        return requests.migrate(call, move.guest, move.target)

    async def work(run: Run) -> None:
        await container.migrate(run, move)

    return call.task("vzmigrate", move.guest.vmid, work)
