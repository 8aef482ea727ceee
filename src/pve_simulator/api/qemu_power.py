"""`.../status/*`: what starts, stops and pauses a VM. Guests of the HA manager are only requested."""

from __future__ import annotations

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.qemu import highavailability, power
from pve_simulator.qemu.changes import only_root
from pve_simulator.tasks import Run, Worker
from pve_simulator.world.guest import Guest

STATUS = "/nodes/{node}/qemu/{vmid}/status"
ROOT_ONLY = (
    "skiplock",
    "stateuri",
    "migratedfrom",
    "migration_type",
    "migration_network",
    "targetstorage",
    "force-cpu",
)


def root_only(call: Call, *names: str) -> None:
    """Raises ParameterError where somebody else uses what is root's."""
    for name in names:
        if name in call and not call.is_root:
            raise ParameterError({name: "Only root may use this option."})


def here(call: Call) -> Guest | None:
    """The VM where it is there: the task tells where it is not."""
    guest = call.estate.guests.get(call["vmid"])
    return guest if guest and guest.type == "qemu" and guest.node == call.node.name else None


def requested(call: Call, state: str, hard: bool = False) -> str | None:
    """The UPID of a request to the HA manager, where it looks after the VM."""
    guest = here(call)
    if guest is None or call.by_manager or not highavailability.managed(call.estate, guest):
        return None
    if call.is_root and call.get("skiplock"):
        return None

    async def work(run: Run) -> None:
        await highavailability.request(run, guest, state, hard)

    return call.task("hastart" if state == "started" else "hastop", guest.vmid, work)


def begin(call: Call, kind: str, worker: Worker) -> str:
    """Begins a task for the VM of the path."""
    return call.task(kind, call["vmid"], worker)


@endpoint("POST", f"{STATUS}/start")
async def start(call: Call) -> str:
    root_only(call, *ROOT_ONLY)
    upid = requested(call, "started")
    skiplock, vmid, node = bool(call.get("skiplock")), call["vmid"], call.node.name

    async def work(run: Run) -> None:
        await power.start(run, vmid, node, skiplock)

    return upid or begin(call, "qmstart", work)


@endpoint("POST", f"{STATUS}/stop")
async def stop(call: Call) -> str:
    root_only(call, "skiplock", "keepActive", "migratedfrom")
    upid = requested(call, "stopped", hard=True)
    overrule, vmid, node, skiplock = (
        bool(call.get("overrule-shutdown")),
        call["vmid"],
        call.node.name,
        bool(call.get("skiplock")),
    )

    async def work(run: Run) -> None:
        if overrule:
            overrule_shutdowns(call, run)
        await power.stop(run, vmid, node, skiplock)

    return upid or begin(call, "qmstop", work)


def overrule_shutdowns(call: Call, run: Run) -> None:
    """Interrupts the caller's own tasks that wait for the VM to shut down; all such tasks with Sys.Modify."""
    every = call.may(f"/nodes/{call.node.name}", "Sys.Modify")
    found = [
        task.upid
        for task in call.estate.tasks.values()
        if task.running
        and task.type == "qmshutdown"
        and task.id == str(call["vmid"])
        and (every or task.user == call.user)
    ]
    for upid in found:
        worker = call.server.tasks.workers.get(upid)
        if worker is not None:
            worker.cancel()
    if found:
        run.log(f"overruled qmshutdown tasks: {', '.join(found)}")


@endpoint("POST", f"{STATUS}/shutdown")
async def shutdown(call: Call) -> str:
    root_only(call, "skiplock", "keepActive")
    guest, force = here(call), bool(call.get("forceStop"))
    upid = requested(call, "stopped")
    if upid:
        return upid
    paused = guest is not None and guest.process is not None and guest.process.qmpstatus == "paused"
    if paused and not force:
        raise ApiError(500, "VM is paused - cannot shutdown")
    vmid, node, timeout, skiplock = call["vmid"], call.node.name, call.get("timeout"), bool(call.get("skiplock"))

    async def work(run: Run) -> None:
        if paused:
            run.log("VM is paused - stop instead of shutdown")
            await power.stop(run, vmid, node, skiplock)
        else:
            await power.shut_down(run, vmid, node, timeout, force, skiplock)

    return begin(call, "qmshutdown", work)


def running(call: Call) -> Guest:
    """The VM, which has to run; raises ApiError 500."""
    guest = power.find(call.server, call["vmid"], call.node.name)
    if guest.process is None:
        raise ApiError(500, f"VM {guest.vmid} not running")
    return guest


@endpoint("POST", f"{STATUS}/reboot")
async def reboot(call: Call) -> str:
    guest, timeout = running(call), call.get("timeout")
    if guest.process and guest.process.qmpstatus == "paused":
        raise ApiError(500, "VM is paused - cannot shutdown")

    async def work(run: Run) -> None:
        await power.reboot(run, guest.vmid, guest.node, timeout)

    return begin(call, "qmreboot", work)


@endpoint("POST", f"{STATUS}/reset")
async def reset(call: Call) -> str:
    skiplock = only_root(call)
    guest = running(call)

    async def work(run: Run) -> None:
        await power.reset(run, guest.vmid, guest.node, skiplock)

    return begin(call, "qmreset", work)


@endpoint("POST", f"{STATUS}/suspend")
async def suspend(call: Call) -> str:
    skiplock = only_root(call)
    guest, storage = running(call), call.get("statestorage")
    if not call.get("todisk"):

        async def work(run: Run) -> None:
            await power.pause(run, guest.vmid, guest.node, skiplock)

        return begin(call, "qmpause", work)
    if storage:
        call.check(f"/storage/{storage}", "Datastore.AllocateSpace")

    async def save(run: Run) -> None:
        await power.hibernate(run, guest.vmid, guest.node, storage, skiplock)

    return begin(call, "qmsuspend", save)


@endpoint("POST", f"{STATUS}/resume")
async def resume(call: Call) -> str:
    skiplock = only_root(call)
    guest = power.find(call.server, call["vmid"], call.node.name)
    if guest.process is None and guest.lock != "suspended":
        raise ApiError(500, f"VM {guest.vmid} not running")

    async def work(run: Run) -> None:
        await power.resume(run, guest.vmid, guest.node, skiplock)

    return begin(call, "qmresume", work)
