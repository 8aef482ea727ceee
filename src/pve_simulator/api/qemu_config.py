"""A VM's configuration: read, changed at once or in a task, and what waits for the next stop."""

from __future__ import annotations

import contextlib
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.qemu import changes, options, pending, snapshots
from pve_simulator.tasks import Run, unlogged

VM = "/nodes/{node}/qemu/{vmid}"


@endpoint("GET", f"{VM}/config")
async def config(call: Call) -> dict[str, Any]:
    guest = call.guest()
    if "snapshot" in call:
        shown = snapshots.find(guest, call["snapshot"])
    else:
        shown = guest.config if call.get("current") else pending.merged(guest)
    return options.typed(shown) | {"digest": guest.digest()}


@endpoint("GET", f"{VM}/pending")
async def waiting(call: Call) -> list[dict[str, Any]]:
    return pending.shown(call.guest())


@endpoint("PUT", f"{VM}/config")
async def change(call: Call) -> None:
    """At once: the reply comes when all is done."""
    await at_once(call, changes.read(call))


async def at_once(call: Call, change: changes.Change) -> None:
    """Carries a change out while the caller waits."""
    async with call.server.locks.hold(call["vmid"]):
        guest = call.guest()
        changes.check_state(call, guest, change)
        await changes.carry_out(unlogged(call.server, guest.node), guest, change)


@endpoint("POST", f"{VM}/config")
async def change_later(call: Call) -> str:
    """In a task, which holds the lock from before the reply on."""
    change, told = changes.read(call), changes.told(call)
    async with contextlib.AsyncExitStack() as locked:
        await locked.enter_async_context(call.server.locks.hold(call["vmid"]))
        guest = call.guest()
        changes.check_state(call, guest, change)
        passed_on = locked.pop_all()

    async def work(run: Run) -> None:
        async with passed_on:
            run.strike()
            run.log(told)
            await changes.carry_out(run, guest, change)

    return call.task("qmconfig", guest.vmid, work)


@endpoint("PUT", f"{VM}/unlink")
async def unlink(call: Call) -> None:
    """The same as deleting these disks' options."""
    change = changes.Change(delete=changes.listed(call, "idlist"), force=bool(call.get("force")))
    changes.check_names(change)
    await at_once(call, change)
