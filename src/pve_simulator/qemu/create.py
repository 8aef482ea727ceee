"""A new VM: its configuration reserved at once, its disks made in the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pve_simulator.errors import ApiError, TaskError
from pve_simulator.qemu import cloudinit, disks, options, power
from pve_simulator.qemu.drives import KEYS, Drive, default_boot
from pve_simulator.qemu.machine import QEMU
from pve_simulator.tasks import Run, failure_text
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.server import Server

CONFIGURE = 0.1  # seconds to write a configuration


def reserve(server: Server, vmid: int, node: str, lock: str) -> Guest:
    """Takes a VMID by writing a locked configuration; raises ApiError 500 where it is taken."""
    taken = server.estate.guests.get(vmid)
    if taken is not None:
        kind = "VM" if taken.type == "qemu" else "CT"
        raise ApiError(500, f"{kind} {vmid} already exists on node '{taken.node}'")
    guest = Guest(vmid, node, "qemu", {"lock": lock}, created=server.clock.time())
    server.estate.guests[vmid] = guest
    server.changed()
    return guest


async def build(run: Run, guest: Guest, values: dict[str, str], pool: str | None) -> None:
    """Makes the disks and writes the configuration; what fails leaves nothing behind."""
    server, made = run.server, []
    try:
        async with run.lock(guest.vmid):
            await run.sleep(CONFIGURE)
            config = {name: value for name, value in values.items() if name not in KEYS}
            for name in sorted(name for name in values if name in KEYS):
                wanted = Drive.parse(name, values[name])
                drive = await disks.make(run, guest, wanted)
                if drive.file != wanted.file:
                    made.append(drive.file)
                config[name] = str(drive)
            complete(server, config)
            guest.config = config
    except BaseException as fault:
        for volid in made:
            server.estate.remove_volume(volid, guest.node)
        server.estate.guests.pop(guest.vmid, None)
        server.changed()
        if isinstance(fault, (ApiError, TaskError)):
            raise TaskError(f"unable to create VM {guest.vmid} - {failure_text(fault)}") from None
        raise
    cloudinit.generate(server.estate, guest)
    if pool and pool in server.estate.pools:
        server.estate.pools[pool].guests.append(guest.vmid)
    server.changed()


def complete(server: Server, config: dict[str, str]) -> None:
    """Adds what nobody needs to say: boot order, UUID, generation, what made it."""
    config.setdefault("boot", default_boot(config))
    if "uuid=" not in config.get("smbios1", ""):
        rest = config.get("smbios1")
        config["smbios1"] = f"uuid={options.new_uuid()}" + (f",{rest}" if rest else "")
    config.setdefault("vmgenid", options.new_uuid())
    config["meta"] = f"creation-qemu={QEMU},ctime={server.clock.seconds()}"


async def start_after(run: Run, guest: Guest) -> None:
    """Starts a VM that was just made."""
    run.log("Execute autostart")
    await power.start(run, guest.vmid, guest.node)
