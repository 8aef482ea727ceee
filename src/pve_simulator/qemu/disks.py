"""What a drive's value asks for: a new disk, an import, cloud-init's drive, or a volume that is there."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pve_simulator.call import Call
from pve_simulator.errors import ApiError, ParameterError, TaskError
from pve_simulator.qemu import volumes
from pve_simulator.qemu.drives import NEW_CLOUD_INIT, NEW_DISK, Drive
from pve_simulator.qemu.options import check_guest
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest
from pve_simulator.world.storage import Volume

if TYPE_CHECKING:
    from pve_simulator.server import Server

GIB = 1024**3
EFI_VARIABLES = 540_672  # bytes of OVMF's 4m variables; the older 2m ones take 128 KiB
EFI_VARIABLES_SMALL = 131_072
TPM_STATE = 4 * 1024**2
NOT_KEPT = ("format", "import-from")
ABSOLUTE = "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 651."
FILE_NAME = re.compile(r"(?:iso|vztmpl|import|snippets|backup)/[^/]+|\d+/[^/]+|\d+/base-[^/]+/\d+/vm-[^/]+|rootdir/\d+")
BLOCK_NAME = re.compile(r"(?:base-\d+-[^/]+/)?(?:vm|base|subvol)-\d+-\S+")


def check_access(call: Call, wanted: list[Drive]) -> None:
    """Raises where the caller may not use what drives ask for, or a storage or volume cannot be meant."""
    for drive in wanted:
        privilege = "VM.Config.CDROM" if drive.cdrom and not drive.cloud_init else "VM.Config.Disk"
        check_guest(call, call.get("pool"), privilege)
        fresh = NEW_CLOUD_INIT.fullmatch(drive.file) or NEW_DISK.fullmatch(drive.file)
        if drive.file == "none":
            continue
        if drive.file == "cdrom":
            call.check("/", "Sys.Console")
        elif (
            sized := NEW_DISK.fullmatch(drive.file)
        ) and drive.cdrom:  # a CD-ROM drive takes only what is there: its size would be a file's name
            raise ApiError(500, f"unable to parse directory volume name '{sized['size']}'")
        elif fresh:
            call.check(f"/storage/{fresh['storage']}", "Datastore.AllocateSpace")
            storage = volumes.storage_of(call.server, fresh["storage"])
            if "images" not in storage.content:
                raise ParameterError({"storage": f"storage '{storage.id}' does not support vm images"})
            check_import(call, drive)
        else:
            check_volume(call, drive.file)


def check_import(call: Call, drive: Drive) -> None:
    """Raises where a drive imports what it may not."""
    source = drive.options.get("import-from")
    if source is None:
        return
    if not re.search(r":0(?:\.0*)?$", drive.file):
        text = "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>"
        raise ParameterError({drive.key: text})
    check_volume(call, source)
    volume = call.estate.volume(source, call.node.name)
    if volume is not None and volume.content not in ("images", "import"):
        text = f"{source} has wrong type '{volume.content}' - needs to be 'images' or 'import'"
        raise ParameterError({drive.key: text})


def check_volume(call: Call, volid: str) -> None:
    """Raises where a volume id is none, or the caller may not use it."""
    name, colon, rest = volid.partition(":")
    if volid.startswith("/") or not colon:
        if not call.is_root:
            raise ApiError(500, ABSOLUTE)
        return
    check_name(call.server, volid)
    if rest.startswith(("iso/", "vztmpl/", "import/")):
        call.check(f"/storage/{name}", "Datastore.AllocateSpace", "Datastore.Audit", any_of=True)
    elif volumes.owner(volid) != call["vmid"]:
        call.check(f"/storage/{name}", "Datastore.Allocate")


def check_name(server: Server, volid: str) -> None:
    """Raises ApiError 500 for a volume id that its storage cannot read."""
    name, _, rest = volid.partition(":")
    files = volumes.holds_files(volumes.storage_of(server, name))
    if not (FILE_NAME if files else BLOCK_NAME).fullmatch(rest):
        raise ApiError(500, f"unable to parse {'directory' if files else 'lvm'} volume name '{rest}'")


async def make(run: Run, guest: Guest, drive: Drive) -> Drive:
    """Makes what a drive asks for and gives the drive as the configuration keeps it.

    Raises ApiError or TaskError where a storage or volume does not allow it.
    """
    made = Drive(drive.key, drive.file, {name: value for name, value in drive.options.items() if name not in NOT_KEPT})
    fresh = NEW_CLOUD_INIT.fullmatch(drive.file)
    if fresh:
        await make_cloud_init(run, guest, made, fresh["storage"], drive.options.get("format"))
    elif fresh := NEW_DISK.fullmatch(drive.file):
        await make_disk(run, guest, drive, made, fresh["storage"], int(float(fresh["size"]) * GIB))
    elif drive.file not in ("none", "cdrom") and not drive.file.startswith("/"):
        use(run, guest, made)
    return made


async def make_cloud_init(run: Run, guest: Guest, made: Drive, storage: str, form: str | None) -> None:
    """Makes cloud-init's drive."""
    await allocate_cloud_init(run, guest, made, storage, form)
    made.options.pop("size", None)
    run.log(f"{made.key}: successfully created disk '{made}'")


async def allocate_cloud_init(run: Run, guest: Guest, made: Drive, storage: str, form: str | None) -> Volume:
    """Makes the volume of cloud-init's drive, in place of one that is there."""
    wanted = volumes.Wanted(
        storage, guest.node, guest.vmid, volumes.CLOUD_INIT_SIZE, form or "qcow2", f"vm-{guest.vmid}-cloudinit"
    )
    volume = await volumes.allocate(run.server, wanted, run.log)
    made.file, made.options["media"] = volume.volid, "cdrom"
    return volume


async def make_disk(run: Run, guest: Guest, drive: Drive, made: Drive, storage: str, size: int) -> None:
    """Makes a disk, empty or imported."""
    form, source = drive.options.get("format"), drive.options.get("import-from")
    if source:
        volume = await import_disk(run, guest, drive.key, storage, source, form)
    elif drive.key == "efidisk0":
        small = drive.options.get("efitype", "2m") == "2m"
        size = EFI_VARIABLES_SMALL if small else EFI_VARIABLES
        volume = await volumes.allocate(
            run.server, volumes.Wanted(storage, guest.node, guest.vmid, size, form), run.log
        )
        await volumes.copy(run, Volume("", "images", "raw", size), volume, guest.node)
        volume.used = size
    else:
        size = TPM_STATE if drive.key == "tpmstate0" else size
        volume = await volumes.allocate(
            run.server, volumes.Wanted(storage, guest.node, guest.vmid, size, form), run.log
        )
    made.file, made.size = volume.volid, volume.size
    run.log(f"{drive.key}: successfully created disk '{made}'")


async def import_disk(run: Run, guest: Guest, key: str, storage: str, source: str, form: str | None) -> Volume:
    """Copies a disk or an image onto a new disk."""
    estate = run.server.estate
    found = estate.volume(source, guest.node)
    where = volumes.usable(run.server, volumes.parts(source)[0], guest.node)
    if found is None:
        raise TaskError(f"failed to stat '{volumes.path(where, source)}'")
    found = replace(
        found, size=int(found.facts.get("virtual", found.size))
    )  # a file tells its own size, not the disk's
    run.log(f"create full clone of drive {'' if found.content == 'import' else key + ' '}({source})")
    wanted = volumes.Wanted(storage, guest.node, guest.vmid, found.size, form or found.format)
    if volumes.storage_of(run.server, storage).disable:
        raise TaskError(f"cannot import from '{source}' - storage '{storage}' is disabled")
    volume = await volumes.allocate(run.server, wanted, run.log)
    try:
        await volumes.copy(run, found, volume, guest.node)
    except BaseException:
        estate.remove_volume(volume.volid, guest.node)
        raise
    if found.content == "import":
        volume.facts.setdefault("system", "debian-12")
    return volume


def use(run: Run, guest: Guest, made: Drive) -> None:
    """Takes a volume that is there; its size is told."""
    estate = run.server.estate
    volumes.usable(run.server, volumes.parts(made.file)[0], guest.node)
    volume = estate.volume(made.file, guest.node)
    if volume is None:
        raise TaskError(f"volume '{made.file}' does not exist")
    if not made.cloud_init:
        made.size = volume.size
