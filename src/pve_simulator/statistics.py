"""What pvestatd sees in its round every 10 s: the figures of `/cluster/resources` are as old as that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pve_simulator.server import Server


def take(server: Server) -> None:
    """Takes a round: `server.statistics` has rows by `qemu/101`, `node/pve1`, `storage/pve1/local`.

    Rows of guests that did not exist then are missing: lists show such a guest as `unknown`.
    """
    rows: dict[str, dict[str, Any]] = {}
    for guest in server.estate.guests.values():
        if not server.node_down(guest.node):
            rows[f"{guest.type}/{guest.vmid}"] = {"status": guest.status, "name": guest.name}
    server.statistics = rows
    server.round += 1
