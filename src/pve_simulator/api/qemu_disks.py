"""A VM's disks: grown, and moved to another storage or another VM."""

from __future__ import annotations

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.qemu import changes, power, resize, volumes
from pve_simulator.qemu.drives import Drive
from pve_simulator.tasks import Run

VM = "/nodes/{node}/qemu/{vmid}"


@endpoint("PUT", f"{VM}/resize")
async def grow(call: Call) -> str:
    """All is checked in the task, even whether the VM is there."""
    skiplock = changes.only_root(call)
    vmid, node = call["vmid"], call.node.name

    async def work(run: Run) -> None:
        async with run.lock(vmid):
            guest = call.estate.guest(vmid, "qemu", node)
            call.check_digest(guest)
            power.check_lock(guest, skip=skiplock)
            if call["disk"] in guest.config:
                storage = volumes.parts(Drive.parse(call["disk"], guest.config[call["disk"]]).file)[0]
                if storage in call.estate.storages:
                    call.check(f"/storage/{storage}", "Datastore.AllocateSpace")
            await resize.grow(run, guest, call["disk"], call["size"])

    return call.task("resize", vmid, work)


@endpoint("POST", f"{VM}/move_disk")
async def move(call: Call) -> str:
    guest, key = call.guest(), call["disk"]
    if "target-vmid" in call and "storage" not in call:
        return reassign(call)
    if "storage" not in call:
        text = "both 'storage' and 'target-vmid' missing, either needs to be set"
        raise ParameterError({"storage": text, "target-vmid": text})
    storage, form, delete = call["storage"], call.get("format"), bool(call.get("delete"))
    call.check(f"/storage/{storage}", "Datastore.AllocateSpace")
    call.check_digest(guest)
    resize.check_move(call.server, guest, key, storage, form)
    bandwidth = int(call["bwlimit"]) if call.get("bwlimit") else None

    async def work(run: Run) -> None:
        await resize.move(run, guest.vmid, guest.node, key, storage, form, delete, bandwidth)

    return call.task("qmmove", guest.vmid, work)


def reassign(call: Call) -> str:
    """Gives a disk to another VM."""
    guest, key, target = call.guest(), call["disk"], call["target-vmid"]
    call.check(f"/vms/{target}", "VM.Config.Disk")
    other = call.estate.guest(target, "qemu", call.node.name)
    if key not in guest.config:
        raise ApiError(500, f"Disk '{key}' for VM '{guest.vmid}' does not exist")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid), run.lock(other.vmid):
            resize.reassign(call.server, guest, other, key, call.get("target-disk", key))

    return call.task("qmmove", guest.vmid, work)
