"""`.../cloudinit`."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.qemu import cloudinit
from pve_simulator.qemu.power import check_lock

PATH = "/nodes/{node}/qemu/{vmid}/cloudinit"


@endpoint("GET", PATH)
async def written(call: Call) -> list[dict[str, Any]]:
    return cloudinit.told(call.estate, call.guest())


@endpoint("PUT", PATH)
async def write(call: Call) -> None:
    async with call.server.locks.hold(call["vmid"]):
        guest = call.guest()
        check_lock(guest)
        cloudinit.generate(call.estate, guest)


@endpoint("GET", f"{PATH}/dump")
async def dump(call: Call) -> str:
    return cloudinit.dump(call.guest(), call["type"])
