"""Groups of nodes, which versions before 9 have instead of rules, and what becomes of them after the last upgrade."""

from __future__ import annotations

from pve_simulator import versions
from pve_simulator.highavailability import state
from pve_simulator.world.estate import Estate


def kept(estate: Estate) -> bool:
    """Whether there are groups still: a node is left whose version knows no rules."""
    return any(not versions.of(node).can("ha_rules") for node in estate.nodes.values())


def to_rules(estate: Estate) -> None:
    """Makes a rule of every group that is used, as soon as all nodes know rules."""
    found = state.groups(estate)
    if not found or kept(estate):
        return
    for name, group in found.items():
        members = [sid for sid, values in state.resources(estate).items() if values.get("group") == name]
        if not members:
            continue
        state.rules(estate)[f"ha-group-{name}"] = {
            "type": "node-affinity",
            "resources": ",".join(members),
            "nodes": group["nodes"],
            "strict": group.get("restricted", "0"),
            "comment": group.get("comment") or f"Generated from HA group '{name}'.",
        }
        for sid in members:
            values = state.resources(estate)[sid]
            values["failback"] = "0" if group.get("nofailback") == "1" else "1"
            del values["group"]
    found.clear()
