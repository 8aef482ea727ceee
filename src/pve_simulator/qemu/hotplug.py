"""Changes of a running VM: what holds at once, what is plugged and unplugged, what waits for its next stop."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError
from pve_simulator.qemu import cloudinit, machine, pending
from pve_simulator.qemu.drives import KEYS, Drive, boot_order
from pve_simulator.qemu.options import network

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.world.guest import Guest

Errors = dict[str, str]
# What QEMU does not need to know.
AT_ONCE = {
    "description",
    "hookscript",
    "lock",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "onboot",
    "protection",
    "shares",
    "startup",
    "tags",
    "vmstatestorage",
}
DEFAULT = {"network", "disk", "usb"}
COLD_BUSES = re.compile(r"(?:efidisk|tpmstate|ide|sata)\d+")
PLUG = 0.3  # seconds


class Later(Exception):
    """A change that has to wait for the next stop."""


def features(guest: Guest) -> set[str]:
    """What may be plugged while the VM runs."""
    told = guest.config.get("hotplug", "1")
    if told == "1":
        return set(DEFAULT)
    return set() if told == "0" else set(told.split(","))


async def apply(server: Server, guest: Guest, modified: set[str]) -> Errors:
    """Makes what was modified hold, as far as a running VM can; the rest stays pending. Gives what went wrong."""
    errors: Errors = {}
    for name in [name for name in guest.pending if name in AT_ONCE or cloudinit.concerns(name)]:
        guest.config[name] = guest.pending.pop(name)
    for name in sorted(name for name in guest.pending_delete if name in modified):
        try:
            await delete(server, guest, name, guest.pending_delete[name])
        except Later:
            continue
        except ApiError as fault:
            errors[name] = f"hotplug problem - {fault.message}\n"
            continue
        guest.config.pop(name, None)
        guest.pending_delete.pop(name, None)
    for name in sorted(name for name in guest.pending if name in modified):
        try:
            await change(server, guest, name, guest.pending[name])
        except Later:
            continue
        except ApiError as fault:
            errors[name] = f"hotplug problem - {fault.message}\n"
            continue
        guest.config[name] = guest.pending.pop(name)
    return errors


async def delete(server: Server, guest: Guest, name: str, force: bool) -> None:
    """Takes an option from a running VM; raises Later, or ApiError where the machine does not let go."""
    if name in AT_ONCE or cloudinit.concerns(name) or name in ("cpuunits", "cpulimit"):
        return
    if name == "balloon" and guest.config.get("balloon") != "0":
        return
    if re.fullmatch(r"net\d+", name) and "network" in features(guest):
        await machine.unplug(server, guest, name, name)
    elif name in KEYS and "disk" in features(guest) and not COLD_BUSES.fullmatch(name):
        if name in boot_order(guest.config):
            raise ApiError(500, f"can't unplug bootdisk '{name}'")
        await machine.unplug(server, guest, name, device(guest, name))
        pending.detach(server, guest, name, force)
    else:
        raise Later


def device(guest: Guest, name: str) -> str:
    """The device that has to go with a disk: each has a controller of its own with virtio-scsi-single."""
    single = guest.config.get("scsihw") == "virtio-scsi-single" and name.startswith("scsi")
    return f"virtio{name}" if single else name


async def change(server: Server, guest: Guest, name: str, value: str) -> None:
    """Gives a running VM a new value; raises Later where that takes a stop."""
    if name in ("cpuunits", "cpulimit"):
        return
    if name == "balloon":
        if (guest.config.get("balloon") == "0") != (value == "0"):
            raise Later
        return
    if re.fullmatch(r"net\d+", name):
        await change_card(server, guest, name, value)
    elif name in KEYS:
        await change_drive(server, guest, name, value)
    elif not (name == "vcpus" and "cpu" in features(guest)) and not (name == "memory" and "memory" in features(guest)):
        raise Later


async def change_card(server: Server, guest: Guest, name: str, value: str) -> None:
    """Plugs a network card, or changes what its other end is connected to."""
    before, after = network(guest.config.get(name, "")), network(value)
    same = all(before.get(key) == after.get(key) for key in ("model", "macaddr", "queues", "mtu"))
    if before and same:
        return
    if "network" not in features(guest):
        raise Later
    if before:
        await machine.unplug(server, guest, name, name)
    bridge = after.get("bridge")
    if bridge and bridge not in server.estate.nodes[guest.node].interfaces:
        raise ApiError(500, f"bridge '{bridge}' does not exist")
    await server.clock.sleep(PLUG)
    machine.plug(guest, name)


async def change_drive(server: Server, guest: Guest, name: str, value: str) -> None:
    """Plugs a disk, changes a medium, or gives a disk other limits."""
    after = Drive.parse(name, value)
    if name in guest.config:
        before = Drive.parse(name, guest.config[name])
        if before.cdrom and after.cdrom and not after.cloud_init:
            pending.replace(server, guest, name, value)
            return
        if before.file == after.file and fixed(before) == fixed(after):
            return
        raise Later
    if "disk" not in features(guest) or COLD_BUSES.fullmatch(name) or after.cdrom:
        raise Later
    await server.clock.sleep(PLUG)
    machine.plug(guest, name)


def fixed(drive: Drive) -> dict[str, str]:
    """The options of a disk that QEMU cannot change while it runs: all but limits, size and backup."""
    changing = re.compile(r"(?:mbps|iops|bps).*|size|backup|replicate")
    return {name: value for name, value in drive.options.items() if not changing.fullmatch(name)}
