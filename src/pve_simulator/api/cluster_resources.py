"""`/cluster/resources`: what there is, with figures as old as the last round of pvestatd.

Which guests there are, their node, lock, tags, pool and HA state are live; all else comes from the round. Asked all
the time, so each row is written out once and kept until something in it changes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pve_simulator.call import Call, endpoint
from pve_simulator.replies import json_body
from pve_simulator.world.guest import Guest
from pve_simulator.world.node import Node
from pve_simulator.world.storage import Storage

if TYPE_CHECKING:
    from pve_simulator.server import Server


@endpoint("GET", "/cluster/resources")
async def resources(call: Call) -> msgspec.Raw:
    """All kinds, or one; only what the caller may see."""
    kind = call.get("type")
    rows: list[bytes] = []
    guests: list[dict[str, Any]] = []
    if kind in (None, "vm"):
        for row, written in guest_rows(call):
            rows.append(written)
            guests.append(row)
    if kind is None:
        rows += [json_body(row) for row in pool_rows(call, guests)]
    if kind in (None, "node"):
        rows += [json_body(node_row(call, node)) for node in call.estate.nodes.values()]
    if kind in (None, "storage"):
        rows += [json_body(row) for row in storage_rows(call)]
    if kind is None:
        rows += [json_body(row) for row in network_rows(call)]
    random.shuffle(rows)
    return msgspec.Raw(b"[" + b",".join(rows) + b"]")


def guest_rows(call: Call) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The guests that the caller may see: each as a row and as JSON."""
    server, estate = call.server, call.estate
    pools = {vmid: pool.id for pool in estate.pools.values() for vmid in pool.guests}
    managed = {sid: told.get("state", "started") for sid, told in estate.sections.get("ha/resources", {}).items()}
    visible = Visible(call, pools)
    for guest in estate.guests.values():
        pool = pools.get(guest.vmid)
        if not visible.guest(guest.vmid, pool):
            continue
        shown_pool = pool if pool is None or visible.pool(pool) else None
        state = managed.get(f"{'vm' if guest.type == 'qemu' else 'ct'}:{guest.vmid}") if managed else None
        yield written(server, guest, shown_pool, state)


def written(server: Server, guest: Guest, pool: str | None, state: str | None) -> tuple[dict[str, Any], bytes]:
    """A guest's row, and its JSON, from memory where nothing in it changed."""
    key = f"{guest.type}/{guest.vmid}"
    figures = server.statistics.get(key)
    config = guest.config
    live = (server.round, figures is None, guest.node, config.get("lock"), config.get("tags"), pool, state)
    known = server.written.get(key)
    if known is None or known[0] != live:
        row = guest_row(guest, figures, pool, state)
        known = server.written[key] = (live, json_body(row))
    return figures or {}, known[1]


def guest_row(
    guest: Guest, figures: dict[str, Any] | None, pool: str | None = None, state: str | None = None
) -> dict[str, Any]:
    """A guest as lists of the cluster show it; one that no round has seen yet has neither name nor figures."""
    row: dict[str, Any] = {
        "id": f"{guest.type}/{guest.vmid}",
        "vmid": guest.vmid,
        "node": guest.node,
        "type": guest.type,
        "status": "unknown",
    }
    if figures is not None:
        row |= {name: value for name, value in figures.items() if name != "at"}
    for name, value in (("lock", guest.lock), ("tags", guest.config.get("tags")), ("pool", pool), ("hastate", state)):
        if value:
            row[name] = value
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


def pool_rows(call: Call, guests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pools, with the sums over their running guests."""
    for pool in call.estate.pools.values():
        if not call.may(f"/pool/{pool.id}", "Pool.Audit"):
            continue
        row: dict[str, Any] = {"id": f"/pool/{pool.id}", "pool": pool.id, "type": "pool"}
        keys = (f"{guest.type}/{guest.vmid}" for vmid in pool.guests if (guest := call.estate.guests.get(vmid)))
        members = [call.server.statistics[key] for key in keys if key in call.server.statistics]
        running = [figures for figures in members if figures["uptime"]]
        if running:
            count = sum(figures["maxcpu"] for figures in running)
            row |= {
                "uptime": max(figures["uptime"] for figures in running),
                "mem": sum(figures["mem"] for figures in running),
                "maxmem": sum(figures["maxmem"] for figures in running),
                "maxcpu": count,
                "cpu": sum(figures["cpu"] * figures["maxcpu"] for figures in running) / count,
            }
        yield row


def node_row(call: Call, node: Node) -> dict[str, Any]:
    """A node; its figures only for whom may audit it, and while it is online."""
    row: dict[str, Any] = {"id": f"node/{node.name}", "node": node.name, "type": "node", "level": "", "cgroup-mode": 2}
    if call.server.node_down(node.name):
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
