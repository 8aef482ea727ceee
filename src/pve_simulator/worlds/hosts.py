"""Nodes and storages of a default world."""

from __future__ import annotations

import random
import time

from pve_simulator.world.estate import Estate
from pve_simulator.world.node import Node, bridge, network_card
from pve_simulator.world.storage import GIB, Storage, Volume
from pve_simulator.worlds import Plan

MIB, TIB = 1024**2, 1024 * GIB
DAY = 86400
MEMORY_SIZES = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)  # GiB that are built into servers
CORE_COUNTS = (32, 48, 64, 96, 128, 192, 256)
SPARE = 64 * GIB  # memory of a node that no guest of the world takes
MODELS = (
    "AMD EPYC 7313P 16-Core Processor",
    "AMD EPYC 9354P 32-Core Processor",
    "AMD EPYC 7443P 24-Core Processor",
)
FILES = ["iso", "vztmpl", "backup", "import", "snippets"]
SHARED = "ceph-ssd"


def node_names(plan: Plan) -> list[str]:
    """`pve` alone, or `pve1`, `pve2`, ..."""
    return ["pve"] if plan.nodes == 1 else [f"pve{number}" for number in range(1, plan.nodes + 1)]


def add_nodes(estate: Estate, plan: Plan, chance: random.Random) -> None:
    """Nodes with an outer bridge, whose network has DHCP, and an inner one without an uplink."""
    model = chance.choice(MODELS)
    for number, name in enumerate(node_names(plan), 1):
        made = Node(
            name,
            address=f"10.0.{plan.number % 250}.{10 + number}",
            disk=400 * GIB,
            started=time.time() - chance.randint(3 * DAY, 120 * DAY),
            pid=chance.randint(2000, 90_000),
            number=number,
            facts={"model": model},
        )
        interfaces = (
            network_card("eno1", 3),
            bridge("vmbr0", "eno1", 4, f"{made.address}/16", "10.0.0.1"),
            bridge("vmbr1", "", 5),
        )
        made.interfaces = {interface.iface: interface for interface in interfaces}
        made.dns = {"search": "example.test", "dns1": "10.0.0.1"}
        estate.nodes[name] = made


def size_nodes(estate: Estate) -> None:
    """Gives every node memory and processors for its guests, and room for more."""
    for node in estate.nodes.values():
        here = [guest.config for guest in estate.guests.values() if guest.node == node.name]
        needed = sum(int(config.get("memory", 512)) * MIB for config in here) + SPARE
        node.memory = next((size for size in MEMORY_SIZES if size * GIB >= needed), MEMORY_SIZES[-1]) * GIB
        cores = sum(int(config.get("cores", 1)) for config in here) // 3
        node.cores = next((count for count in CORE_COUNTS if count >= cores), CORE_COUNTS[-1])


def add_storages(estate: Estate, plan: Plan) -> None:
    """`local` for files and `local-lvm` for disks on every node; a cluster has a shared one for disks besides."""
    room = 4 * TIB + plan.guests * 64 * GIB
    local = Storage("local", "dir", FILES, {"path": "/var/lib/vz"}, total=400 * GIB, base_used=9 * GIB)
    thin = {"vgname": "pve", "thinpool": "data"}
    estate.storages["local"] = local
    estate.storages["local-lvm"] = Storage("local-lvm", "lvmthin", ["images", "rootdir"], thin, total=room)
    if plan.nodes > 1:
        ceph = {"pool": SHARED, "krbd": "0"}
        estate.storages[SHARED] = Storage(
            SHARED, "rbd", ["images", "rootdir"], ceph, shared=True, total=4 * room, base_used=20 * GIB
        )
    add_files(estate)


def add_files(estate: Estate) -> None:
    """Files on every node's `local`."""
    written = int(time.time()) - 30 * DAY
    for node in estate.nodes:
        for volid, form, size in (
            ("local:iso/debian-12.8.0-amd64-netinst.iso", "iso", 631 * MIB),
            ("local:iso/virtio-win-0.1.266.iso", "iso", 693 * MIB),
            ("local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst", "tzst", 120 * MIB),
            ("local:import/debian-12-genericcloud-amd64.qcow2", "qcow2", 332 * MIB),
        ):
            content = volid.partition(":")[2].partition("/")[0]
            facts = {"virtual": str(3 * GIB), "system": "debian-12"} if content == "import" else {}
            estate.add_volume(Volume(volid, content, form, size, used=size, ctime=written, facts=facts), node)
