"""Where a managed guest may be: rules of affinity to nodes and to one another, and the groups that were before them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pve_simulator.highavailability import state

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.world.estate import Estate


def listed(text: str) -> list[str]:
    """A list of names."""
    return [name for name in re.split(r"[,;\s]+", text) if name]


def priorities(text: str) -> dict[str, int]:
    """Nodes with their priorities, of `pve1:2,pve2`."""
    told = (name.partition(":") for name in listed(text))
    return {node: int(number or 0) for node, _, number in told}


def of_kind(estate: Estate, kind: str, name: str) -> list[dict[str, str]]:
    """The enabled rules of a kind that name a resource."""
    return [
        values
        for values in state.rules(estate).values()
        if values.get("type") == kind and values.get("disable") != "1" and name in listed(values.get("resources", ""))
    ]


def affinity(estate: Estate, name: str) -> tuple[dict[str, int], bool]:
    """The nodes that a resource prefers, by priority, and whether it may be on no other."""
    group = state.groups(estate).get(state.resources(estate).get(name, {}).get("group", ""))
    if group:
        return priorities(group["nodes"]), group.get("restricted") == "1"
    found = of_kind(estate, "node-affinity", name)
    return (priorities(found[0]["nodes"]), found[0].get("strict") == "1") if found else ({}, False)


def fails_back(estate: Estate, name: str) -> bool:
    """Whether a resource returns to a better node as soon as that is there."""
    values = state.resources(estate).get(name, {})
    group = state.groups(estate).get(values.get("group", ""), {})
    return values.get("failback", "1") != "0" and group.get("nofailback") != "1"


def together(estate: Estate, name: str) -> list[str]:
    """The other resources that have to be on the same node."""
    found = {
        other
        for values in of_kind(estate, "resource-affinity", name)
        if values.get("affinity") == "positive"
        for other in listed(values["resources"])
    }
    return sorted(found - {name})


def apart(estate: Estate, name: str) -> list[str]:
    """The other resources that must not be on the same node."""
    found = {
        other
        for values in of_kind(estate, "resource-affinity", name)
        if values.get("affinity") == "negative"
        for other in listed(values["resources"])
    }
    return sorted(found - {name})


def place(estate: Estate, name: str) -> str | None:
    """Where a managed resource is, or goes."""
    known = state.services(estate).get(name, {})
    guest = state.guest_of(estate, name)
    return known.get("target") or (guest.node if guest else None)


def candidates(estate: Estate, name: str, online: list[str]) -> list[str]:
    """The nodes on which a resource may be now: those of the highest priority, and of these the emptiest first."""
    preferred, strict = affinity(estate, name)
    taken = {place(estate, other) for other in apart(estate, name)}
    allowed = [node for node in online if node not in taken]
    friends = {place(estate, other) for other in together(estate, name)} & set(allowed)
    if friends:
        allowed = [node for node in allowed if node in friends]
    best = [node for node in allowed if node in preferred]
    if best:
        top = max(preferred[node] for node in best)
        allowed = [node for node in best if preferred[node] == top]
    elif strict:
        return []
    counts = [place(estate, other) for other in state.services(estate)]
    return sorted(allowed, key=lambda node: (counts.count(node), node))


def motion(server: Server, name: str) -> tuple[list[str], dict[str, list[dict[str, str]]]]:
    """What goes along where a resource moves, and what keeps it off which node."""
    estate = server.estate
    known = state.services(estate)
    dependent = [other for other in together(estate, name) if other in known]
    blocking: dict[str, list[dict[str, str]]] = {}
    for other in apart(estate, name):
        node = place(estate, other)
        if other in known and node:
            blocking.setdefault(node, []).append({"sid": other, "cause": "resource-affinity"})
    return dependent, blocking
