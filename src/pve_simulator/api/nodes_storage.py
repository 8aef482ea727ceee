"""`/nodes/{node}/storage`: storages as a node sees them at this moment, and what lies on them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from pve_simulator import metrics
from pve_simulator.api.access_users import names
from pve_simulator.api.nodes_system import graph_of
from pve_simulator.api.storage import any_order, known
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError, TaskError
from pve_simulator.qemu import volumes
from pve_simulator.tasks import Run
from pve_simulator.world.storage import Storage, Volume

AUDIT = ("Datastore.Audit", "Datastore.AllocateSpace")
FORMATS = {
    "dir": ("qcow2", "raw", "subvol", "vmdk"),
    "btrfs": ("raw", "subvol"),
    "nfs": ("qcow2", "raw", "subvol", "vmdk"),
    "cifs": ("qcow2", "raw", "vmdk"),
    "lvmthin": ("raw",),
    "lvm": ("raw",),
    "zfspool": ("raw", "subvol"),
    "rbd": ("raw",),
}
OVERVIEW = ("iso", "vztmpl", "import", "snippets")  # files in a listing that have neither use nor parent
ANYBODYS = ("import", "snippets")  # are listed too where one VMID is asked for
SECTOR = 512  # bytes; qemu-img rounds sizes up to it


def state(call: Call, storage: Storage) -> dict[str, Any]:
    """Type, content and figures in bytes; all figures 0 for a disabled storage."""
    enabled = not storage.disable
    total, used = metrics.storage_figures(call.server, storage, call.node.name) if enabled else (0, 0)
    return {
        "type": storage.type,
        "content": any_order(storage.content),
        "shared": int(storage.shared),
        "enabled": int(enabled),
        "active": int(enabled),
        "total": total,
        "used": used,
        "avail": total - used,
    }


@endpoint("GET", "/nodes/{node}/storage")
async def listed(call: Call) -> list[dict[str, Any]]:
    """The storages of the node; asking for a content leaves the disabled ones out."""
    wanted = set(names(call.get("content", "")))
    rows = []
    for storage in call.estate.storages.values():
        if not storage.on(call.node.name) or call.get("storage") not in (None, storage.id):
            continue
        if storage.disable and (wanted or call.get("enabled")):
            continue
        if wanted and not wanted & set(storage.content):
            continue
        if not call.may(f"/storage/{storage.id}", *AUDIT, any_of=True):
            continue
        row = {"storage": storage.id, **state(call, storage)}
        if row["total"]:
            row["used_fraction"] = row["used"] / row["total"]
        if call.get("format") and not storage.disable:
            row |= formats(storage)
        rows.append(row)
    return rows


def formats(storage: Storage) -> dict[str, Any]:
    """In which formats disks can lie on a storage, told in the old way and the new."""
    supported = FORMATS.get(storage.type, ("raw",))
    usual = storage.options.get("format", "raw")
    return {
        "format": [dict.fromkeys(supported, 1), usual],
        "formats": {"default": usual, "supported": list(supported)},
    }


@endpoint("GET", "/nodes/{node}/storage/{storage}/status")
async def status(call: Call) -> dict[str, Any]:
    found = call.estate.storages.get(call["storage"])
    if found is None:
        raise ParameterError({"storage": "No such storage."})
    return state(call, found)


@endpoint("GET", "/nodes/{node}/storage/{storage}/rrddata")
async def history(call: Call) -> list[dict[str, Any]]:
    return metrics.storage_history(call.server, known(call), call.node, call["timeframe"])


@endpoint("GET", "/nodes/{node}/storage/{storage}/rrd")
async def graph(call: Call) -> dict[str, str]:
    return graph_of(f"pve-storage-9.0/{call.node.name}/{known(call).id}", call["ds"])


@endpoint("GET", "/nodes/{node}/storage/{storage}/content")
async def content(call: Call) -> list[dict[str, Any]]:
    """The volumes there that the caller may see."""
    storage = volumes.usable(call.server, call["storage"], call.node.name)
    return [
        row(volume)
        for volume in sorted(call.estate.volumes_on(storage.id, call.node.name), key=lambda volume: volume.volid)
        if call.get("content") in (None, volume.content)
        and (call.get("vmid") in (None, volume.vmid) or volume.content in ANYBODYS)
        and may_see(call, volume)
    ]


def may_see(call: Call, volume: Volume) -> bool:
    """Disks and backups need a privilege on their storage or their guest, files are open to whom the storage is."""
    needed = {"images": "VM.Config.Disk", "rootdir": "VM.Config.Disk", "backup": "VM.Backup"}.get(volume.content)
    if needed is None or call.may(f"/storage/{volume.storage}", "Datastore.Allocate"):
        return True
    return volume.vmid is not None and call.may(f"/vms/{volume.vmid}", needed)


def row(volume: Volume) -> dict[str, Any]:
    """A volume in a listing."""
    told: dict[str, Any] = {
        "volid": volume.volid,
        "content": volume.content,
        "format": volume.format,
        "size": volume.size,
        "ctime": volume.ctime,
    }
    if volume.vmid is not None:
        told["vmid"] = volume.vmid
    if volume.content in ("images", "rootdir"):
        told |= {"used": volume.used, "parent": parent_file(volume)}
    if volume.content == "backup":
        told |= {"subtype": volume.subtype}
        if volume.notes:
            told["notes"] = volume.notes.split("\n")[0]
        if volume.protected:
            told["protected"] = 1
    return told


def parent_file(volume: Volume) -> str | None:
    """What an overlay stands on, as its own file names it."""
    if volume.parent is None:
        return None
    folder, slash, name = volume.parent.partition(":")[2].rpartition("/")
    return f"../{folder}/{name}" if slash else name


def volume_id(call: Call) -> str:
    """The volume of the path, that may leave the storage out; raises ApiError 500 for another storage's."""
    told = call["volume"]
    storage, colon, _ = told.partition(":")
    if not colon:
        return f"{call['storage']}:{told}"
    if storage != call["storage"]:
        raise ApiError(500, f"storage ID mismatch ({storage} != {call['storage']})")
    return told


@endpoint("GET", "/nodes/{node}/storage/{storage}/content/{volume}")
async def attributes(call: Call) -> dict[str, Any]:
    volid, storage = volume_id(call), volumes.usable(call.server, call["storage"], call.node.name)
    call.check(f"/storage/{storage.id}", *AUDIT, any_of=True)
    volume = call.estate.volume(volid, call.node.name)
    if volume is None:
        raise ApiError(500, f"volume_size_info on '{volid}' failed - no format")
    size = int(volume.facts.get("virtual", volume.size)) if volume.content == "import" else volume.size
    told: dict[str, Any] = {
        "path": volumes.path(storage, volid),
        "size": -(-size // SECTOR) * SECTOR,
        "used": volume.used,
        "format": volume.format if volume.content in ("images", "rootdir", "import") else "raw",
    }
    if volume.content == "backup":
        told |= {"protected": int(volume.protected), **({"notes": volume.notes} if volume.notes else {})}
    return told


@endpoint("PUT", "/nodes/{node}/storage/{storage}/content/{volume}")
async def change_attributes(call: Call) -> None:
    volid = volume_id(call)
    check_change(call, volid)
    volume = call.estate.volume(volid, call.node.name)
    if volume is None:
        raise ApiError(500, f"volume '{volid}' does not exist")
    for name, told in (("notes", "have notes"), ("protected", "be protected")):
        if name in call and volume.content != "backup":
            raise ApiError(500, f"only backups can {told}")
    volume.notes = call.get("notes", volume.notes)
    volume.protected = call.get("protected", volume.protected)


def check_change(call: Call, volid: str) -> None:
    """Raises PermissionDenied: the owner of a backup may delete it, all else is for the storage's administrators."""
    volume = call.estate.volume(volid, call.node.name)
    if volume is not None and volume.content == "backup" and volume.vmid is not None:
        call.check(f"/storage/{call['storage']}", "Datastore.AllocateSpace")
        call.check(f"/vms/{volume.vmid}", "VM.Backup")
    else:
        call.check(f"/storage/{call['storage']}", "Datastore.Allocate")


@endpoint("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}")
async def delete(call: Call) -> str | None:
    """A task; with `delay` (seconds) nothing is told where it ends that soon. Nobody asks whether a guest uses it."""
    volid = volume_id(call)
    storage = volumes.usable(call.server, call["storage"], call.node.name)
    check_change(call, volid)
    volume, node = call.estate.volume(volid, call.node.name), call.node.name

    async def work(run: Run) -> None:
        await run.sleep(0.1)
        found = run.server.estate.volume(volid, node)
        if found is None:
            run.log(f"disk image '{volumes.path(storage, volid)}' does not exist")
        elif found.protected:
            raise TaskError(f"cannot remove protected volume '{volid.partition(':')[2]}' on '{storage.id}'")
        else:
            volumes.free(run.server, volid, node)
        run.log(f"Removed volume '{volid}'")

    owner = volume.vmid if volume is not None and volume.vmid is not None else volumes.owner(volid)
    upid = call.task("imgdel", f"{owner}@{storage.id}" if owner is not None else storage.id, work)
    if not call.get("delay"):
        return upid
    worker = call.server.tasks.workers.get(upid)
    if worker is not None:
        await asyncio.wait([worker], timeout=call.server.clock.scaled(call["delay"]))
    task = call.server.tasks.get(upid)
    if task is None or task.running:
        return upid
    if task.exitstatus != "OK":
        raise ApiError(500, str(task.exitstatus))
    return None


@endpoint("POST", "/nodes/{node}/storage/{storage}/content")
async def allocate(call: Call) -> str:
    """A disk of any name; a size without a unit is in KiB."""
    storage = volumes.usable(call.server, call["storage"], call.node.name)
    name, size = call["filename"], kibibytes(call["size"])
    suffix = re.search(r"\.(raw|qcow2|vmdk)$", name)
    form = call.get("format") or (suffix[1] if suffix else "raw")
    if suffix and suffix[1] != form:
        raise ParameterError({"format": f"different storage formats ({form} != {suffix[1]})"})
    volid = f"{storage.id}:{call['vmid']}/{name}" if volumes.holds_files(storage) else f"{storage.id}:{name}"
    if call.estate.volume(volid, call.node.name) is not None:
        where = f"{storage.path}/images/{call['vmid']}/{name}" if volumes.holds_files(storage) else name
        raise ApiError(500, f"disk image '{where}' already exists")
    used = volumes.overhead(storage, form, size)
    if used > volumes.room(call.server, storage, call.node.name):
        raise ApiError(500, str(volumes.refuse_full(storage, volid)))
    now = call.server.clock.seconds()
    made = Volume(volid, "images", form, size, used=used, ctime=now, vmid=call["vmid"])
    call.estate.add_volume(made, call.node.name)
    return volid


def kibibytes(text: str) -> int:
    """Bytes of a size that is in KiB unless it has a unit."""
    return metrics.size(text if text[-1:] in "KMGT" else f"{text}K")


@endpoint("GET", "/nodes/{node}/storage/{storage}/import-metadata")
async def import_metadata(call: Call) -> dict[str, Any]:
    raise ApiError(500, f"unable to parse directory volume name '{call['volume']}'")


@endpoint("GET", "/nodes/{node}/storage/{storage}/file-restore/list")
async def files_of_backup(call: Call) -> list[dict[str, Any]]:
    name = call["volume"].partition(":")[2] or f"backup/{call['volume']}"
    raise ApiError(500, f"unable to parse directory volume name '{name}'")


def kept_by(rule: str) -> int | None:
    """How many of a guest's backups a rule keeps; None for all. Only `keep-last` and `keep-all` are known."""
    found = re.search(r"keep-last=(\d+)", rule)
    return int(found[1]) if found and "keep-all=1" not in rule else None


def pruning(call: Call) -> list[tuple[Volume, str]]:
    """The backups of a storage with what becomes of each; raises ApiError 500 where no rule is known."""
    storage = volumes.usable(call.server, call["storage"], call.node.name)
    rule = call.get("prune-backups") or storage.options.get("prune-backups")
    if not rule:
        raise ApiError(500, f"no prune-backups options configured for storage '{storage.id}'")
    keep = kept_by(rule)
    marked: list[tuple[Volume, str]] = []
    seen: dict[tuple[int | None, str], int] = {}
    found = [volume for volume in call.estate.volumes_on(storage.id, call.node.name) if volume.content == "backup"]
    for volume in sorted(found, key=lambda volume: -volume.ctime):
        if call.get("vmid") not in (None, volume.vmid) or call.get("type") not in (None, volume.subtype):
            continue
        group = (volume.vmid, volume.subtype)
        seen[group] = seen.get(group, 0) + (not volume.protected)
        stays = keep is None or seen[group] <= keep
        marked.append((volume, "protected" if volume.protected else "keep" if stays else "remove"))
    return marked


@endpoint("GET", "/nodes/{node}/storage/{storage}/prunebackups")
async def would_prune(call: Call) -> list[dict[str, Any]]:
    return [
        {"volid": volume.volid, "ctime": volume.ctime, "vmid": volume.vmid, "type": volume.subtype, "mark": mark}
        for volume, mark in pruning(call)
    ]


@endpoint("DELETE", "/nodes/{node}/storage/{storage}/prunebackups")
async def prune(call: Call) -> str:
    marked, node = pruning(call), call.node.name

    async def work(run: Run) -> None:
        for volume, mark in marked:
            run.log(f"{mark} {volume.volid}")
            if mark == "remove":
                run.server.estate.remove_volume(volume.volid, node)

    return call.task("prunebackups", call["storage"], work)
