"""Containers made, restored, cloned, grown, moved and destroyed."""

from __future__ import annotations

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError, PermissionDenied
from pve_simulator.lxc import copies, create, mounts, power, settings
from pve_simulator.lxc.mounts import Mount
from pve_simulator.qemu import destroy, highavailability, volumes
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

CONTAINER = "/nodes/{node}/lxc/{vmid}"


@endpoint("POST", "/nodes/{node}/lxc")
async def new(call: Call) -> str:
    """From a template, or with `restore` from a backup."""
    check_right(call)
    wanted = {k: settings.filed(k, value) for k, value in call.parameters.items() if k not in settings.NOT_KEPT}
    restoring = bool(call.get("restore"))
    unprivileged = wanted.get("unprivileged") == "1"
    settings.check_access(call, [key for key in wanted if key != "unprivileged"], unprivileged, {}, new=True)
    check_storages(call, wanted)
    if wanted.get("unprivileged") == "0":
        del wanted["unprivileged"]
    if restoring:
        return restore(call, wanted)
    if call["ostemplate"].partition(":")[0] not in call.estate.storages:
        raise ApiError(500, f"storage '{call['ostemplate'].partition(':')[0]}' does not exist")
    guest = create.reserve(call.server, call["vmid"], call.node.name)
    template, storage = call["ostemplate"], call.get("storage", "local")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await create.build(run, guest, wanted, template, storage)
        await afterwards(run, call, guest)

    return call.task("vzcreate", guest.vmid, work)


async def afterwards(run: Run, call: Call, guest: Guest) -> None:
    """Pool and start of a container that stands."""
    pool = call.estate.pools.get(call.get("pool", ""))
    if pool and guest.vmid not in pool.guests:
        pool.guests.append(guest.vmid)
    if call.get("start"):
        async with run.lock(guest.vmid):
            await power.start(run, guest)


def check_right(call: Call) -> None:
    """Raises PermissionDenied where the caller may not make this container, or the pool does not exist."""
    vmid, pool = call["vmid"], call.get("pool")
    if pool and pool not in call.estate.pools:
        raise PermissionDenied(f"pool '{pool}' does not exist")
    there = call.estate.guests.get(vmid)
    if there is not None and call.get("restore") and call.get("force"):
        call.check(f"/vms/{vmid}", "VM.Backup")
        return
    if not (call.may(f"/vms/{vmid}", "VM.Allocate") or (pool and call.may(f"/pool/{pool}", "VM.Allocate"))):
        raise PermissionDenied


def check_storages(call: Call, wanted: dict[str, str]) -> None:
    """Raises PermissionDenied for a storage that the caller may not write to, ApiError 500 for one that is not there."""
    named = {call.get("storage", "local")} if "rootfs" not in wanted or "storage" in call else set()
    named |= {
        found["storage"] for mount in mounts.of(wanted) if (found := mounts.NEW.fullmatch(mount.volume)) is not None
    }
    for name in sorted(named):
        call.check(f"/storage/{name}", "Datastore.AllocateSpace")
        volumes.storage_of(call.server, name)


def restore(call: Call, wanted: dict[str, str]) -> str:
    """Begins `vzrestore`."""
    vmid, node, server = call["vmid"], call.node.name, call.server
    archive = server.estate.volume(call["ostemplate"], node)
    if archive is None or archive.content != "backup":
        raise ApiError(500, f"volume '{call['ostemplate']}' does not exist")
    there = server.estate.guests.get(vmid)
    if there is not None and not (call.get("force") and there.type == "lxc"):
        kind = "CT" if there.type == "lxc" else "VM"
        raise ApiError(500, f"unable to restore CT {vmid} - {kind} {vmid} already exists on node '{there.node}'")
    guest = there or create.reserve(server, vmid, node)
    storage, unique, fresh = call.get("storage"), bool(call.get("unique")), there is None

    async def work(run: Run) -> None:
        async with run.lock(vmid):
            await create.restore(run, guest, archive, wanted, storage, unique, fresh)
        await afterwards(run, call, guest)

    return call.task("vzrestore", vmid, work)


@endpoint("POST", f"{CONTAINER}/clone")
async def clone(call: Call) -> str:
    guest, pool, storage = call.guest("lxc"), call.get("pool"), call.get("storage")
    if pool and pool not in call.estate.pools:
        raise PermissionDenied(f"pool '{pool}' does not exist")
    target = call.get("target") or ""
    if target and target not in ("localhost", call.node.name) and target not in call.estate.nodes:
        raise ApiError(500, f"no such cluster node '{target}'")
    asked = copies.Clone(
        guest,
        call["newid"],
        bool(call.get("full", not guest.template)),
        "" if target == "localhost" else target,
        call.get("hostname"),
        call.get("description"),
        storage,
        call.get("snapname"),
        pool,
        int(call["bwlimit"]) if call.get("bwlimit") else None,
    )
    copies.check(call.server, asked)
    for mount in mounts.own(asked.config):
        call.check(f"/storage/{storage or mount.volume.partition(':')[0]}", "Datastore.AllocateSpace")
    made = copies.begin(call.server, asked)

    async def work(run: Run) -> None:
        await copies.work(run, asked, made)

    return call.task("vzclone", guest.vmid, work)


@endpoint("POST", f"{CONTAINER}/template")
async def template(call: Call) -> None:
    """At once, unlike a VM's."""
    async with call.server.locks.hold(call["vmid"]):
        guest = call.guest("lxc")
        copies.check_template(call.server, guest)
        await call.server.clock.sleep(copies.CONVERT)
        copies.make_template(call.server, guest)


@endpoint("PUT", f"{CONTAINER}/resize")
async def resize(call: Call) -> str:
    """What is wrong is told at once, unlike a VM's."""
    async with call.server.locks.hold(call["vmid"]):
        guest = call.guest("lxc")
        call.check_digest(guest)
        mount, volume, wanted = copies.check_resize(call.server, guest, call["disk"], call["size"])
    call.check(f"/storage/{volume.storage}", "Datastore.AllocateSpace")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            run.strike()
            await copies.resize(run, guest, mount, volume, wanted)

    return call.task("resize", guest.vmid, work)


@endpoint("POST", f"{CONTAINER}/move_volume")
async def move(call: Call) -> str:
    """To another storage, or (`target-vmid`) to another container."""
    guest, key, storage = call.guest("lxc"), call["volume"], call.get("storage")
    call.check_digest(guest)
    if ("target-vmid" in call) == (storage is not None):
        raise ParameterError({"storage": "either set storage or target-vmid, but not both"})
    if storage is None:
        return reassign(call, guest, key)
    call.check(f"/storage/{storage}", "Datastore.AllocateSpace")
    volumes.usable(call.server, storage, call.node.name)
    copies.check_move(guest, key)
    delete, limit = bool(call.get("delete")), int(call["bwlimit"]) if call.get("bwlimit") else None

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await copies.move(run, guest, key, storage, delete, limit)

    return call.task("move_volume", guest.vmid, work)


def reassign(call: Call, guest: Guest, key: str) -> str:
    """Gives a mount point to another container of the same node."""
    target = call.estate.guest(call["target-vmid"], "lxc", guest.node)
    call.check(f"/vms/{target.vmid}", "VM.Config.Disk")
    to = call.get("target-volume", key)
    if key not in guest.config or key == "rootfs":
        raise ApiError(
            500, f"{key} not defined in container config" if key != "rootfs" else "cannot move volume 'rootfs'"
        )
    if to in target.config:
        raise ApiError(500, f"{to} already exists for target container")

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid), run.lock(target.vmid):
            copies.check_move(guest, key)
            mount = Mount.parse(key, guest.config[key])
            volume = run.server.estate.volume(mount.volume, guest.node)
            if volume is None:
                raise ApiError(500, f"volume '{mount.volume}' does not exist")
            owner = run.server.estate.storages[volume.storage]
            run.server.estate.remove_volume(volume.volid, guest.node)
            name = volumes.free_name(run.server, owner, guest.node, target.vmid)
            volume.volid, volume.vmid = volumes.volume_id(owner, target.vmid, name, volume.format), target.vmid
            run.server.estate.add_volume(volume, guest.node)
            mount.volume = volume.volid
            del guest.config[key]
            target.config[to] = str(mount)
            run.log(f"removing volume '{key}' from container '{guest.vmid}' config")

    return call.task("move_volume", guest.vmid, work)


@endpoint("DELETE", CONTAINER)
async def remove(call: Call) -> str:
    guest = call.guest("lxc")
    force, purge = bool(call.get("force")), bool(call.get("purge"))
    if highavailability.resource(call.estate, guest) is not None and not purge:
        text = f"unable to remove CT {guest.vmid} - used in HA resources and purge parameter not set."
        raise ApiError(500, text)
    create.check_destroy(guest, force)
    unreferenced = bool(call.get("destroy-unreferenced-disks"))

    async def work(run: Run) -> None:
        async with run.lock(guest.vmid):
            await create.destroy(run, guest, force, purge, unreferenced)
            destroy.forget(run.server, guest, purge)

    return call.task("vzdestroy", guest.vmid, work)
