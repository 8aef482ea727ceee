"""Reads disks, network cards, the cloud-init drive and the agent out of a guest's configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from comserv.domain import propertystring
from comserv.domain.errors import Invalid
from comserv.domain.guest import GuestConfig
from comserv.domain.units import parse_size

_DISK = re.compile(r"(scsi|virtio|sata|ide)\d+")
_UNUSED = re.compile(r"unused\d+")
_MODELS = re.compile(r"virtio|e1000\S*|vmxnet3|rtl8139|ne2k_\S+|pcnet|i8\d+\S*")


@dataclass(frozen=True)
class Disk:
    """`scsi0: local:101/vm-101-disk-0.raw,size=2G`. size in bytes, None where the configuration does not tell it."""

    key: str
    volume: str
    size: int | None
    cdrom: bool = False

    @property
    def storage(self) -> str:
        return self.volume.partition(":")[0] if ":" in self.volume else ""

    @property
    def cloud_init(self) -> bool:
        return self.cdrom and (self.volume.endswith(":cloudinit") or "cloudinit" in self.volume.rpartition("/")[2])

    @property
    def base(self) -> bool:
        """A template's base volume, from which linked clones are made."""
        return self.volume.rpartition("/")[2].rpartition(":")[2].startswith(("base-", "basevol-"))

    @property
    def linked_to(self) -> str:
        """The base volume that this disk is an overlay of (`local:110/base-110-disk-0.qcow2/115/…`), or empty."""
        found = re.fullmatch(r"([^:]+:(?:\d+/)?base(?:vol)?-\d+-[^/]+)/.+", self.volume)
        return found[1] if found else ""


def values_of(text: str, default_key: str = "") -> dict[str, str]:
    """A property string of a server's configuration; what cannot be read gives no values instead of an error."""
    try:
        return propertystring.parse(text, default_key)
    except Invalid:
        return {}


def disks(config: GuestConfig) -> tuple[Disk, ...]:
    """Every drive, CD-ROMs included, and `efidisk0`, `tpmstate0`, `rootfs`, `mpN` of their kinds, by key."""
    keys = [
        key for key in config.values if _DISK.fullmatch(key) or re.fullmatch(r"efidisk0|tpmstate0|rootfs|mp\d+", key)
    ]
    return tuple(_disk(key, config.get(key)) for key in sorted(keys))


def unused_disks(config: GuestConfig) -> tuple[Disk, ...]:
    """Volumes that belong to the guest and are plugged in nowhere."""
    return tuple(_disk(key, config.get(key)) for key in sorted(config.values) if _UNUSED.fullmatch(key))


def _disk(key: str, text: str) -> Disk:
    values = values_of(text, "file")
    return Disk(
        key,
        values.get("file", values.get("volume", "")),
        parse_size(values.get("size", "")),
        values.get("media") == "cdrom",
    )


def boot_disk(config: GuestConfig) -> Disk | None:
    """The disk that the guest boots from: the first of `boot: order=…`, else `bootdisk`, else the first disk there is."""
    real = {
        disk.key: disk
        for disk in disks(config)
        if not disk.cdrom and _DISK.fullmatch(disk.key) and disk.volume != "none"
    }
    order = values_of(config.get("boot"), "legacy").get("order", "").split(";")
    for key in [*order, config.get("bootdisk"), "scsi0", "virtio0", "sata0", "ide0", *real]:
        if key in real:
            return real[key]
    return None


def has_cloud_init(config: GuestConfig) -> bool:
    return any(disk.cloud_init for disk in disks(config))


def agent_enabled(config: GuestConfig) -> bool:
    return values_of(config.get("agent"), "enabled").get("enabled") == "1"


def memory_mib(config: GuestConfig) -> int:
    """MiB; Proxmox's default is 512. Since 8.1 the value may be a property string (`current=512`)."""
    text = values_of(config.get("memory"), "current").get("current", "")
    return int(text) if text.isascii() and text.isdigit() else 512


def cores_of(config: GuestConfig) -> int:
    """Virtual CPUs: sockets times cores."""
    return config.integer("sockets", 1) * config.integer("cores", 1)


@dataclass(frozen=True)
class NetworkCard:
    """`net0: virtio=BC:24:11:69:3E:30,bridge=vmbr0,firewall=1`; other: all further values."""

    model: str
    mac: str
    bridge: str
    vlan: int | None
    other: Mapping[str, str]


def network_card(text: str) -> NetworkCard | None:
    """None for what is no network card of a VM."""
    values = values_of(text, "model")
    model, mac = values.pop("model", ""), values.pop("macaddr", "")
    for key in list(values):
        if not model and _MODELS.fullmatch(key):
            model, mac = key, values.pop(key)
    if not model:
        return None
    tag = values.pop("tag", "")
    vlan = int(tag) if tag.isascii() and tag.isdigit() else None
    return NetworkCard(model, mac, values.pop("bridge", ""), vlan, values)


def write_network_card(card: NetworkCard) -> str:
    """As Proxmox writes it: model with MAC, bridge, tag, the rest."""
    values = {card.model: card.mac} if card.mac else {"model": card.model}
    values |= {"bridge": card.bridge} if card.bridge else {}
    values |= {"tag": str(card.vlan)} if card.vlan is not None else {}
    return propertystring.write({**values, **card.other}, "model")


def cloud_init_addresses(config: GuestConfig) -> tuple[str, ...]:
    """Static addresses of `ipconfig0`, `ipconfig1` …, without prefix; those that cloud-init gives, proven or not."""
    found = []
    for key in sorted(key for key in config.values if key.startswith("ipconfig")):
        values = values_of(config.get(key))
        found += [values[name].partition("/")[0] for name in ("ip", "ip6") if name in values]
    return tuple(one for one in found if one not in ("dhcp", "auto", "manual", ""))
