"""Changes that wait for a VM's next stop, and what becomes of them then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError
from pve_simulator.qemu import cloudinit, volumes
from pve_simulator.qemu.drives import KEYS, Drive, drives, unused
from pve_simulator.qemu.options import typed

if TYPE_CHECKING:
    from pve_simulator.server import Server
    from pve_simulator.world.guest import Guest


def shown(guest: Guest) -> list[dict[str, Any]]:
    """`GET .../pending`: `value` is what holds, `pending` what will; `delete` is 2 where a volume goes with it."""
    now, later = typed(guest.config), typed(guest.pending)
    rows: list[dict[str, Any]] = []
    for name, value in now.items():
        row: dict[str, Any] = {"key": name, "value": value}
        if name in later:
            row["pending"] = later[name]
        elif name in guest.pending_delete:
            row["delete"] = 2 if guest.pending_delete[name] else 1
        rows.append(row)
    rows += [{"key": name, "pending": value} for name, value in later.items() if name not in now]
    rows += [{"key": name, "delete": 1} for name in guest.pending_delete if name not in now and name not in later]
    return [*rows, {"key": "digest", "value": guest.digest()}]


def merged(guest: Guest) -> dict[str, str]:
    """The configuration as it will be once pending changes hold."""
    return {name: value for name, value in (guest.config | guest.pending).items() if name not in guest.pending_delete}


def apply(server: Server, guest: Guest, errors: dict[str, str] | None = None) -> None:
    """Makes all pending changes of a stopped VM hold; what fails goes to `errors` and stays pending."""
    if not guest.pending and not guest.pending_delete:
        return
    touched = {*guest.pending, *guest.pending_delete}
    for name, force in sorted(guest.pending_delete.items()):
        try:
            if name in KEYS and name in guest.config:
                detach(server, guest, name, force)
        except ApiError as fault:
            if errors is not None:
                errors[name] = fault.message + "\n"
            continue
        guest.config.pop(name, None)
        del guest.pending_delete[name]
    for name in list(guest.pending):
        value = guest.pending.pop(name)
        if name in KEYS and name in guest.config:
            replace(server, guest, name, value)
        guest.config[name] = value
    if any(cloudinit.concerns(name) or name == "name" or name in KEYS for name in touched):
        cloudinit.generate(server.estate, guest)


def detach(server: Server, guest: Guest, name: str, force: bool) -> None:
    """Takes a drive off a VM: its volume becomes unused, or is destroyed (`force`)."""
    drive = Drive.parse(name, guest.config[name])
    if force and not drive.cdrom:
        if in_snapshot(guest, drive.file):
            raise ApiError(500, f"unable to delete '{drive.file}' - volume is still in use (snapshot?)")
        volumes.free(server, drive.file, guest.node)
    else:
        keep(server, guest, drive)


def replace(server: Server, guest: Guest, name: str, value: str) -> None:
    """What becomes of the volume whose drive gets another one."""
    before, after = Drive.parse(name, guest.config[name]), Drive.parse(name, value)
    if before.file != after.file:
        keep(server, guest, before)


def keep(server: Server, guest: Guest, drive: Drive) -> None:
    """Keeps a volume that a drive no longer uses as `unusedN`; a cloud-init drive is destroyed."""
    if drive.cloud_init:
        server.estate.remove_volume(drive.file, guest.node)
    elif not drive.cdrom and volumes.owner(drive.file) == guest.vmid:
        add_unused(guest, drive.file)


def add_unused(guest: Guest, volid: str) -> None:
    """Lists a volume as unused, under the first free number, unless it is listed or another drive uses it too."""
    users = sum(drive.file == volid for drive in drives(guest.config))
    if users > 1 or volid in {drive.file for drive in unused(guest.config)}:
        return
    number = next(number for number in range(256) if f"unused{number}" not in guest.config)
    guest.config[f"unused{number}"] = volid


def in_snapshot(guest: Guest, volid: str) -> bool:
    """Whether a snapshot uses a volume."""
    return any(drive.file == volid for snapshot in guest.snapshots.values() for drive in drives(snapshot))
