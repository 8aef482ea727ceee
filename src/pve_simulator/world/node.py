"""A node of the cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

GIB = 1024**3


@dataclass
class Interface:
    """A network interface as `/nodes/{node}/network` tells it; keys and values as there."""

    iface: str
    type: str = "bridge"
    options: dict[str, str | int | list[str]] = field(default_factory=dict)


def bridge(name: str, ports: str, priority: int, cidr: str = "", gateway: str = "") -> Interface:
    """A Linux bridge as the installer writes it; `cidr` is `10.0.0.2/24` or empty."""
    options: dict[str, str | int | list[str]] = {
        "autostart": 1,
        "bridge_fd": "0",
        "bridge_ports": ports,
        "bridge_stp": "off",
        "families": ["inet"],
        "method": "static" if cidr else "manual",
        "method6": "manual",
        "priority": priority,
    }
    if cidr:
        address, _, netmask = cidr.partition("/")
        options |= {"address": address, "netmask": netmask, "cidr": cidr}
    if gateway:
        options["gateway"] = gateway
    return Interface(name, "bridge", options)


def network_card(name: str, priority: int) -> Interface:
    """A network card that is only a bridge's port."""
    return Interface(name, "eth", {"families": ["inet"], "method": "manual", "method6": "manual", "priority": priority})


@dataclass
class Node:
    """A node. `started` in seconds since the epoch; `memory`, `disk` in bytes; `online` false: nobody is there."""

    name: str
    address: str = "127.0.0.1"
    online: bool = True
    cores: int = 8
    memory: int = 32 * GIB
    disk: int = 100 * GIB
    started: float = 0.0
    pid: int = 1000  # the last process id given
    number: int = 1  # nodeid in the cluster
    interfaces: dict[str, Interface] = field(default_factory=dict)
    pending_interfaces: dict[str, Interface | None] = field(default_factory=dict)
    dns: dict[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    hosts: str = ""
    options: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def next_pid(self) -> int:
        """A process id nobody had."""
        self.pid += 1
        return self.pid
