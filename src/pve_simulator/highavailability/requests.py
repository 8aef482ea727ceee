"""What API calls ask of the managers: nothing happens yet, the next round sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.highavailability import rules, state
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.call import Call
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

LOCK_FAILED = "cfs-lock 'domain-ha' error: no quorum!"


def migrate(call: Call, guest: Guest, target: str) -> str:
    """The UPID of hamigrate, which only asks."""

    async def work(run: Run) -> None:
        kind = "VM" if guest.type == "qemu" else "CT"
        run.log(f"Requesting HA migration for {kind} {guest.vmid} to node {target}")
        if not run.server.quorum.holds(guest.node):
            run.log(LOCK_FAILED)
            raise TaskError(f"command 'ha-manager migrate {state.sid(guest)} {target}' failed: exit code 255")
        queue(run.server, state.sid(guest), "migrate", target)

    return call.task("hamigrate", guest.vmid, work)


def queue(server: Server, name: str, kind: str, target: str) -> None:
    """Asks for a move; what has to be on the same node goes along."""
    for one in (name, *rules.together(server.estate, name)):
        state.commands(server.estate)[one] = {"kind": kind, "node": target}
    server.changed()


def move(call: Call, name: str, kind: str) -> dict[str, Any]:
    """`.../migrate` and `.../relocate` of a resource; raises ApiError 500 where nobody looks after it."""
    estate, target = call.estate, call["node"]
    values = state.resources(estate).get(name)
    if values is None or state.wanted(values) == "ignored":
        raise ApiError(500, f"resource '{name}' is not HA managed")
    if state.services(estate).get(name, {}).get("state") == "error":
        raise ApiError(500, f"service '{name}' in error state, must be disabled and fixed first")
    dependent, blocking = rules.motion(call.server, name)
    queue(call.server, name, kind, target)
    told: dict[str, Any] = {"sid": name, "requested-node": target}
    if dependent:
        told["comigrated-resources"] = dependent
    if target in blocking:
        told["blocking-resources"] = blocking[target]
    return told
