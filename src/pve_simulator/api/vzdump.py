"""`/nodes/{node}/vzdump`: backups of any number of guests in one task."""

from __future__ import annotations

import re
import shlex
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError, TaskError
from pve_simulator.lxc import backup as containers
from pve_simulator.qemu import backup
from pve_simulator.tasks import Run
from pve_simulator.world.storage import Storage

NOT_TOLD = {"node", "vmid"}


@endpoint("POST", "/nodes/{node}/vzdump")
async def vzdump(call: Call) -> str:
    name = call.get("storage", "local")
    call.check(f"/storage/{name}", "Datastore.AllocateSpace")
    vmids = wanted(call)
    for vmid in vmids:
        call.check(f"/vms/{vmid}", "VM.Backup")
    if not vmids:
        return "OK"
    options = {key: str(value) for key, value in call.sent.items() if key not in NOT_TOLD}

    async def work(run: Run) -> None:
        storage = target(call, name)
        told = " ".join(f"--{key} {shlex.quote(value)}" for key, value in {"node": call.node.name, **options}.items())
        run.log(f"INFO: starting new backup job: vzdump {' '.join(map(str, vmids))} {told}")
        failed = [vmid for vmid in vmids if not await one(run, call, vmid, storage, options)]
        if failed:
            run.log("INFO: Backup job finished with errors")
            raise TaskError("job errors")
        run.log("INFO: Backup job finished successfully")

    return call.task("vzdump", vmids[0] if len(vmids) == 1 else "", work)


def wanted(call: Call) -> list[int]:
    """The guests asked for, of this node where all or a pool is meant."""
    if "vmid" in call:
        return [int(vmid) for vmid in re.split(r"[,;\s]+", call["vmid"]) if vmid]
    here = [guest.vmid for guest in call.estate.guests.values() if guest.node == call.node.name]
    if "pool" in call:
        pool = call.estate.pools.get(call["pool"])
        return [vmid for vmid in here if pool and vmid in pool.guests]
    if call.get("all"):
        left_out = re.split(r"[,;\s]+", call.get("exclude", ""))
        return [vmid for vmid in here if str(vmid) not in left_out]
    raise ParameterError({"vmid": "property is missing"})


def target(call: Call, name: str) -> Storage:
    """The storage of the archives; raises TaskError where it takes none."""
    storage = call.estate.storages.get(name)
    problem = None
    if storage is None:
        problem = f"storage '{name}' does not exist"
    elif storage.disable or "backup" not in storage.content:
        wrong = f"can't use storage '{name}' for backups - wrong content type"
        off = f"could not activate storage '{name}': storage '{name}' is disabled " if storage.disable else ""
        raise TaskError(f"{off}could not get storage information for '{name}': {wrong}")
    if storage is None:
        raise TaskError(f"could not get storage information for '{name}': {problem}")
    return storage


async def one(run: Run, call: Call, vmid: int, storage: Storage, options: dict[str, Any]) -> bool:
    """Backs one guest up; whether that went well."""
    clock, guest = call.server.clock, call.estate.guests.get(vmid)
    try:
        if guest is None or guest.node != call.node.name:
            raise TaskError(f"unable to find VM '{vmid}'")
        began = clock.time()
        run.log(f"INFO: Starting Backup of VM {vmid} ({guest.type})")
        run.log(f"INFO: Backup started at {backup.stamp(began)}")
        save = backup.save if guest.type == "qemu" else containers.save
        await save(run, guest, storage, call.node.name, options)
    except (TaskError, ApiError) as failure:
        run.log(f"ERROR: Backup of VM {vmid} failed - {failure.args[0]}")
        run.log(f"INFO: Failed at {backup.stamp(clock.time())}")
        return False
    took = int(clock.time() - began)
    run.log(f"INFO: Finished Backup of VM {vmid} ({took // 3600:02d}:{took // 60 % 60:02d}:{took % 60:02d})")
    run.log(f"INFO: Backup finished at {backup.stamp(clock.time())}")
    return True


@endpoint("GET", "/nodes/{node}/vzdump/extractconfig")
async def extract(call: Call) -> str:
    volume = call.estate.volume(call["volume"], call.node.name)
    if volume is None or volume.content != "backup":
        raise ApiError(500, f"volume '{call['volume']}' does not exist")
    if volume.vmid is not None:
        call.check(f"/vms/{volume.vmid}", "VM.Backup")
    return volume.facts.get("config", "")
