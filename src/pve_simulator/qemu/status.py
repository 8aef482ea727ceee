"""What lists and `status/current` tell of a VM."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from pve_simulator import metrics
from pve_simulator.qemu import highavailability, machine
from pve_simulator.qemu.drives import boot_disk, drives
from pve_simulator.replies import JSON_TRUE

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.world.guest import Guest

MIB = 1024**2
KERNEL_KEEPS = 45_027_328  # bytes of memory that a Linux kernel does not count as its own
LOOKED: weakref.WeakKeyDictionary[Server, set[int]] = weakref.WeakKeyDictionary()
PRESSURES = tuple(f"pressure{kind}{share}" for kind in ("cpu", "io", "memory") for share in ("some", "full"))
SUPPORT = {
    "backup-access-api": JSON_TRUE,
    "backup-fleecing": JSON_TRUE,
    "backup-max-workers": JSON_TRUE,
    "pbs-dirty-bitmap": JSON_TRUE,
    "pbs-dirty-bitmap-migration": JSON_TRUE,
    "pbs-dirty-bitmap-savevm": JSON_TRUE,
    "pbs-library-version": "1.5.2",
    "pbs-masterkey": JSON_TRUE,
    "query-bitmap-info": JSON_TRUE,
}
COUNTERS = (
    *(f"{way}_{what}" for way in ("rd", "wr", "unmap", "zone_append") for what in ("bytes", "merged", "operations")),
    *(f"{kind}_total_time_ns" for kind in ("rd", "wr", "unmap", "flush", "zone_append")),
    *(
        f"{fate}_{way}_operations"
        for fate in ("failed", "invalid")
        for way in ("rd", "wr", "unmap", "flush", "zone_append")
    ),
    "flush_operations",
    "wr_highest_offset",
)


def row(server: Server, guest: Guest, full: bool = False) -> dict[str, Any]:
    """A row of the list of a node's VMs; `full` adds what only QEMU knows."""
    config, process = guest.config, guest.process
    disk = boot_disk(config)
    told: dict[str, Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": guest.status,
        "cpus": processors(server, guest),
        "maxmem": machine.memory(config),
        "maxdisk": disk.size if disk else 0,
        "disk": 0,
        **dict.fromkeys(("cpu", "mem", "memhost", "netin", "netout", "uptime"), 0),
    }
    if config.get("balloon", "0") != "0":
        told |= {"balloon_min": int(config["balloon"]) * MIB, "shares": int(config.get("shares", 1000))}
    told |= {name: config[name] for name in ("lock", "tags") if name in config}
    if guest.template:
        told["template"] = 1
    if any(name.startswith("serial") for name in config):
        told["serial"] = 1
    if process:
        told |= {"pid": process.pid, **dict.fromkeys(PRESSURES, 0)} | use(server, guest)
        if not full:
            told = {name: value for name, value in told.items() if name not in ("diskread", "diskwrite")}
    if full:
        told["qmpstatus"] = process.qmpstatus if process else "stopped"
        if process:
            told |= inside(server, guest, told)
    return told


def use(server: Server, guest: Guest) -> dict[str, Any]:
    """Load, memory and traffic; nothing moves where no system runs."""
    process = guest.process
    figures = metrics.guest_figures(server, guest, server.clock.time())
    if process is None or not machine.system_up(server, guest):
        idle = dict.fromkeys(("cpu", "mem", "memhost", "netin", "netout", "diskread", "diskwrite"), 0)
        return {**idle, "uptime": figures["uptime"]}
    if not seen_before(server, process.pid):
        figures["cpu"] = 0
    names = ("cpu", "mem", "memhost", "netin", "netout", "diskread", "diskwrite", "uptime")
    return {name: figures[name] for name in names}


def seen_before(server: Server, pid: int) -> bool:
    """Whether a process was looked at before: its load is what it did since, and 0 at the first look."""
    seen = LOOKED.setdefault(server, set())
    known = pid in seen
    seen.add(pid)
    return known


def inside(server: Server, guest: Guest, told: dict[str, Any]) -> dict[str, Any]:
    """What QEMU tells of a running VM."""
    process = guest.process
    if process is None:
        return {}
    maxmem = machine.memory(guest.config)
    balloon: dict[str, Any] = {"actual": maxmem, "max_mem": maxmem}
    shown: dict[str, Any] = {}
    if machine.system_up(server, guest):
        total = max(maxmem - KERNEL_KEEPS, maxmem // 2)
        free = max(0, total - told["mem"])
        balloon |= {
            "free_mem": free,
            "total_mem": total,
            "last_update": server.clock.seconds(),
            "major_page_faults": 0,
            "minor_page_faults": 5000 + told["uptime"],
            "mem_swapped_in": 0,
            "mem_swapped_out": 0,
        }
        shown["freemem"] = free
    if maxmem and guest.config.get("balloon") != "0":
        shown |= {"balloon": maxmem, "ballooninfo": balloon}
    attached = [drive.key for drive in drives(guest.config) if drive.file != "none"]
    if attached:
        disk = boot_disk(guest.config)
        busy = disk.key if disk else attached[0]
        shown["blockstat"] = {key: block(key == busy, told) for key in attached}
    numbers = machine.cards(guest.config)
    if numbers:
        first = {"netin": told["netin"], "netout": told["netout"]}
        idle = {"netin": 0, "netout": 0}
        shown["nics"] = {f"tap{guest.vmid}i{number}": first if number == numbers[0] else idle for number in numbers}
    return shown | {
        "diskread": told.get("diskread", 0),
        "diskwrite": told.get("diskwrite", 0),
        "running-machine": process.machine,
        "running-qemu": machine.QEMU,
        "proxmox-support": dict(SUPPORT),
    }


def block(busy: bool, told: dict[str, Any]) -> dict[str, Any]:
    """The counters of one drive; the one that was booted from bears the traffic."""
    counters: dict[str, Any] = dict.fromkeys(COUNTERS, 0)
    if busy and told.get("diskread"):
        counters |= {"rd_bytes": told["diskread"], "rd_operations": told["diskread"] // 8192 + 1}
        counters |= {"wr_bytes": told["diskwrite"], "wr_operations": told["diskwrite"] // 8192 + 1}
        counters["idle_time_ns"] = 10_000_000
    return counters | {"account_failed": JSON_TRUE, "account_invalid": JSON_TRUE, "timed_stats": []}


def processors(server: Server, guest: Guest) -> int:
    """Virtual processors, at most as many as the node has."""
    config, node = guest.config, server.estate.nodes.get(guest.node)
    if "vcpus" in config:
        return int(config["vcpus"])
    count = int(config.get("sockets", 1)) * int(config.get("cores", 1))
    return min(count, node.cores) if node else count


def current(server: Server, guest: Guest) -> dict[str, Any]:
    """`status/current`."""
    shown = row(server, guest, full=True)
    shown["ha"] = highavailability.told(server.estate, guest)
    if machine.agent_enabled(guest.config):
        shown["agent"] = 1
    if "vga" in guest.config:
        shown["clipboard"] = None
        if guest.config["vga"].startswith("qxl"):
            shown["spice"] = 1
    return shown
