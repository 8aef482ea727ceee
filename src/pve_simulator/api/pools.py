"""`/pools`: guests and storages put together; names may be nested by slashes."""

from __future__ import annotations

from typing import Any

from pve_simulator.api.access_users import names
from pve_simulator.api.cluster_resources import guest_row, live_of, storage_row
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.world.access import Pool
from pve_simulator.world.estate import Estate


@endpoint("GET", "/pools")
async def listed(call: Call) -> list[dict[str, Any]]:
    """The pools that the caller may see; with `poolid` that one and its members."""
    if "poolid" in call:
        call.check(f"/pool/{call['poolid']}", "Pool.Audit")
        pool = known(call.estate, call["poolid"])
        return [{"poolid": pool.id, **commented(pool), "members": members(call, pool)}]
    seen = [pool for pool in call.estate.pools.values() if call.may(f"/pool/{pool.id}", "Pool.Audit")]
    return [{"poolid": pool.id, **commented(pool)} for pool in seen]


def known(estate: Estate, name: str, prefix: str = "") -> Pool:
    """A pool by its id; raises ApiError 500."""
    found = estate.pools.get(name)
    if found is None:
        raise ApiError(500, f"{prefix}pool '{name}' does not exist")
    return found


def commented(pool: Pool) -> dict[str, str]:
    """A pool's comment where it has one."""
    return {"comment": pool.comment} if pool.comment else {}


def members(call: Call, pool: Pool) -> list[dict[str, Any]]:
    """What is in a pool, with the figures of the last round; ids that nothing bears any more are left out."""
    estate, wanted, rows = call.estate, call.get("type"), []
    for vmid in pool.guests:
        guest = estate.guests.get(vmid)
        if guest is not None and wanted in (None, guest.type):
            rows.append(guest_row(live_of(guest), call.server.statistics.get(f"{guest.type}/{vmid}")))
    for name in pool.storages:
        storage = estate.storages.get(name)
        if storage is not None and not storage.disable and wanted in (None, "storage"):
            rows += [storage_row(call.server, storage, node) for node in estate.nodes if storage.on(node)]
    return rows


@endpoint("GET", "/pools/{poolid}")
async def one(call: Call) -> dict[str, Any]:
    pool = known(call.estate, call["poolid"])
    return {"poolid": pool.id, **commented(pool), "members": members(call, pool)}


@endpoint("POST", "/pools")
async def create(call: Call) -> None:
    name = call["poolid"]
    if name in call.estate.pools:
        raise ApiError(500, f"create pool failed: pool '{name}' already exists")
    parent = name.rpartition("/")[0]
    if parent and parent not in call.estate.pools:
        raise ApiError(500, f"create pool failed: parent '{parent}' of pool '{name}' does not exist")
    call.estate.pools[name] = Pool(name, call.get("comment", ""))


async def change(call: Call) -> None:
    """Adds members, or takes them away with `delete`."""
    pool = known(call.estate, call["poolid"], "update pools failed: ")
    for vmid in map(int, names(call.get("vms", ""))):
        call.check(f"/vms/{vmid}", "Permissions.Modify", "VM.Allocate", any_of=True)
        change_guest(call, pool, vmid)
    for storage in names(call.get("storage", "")):
        change_storage(call, pool, storage)
    if "comment" in call:
        pool.comment = call["comment"]


def change_guest(call: Call, pool: Pool, vmid: int) -> None:
    """Adds or removes a guest, whether there is one of that number or not; raises ApiError 500."""
    if call.get("delete"):
        if vmid not in pool.guests:
            raise ApiError(500, f"update pools failed: VM {vmid} is not a pool member")
        pool.guests.remove(vmid)
        return
    if vmid in pool.guests:
        raise ApiError(500, f"update pools failed: VM {vmid} is already a pool member")
    current = call.estate.pool_of(vmid)
    if current is not None:
        if not call.get("allow-move"):
            reason = f"belongs already to pool '{current}' and 'allow-move' is not set"
            raise ApiError(500, f"update pools failed: VM {vmid} {reason}")
        call.estate.pools[current].guests.remove(vmid)
    pool.guests.append(vmid)


def change_storage(call: Call, pool: Pool, storage: str) -> None:
    """Adds or removes a storage; raises ApiError 500."""
    call.check(f"/storage/{storage}", "Permissions.Modify", "Datastore.Allocate", any_of=True)
    if call.get("delete"):
        if storage not in pool.storages:
            raise ApiError(500, f"update pools failed: Storage '{storage}' is not a pool member")
        pool.storages.remove(storage)
    elif storage in pool.storages:
        raise ApiError(500, f"update pools failed: Storage '{storage}' is already a pool member")
    else:
        pool.storages.append(storage)


async def remove(call: Call) -> None:
    """Deletes a pool that holds nothing that exists."""
    estate, name = call.estate, call["poolid"]
    pool = known(estate, name, "delete pool failed: ")
    inner = next((other for other in sorted(estate.pools) if other.startswith(f"{name}/")), None)
    guest = next((vmid for vmid in sorted(pool.guests) if vmid in estate.guests), None)
    storage = next((other for other in sorted(pool.storages) if other in estate.storages), None)
    for what, found in (("pool", inner), ("VM", guest), ("storage", storage)):
        if found is not None:
            held = f"VM {found}" if what == "VM" else f"{what} '{found}'"
            raise ApiError(500, f"delete pool failed: pool '{name}' is not empty (contains {held})")
    del estate.pools[name]


for _path in ("/pools", "/pools/{poolid}"):
    endpoint("PUT", _path)(change)
    endpoint("DELETE", _path)(remove)
