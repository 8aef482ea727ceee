"""Worlds to begin with."""

from __future__ import annotations

from dataclasses import dataclass

from pve_simulator.world.estate import Estate


@dataclass(frozen=True)
class Plan:
    """What was asked on the command line, for one server; `number` counts the servers from 0."""

    world: str = "default"
    nodes: int = 1
    guests: int = 20
    templates: int = 2
    seed: int = 1
    number: int = 0


def make(plan: Plan) -> Estate:
    """A fresh estate."""
    from pve_simulator.worlds import default, recorded

    return recorded.make() if plan.world == "recorded" else default.make(plan)
