"""Settings of a container: how they are shown and kept, who may change them, and which wait for its next start."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, ParameterError, PermissionDenied
from pve_simulator.lxc import mounts
from pve_simulator.lxc.mounts import Mount
from pve_simulator.qemu import volumes
from pve_simulator.schema import load
from pve_simulator.tasks import Run
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.call import Call

SWITCHES = {"onboot", "protection", "unprivileged", "template", "console", "debug"}
NUMBERS = {"memory", "swap", "cores", "cpuunits", "tty"}
NOT_KEPT = {
    "node", "vmid", "digest", "delete", "revert", "ostemplate", "storage", "pool", "password", "start", "force",
    "restore", "unique", "bwlimit", "ignore-unpack-errors", "ssh-public-keys", "ha-managed",
}  # fmt: skip
# What a running container takes at once (LXC_FASTPLUG_OPTIONS and vmconfig_hotplug_pending); the rest is pending.
AT_ONCE = {
    "description", "onboot", "startup", "protection", "hostname", "hookscript", "cores", "tags", "lock", "memory",
    "swap", "cpulimit", "cpuunits", "nameserver", "searchdomain",
}  # fmt: skip
READ_ONLY = ("unprivileged",)
REQUIRED = ("memory", "rootfs", "ostype")
PRIVILEGES = {
    **dict.fromkeys(("cores", "cpuunits", "cpulimit"), "VM.Config.CPU"),
    **dict.fromkeys(("memory", "swap"), "VM.Config.Memory"),
    **dict.fromkeys(("nameserver", "searchdomain", "hostname"), "VM.Config.Network"),
}


def typed(key: str, value: str) -> str | int:
    """A setting as the API shows it."""
    return int(value) if key in SWITCHES | NUMBERS and value.isdigit() else value


def shown(config: dict[str, str]) -> dict[str, Any]:
    """A configuration as the API shows it."""
    return {key: typed(key, value) for key, value in config.items()}


def pending_rows(guest: Guest) -> list[dict[str, Any]]:
    """`GET .../pending`: `value` is what holds, `pending` what will."""
    rows: list[dict[str, Any]] = []
    for key, value in guest.config.items():
        row: dict[str, Any] = {"key": key, "value": typed(key, value)}
        if key in guest.pending:
            row["pending"] = typed(key, guest.pending[key])
        elif key in guest.pending_delete:
            row["delete"] = 1
        rows.append(row)
    rows += [{"key": k, "pending": typed(k, value)} for k, value in guest.pending.items() if k not in guest.config]
    return [*rows, {"key": "digest", "value": guest.digest()}]


def merged(guest: Guest) -> dict[str, str]:
    """The configuration as it will be at the next start."""
    return {key: value for key, value in (guest.config | guest.pending).items() if key not in guest.pending_delete}


def filed(key: str, value: Any) -> str:
    """A setting as the file holds it; a network card gets what was not said: its address and its kind."""
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if mounts.KEY.fullmatch(key):
        return str(Mount.parse(key, text))
    if key == "tags":
        return ";".join(sorted({tag for tag in re.split(r"[,;\s]+", text.lower()) if tag}))
    if not re.fullmatch(r"net\d+", key):
        return text
    members = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    members.setdefault("hwaddr", new_mac())
    members.setdefault("type", "veth")
    name = members.pop("name", "eth0")
    return ",".join([f"name={name}", *(f"{member}={members[member]}" for member in sorted(members))])


def new_mac() -> str:
    """An address of Proxmox's own range."""
    return "BC:24:11:" + ":".join(f"{random.randrange(256):02X}" for _ in range(3))


def unlocked(guest: Guest, *but: str) -> None:
    """Raises ApiError 500 where the configuration is locked, by other than `but`."""
    if guest.lock and guest.lock not in but:
        raise ApiError(500, f"CT is locked ({guest.lock})")


def check_access(call: Call, keys: list[str], unprivileged: bool, config: dict[str, str], new: bool = False) -> None:
    """Raises PermissionDenied for what the caller may not set (check_ct_modify_config_perm)."""
    path, pool = f"/vms/{call['vmid']}", call.get("pool")

    def need(privilege: str) -> None:
        if not (new and pool and call.may(f"/pool/{pool}", privilege)):
            call.check(path, privilege)

    for key in keys:
        if call.is_root:
            break
        told = str(call.get(key, ""))
        if mounts.KEY.fullmatch(key):
            kind = Mount.parse(key, told).kind if told else "volume"
            if kind != "volume":
                raise PermissionDenied(f"mount point type {kind} is only allowed for root@pam")
            need("VM.Config.Disk")
        elif key == "features":
            check_features(call, told, config.get("features", ""), unprivileged)
        elif re.fullmatch(r"dev\d+", key) or key in ("lock", "hookscript", "entrypoint", "env"):
            if key in ("entrypoint", "env"):
                need("VM.Config.Options")
            else:
                raise PermissionDenied(f"configuring {re.sub(r'[0-9]', '', key)} is only allowed for root@pam")
        elif re.fullmatch(r"net\d+", key):
            need("VM.Config.Network")
        else:
            need(PRIVILEGES.get(key, "VM.Config.Options"))
    check_bridges(call, keys)


def check_bridges(call: Call, keys: list[str]) -> None:
    """Raises PermissionDenied for a bridge that the caller may not use."""
    for key in keys:
        bridge = re.search(r"bridge=([^,]+)", str(call.get(key, ""))) if re.fullmatch(r"net\d+", key) else None
        if bridge:
            call.check(f"/sdn/zones/localnetwork/{bridge[1]}", "SDN.Use")


def check_features(call: Call, wanted: str, before: str, unprivileged: bool) -> None:
    """Only nesting, and only in unprivileged containers, is for others than root@pam."""
    if not unprivileged:
        raise PermissionDenied("changing feature flags for privileged container is only allowed for root@pam")
    old, new = ({*text.split(",")} - {""} for text in (before, wanted))
    changed = old ^ new
    if any(not flag.startswith("nesting=") for flag in changed):
        raise PermissionDenied("changing feature flags (except nesting) is only allowed for root@pam")
    if changed:
        call.check(f"/vms/{call['vmid']}", "VM.Allocate")


def check_delete(guest: Guest, keys: list[str]) -> None:
    """Raises for what cannot be deleted."""
    known = load().find("PUT", f"/nodes/x/lxc/{guest.vmid}/config")
    for key in keys:
        if known is None or known[0].parameter(key) is None:
            raise ParameterError({"delete": f"unknown option '{key}'"})
        if key in REQUIRED:
            raise ApiError(500, f"unable to delete required option '{key}'")
        if key in READ_ONLY:
            raise ApiError(500, f"unable to delete read-only option: '{key}'")
        if (mounts.KEY.fullmatch(key) or mounts.UNUSED.fullmatch(key)) and guest.config.get("protection") == "1":
            raise ApiError(500, f"can't remove CT {guest.vmid} drive '{key}' - protection mode enabled")


async def change(run: Run, guest: Guest, settings: dict[str, str], gone: list[str], revert: list[str]) -> None:
    """Changes the settings of a container whose file lock is held; what cannot be at once waits for its next start."""
    for key in READ_ONLY:
        if key in settings and settings[key] != guest.config.get(key, "0"):
            raise ApiError(500, f"unable to modify read-only option: '{key}'")
    for key in revert:
        guest.pending.pop(key, None)
        guest.pending_delete.pop(key, None)
    for key, value in settings.items():
        mount = Mount.parse(key, value) if mounts.KEY.fullmatch(key) else None
        if mount is not None:
            await mounts.allocate(run.server, guest.node, guest.vmid, mount, run.log)
            settings[key] = str(mount)
    for key in gone:
        if at_once(guest, key) and not mounts.KEY.fullmatch(key):
            guest.pending.pop(key, None)
            remove(run, guest, key)
        else:
            guest.pending.pop(key, None)
            guest.pending_delete[key] = False
    for key, value in settings.items():
        guest.pending_delete.pop(key, None)
        fresh = mounts.KEY.fullmatch(key) and key not in guest.config and ":" in value
        if at_once(guest, key) or fresh:
            guest.pending.pop(key, None)
            put(guest, key, value)
        else:
            guest.pending[key] = value
    run.server.changed()


def at_once(guest: Guest, key: str) -> bool:
    """Whether a setting can change now."""
    return guest.process is None or key in AT_ONCE or bool(re.fullmatch(r"net\d+|unused\d+", key))


def put(guest: Guest, key: str, value: str) -> None:
    """Puts a setting in; a volume that another one takes the place of becomes unused."""
    if mounts.KEY.fullmatch(key) and key in guest.config:
        before, after = Mount.parse(key, guest.config[key]), Mount.parse(key, value)
        if before.volume != after.volume and before.kind == "volume":
            mounts.add_unused(guest.config, before.volume)
    guest.config[key] = value


def remove(run: Run, guest: Guest, key: str) -> None:
    """Takes a setting out: a mount point's volume becomes unused, an unused one is destroyed."""
    value = guest.config.pop(key, None)
    if value is None:
        return
    if mounts.UNUSED.fullmatch(key):
        volumes.free(run.server, value.split(",")[0], guest.node)
    elif mounts.KEY.fullmatch(key) and (mount := Mount.parse(key, value)).kind == "volume":
        mounts.add_unused(guest.config, mount.volume)


def apply(run: Run, guest: Guest) -> None:
    """Makes what was pending hold, at a start or with no process there."""
    for key in list(guest.pending_delete):
        del guest.pending_delete[key]
        remove(run, guest, key)
    for key in list(guest.pending):
        put(guest, key, guest.pending.pop(key))
