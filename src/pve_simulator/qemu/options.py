"""Options of a VM's configuration: their types, who may change which, and how the file holds them."""

from __future__ import annotations

import re
import secrets
import uuid
from functools import lru_cache
from typing import Any

from pve_simulator.call import Call
from pve_simulator.errors import ApiError
from pve_simulator.parameters.verification import parse_property_string
from pve_simulator.qemu.drives import KEYS, boot_text
from pve_simulator.schema import Method, load

HIDDEN = "**********"
CPU = {"affinity", "cores", "cpu", "cpulimit", "cpuunits", "numa", "smp", "sockets", "vcpus"}
MEMORY = {"allow-ksm", "balloon", "memory", "shares"}
HARDWARE = {
    "acpi",
    "audio0",
    "hotplug",
    "kvm",
    "machine",
    "rng0",
    "scsihw",
    "smbios1",
    "spice_enhancements",
    "tablet",
    "vga",
    "vmgenid",
    "watchdog",
}
GENERAL = {
    "agent",
    "autostart",
    "bios",
    "description",
    "keyboard",
    "localtime",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "onboot",
    "ostype",
    "protection",
    "reboot",
    "startdate",
    "startup",
    "tdf",
    "template",
}
DISK = {"boot", "bootdisk", "vmstatestorage"}
CLOUD_INIT = {
    "cicustom",
    "cipassword",
    "citype",
    "ciupgrade",
    "ciuser",
    "nameserver",
    "searchdomain",
    "sshkeys",
}
INTEGERS = {"snaptime", "migrate_speed", "template", "protection"}
# Parameters of create and update that are no options.
NO_OPTIONS = frozenset(
    (
        "node",
        "vmid",
        "digest",
        "delete",
        "revert",
        "skiplock",
        "force",
        "background_delay",
        "archive",
        "bwlimit",
        "live-restore",
        "pool",
        "start",
        "storage",
        "unique",
        "ha-managed",
        "import-working-storage",
    )
)


@lru_cache(1)
def description() -> Method:
    """How the API describes the options: by the call that creates a VM."""
    found = load().find("POST", "/nodes/any/qemu")
    if found is None:
        raise LookupError("the description knows no way to create a VM")
    return found[0]


def texts(parameters: dict[str, Any]) -> dict[str, str]:
    """The options among verified parameters as the file holds them; `cdrom` is `ide2`."""
    values = {name: text(value) for name, value in parameters.items() if name not in NO_OPTIONS}
    if "cdrom" in values:
        medium = values.pop("cdrom")
        values["ide2"] = medium if "media=" in medium else f"{medium},media=cdrom"
    return values


def known(name: str) -> bool:
    """Whether an option of this name exists."""
    extra = ("lock", "vmstate", "parent", "snaptime")
    return name in extra or (name not in NO_OPTIONS and description().parameter(name) is not None)


def typed(config: dict[str, str]) -> dict[str, Any]:
    """Options as replies show them: numbers where the description says so, passwords hidden."""
    return {name: HIDDEN if name == "cipassword" else _typed(name, value) for name, value in config.items()}


def _typed(name: str, value: str) -> Any:
    told = description().parameter(name) or {}
    numeric = told.get("type") in ("integer", "boolean") or name in INTEGERS
    return int(value) if numeric and re.fullmatch(r"-?\d+", value) else value


def text(value: Any) -> str:
    """A verified parameter as the file holds it."""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_options(call: Call, names: list[str], pool: str | None = None) -> None:
    """Raises PermissionDenied, or ApiError 500 for what only root may set; drives are checked by their values."""
    if call.is_root:
        return
    for name in names:
        if name in KEYS or name in ("cdrom", "tags") or re.fullmatch(r"(?:unused|serial|usb|hostpci)\d+", name):
            continue
        needed = privileges(name)
        if not needed:
            raise ApiError(500, f"only root can set '{name}' config")
        check_guest(call, pool, *needed)
        if name == "startup":
            call.check("/", "Sys.Modify")


def check_guest(call: Call, pool: str | None, *privileges: str) -> None:
    """Raises PermissionDenied where the caller has none of the privileges on the VM, nor on the pool it goes to."""
    if pool and call.may(f"/pool/{pool}", *privileges, any_of=True):
        return
    call.check(f"/vms/{call['vmid']}", *privileges, any_of=len(privileges) > 1)


def privileges(name: str) -> tuple[str, ...]:
    """What one needs (one of several) to set an option; empty: only root may."""
    groups = ((CPU, "CPU"), (MEMORY, "Memory"), (HARDWARE, "HWType"), (GENERAL, "Options"), (DISK, "Disk"))
    for names, part in groups:
        if name in names:
            return (f"VM.Config.{part}",)
    if re.fullmatch(r"numa\d+", name):
        return ("VM.Config.CPU",)
    if re.fullmatch(r"net\d+", name):
        return ("VM.Config.Network",)
    if name in CLOUD_INIT or re.fullmatch(r"ipconfig\d+", name):
        return ("VM.Config.Cloudinit", "VM.Config.Network")
    return ()


def check_values(call: Call, values: dict[str, str]) -> None:
    """Raises for devices of the host, and where one may not use a bridge."""
    for name, value in values.items():
        if re.fullmatch(r"serial\d+", name):
            check_guest(call, call.get("pool"), "VM.Config.HWType")
            if value != "socket" and not call.is_root:
                raise ApiError(500, f"only root can modify '{name}' config for real devices")
        elif re.fullmatch(r"usb\d+", name):
            check_guest(call, call.get("pool"), "VM.Config.HWType")
            if "host=" in value and not call.is_root:
                raise ApiError(500, f"only root can set '{name}' config for real devices")
        elif re.fullmatch(r"hostpci\d+", name) and "mapping=" not in value and not call.is_root:
            raise ApiError(500, f"only root can set '{name}' config for non-mapped devices")
        elif name == "tags":
            check_guest(call, call.get("pool"), "VM.Config.Options")
        elif re.fullmatch(r"net\d+", name):
            bridge = network(value).get("bridge")
            if bridge:
                tag = network(value).get("tag")
                where = f"/sdn/zones/localnetwork/{bridge}"
                if not (tag and call.may(f"{where}/{tag}", "SDN.Use")):
                    call.check(where, "SDN.Use")


def network(value: str) -> dict[str, str]:
    """A network card's members: `model`, `macaddr`, `bridge`, ..."""
    return parse_property_string(load().formats["net[n]"], value)


def network_text(card: dict[str, str]) -> str:
    """A network card as the file holds it; without an address it gets one of Proxmox's own."""
    rest = dict(card)
    model, address = rest.pop("model", "virtio"), rest.pop("macaddr", None) or new_mac()
    return ",".join([f"{model}={address}", *(f"{name}={value}" for name, value in sorted(rest.items()))])


def new_mac() -> str:
    """A hardware address of Proxmox's own prefix."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def new_uuid() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


def filed(name: str, value: str) -> str:
    """An option in the form in which the file holds it: cards with addresses, tags sorted, boot devices as a list."""
    if re.fullmatch(r"net\d+", name):
        return network_text(network(value))
    if name == "tags":
        return ";".join(sorted({tag.lower() for tag in re.split(r"[,;\s]+", value) if tag}))
    if name == "boot" and "order=" in value:
        return boot_text([device for device in re.split(r"[,;\s]+", value.removeprefix("order=")) if device])
    if name == "vmgenid" and value == "1":
        return new_uuid()
    return value
