"""A VM's monitor and keyboard; its screen and terminal are in `consoles.py`."""

from __future__ import annotations

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.qemu import machine, power

VM = "/nodes/{node}/qemu/{vmid}"


@endpoint("POST", f"{VM}/monitor")
async def monitor(call: Call) -> str:
    """QEMU's own monitor knows but a few words here."""
    guest = call.guest()
    if guest.process is None:
        raise ApiError(500, f"VM {guest.vmid} not running")
    word = " ".join(call["command"].split())
    if word == "info status":
        return f"VM status: {guest.process.qmpstatus}\r\n"
    if word == "info name":
        return f"{guest.name}\r\n"
    first = word.split(" ", maxsplit=1)[0]
    return f"unknown command: '{first}'\r\n"


@endpoint("PUT", f"{VM}/sendkey")
async def send_key(call: Call) -> None:
    """Keys go to the guest; ctrl-alt-delete lets its system boot anew, in the same process."""
    guest = call.guest()
    if guest.process is None:
        raise ApiError(500, f"VM {guest.vmid} not running")
    if call["key"] == "ctrl-alt-delete" and machine.system_up(call.server, guest):

        async def restart() -> None:
            await call.server.clock.sleep(power.GUEST_SHUTDOWN)
            if guest.process:
                machine.boot(call.server, guest, call.estate.nodes[guest.node])

        call.server.later(restart(), guest.node)
