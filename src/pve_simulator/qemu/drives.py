"""Drives of a VM as the configuration tells them: `local:101/vm-101-disk-0.raw,discard=on,size=2G`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pve_simulator.parameters.formats import FormatError
from pve_simulator.parameters.verification import parse_property_string
from pve_simulator.schema import load

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
# The order in which Proxmox looks for something to boot from (PVE::QemuServer::Drive).
BOOTABLE = (
    *(f"ide{number}" for number in range(4)),
    *(f"scsi{number}" for number in range(31)),
    *(f"virtio{number}" for number in range(16)),
    *(f"sata{number}" for number in range(6)),
)
KEYS = frozenset((*BOOTABLE, "efidisk0", "tpmstate0"))
UNUSED = re.compile(r"unused\d+")
NEW_DISK = re.compile(r"(?P<storage>[^/:\s]+):(?P<size>\d+(?:\.\d+)?)")  # to be made, in GiB
NEW_CLOUD_INIT = re.compile(r"(?P<storage>[^/:\s]+):cloudinit")
CLOUD_INIT = re.compile(r"[:/](?:vm-\d+-)?cloudinit(?:\.\w+)?$")


@dataclass
class Drive:
    """A drive: `file` is a volume id, `none`, a path, or what is to be made; `options` are texts."""

    key: str
    file: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, key: str, text: str) -> Drive:
        """A drive from its configuration; one whose text nobody can read has the whole text as its file."""
        form = load().formats[key if key in ("efidisk0", "tpmstate0") else re.sub(r"\d+$", "[n]", key)]
        try:
            values = parse_property_string(form, text)
        except FormatError:
            values = {"file": text}
        return cls(key, values.pop("file", ""), values)

    def __str__(self) -> str:
        return ",".join([self.file, *(f"{name}={value}" for name, value in sorted(self.options.items()))])

    @property
    def cdrom(self) -> bool:
        """Whether it is a CD-ROM drive, cloud-init's included."""
        return self.options.get("media") == "cdrom"

    @property
    def cloud_init(self) -> bool:
        """Whether it holds cloud-init's data."""
        return self.cdrom and CLOUD_INIT.search(self.file) is not None

    @property
    def size(self) -> int:
        """Bytes, as the configuration tells them."""
        return parse_size(self.options.get("size", "0"))

    @size.setter
    def size(self, size: int) -> None:
        self.options["size"] = format_size(size)


def drives(config: dict[str, str]) -> list[Drive]:
    """The drives of a configuration in the order in which Proxmox treats them: by name as text."""
    return [Drive.parse(key, config[key]) for key in sorted(config) if key in KEYS]


def unused(config: dict[str, str]) -> list[Drive]:
    """Volumes that a configuration keeps without using them."""
    return [Drive(key, config[key].split(",")[0]) for key in sorted(config) if UNUSED.fullmatch(key)]


def parse_size(text: str) -> int:
    """Bytes of a size such as `2G`, `16934K` or `0`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(found[1]) * UNITS[found[2]]) if found else 0


def format_size(size: int) -> str:
    """The shortest size that tells these bytes exactly; 0 is `0T` (PVE::JSONSchema::format_size)."""
    for unit in ("", "K", "M", "G"):
        if size % 1024:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}T"


def human(size: float) -> str:
    """Bytes for people, as task logs write them: `528.0 KiB`, `2.0 GiB`."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}"


def boot_order(config: dict[str, str]) -> list[str]:
    """The devices of `boot: order=...`; empty where there is none, or the old form."""
    text = config.get("boot", "").strip()
    return (
        [device for device in re.split(r"[;,\s]+", text.removeprefix("order=")) if device] if "order=" in text else []
    )


def boot_text(devices: list[str]) -> str:
    """`boot` for a list of devices; a single space stands for none."""
    return f"order={';'.join(devices)}" if devices else " "


def default_boot(config: dict[str, str]) -> str:
    """What Proxmox boots from where nobody says: the first disk, the first CD-ROM, the first network card."""
    found = [Drive.parse(key, config[key]) for key in BOOTABLE if key in config]
    disk = next((drive.key for drive in found if not drive.cdrom), None)
    cdrom = next((drive.key for drive in found if drive.cdrom and not drive.cloud_init), None)
    card = next((f"net{number}" for number in range(32) if f"net{number}" in config), None)
    return boot_text([device for device in (disk, cdrom, card) if device])


def boot_disk(config: dict[str, str]) -> Drive | None:
    """The disk whose size lists show: the first in the boot order."""
    for key in boot_order(config):
        if key in KEYS and key in config:
            drive = Drive.parse(key, config[key])
            if not drive.cdrom:
                return drive
    return None
