"""The machine at work: its process, its system's start, its addresses and devices."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import cloudinit
from pve_simulator.qemu.drives import drives
from pve_simulator.qemu.options import network
from pve_simulator.qemu.systems import SYSTEMS, System, system_of
from pve_simulator.world.guest import Guest, Process
from pve_simulator.world.node import Node

if TYPE_CHECKING:
    from pve_simulator.server import Server

QEMU = "10.0.13"
KERNEL_SHARE = 0.6  # part of the time to boot after which the kernel runs and its drivers answer
FIRST_LEASE = 50  # the last number of the first address that DHCP gives
PREFIX6 = "fd42:10:99::/64"  # what routers advertise everywhere
SYSTEM = "system"  # names of a process's facts
SYSTEM_AT = "system_at"
HOSTNAME = "hostname"
PLUGGED = "plugged"
UNPLUGGED = "unplugged"  # a fact of a node: the network card that is configured for a bridge and was never put into it
MIB = 1024**2


def cards(config: dict[str, str]) -> list[int]:
    """The numbers of a VM's network cards."""
    return [number for number in range(32) if f"net{number}" in config]


def version(config: dict[str, str]) -> str:
    """The machine type as it runs; only a virtio card needs the newest revision (host_mtu)."""
    kind = "pc-q35" if "q35" in config.get("machine", "") else "pc-i440fx"
    modern = any(network(config[f"net{number}"]).get("model") == "virtio" for number in cards(config))
    return f"{kind}-10.0+pve{int(modern)}"


def agent_enabled(config: dict[str, str]) -> bool:
    """Whether the guest agent is switched on."""
    first = config.get("agent", "0").split(",")[0].removeprefix("enabled=")
    return first == "1"


def check_start(server: Server, guest: Guest, node: Node) -> None:
    """Raises TaskError for what keeps a VM from starting on its node."""
    config = guest.config
    vcpus = int(config.get("vcpus", int(config.get("sockets", 1)) * int(config.get("cores", 1))))
    if vcpus > node.cores:
        raise TaskError(f"MAX {node.cores} vcpus allowed per VM on this node")
    for number in cards(config):
        bridge = network(config[f"net{number}"]).get("bridge")
        if bridge and bridge not in node.interfaces:
            raise TaskError(f"bridge '{bridge}' does not exist")
    for drive in drives(config):
        storage = server.estate.storages.get(drive.file.partition(":")[0])
        if ":" in drive.file and storage is None:
            raise TaskError(f"storage '{drive.file.partition(':')[0]}' does not exist")
        if storage is not None and storage.disable:
            raise TaskError(f"storage '{storage.id}' is disabled")
        if ":" in drive.file and server.estate.volume(drive.file, guest.node) is None:
            raise TaskError(f"volume '{drive.file}' does not exist")
    if memory(config) > node.memory:
        raise TaskError("start failed: QEMU exited with code 1")


def untaggable(config: dict[str, str], node: Node) -> tuple[int, str] | None:
    """The first card with a VLAN tag on a plain bridge that has no network card to tag on, and that bridge."""
    for number in cards(config):
        card = network(config[f"net{number}"])
        bridge = node.interfaces.get(card.get("bridge", ""))
        if "tag" not in card or bridge is None or bridge.options.get("bridge_vlan_aware"):
            continue
        ports = str(bridge.options.get("bridge_ports") or "").split()
        if not any(port != node.facts.get(UNPLUGGED) for port in ports):
            return number, bridge.iface
    return None


def memory(config: dict[str, str]) -> int:
    """Bytes of memory configured."""
    found = re.search(r"\d+", config.get("memory", "512"))
    return int(found[0]) * MIB if found else 512 * MIB


def begin(server: Server, guest: Guest, node: Node) -> None:
    """Begins the process of a VM and boots what is on its disks."""
    guest.process = Process(node.next_pid(), server.clock.time(), machine=version(guest.config), cpu=0.0)
    boot(server, guest, node)


def boot(server: Server, guest: Guest, node: Node) -> None:
    """Boots, also anew in a process that runs already; what needs no system stays silent."""
    process = guest.process
    if process is None:
        return
    plugged = process.facts.get(PLUGGED)
    process.facts = {PLUGGED: plugged} if plugged else {}
    process.agent_at, process.cpu = None, 0.0
    system = system_of(server.estate, guest)
    if system is None:
        guest.addresses = []
        return
    process.cpu = 0.01 + 0.03 * (guest.vmid % 7) / 7
    process.facts[SYSTEM] = next(name for name, known in SYSTEMS.items() if known is system)
    process.facts[SYSTEM_AT] = str(server.clock.later(system.boots * KERNEL_SHARE))
    process.facts[HOSTNAME] = host_name(server, guest, system)
    if system.agent and agent_enabled(guest.config):
        process.agent_at = server.clock.later(system.boots)
    known, guest.addresses = guest.addresses, []
    for number in cards(guest.config):
        given = addresses(server, guest, node, system, number, known)
        process.facts[f"net{number}"] = ",".join(given)
        guest.addresses += given
    server.changed()


def host_name(server: Server, guest: Guest, system: System) -> str:
    """The name a system gives itself: cloud-init's, else its own."""
    volume = cloudinit.drive_of(server.estate, guest)
    if system.cloud_init and volume is not None and "name" in volume.facts:
        return volume.facts["name"].partition(".")[0]
    return system.hostname or guest.name.replace(" ", "")


def addresses(server: Server, guest: Guest, node: Node, system: System, number: int, known: list[str]) -> list[str]:
    """The addresses, with prefix, that a card gets: by cloud-init, or by DHCP on the first card without it."""
    volume = cloudinit.drive_of(server.estate, guest) if system.cloud_init else None
    card = network(guest.config[f"net{number}"])
    if volume is None:
        return lease(server, node, card, known) if number == 0 else []
    told = cloudinit.ip_config(volume.facts.get(f"ipconfig{number}", ""))
    given: list[str] = []
    if told.get("ip") == "dhcp":
        given += lease(server, node, card, known)
    elif "ip" in told:
        given.append(told["ip"])
    if told.get("ip6") in ("auto", "dhcp"):
        given.append(interface6(PREFIX6, card["macaddr"]))
    elif "ip6" in told:
        given.append(told["ip6"])
    return given


def lease(server: Server, node: Node, card: dict[str, str], known: list[str]) -> list[str]:
    """An address by DHCP from the bridge's own network; none where the bridge has none. A former one is kept."""
    bridge = node.interfaces.get(card.get("bridge", ""))
    text = str(bridge.options.get("cidr") or "") if bridge else ""
    if not text:
        return []
    net = ipaddress.ip_interface(text).network
    running = [guest for guest in server.estate.guests.values() if guest.process]
    taken = {told.split("/")[0] for guest in running for told in guest.addresses}
    for told in known:
        if ipaddress.ip_interface(told).ip in net and told.split("/")[0] not in taken:
            return [told]
    for offset in range(FIRST_LEASE, net.num_addresses - 1):
        if str(net[offset]) not in taken:
            return [f"{net[offset]}/{net.prefixlen}"]
    return []


def interface6(prefix: str, mac: str) -> str:
    """The IPv6 address with prefix that a card gives itself in a network (EUI-64)."""
    raw = bytearray(int(part, 16) for part in mac.split(":"))
    raw[0] ^= 2
    identifier = int.from_bytes(bytes([*raw[:3], 0xFF, 0xFE, *raw[3:]]), "big")
    net = ipaddress.IPv6Network(prefix)
    return f"{net[identifier]}/{net.prefixlen}"


def system_up(server: Server, guest: Guest) -> bool:
    """Whether the kernel runs: it answers to ACPI, lets go of devices, and its balloon driver tells of memory."""
    process = guest.process
    if process is None or process.qmpstatus != "running":
        return False
    if SYSTEM_AT in process.facts:
        return float(process.facts[SYSTEM_AT]) <= server.clock.time()
    return process.agent_at is not None and process.agent_at <= server.clock.time()  # a world's own guests


def until_up(server: Server, guest: Guest) -> float:
    """Seconds of the real server until the kernel runs; infinite where nothing boots."""
    if system_up(server, guest):
        return 0.0
    process = guest.process
    if process is None or SYSTEM_AT not in process.facts:
        return float("inf")
    return max(0.0, float(process.facts[SYSTEM_AT]) - server.clock.time()) * server.clock.speed


def agent_up(server: Server, guest: Guest) -> bool:
    """Whether the guest agent answers."""
    process = guest.process
    ready = process is not None and process.agent_at is not None and process.agent_at <= server.clock.time()
    return ready and process is not None and process.qmpstatus == "running" and agent_enabled(guest.config)


def system(server: Server, guest: Guest) -> System:
    """What runs in a VM; Debian in a world's own guests."""
    name = guest.process.facts.get(SYSTEM) if guest.process else None
    return SYSTEMS.get(name or "") or system_of(server.estate, guest) or SYSTEMS["debian-12"]


def plug(guest: Guest, device: str) -> None:
    """Remembers a device that came while the machine ran."""
    if guest.process:
        now = [name for name in guest.process.facts.get(PLUGGED, "").split(",") if name and name != device]
        guest.process.facts[PLUGGED] = ",".join([*now, device])


async def unplug(server: Server, guest: Guest, key: str, device: str) -> None:
    """Takes a device away; raises ApiError 500 after 5 s where no system is there to let go of it.

    What the machine began with its firmware lets go of.
    """
    process = guest.process
    if process is None:
        return
    plugged = process.facts.get(PLUGGED, "").split(",")
    if key in plugged and not system_up(server, guest):
        await server.clock.sleep(5)
        raise ApiError(500, f"error on hot-unplugging device '{device}' - still busy in guest?")
    await server.clock.sleep(0.2)
    process.facts[PLUGGED] = ",".join(name for name in plugged if name and name != key)
