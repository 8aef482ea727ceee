"""What pvestatd sees in its round every 10 s: the figures of `/cluster/resources` are as old as that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator import metrics

if TYPE_CHECKING:
    from pve_simulator.server import Server

NEW = 5.0  # seconds for which a guest must have been there to be told of: lists are 10 to 15 s stale
FORGOTTEN = 300.0  # seconds after which pmxcfs forgets what a node told that is silent since


def take(server: Server, now: float) -> dict[str, dict[str, Any]]:
    """The rows of a round at that time, by `qemu/101`, `node/pve1`, `storage/pve1/local`.

    Rows of guests that hardly existed then are missing: lists show such a guest as `unknown`. What a silent node
    told stays for five minutes.
    """
    estate = server.estate
    youngest = now - server.clock.scaled(NEW)
    silent = {node.name for node in estate.nodes.values() if server.node_down(node.name)}
    rows = kept(server, now, silent)
    used, waves = server.remembered("usage", lambda: metrics.usage(server)), metrics.Waves(now)
    given = server.remembered("given", dict[int, dict[str, Any]])
    busy: dict[str, list[dict[str, Any]]] = {name: [] for name in estate.nodes}
    for guest in estate.guests.values():
        if guest.node in silent or guest.created > youngest:
            continue
        known = given.get(guest.vmid)
        if known is None:
            known = given[guest.vmid] = metrics.given(server, guest)
            known["name"], known["status"], known["template"] = guest.name, guest.status, int(guest.template)
            known["at"] = now
        row = metrics.used_of(server, guest, known, now, waves)
        if guest.process:
            busy.setdefault(guest.node, []).append(row)
        row["at"] = now
        rows[f"{guest.type}/{guest.vmid}"] = row
    for node in estate.nodes.values():
        if node.name in silent:
            continue
        rows[f"node/{node.name}"] = metrics.node_sums(node, now, busy[node.name], used("local", node.name)) | {
            "at": now
        }
        for storage in estate.storages.values():
            if storage.on(node.name) and not storage.disable:
                there = used(storage.id, node.name)
                total, full = metrics.storage_figures(server, storage, node.name, there)
                rows[f"storage/{node.name}/{storage.id}"] = {"disk": full, "maxdisk": total, "at": now}
    return rows


def kept(server: Server, now: float, silent: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of silent nodes' guests and storages that are not yet forgotten."""
    if not silent:
        return {}
    oldest = now - server.clock.scaled(FORGOTTEN)
    guests = server.estate.guests

    def of_silent(name: str) -> bool:
        kind, _, rest = name.partition("/")
        if kind in ("qemu", "lxc"):
            guest = guests.get(int(rest))
            return guest is not None and guest.node in silent
        return rest.partition("/")[0] in silent

    return {name: row for name, row in server.seen.items() if row["at"] > oldest and of_silent(name)}
