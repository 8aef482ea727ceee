"""Operating systems that volumes hold, and what their guest agents tell of them.

A volume's `facts["system"]` names one; a volume without it boots nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pve_simulator.qemu.drives import BOOTABLE, Drive, boot_order

if TYPE_CHECKING:
    from pve_simulator.world.estate import Estate
    from pve_simulator.world.guest import Guest


@dataclass(frozen=True)
class System:
    """An operating system as `os-release` and the kernel tell it; `boots` is its time until the agent answers."""

    id: str
    name: str
    version: str
    version_id: str
    pretty: str
    release: str
    kernel: str
    hostname: str = ""
    cloud_init: bool = True
    agent: bool = True
    password_tool: bool = True
    boots: float = 6.0


DEBIAN_KERNEL = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)"
SYSTEMS = {
    "debian-12": System(
        "debian",
        "Debian GNU/Linux",
        "12 (bookworm)",
        "12",
        "Debian GNU/Linux 12 (bookworm)",
        "6.1.0-28-cloud-amd64",
        "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)",
    ),
    "ubuntu-24.04": System(
        "ubuntu",
        "Ubuntu",
        "24.04 LTS (Noble Numbat)",
        "24.04",
        "Ubuntu 24.04 LTS",
        "6.8.0-49-generic",
        "#49-Ubuntu SMP PREEMPT_DYNAMIC Mon Nov  4 02:06:24 UTC 2024",
    ),
    "rocky-9": System(
        "rocky",
        "Rocky Linux",
        "9.5 (Blue Onyx)",
        "9.5",
        "Rocky Linux 9.5 (Blue Onyx)",
        "5.14.0-503.14.1.el9_5.x86_64",
        "#1 SMP PREEMPT_DYNAMIC Fri Nov 15 12:04:32 UTC 2024",
    ),
    "alpine-3.20": System(
        "alpine",
        "Alpine Linux",
        "3.20.3",
        "3.20.3",
        "Alpine Linux v3.20",
        "6.6.63-0-virt",
        "#1-Alpine SMP PREEMPT_DYNAMIC 2024-11-22 16:57:28",
        agent=False,
    ),
    # The small Linux of the recorded world: an initramfs with a guest agent, and little else.
    "mini": System(
        "debian",
        "Debian GNU/Linux",
        "13 (trixie)",
        "13",
        "Debian GNU/Linux 13 (trixie) test initramfs",
        "6.12.117+deb13-cloud-amd64",
        DEBIAN_KERNEL,
        hostname="guest1",
        cloud_init=False,
        password_tool=False,
        boots=9.0,
    ),
}


def system_of(estate: Estate, guest: Guest) -> System | None:
    """What a VM boots: the first of its boot devices that holds a system; without an order any of its disks."""
    config = guest.config
    keys = boot_order(config) if config.get("boot") is not None else BOOTABLE
    for key in keys:
        if key in BOOTABLE and key in config:
            volume = estate.volume(Drive.parse(key, config[key]).file, guest.node)
            if volume and volume.facts.get("system") in SYSTEMS:
                return SYSTEMS[volume.facts["system"]]
    return None
