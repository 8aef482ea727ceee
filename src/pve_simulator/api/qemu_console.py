"""The way to a VM's screen, keyboard and monitor, as far as the API itself goes."""

from __future__ import annotations

import secrets
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import machine, power
from pve_simulator.tasks import Run

VM = "/nodes/{node}/qemu/{vmid}"
VIEWER_WAIT = 10.0  # seconds a proxy waits for its viewer
FIRST_PORT, PORTS = 5900, 100


@endpoint("POST", f"{VM}/vncproxy")
async def vnc(call: Call) -> dict[str, Any]:
    """Address and ticket of a console; its task ends where no viewer comes."""
    guest = call.guest()
    ticket = call.server.authentication.ticket(call.user, "PVEVNC", f"/vms/{guest.vmid}")

    async def work(run: Run) -> None:
        await run.sleep(VIEWER_WAIT)
        raise TaskError("connection timed out")

    upid = call.task("vncproxy", guest.vmid, work)
    running = [task for task in call.estate.tasks.values() if task.running and task.type == "vncproxy"]
    told: dict[str, Any] = {
        "user": call.user,
        "ticket": ticket,
        "port": str(FIRST_PORT + (len(running) - 1) % PORTS),
        "upid": upid,
        "cert": call.server.certificates.authority_pem.decode(),
    }
    return told | ({"password": secrets.token_urlsafe(6)} if call.get("generate-password") else {})


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
