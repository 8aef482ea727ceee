"""Worlds to begin with, by name: how large each is, and what is peculiar about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pve_simulator.world.estate import Estate


@dataclass(frozen=True)
class World:
    """A named world. Sizes are those where the command names none; `nodes` and `guests` go round over the servers."""

    text: str
    nodes: tuple[int, ...] = (1,)
    guests: tuple[int, ...] = (20,)
    templates: int = 2
    servers: int = 1


WORLDS = {
    "default": World("one node with VMs and containers as people have them, and templates"),
    "minimal": World("one node, one template, and nothing else", guests=(0,), templates=1),
    "small": World("a single node with a dozen guests", guests=(12,)),
    "cluster": World("three nodes with a shared storage and forty guests", nodes=(3,), guests=(40,)),
    "estate": World(
        "four servers: two single nodes, clusters of three and of five", (1, 3, 1, 5), (12, 60, 8, 120), 3, servers=4
    ),
    "trouble": World("a cluster in which much of what can be wrong is wrong", nodes=(3,), guests=(40,)),
    "recorded": World("the node with which the recordings begin: no guest", guests=(0,), templates=0),
}


@dataclass(frozen=True)
class Plan:
    """What was asked on the command line, for one server; `number` counts the servers from 0."""

    world: str = "default"
    nodes: int = 1
    guests: int = 20
    templates: int = 2
    seed: int = 1
    number: int = 0


def sized(world: str, nodes: int | None, guests: int | None, templates: int | None, seed: int, number: int) -> Plan:
    """The plan of one server: what was asked for, else what the named world has."""
    own = WORLDS[world]
    return Plan(
        world,
        own.nodes[number % len(own.nodes)] if nodes is None else nodes,
        own.guests[number % len(own.guests)] if guests is None else guests,
        own.templates if templates is None else templates,
        seed,
        number,
    )


def make(plan: Plan) -> Estate:
    """A fresh estate."""
    from pve_simulator.worlds import default, recorded, trouble

    if plan.world == "recorded":
        return recorded.make()
    estate = default.make(plan)
    if plan.world == "trouble":
        trouble.spoil(estate)
    return estate


def standing_faults(world: str) -> list[dict[str, Any]]:
    """The fault rules that hold in a world from its start."""
    from pve_simulator.worlds import trouble

    return trouble.FAULTS if world == "trouble" else []
