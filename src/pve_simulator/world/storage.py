"""Storages and the volumes on them."""

from __future__ import annotations

from dataclasses import dataclass, field

GIB = 1024**3


@dataclass
class Storage:
    """A storage as configured. `total` and `base_used` in bytes, per node unless shared."""

    id: str
    type: str = "dir"
    content: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)  # path, nodes, thinpool, ... as sent
    shared: bool = False
    disable: bool = False
    total: int = 500 * GIB
    base_used: int = 0

    @property
    def path(self) -> str:
        """Where a directory storage lies."""
        return self.options.get("path", f"/mnt/pve/{self.id}")

    def on(self, node: str) -> bool:
        """Whether a node has it."""
        nodes = self.options.get("nodes")
        return not nodes or node in nodes.split(",")


@dataclass
class Volume:
    """A volume. `volid` is `storage:rest`; `node` is empty on shared storage; sizes in bytes."""

    volid: str
    content: str
    format: str
    size: int
    node: str = ""
    used: int = 0
    ctime: int = 0
    vmid: int | None = None
    parent: str | None = None  # volid of the base it stands on
    notes: str = ""
    protected: bool = False
    subtype: str = ""
    full: bool = False
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def storage(self) -> str:
        """Its storage's id."""
        return self.volid.partition(":")[0]
