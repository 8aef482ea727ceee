"""Guests that the cluster's manager looks after: a request changes the wanted state, the manager acts later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run
    from pve_simulator.world.estate import Estate
    from pve_simulator.world.guest import Guest

HARD = "ha-hard"  # a process's fact: it is to be stopped, not asked


def resource(estate: Estate, guest: Guest) -> dict[str, str] | None:
    """What the cluster knows of a guest it manages, else None."""
    kind = "vm" if guest.type == "qemu" else "ct"
    return estate.sections.get("ha/resources", {}).get(f"{kind}:{guest.vmid}")


def managed(estate: Estate, guest: Guest) -> bool:
    """Whether the manager acts for a guest."""
    known = resource(estate, guest)
    return known is not None and known.get("state", "started") != "ignored"


def told(estate: Estate, guest: Guest) -> dict[str, Any]:
    """`ha` of `status/current`."""
    known = resource(estate, guest)
    if known is None or not managed(estate, guest):
        return {"managed": 0}
    return {"managed": 1, "state": known.get("state", "started")}


async def request(run: Run, guest: Guest, state: str, hard: bool = False) -> None:
    """The worker of hastart and hastop: it only asks. `hard` stops without asking the guest's system."""
    verb = "start" if state == "started" else "stop"
    run.log(f"Requesting HA {verb} for VM {guest.vmid}")
    known = resource(run.server.estate, guest)
    if known is None:
        raise ApiError(500, f"resource 'vm:{guest.vmid}' does not exist in cluster")
    known["state"] = state
    if hard and guest.process:
        guest.process.facts[HARD] = "1"


def settle(server: Server) -> None:
    """The manager's round: begins what brings the VMs it looks after into the state that is wanted."""
    from pve_simulator.qemu import power

    if not server.estate.sections.get("ha/resources"):
        return
    for guest in server.estate.guests.values():
        known = resource(server.estate, guest) if guest.type == "qemu" else None
        if known is None or guest.lock or server.locks.held(guest.vmid) or server.node_down(guest.node):
            continue
        wanted = known.get("state", "started")
        if wanted == "started" and guest.process is None:
            power.start_as_root(server, guest)
        elif wanted == "stopped" and guest.process is not None:
            power.shut_down_as_root(server, guest, hard=HARD in guest.process.facts)
