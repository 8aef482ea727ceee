"""Guests that the cluster's manager looks after: a request changes the wanted state, the manager acts later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.highavailability.manager import HARD

if TYPE_CHECKING:
    from pve_simulator.tasks import Run
    from pve_simulator.world.estate import Estate
    from pve_simulator.world.guest import Guest


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
    if not run.server.quorum.holds(guest.node):
        run.log("cfs-lock 'domain-ha' error: no quorum!")
        raise TaskError(f"command 'ha-manager set vm:{guest.vmid} --state {state}' failed: exit code 255")
    known["state"] = state
    if hard and guest.process:
        guest.process.facts[HARD] = "1"
