"""The world that the command makes by default, the same for the same seed but for what is told from now on."""

from __future__ import annotations

import random
import uuid

from pve_simulator.world.access import AclEntry, Group, Token, User
from pve_simulator.world.estate import Estate
from pve_simulator.worlds import Plan
from pve_simulator.worlds.fleet import populate
from pve_simulator.worlds.hosts import add_nodes, add_storages, size_nodes
from pve_simulator.worlds.recorded import realms


def make(plan: Plan) -> Estate:
    """A fresh estate. Its servers differ by their number."""
    chance = random.Random(f"{plan.seed}/{plan.number}")
    estate = Estate(
        secret=f"{chance.getrandbits(256):064x}",
        cluster=f"cluster{plan.number + 1}" if plan.nodes > 1 else "",
        options={"keyboard": "en-us"},
    )
    estate.realms = realms()
    add_people(estate, chance)
    add_nodes(estate, plan, chance)
    add_storages(estate, plan)
    populate(estate, plan, chance)
    size_nodes(estate)
    return estate


def add_people(estate: Estate, chance: random.Random) -> None:
    """root, an administrator with a full and a separated token, and somebody who may nothing."""

    def token(name: str, privsep: bool) -> Token:
        return Token(name, str(uuid.UUID(int=chance.getrandbits(128), version=4)), privsep)

    for user in (
        User("root@pam", "pveroot123"),
        User("admin@pve", "adminpass1", tokens={"full": token("full", False), "sep": token("sep", True)}),
        User("low@pve", "lowpass123", tokens={"none": token("none", False)}),
    ):
        estate.users[user.id] = user
    estate.groups["ops"] = Group("ops")
    estate.acl = [AclEntry("/", "user", "admin@pve", "Administrator")]
