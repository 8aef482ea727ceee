"""`/cluster/resources`: what there is, with figures as old as the last round of pvestatd.

Which guests there are, their node, lock, tags, pool and HA state are live; all else comes from the round.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pve_simulator.call import Call, endpoint
from pve_simulator.highavailability.state import shown as ha_states
from pve_simulator.replies import Flat
from pve_simulator.world.access import Pool
from pve_simulator.world.guest import Guest
from pve_simulator.world.node import Node
from pve_simulator.world.storage import Storage

if TYPE_CHECKING:
    from pve_simulator.server import Server


@endpoint("GET", "/cluster/resources")
async def resources(call: Call) -> Flat:
    """All kinds, or one; only what the caller may see."""
    kind = call.get("type")
    rows: list[dict[str, Any]] = []
    if kind in (None, "vm"):
        rows += guest_rows(call)
    if kind is None:
        rows += pool_rows(call)
    if kind in (None, "node"):
        rows += [node_row(call, node) for node in call.estate.nodes.values()]
    if kind in (None, "storage"):
        rows += storage_rows(call)
    if kind is None:
        rows += network_rows(call)
    random.shuffle(rows)
    return Flat(rows)


def guest_rows(call: Call) -> Iterator[dict[str, Any]]:
    """The guests that the caller may see."""
    statistics = call.server.statistics
    for key, live in call.server.remembered(("resources", call.user), lambda: list(visible_guests(call))):
        yield guest_row(live, statistics.get(key))


def visible_guests(call: Call) -> Iterator[tuple[str, dict[str, Any]]]:
    """The guests that the caller may see, each with what is live of its row."""
    estate = call.estate
    pools = {vmid: pool.id for pool in estate.pools.values() for vmid in pool.guests}
    managed = ha_states(estate)
    visible = Visible(call, pools)
    for guest in estate.guests.values():
        pool = pools.get(guest.vmid)
        if not visible.guest(guest.vmid, pool):
            continue
        shown_pool = pool if pool is None or visible.pool(pool) else None
        state = managed.get(f"{'vm' if guest.type == 'qemu' else 'ct'}:{guest.vmid}") if managed else None
        live = live_of(guest, shown_pool, state)
        yield live["id"], live


def guest_row(live: dict[str, Any], figures: dict[str, Any] | None) -> dict[str, Any]:
    """A guest as lists of the cluster show it; one that no round has seen yet has neither name nor figures."""
    if figures is None:
        return {"status": "unknown", **live}
    row = figures.copy()
    del row["at"]
    row.update(live)
    return row


def live_of(guest: Guest, pool: str | None = None, state: str | None = None) -> dict[str, Any]:
    """What a row tells of this moment."""
    sid, config = f"{guest.type}/{guest.vmid}", guest.config
    row: dict[str, Any] = {"id": sid, "vmid": guest.vmid, "node": guest.node, "type": guest.type}
    if lock := config.get("lock"):
        row["lock"] = lock
    if tags := config.get("tags"):
        row["tags"] = tags
    if pool:
        row["pool"] = pool
    if state:
        row["hastate"] = state
    return row


class Visible:
    """Which guests a caller may see. Guests without an entry of their own are alike, pool by pool."""

    def __init__(self, call: Call, pools: dict[int, str]) -> None:
        self.call = call
        self.own = {entry.path for entry in call.estate.acl if entry.path.startswith("/vms/")}
        self.answers: dict[str | None, bool] = {}
        self.pools: dict[str, bool] = {}

    def guest(self, vmid: int, pool: str | None) -> bool:
        """Whether the caller audits a guest."""
        path = f"/vms/{vmid}"
        if path in self.own:
            return self.call.may(path, "VM.Audit")
        if pool not in self.answers:
            self.answers[pool] = self.call.may(path, "VM.Audit")
        return self.answers[pool]

    def pool(self, pool: str) -> bool:
        """Whether the caller audits a pool."""
        if pool not in self.pools:
            self.pools[pool] = self.call.may(f"/pool/{pool}", "Pool.Audit")
        return self.pools[pool]


def pool_rows(call: Call) -> Iterator[dict[str, Any]]:
    """Pools, with the sums over their running guests."""
    for pool in call.estate.pools.values():
        if not call.may(f"/pool/{pool.id}", "Pool.Audit"):
            continue
        yield {"id": f"/pool/{pool.id}", "pool": pool.id, "type": "pool", **pool_sums(call, pool)}


def pool_sums(call: Call, pool: Pool) -> dict[str, Any]:
    """The sums over a pool's running guests; nothing where none runs."""
    statistics, guests = call.server.statistics, call.estate.guests
    keys = [f"{guest.type}/{vmid}" for vmid in pool.guests if (guest := guests.get(vmid))]
    running = [figures for key in keys if (figures := statistics.get(key)) and figures["uptime"]]
    if not running:
        return {}
    count = uptime = mem = maxmem = cpu = 0
    for figures in running:
        count += figures["maxcpu"]
        mem += figures["mem"]
        maxmem += figures["maxmem"]
        cpu += figures["cpu"] * figures["maxcpu"]
        uptime = max(uptime, figures["uptime"])
    return {"uptime": uptime, "mem": mem, "maxmem": maxmem, "maxcpu": count, "cpu": cpu / count}


def node_row(call: Call, node: Node) -> dict[str, Any]:
    """A node; its figures only for whom may audit it, and while it is online."""
    row: dict[str, Any] = {"id": f"node/{node.name}", "node": node.name, "type": "node", "level": "", "cgroup-mode": 2}
    if not call.server.quorum.sees(call.entry.name, node.name):
        return row | {"status": "offline"}
    figures = call.server.statistics.get(f"node/{node.name}")
    if figures is None:
        return row | {"status": "unknown"}
    if call.may(f"/nodes/{node.name}", "Sys.Audit"):
        row |= {name: value for name, value in figures.items() if name != "at"}
    return row | {"status": "online"}


def storage_row(server: Server, storage: Storage, node: str) -> dict[str, Any]:
    """A storage as the last round saw it on a node."""
    figures = server.statistics.get(f"storage/{node}/{storage.id}")
    row: dict[str, Any] = {
        "id": f"storage/{node}/{storage.id}",
        "node": node,
        "storage": storage.id,
        "type": "storage",
        "plugintype": storage.type,
        "content": ",".join(random.sample(storage.content, len(storage.content))),
        "shared": int(storage.shared),
        "status": "available" if figures else "unknown",
    }
    return row | {"disk": figures["disk"], "maxdisk": figures["maxdisk"]} if figures else row


def storage_rows(call: Call) -> Iterator[dict[str, Any]]:
    """The enabled storages of every node."""
    for storage in call.estate.storages.values():
        if storage.disable or not call.may(f"/storage/{storage.id}", "Datastore.Audit"):
            continue
        for node in call.estate.nodes.values():
            if storage.on(node.name):
                yield storage_row(call.server, storage, node.name)


def network_rows(call: Call) -> Iterator[dict[str, Any]]:
    """The zone that every node has."""
    if call.may("/sdn/zones/localnetwork", "SDN.Audit"):
        for node in call.estate.nodes.values():
            yield {
                "id": f"network/{node.name}/zone/localnetwork",
                "type": "network",
                "network-type": "zone",
                "network": "localnetwork",
                "node": node.name,
                "status": "unknown" if call.server.node_down(node.name) else "ok",
            }
