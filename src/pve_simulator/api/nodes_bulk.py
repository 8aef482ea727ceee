"""Acts on all guests of a node at once: start, stop, suspend. One task that begins a task for each guest."""

from __future__ import annotations

import asyncio
from typing import Any

from pve_simulator import booting
from pve_simulator.api.access_users import names
from pve_simulator.authentication import Identity
from pve_simulator.call import ENDPOINTS, Call, endpoint
from pve_simulator.errors import ApiError, PermissionDenied
from pve_simulator.permissions import ROOT
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest


def chosen(call: Call, running: bool) -> list[Guest]:
    """The guests of the node that are meant; raises PermissionDenied where the caller may not switch one of them."""
    wanted = names(call.get("vms", ""))
    for vmid in wanted:
        call.check(f"/vms/{vmid}", "VM.PowerMgmt")
    if not wanted and not call.may("/vms", "VM.PowerMgmt"):
        raise PermissionDenied("/vms, VM.PowerMgmt")
    here = [guest for guest in call.estate.guests.values() if guest.node == call.node.name and not guest.template]
    here = [guest for guest in here if (guest.process is not None) == running]
    return [guest for guest in here if str(guest.vmid) in wanted] if wanted else here


async def act(call: Call, run: Run, guest: Guest, action: str, parameters: dict[str, Any]) -> None:
    """Begins an action of one guest and waits for its end; a refusal is a line of the log."""
    path = f"/nodes/{{node}}/{guest.type}/{{vmid}}/status/{action}"
    handler = ENDPOINTS.get(("POST", path))
    if handler is None:
        run.log(f"{path} is not simulated")
        return
    values = {"node": guest.node, "vmid": guest.vmid, **parameters}
    try:
        upid = await handler(Call(call.server, "POST", path, Identity(ROOT), values, dict(values)))
    except ApiError as refusal:
        run.log(refusal.message)
        return
    worker = call.server.tasks.workers.get(upid)
    if worker is not None:
        await asyncio.wait([worker])


def kind(guest: Guest) -> str:
    """How a log names it."""
    return f"{'VM' if guest.type == 'qemu' else 'CT'} {guest.vmid}"


@endpoint("POST", "/nodes/{node}/startall")
async def start_all(call: Call) -> str:
    """Those with `onboot`; all with `force`."""
    listed = [
        guest
        for guest in chosen(call, running=False)
        if call.get("force") or "vms" in call or guest.config.get("onboot") == "1"
    ]

    async def work(run: Run) -> None:
        booting.unlock(run, call.node.name)
        await booting.start_in_order(run, listed)

    return call.task("startall", "", work)


@endpoint("POST", "/nodes/{node}/stopall")
async def stop_all(call: Call) -> str:
    listed = chosen(call, running=True)
    options = {"forceStop": call.get("force-stop", True), "timeout": call.get("timeout", 180)}

    async def work(run: Run) -> None:
        for guest in listed:
            run.log(f"Stopping {kind(guest)} (timeout = {options['timeout']} seconds)")
        await asyncio.gather(*(act(call, run, guest, "shutdown", options) for guest in listed))

    return call.task("stopall", "", work)


@endpoint("POST", "/nodes/{node}/suspendall")
async def suspend_all(call: Call) -> str:
    listed = [guest for guest in chosen(call, running=True) if guest.type == "qemu"]

    async def work(run: Run) -> None:
        for guest in listed:
            run.log(f"Suspending {kind(guest)}")
            await act(call, run, guest, "suspend", {"todisk": True})

    return call.task("suspendall", "", work)


def everywhere(call: Call, running: bool) -> list[Guest]:
    """The guests of the cluster that are meant by `vms`, or all whom the caller may switch."""
    wanted = names(call.get("vms", ""))
    return [
        guest
        for guest in call.estate.guests.values()
        if (str(guest.vmid) in wanted or not wanted)
        and (guest.process is not None) == running
        and not guest.template
        and call.may(f"/vms/{guest.vmid}", "VM.PowerMgmt")
    ]


def bulk(call: Call, kind_of_task: str, verb: str, listed: list[Guest], action: str, options: dict[str, Any]) -> str:
    """One task for guests on any node."""

    async def work(run: Run) -> None:
        run.log(f"{verb} guests: {', '.join(str(guest.vmid) for guest in listed)}")
        for guest in listed:
            run.log(f"{verb} {kind(guest)}")
        await asyncio.gather(*(act(call, run, guest, action, options) for guest in listed))

    return call.task(kind_of_task, "", work)


@endpoint("POST", "/cluster/bulk-action/guest/start")
async def bulk_start(call: Call) -> str:
    return bulk(call, "bulk-start", "Starting", everywhere(call, running=False), "start", {})


@endpoint("POST", "/cluster/bulk-action/guest/shutdown")
async def bulk_shutdown(call: Call) -> str:
    options = {"forceStop": call.get("force-stop", True), "timeout": call.get("timeout", 180)}
    return bulk(call, "bulk-shutdown", "Shutting down", everywhere(call, running=True), "shutdown", options)


@endpoint("POST", "/cluster/bulk-action/guest/suspend")
async def bulk_suspend(call: Call) -> str:
    listed = [guest for guest in everywhere(call, running=True) if guest.type == "qemu"]
    options = {"todisk": bool(call.get("to-disk"))}
    return bulk(call, "bulk-suspend", "Suspending", listed, "suspend", options)
