"""Figures that live: load, memory and traffic of guests and nodes, and how full storages are.

All are functions of the world and a time, so that the past (RRD) needs no memory.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.world.guest import Guest
    from pve_simulator.world.node import Node
    from pve_simulator.world.storage import Storage

MIB, GIB = 1024**2, 1024**3
HYPERVISOR_MEMORY = 1536 * MIB  # what a node needs for itself
ROOT_SYSTEM = 5 * GIB  # bytes of a node's root file system that are no storage's
DISKS = ("ide", "sata", "scsi", "virtio")
TURN = 2 * math.pi
WARM = 1800.0  # seconds after its start, when nothing of a guest's booting is left
PERIODS = (97.0, 613.0, 3571.0)  # seconds from crest to crest of the three waves in one
USE = ("cpu", "mem", "memhost", "netin", "netout", "diskread", "diskwrite")  # what only a running guest has
UNUSED: dict[str, int] = dict.fromkeys(("disk", *USE, "uptime"), 0)
UNITS = {"": 1, "K": 1024, "M": MIB, "G": GIB, "T": 1024 * GIB}

# seconds between two rows and how many rows, per timeframe; semantics of PVE::RRD in 9.x
TIMEFRAMES = {
    "hour": (60, 60),
    "day": (60, 1440),
    "week": (1800, 336),
    "month": (1800, 1440),
    "year": (21600, 1460),
    "decade": (604800, 570),
}


class Waves:
    """Slow restless waves between -1 and 1, another one for every key, all at one time.

    Sines of sums are taken apart, so that a thousand guests of one round cost products alone.
    """

    def __init__(self, at: float) -> None:
        turned = [TURN * at / length for length in PERIODS]
        self.of_time = tuple(math.sin(angle) for angle in turned) + tuple(math.cos(angle) for angle in turned)

    def height(self, own: tuple[float, ...]) -> float:
        """The wave of a key, from what that brings."""
        s0, s1, s2, c0, c1, c2 = self.of_time
        k0, k1, k2, k3, k4, k5 = own
        return s0 * k0 + s1 * k1 + s2 * k2 + c0 * k3 + c1 * k4 + c2 * k5


@lru_cache(50_000)
def of_key(key: str) -> tuple[float, ...]:
    """What a key brings to its three waves: heights times cosines, then times sines, of where it begins."""
    seed = zlib.crc32(key.encode())
    parts = tuple(zip((0.5, 0.3, 0.2), (seed & 255, seed >> 8 & 255, seed >> 16), strict=True))
    return (*(high * math.cos(phase) for high, phase in parts), *(high * math.sin(phase) for high, phase in parts))


def wobble(key: str, at: float) -> float:
    """One wave at one time."""
    return Waves(at).height(of_key(key))


@lru_cache(50_000)
def nature(vmid: int) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """What a guest of that number is like: the waves of its load and of its memory, and the share of memory it usually takes."""
    usual = 0.35 + 0.3 * (zlib.crc32(str(vmid).encode()) % 100) / 100
    return of_key(f"{vmid}cpu"), of_key(f"{vmid}mem"), usual


@lru_cache(1000)
def size(text: str) -> int:
    """Bytes of a size as configurations hold it, e.g. `32G`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(found[1]) * UNITS[found[2]]) if found else 0


@lru_cache(50_000)  # asked for every guest in every round
def member(value: str, name: str) -> str | None:
    """A member of a property string by its name."""
    return next((part[len(name) + 1 :] for part in value.split(",") if part.startswith(f"{name}=")), None)


@lru_cache(1000)
def leading_number(text: str | None, default: int) -> int:
    """The first number in a value, e.g. of `memory`, that may be `current=512`."""
    found = re.search(r"\d+", text or "")
    return int(found[0]) if found else default


def cpus(server: Server, guest: Guest) -> int:
    """Virtual processors; a container without a limit sees all of its node."""
    config = guest.config
    if guest.type == "lxc":
        node = server.estate.nodes.get(guest.node)
        return int(config["cores"]) if "cores" in config else (node.cores if node else 1)
    if "vcpus" in config:
        return int(config["vcpus"])
    return int(config.get("sockets", 1)) * int(config.get("cores", 1))


def memory(guest: Guest) -> int:
    """Bytes of memory given."""
    return leading_number(guest.config.get("memory"), 512) * MIB


def disk(guest: Guest) -> int:
    """Bytes of a VM's first bootable disk or a container's root; 0 without one."""
    config = guest.config
    if guest.type == "lxc":
        return size(member(config.get("rootfs", ""), "size") or "")
    for name in bootable(config.get("boot", "")):
        value = config.get(name, "")
        if value and "media=cdrom" not in value:
            return size(member(value, "size") or "")
    return 0


@lru_cache(1000)
def bootable(boot: str) -> tuple[str, ...]:
    """The drives in the order of booting."""
    return tuple(name for name in boot.removeprefix("order=").split(";") if name.startswith(DISKS))


def guest_figures(server: Server, guest: Guest, at: float) -> dict[str, Any]:
    """A guest's figures: sizes in bytes, `cpu` as a share of `maxcpu`, traffic in bytes since its start.

    Keys are those of `/cluster/resources`; all use is 0 while it is stopped.
    """
    return used_of(server, guest, given(server, guest), at, Waves(at))


def given(server: Server, guest: Guest) -> dict[str, Any]:
    """What a guest was given, none of it used."""
    return {"maxcpu": cpus(server, guest), "maxmem": memory(guest), "maxdisk": disk(guest), **UNUSED}


def used_of(server: Server, guest: Guest, told: dict[str, Any], at: float, waves: Waves) -> dict[str, Any]:
    """What `given` told, with what is used of it at that time."""
    process = guest.process
    if process is None or at < process.started:
        return told.copy()
    uptime, (load, filling, usual) = at - process.started, nature(guest.vmid)
    booting, warm = 0.0, 1.0
    if uptime < WARM:
        booting, warm = 0.6 * math.exp(-uptime / 8), 1 - 0.75 * math.exp(-uptime / 60)
    cpu = 0.0
    if process.qmpstatus != "paused":
        cpu = process.cpu * (1 + 0.6 * waves.height(load)) + booting
        cpu = 0.0005 if cpu < 0.0005 else 1.0 if cpu > 1 else cpu
    share = (usual + 0.04 * waves.height(filling)) * warm
    mem = int(told["maxmem"] * (0.97 if share > 0.97 else share))
    sent = (400 + 200_000 * process.cpu) * uptime
    figures = told.copy()
    figures["cpu"] = cpu
    figures["mem"] = mem
    figures["memhost"] = mem + 48 * MIB if guest.type == "qemu" else mem
    if guest.type == "lxc":
        figures["disk"] = disk_used(server, guest)
    figures["netin"] = int(sent * 1.3)
    figures["netout"] = int(sent * 0.8)
    figures["diskread"] = int(sent * 0.4 + 90 * MIB * warm)
    figures["diskwrite"] = int(sent * 0.7 + 6 * MIB * warm)
    figures["uptime"] = int(uptime)
    return figures


def disk_used(server: Server, guest: Guest) -> int:
    """Bytes in use on a container's root."""
    volid = guest.config.get("rootfs", "").split(",")[0]
    volume = server.estate.volume(volid, guest.node)
    return volume.used if volume else 0


def node_figures(server: Server, node: Node, at: float) -> dict[str, Any]:
    """A node's figures from those of the guests that run there; keys are those of `/cluster/resources`."""
    guests = [figures for _, figures in running_on(server, node.name, at)]
    local = server.estate.storages.get("local")
    return node_sums(node, at, guests, server.estate.used("local", node.name) if local else 0)


def running_on(server: Server, node: str, at: float) -> list[tuple[Guest, dict[str, Any]]]:
    """The guests that run on a node, with their figures."""
    return [
        (guest, guest_figures(server, guest, at))
        for guest in server.estate.guests.values()
        if guest.node == node and guest.process
    ]


def node_sums(node: Node, at: float, guests: list[dict[str, Any]], local: int) -> dict[str, Any]:
    """A node's figures from those of its running guests and the bytes in use on its `local`, which is its root."""
    busy = sum(figures["cpu"] * figures["maxcpu"] for figures in guests)
    own = 0.02 + 0.01 * wobble(f"{node.name}cpu", at)
    needed = HYPERVISOR_MEMORY + sum(figures["memhost"] for figures in guests)
    return {
        "cpu": min(1.0, own + busy / node.cores),
        "maxcpu": node.cores,
        "mem": int(min(0.98 * node.memory, needed * (1 + 0.01 * wobble(f"{node.name}mem", at)))),
        "maxmem": node.memory,
        "disk": min(node.disk, ROOT_SYSTEM + local),
        "maxdisk": node.disk,
        "uptime": int(at - node.started),
    }


def load(node: Node, cpu: float, at: float) -> list[float]:
    """The load averages over 1, 5 and 15 minutes of a node that is as busy as `cpu` says (a share of 1)."""
    busy = cpu * node.cores
    return [max(0.0, busy * (1 + 0.2 * wobble(f"{node.name}{span}", at))) for span in (1, 5, 15)]


def storage_figures(server: Server, storage: Storage, node: str, used: int | None = None) -> tuple[int, int]:
    """Bytes in all and bytes in use of a storage as a node sees it; a fault rule can make it full.

    `used` is what lies there, where that is known already.
    """
    if server.faults.full(storage.id, node):
        return storage.total, storage.total
    return storage.total, min(storage.total, server.estate.used(storage.id, node) if used is None else used)


def usage(server: Server) -> Callable[[str, str], int]:
    """Tells the bytes in use on a storage as a node sees it, from one look at all volumes."""
    sums: dict[tuple[str, str], int] = {}
    for volume in server.estate.volumes.values():
        key = (volume.node, volume.storage)
        sums[key] = sums.get(key, 0) + volume.used

    def used(storage: str, node: str) -> int:
        known = server.estate.storages.get(storage)
        return known.base_used + sums.get(("" if known.shared else node, storage), 0) if known else 0

    return used


def history(
    timeframe: str, now: float, since: float, sample: Callable[[float], dict[str, Any]]
) -> list[dict[str, Any]]:
    """RRD rows up to now, oldest first: `time`, and what `sample` gives for times after `since`."""
    step, count = TIMEFRAMES[timeframe]
    last = int(now) // step * step
    times = range(last - (count - 1) * step, last + 1, step)
    return [{"time": time, **(sample(time) if time >= since else {})} for time in times]


def guest_history(server: Server, guest: Guest, timeframe: str) -> list[dict[str, Any]]:
    """A guest's RRD rows; while it did not run, they tell its sizes alone."""
    now = server.clock.time()
    since = min(guest.created or now, guest.process.started if guest.process else now)
    newest = int(now) // TIMEFRAMES[timeframe][0] * TIMEFRAMES[timeframe][0]

    def sample(at: float) -> dict[str, Any]:
        figures = guest_figures(server, guest, now if at == newest else at)  # the newest row is still being filled
        uptime = figures.pop("uptime")
        if not uptime:
            return {name: value for name, value in figures.items() if name not in USE}
        for name in ("netin", "netout", "diskread", "diskwrite"):  # counters become bytes per second
            figures[name] = figures[name] / uptime
        pressures = ("pressurecpusome", "pressurecpufull", "pressureiosome", "pressureiofull")
        return figures | dict.fromkeys((*pressures, "pressurememorysome", "pressurememoryfull"), 0.0)

    return history(timeframe, now, min(since, now - 60), sample)


def node_history(server: Server, node: Node, timeframe: str) -> list[dict[str, Any]]:
    """A node's RRD rows since its start."""
    now = server.clock.time()
    running = [guest for guest in server.estate.guests.values() if guest.node == node.name and guest.process]
    coarse = len(running) > 40  # a node full of guests is told from its present load, not guest by guest
    present = node_figures(server, node, now)

    def sample(at: float) -> dict[str, Any]:
        figures = dict(present) if coarse else node_figures(server, node, at)
        cpu = max(0.0, min(1.0, figures["cpu"] * (1 + 0.2 * wobble(node.name, at))))
        return {
            "cpu": cpu,
            "maxcpu": node.cores,
            "loadavg": round(cpu * node.cores, 2),
            "iowait": 0.0005,
            "memused": figures["mem"],
            "memtotal": node.memory,
            "memavailable": node.memory - figures["mem"],
            "swapused": 0,
            "swaptotal": 0,
            "roottotal": node.disk,
            "rootused": figures["disk"],
            "arcsize": 0,
            "netin": 40_000 * (1.2 + wobble(f"{node.name}in", at)),
            "netout": 40_000 * (1.2 + wobble(f"{node.name}out", at)),
            "pressurecpusome": 0.1,
            "pressureiosome": 0,
            "pressureiofull": 0,
            "pressurememorysome": 0,
            "pressurememoryfull": 0,
        }

    return history(timeframe, now, node.started, sample)


def storage_history(server: Server, storage: Storage, node: Node, timeframe: str) -> list[dict[str, Any]]:
    """A storage's RRD rows since the start of its node."""
    total, used = storage_figures(server, storage, node.name)
    return history(timeframe, server.clock.time(), node.started, lambda at: {"total": total, "used": used})
