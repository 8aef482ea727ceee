"""`/nodes/{node}/qemu`: the list of VMs, creation, removal, and what a VM's own index tells."""

from __future__ import annotations

from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, PermissionDenied
from pve_simulator.qemu import (
    changes,
    cloudinit,
    create,
    destroy,
    disks,
    options,
    restoring,
    snapshots,
    status,
    volumes,
)
from pve_simulator.qemu.drives import KEYS, Drive, drives
from pve_simulator.qemu.power import find
from pve_simulator.tasks import Run

VM = "/nodes/{node}/qemu/{vmid}"
BELOW = (
    "config cloudinit pending status unlink vncproxy termproxy migrate resize move rrd rrddata monitor agent snapshot "
    "spiceproxy sendkey firewall mtunnel remote_migrate"
)


@endpoint("GET", "/nodes/{node}/qemu")
async def listed(call: Call) -> list[dict[str, Any]]:
    full = bool(call.get("full"))
    return [
        status.row(call.server, guest, full)
        for guest in call.estate.guests.values()
        if guest.type == "qemu" and guest.node == call.node.name and call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]


@endpoint("GET", VM)
async def index(call: Call) -> list[dict[str, str]]:
    return [{"subdir": name} for name in BELOW.split()]


@endpoint("GET", f"{VM}/status")
async def status_index(call: Call) -> list[dict[str, str]]:
    call.guest()
    return [{"subdir": name} for name in ("current", "start", "stop", "reset", "shutdown", "suspend", "reboot")]


@endpoint("GET", f"{VM}/status/current")
async def current(call: Call) -> dict[str, Any]:
    return status.current(call.server, call.guest())


@endpoint("GET", f"{VM}/feature")
async def feature(call: Call) -> dict[str, Any]:
    guest = find(call.server, call["vmid"], call.node.name)
    config = snapshots.find(guest, call["snapname"]) if "snapname" in call else guest.config
    kept = [drive for drive in drives(config) if not drive.cdrom]
    able = all(volumes.has_feature(call.server, call["feature"], drive.file, guest.node) for drive in kept)
    return {"hasFeature": int(able), "nodes": [guest.node]}


@endpoint("POST", "/nodes/{node}/qemu")
async def new(call: Call) -> str:
    """Checks in the real order: pool, right to create, archive, storages, options, then whether the VMID is free."""
    vmid, pool = call["vmid"], call.get("pool")
    if "sshkeys" in call:
        cloudinit.check_keys(call["sshkeys"])
    check_right(call, pool)
    if "archive" in call:
        return restoring.begin(call, pool)
    values = options.texts(call.parameters)
    disks.check_access(call, [Drive.parse(name, value) for name, value in values.items() if name in KEYS])
    options.check_options(call, list(values), pool)
    options.check_values(call, values)
    changes.check_script(call, values)
    values = {name: options.filed(name, value) for name, value in values.items()}
    if "cipassword" in values:
        values["cipassword"] = cloudinit.hashed(values["cipassword"])
    try:
        guest = create.reserve(call.server, vmid, call.node.name, "create")
    except ApiError as fault:
        raise ApiError(500, f"unable to create VM {vmid} - {fault.message}") from None

    async def work(run: Run) -> None:
        await create.build(run, guest, values, pool)
        if call.get("start"):
            await create.start_after(run, guest)

    return call.task("qmcreate", vmid, work)


def check_right(call: Call, pool: str | None) -> None:
    """Raises PermissionDenied where the caller may not make this VM, or the pool does not exist."""
    if pool and pool not in call.estate.pools:
        raise PermissionDenied(f"pool '{pool}' does not exist")
    if call.may(f"/vms/{call['vmid']}", "VM.Allocate"):
        return
    if not (pool and call.may(f"/pool/{pool}", "VM.Allocate")):
        raise PermissionDenied


@endpoint("DELETE", VM)
async def remove(call: Call) -> str:
    skiplock = changes.only_root(call)
    guest = call.guest()
    purge, unreferenced = bool(call.get("purge")), bool(call.get("destroy-unreferenced-disks"))
    destroy.check(call.server, guest, purge)
    vmid, node = guest.vmid, guest.node

    async def work(run: Run) -> None:
        await destroy.destroy(run, vmid, node, purge, unreferenced, skiplock)

    return call.task("qmdestroy", vmid, work)
