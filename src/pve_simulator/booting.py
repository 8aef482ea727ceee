"""What a node does when it is back: it starts its guests, in the order in which they are to start."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pve_simulator.call import as_root
from pve_simulator.errors import ApiError
from pve_simulator.permissions import ROOT
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.tasks import Run

BOOT = 10.0  # seconds of the real server from the network's being there to the first guest
AFTER_A_VM = 3  # seconds between a VM's start and the next guest's, to spare the node


def boot(server: Server, node: str) -> None:
    """Lets a node come up: pve-guests then runs `startall` in root's name."""
    found = server.estate.nodes[node]
    found.started = server.clock.time()
    server.changed()

    async def work() -> None:
        await server.clock.sleep(BOOT)

        async def start_all(run: Run) -> None:
            await majority(run, node)
            unlock(run, node)
            await start_in_order(run, to_start(server, node))

        server.tasks.start(found, "startall", "", ROOT, start_all)

    server.later(work(), node)


async def majority(run: Run, node: str) -> None:
    """Waits for the quorum, without which nothing can be started."""
    if run.server.quorum.holds(node):
        return
    run.log("waiting for quorum ...")
    while not run.server.quorum.holds(node):
        await run.sleep(1)
    run.log("got quorum")


def unlock(run: Run, node: str) -> None:
    """Backups that the crash ended have left their locks: those, and only those, are taken away."""
    for guest in run.server.estate.guests.values():
        if guest.node == node and guest.lock == "backup":
            del guest.config["lock"]
            run.log(f"removed left over backup lock from '{guest.vmid}'!")


def to_start(server: Server, node: str) -> list[Guest]:
    """Guests with `onboot` that nobody else looks after; what is highly available, its manager starts."""
    from pve_simulator.qemu import highavailability

    return [
        guest
        for guest in server.estate.guests.values()
        if guest.node == node
        and guest.config.get("onboot") == "1"
        and not guest.template
        and not highavailability.managed(server.estate, guest)
    ]


def startup(guest: Guest) -> dict[str, float]:
    """`order`, `up` and `down` of a guest; those without an order come last."""
    told = dict(part.split("=", 1) for part in guest.config.get("startup", "").split(",") if "=" in part)
    first = guest.config.get("startup", "").split(",")[0]
    if first.isdigit():  # the number alone is the order
        told["order"] = first
    return {"order": math.inf} | {name: float(value) for name, value in told.items() if value.isdigit()}


def in_order(guests: Iterable[Guest]) -> list[Guest]:
    """Guests as they are started one after another."""
    return sorted(guests, key=lambda guest: (startup(guest)["order"], guest.vmid))


async def start_in_order(run: Run, guests: Iterable[Guest]) -> None:
    """Starts guests in tasks of their own: those of one order beside each other, the next order after them."""
    for _, equals in itertools.groupby(in_order(guests), key=lambda guest: startup(guest)["order"]):
        begun: list[asyncio.Task[None]] = []
        for guest in equals:
            if guest.process is None:
                begun += await start(run, guest)
        if begun:
            await asyncio.wait(begun)


async def start(run: Run, guest: Guest) -> list[asyncio.Task[None]]:
    """Begins a guest's start and waits the pause after it; what works on it, if anything does."""
    machine = guest.type == "qemu"
    run.log(f"Starting {'VM' if machine else 'CT'} {guest.vmid}")
    try:
        upid = await as_root(run.server, "POST", f"/nodes/{{node}}/{guest.type}/{{vmid}}/status/start", guest)
    except ApiError as refusal:
        run.log(refusal.message)
        return []
    told = startup(guest).get("up")
    if told:
        run.log(f"Waiting for {told:.0f} seconds (startup delay)")
    await run.sleep((AFTER_A_VM if machine else 0) if told is None else told)
    worker = run.server.tasks.workers.get(upid)
    return [worker] if worker else []
