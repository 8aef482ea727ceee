"""What of a VM stands on its node only: drives, devices, mapped devices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pve_simulator.qemu import volumes
from pve_simulator.qemu.drives import Drive, drives, unused
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

DEVICE = re.compile(r"(usb|hostpci|serial|parallel|virtiofs)\d+")
MAPPED = {"usb": "mapping", "hostpci": "mapping", "virtiofs": "dirid"}
MAPS = {"usb": "usb", "hostpci": "pci", "virtiofs": "dir"}


def volumes_of(guest: Guest) -> list[tuple[Drive, bool]]:
    """The VM's drives with a volume, each with whether it is attached."""
    attached = [(drive, True) for drive in drives(guest.config) if ":" in drive.file]
    return attached + [(drive, False) for drive in unused(guest.config)]


def local(server: Server, guest: Guest) -> list[tuple[Drive, bool]]:
    """Those on storages that only this node sees."""
    known = server.estate.storages
    return [
        (drive, attached)
        for drive, attached in volumes_of(guest)
        if (name := volumes.parts(drive.file)[0]) in known and not known[name].shared
    ]


def local_disks(server: Server, guest: Guest) -> list[dict[str, Any]]:
    """As the API tells them; `size` in bytes."""
    told: list[dict[str, Any]] = []
    for drive, attached in local(server, guest):
        row: dict[str, Any] = {
            "volid": drive.file,
            "cdrom": int(drive.cdrom),
            "is_attached": int(attached),
            "is_unused": int(not attached),
            "is_cloudinit": int(drive.cloud_init),
            "is_tpmstate": int(drive.key == "tpmstate0"),
            "is_vmstate": 0,
            "shared": 0,
            "replicate": 1,
        }
        volume = server.estate.volume(drive.file, guest.node)
        told.append(row | ({"drivename": drive.key, "size": volume.size if volume else 0} if attached else {}))
    return told


def lacking(server: Server, guest: Guest, node: str) -> list[str]:
    """The storages of a VM's drives that a node has not."""
    used = {volumes.parts(drive.file)[0] for drive, attached in volumes_of(guest) if attached}
    known = server.estate.storages
    return sorted(name for name in used if name not in known or known[name].disable or not known[name].on(node))


def members(text: str) -> dict[str, str]:
    """The members of a device's setting; one without a name is `host`."""
    told = (part.rpartition("=") if "=" not in part else part.partition("=") for part in text.split(",") if part)
    return {name or "host": value for name, _, value in told}


def devices(guest: Guest) -> Iterator[tuple[str, str, str | None]]:
    """Devices of the host that a VM uses: setting, kind, and the mapping by which it does."""
    for key, text in sorted(guest.config.items()):
        found = DEVICE.fullmatch(key)
        if not found:
            continue
        told, kind = members(text), found[1]
        if (kind == "serial" and text == "socket") or told.get("host", "").lower() == "spice":
            continue
        yield key, kind, told.get(MAPPED.get(kind, ""))


def local_resources(guest: Guest) -> list[str]:
    """Settings that tie a VM to its node; a mapped PCI device ties it only while it runs."""
    found = ["ivshmem"] if "ivshmem" in guest.config else []
    for key, kind, mapping in devices(guest):
        if not (kind == "hostpci" and mapping and guest.process is None):
            found.append(key)
    return found


def mapped_resources(guest: Guest) -> dict[str, dict[str, str]]:
    """Settings that name a mapping of the cluster."""
    return {key: {"name": mapping} for key, _, mapping in devices(guest) if mapping}


def unmapped(server: Server, guest: Guest, node: str) -> list[str]:
    """Settings whose mapping has nothing on a node."""
    missing: list[str] = []
    for key, kind, mapping in devices(guest):
        if mapping:
            section = server.estate.sections.get(f"mapping/{MAPS[kind]}", {}).get(mapping, {})
            if f"node={node}" not in re.split(r"[,;\s]+", section.get("map", "")):
                missing.append(key)
    return missing
