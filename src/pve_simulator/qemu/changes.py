"""Changes of a VM's configuration: what is asked, may it be, and how it comes to hold (PVE::API2::Qemu, update_vm_api)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pve_simulator.call import Call
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.qemu import cloudinit, disks, hotplug, options, pending, volumes
from pve_simulator.qemu.drives import KEYS, UNUSED, Drive, boot_order, boot_text
from pve_simulator.qemu.power import check_lock
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest


@dataclass
class Change:
    """What a call asks: options to set (as the file holds them), to delete, to revert."""

    values: dict[str, str] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)
    revert: list[str] = field(default_factory=list)
    force: bool = False
    skiplock: bool = False


def read(call: Call) -> Change:
    """What a call asks; raises where it contradicts itself, or the caller may not."""
    skiplock = only_root(call)
    values = options.texts(call.parameters)
    check_script(call, values)
    if "sshkeys" in values:
        cloudinit.check_keys(values["sshkeys"])
    if not values and "delete" not in call and "revert" not in call:
        raise ApiError(500, "no options specified")
    change = Change(values, listed(call, "delete"), listed(call, "revert"), bool(call.get("force")), skiplock)
    check_names(change)
    options.check_options(call, change.delete)
    options.check_options(call, list(values))
    options.check_values(call, values)
    disks.check_access(call, [Drive.parse(name, value) for name, value in values.items() if name in KEYS])
    change.values = {name: options.filed(name, value) for name, value in values.items()}
    if "cipassword" in change.values:
        change.values["cipassword"] = cloudinit.hashed(change.values["cipassword"])
    return change


def only_root(call: Call) -> bool:
    """Whether locks are to be ignored; raises ParameterError for all but root."""
    if call.get("skiplock") and not call.is_root:
        raise ParameterError({"skiplock": "Only root may use this option."})
    return bool(call.get("skiplock"))


def check_script(call: Call, values: dict[str, str]) -> None:
    """Raises ParameterError for a hook script that is not there."""
    script = values.get("hookscript")
    if script and call.estate.volume(script, call.node.name) is None:
        raise ParameterError({"hookscript": f"script '{script}' does not exist\n"})


def listed(call: Call, name: str) -> list[str]:
    """The options that `delete` or `revert` name; `cdrom` is `ide2`."""
    told = [part for part in re.split(r"[,;\s]+", str(call.get(name) or "")) if part]
    return ["ide2" if part == "cdrom" else part for part in told]


def check_names(change: Change) -> None:
    """Raises ParameterError for unknown options, and for one that is to be both set and deleted or reverted."""
    for name in change.revert:
        if not options.known(name):
            raise ParameterError({"revert": f"unknown option '{name}'"})
        if name in change.values:
            raise ParameterError({"delete": f"you can't use '-{name}' and '-revert {name}' at the same time"})
    for name in change.delete:
        if name in change.values:
            raise ParameterError({"delete": f"you can't use '-{name}' and -delete {name}' at the same time"})
        if name in change.revert:
            raise ParameterError({"revert": f"you can't use '-delete {name}' and '-revert {name}' at the same time"})
        if not options.known(name):
            raise ParameterError({"delete": f"unknown option '{name}'"})


def told(call: Call) -> str:
    """The change as the task's log tells it."""
    skipped = {"node", "vmid", "digest", "skiplock", "background_delay"}
    shown = {name: value for name, value in call.parameters.items() if name not in skipped}
    if "cipassword" in shown:
        shown["cipassword"] = "<hidden>"
    pairs = (f"-{name} {options.text(value)}" for name, value in sorted(shown.items()))
    return f"update VM {call['vmid']}: {' '.join(pairs)}"


def check_state(call: Call, guest: Guest, change: Change) -> None:
    """Raises where the configuration was changed meanwhile, is locked, or memory and balloon do not fit."""
    call.check_digest(guest)
    check_lock(guest, skip=change.skiplock)
    if "memory" in change.values or "balloon" in change.values:
        memory = int(re.findall(r"\d+", change.values.get("memory", guest.config.get("memory", "512")))[0])
        balloon = int(change.values.get("balloon", guest.config.get("balloon", "0")))
        if balloon > memory and "balloon" not in change.delete:
            raise ApiError(500, "balloon value too large (must be smaller than assigned memory)")


async def carry_out(run: Run, guest: Guest, change: Change) -> None:
    """Makes a change, the VM's file lock being held. Raises ParameterError for what could not be done at once."""
    server = run.server
    modified: set[str] = set()
    for name in change.revert:
        revert(run, guest, name)
    order = boot_order(guest.config)
    for name in change.delete:
        delete(run, guest, name, change.force, order, modified)
    for name, value in sorted(change.values.items()):
        modified.add(name)
        if guest.pending.get(name) != value:
            await put(run, guest, name, value, order, modified, change)
        guest.pending_delete.pop(name, None)
    clean(guest)
    if guest.process:
        errors = await hotplug.apply(server, guest, modified)
    else:
        errors = {}
        pending.apply(server, guest, errors)
    server.changed()
    if errors:
        raise ParameterError(errors)


def revert(run: Run, guest: Guest, name: str) -> None:
    """Forgets a pending change; a disk made for it becomes unused."""
    value = guest.pending.pop(name, None)
    if value is not None and name in KEYS:
        pending.keep(run.server, guest, Drive.parse(name, value))
    guest.pending_delete.pop(name, None)


def delete(run: Run, guest: Guest, name: str, force: bool, order: list[str], modified: set[str]) -> None:
    """Marks an option as to be deleted; raises ApiError 500 where protection forbids it."""
    value = guest.config.get(name, guest.pending.get(name))
    if value is None:
        return
    check_protection(guest, name, value)
    modified.add(name)
    was_pending = guest.pending.pop(name, None)
    if name in order:
        order.remove(name)
        guest.pending["boot"] = boot_text(order)
        modified.add("boot")
    if UNUSED.fullmatch(name):
        delete_unused(run, guest, name, value)
        return
    if name in KEYS and was_pending is not None:
        pending.keep(run.server, guest, Drive.parse(name, was_pending))
    guest.pending_delete[name] = force


def check_protection(guest: Guest, name: str, value: str) -> None:
    """Raises ApiError 500 for a disk of a protected VM."""
    if guest.config.get("protection") != "1":
        return
    if UNUSED.fullmatch(name):
        raise ApiError(500, f"can't remove unused disk '{value}' - protection mode enabled")
    if name in KEYS:
        raise ApiError(500, f"can't remove drive '{name}' - protection mode enabled")


def delete_unused(run: Run, guest: Guest, name: str, volid: str) -> None:
    """Destroys an unused volume; one that a snapshot needs stays."""
    if pending.in_snapshot(guest, volid):
        raise ApiError(500, f"unable to delete '{volid}' - volume is still in use (snapshot?)")
    if volumes.owner(volid) == guest.vmid:
        volumes.free(run.server, volid, guest.node)
    guest.config.pop(name, None)


async def put(
    run: Run, guest: Guest, name: str, value: str, order: list[str], modified: set[str], change: Change
) -> None:
    """Puts a new value among the pending ones; disks are made here."""
    if name in KEYS:
        if name in guest.pending:
            pending.keep(run.server, guest, Drive.parse(name, guest.pending[name]))
        drive = await disks.make(run, guest, Drive.parse(name, value))
        guest.pending[name] = str(drive)
        if order and drive.cdrom and not drive.cloud_init and name not in order:
            order.append(name)
            guest.pending["boot"] = boot_text(order)
            modified.add("boot")
        return
    if name == "boot":
        for device in boot_order({"boot": value}):
            if device in change.delete or device not in {*guest.config, *guest.pending, *change.values}:
                raise ApiError(500, f"invalid bootorder: device '{device}' does not exist'")
    guest.pending[name] = value


def clean(guest: Guest) -> None:
    """Forgets pending changes that change nothing."""
    for name, value in list(guest.pending.items()):
        if guest.config.get(name) == value:
            del guest.pending[name]
    for name in [name for name in guest.pending_delete if name not in guest.config]:
        del guest.pending_delete[name]
