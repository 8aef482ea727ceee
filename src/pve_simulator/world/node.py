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
