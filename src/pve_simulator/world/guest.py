"""A guest: its configuration as the text that stands in its file, and its process while it runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote


@dataclass
class Process:
    """What runs. Times are true seconds since the epoch; `agent_at` is when the guest agent begins to answer."""

    pid: int
    started: float
    qmpstatus: str = "running"
    agent_at: float | None = None
    cpu: float = 0.01
    machine: str = "pc-i440fx-10.0+pve0"
    # What the process was begun with and cannot change until it ends (disks' sizes, addresses given by cloud-init).
    facts: dict[str, str] = field(default_factory=dict)


@dataclass
class Guest:
    """A VM or container. `config`, `pending` and snapshots hold texts, in the form in which the file holds them.

    `lock`, `template`, `tags` and the rest stand in `config` as on the real one.
    """

    vmid: int
    node: str
    type: Literal["qemu", "lxc"] = "qemu"
    config: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    pending_delete: dict[str, bool] = field(default_factory=dict)  # key -> forced
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    process: Process | None = None
    addresses: list[str] = field(default_factory=list)  # with prefix, as the agent tells them
    created: float = 0.0

    @property
    def name(self) -> str:
        """As lists show it: the name or hostname, else `VM <id>` or `CT<id>`."""
        if self.type == "lxc":
            return self.config.get("hostname", f"CT{self.vmid}")
        return self.config.get("name", f"VM {self.vmid}")

    @property
    def status(self) -> str:
        """`running` or `stopped`: the API knows no other."""
        return "running" if self.process else "stopped"

    @property
    def lock(self) -> str | None:
        """What holds the configuration, e.g. `clone`."""
        return self.config.get("lock")

    @property
    def template(self) -> bool:
        """Whether it is a template."""
        return self.config.get("template") == "1"

    def text(self) -> str:
        """The configuration file."""
        parts = [section(self.config)]
        if self.pending or self.pending_delete:
            deleted = ",".join(("!" if forced else "") + key for key, forced in self.pending_delete.items())
            marks = {"delete": deleted} if deleted else {}
            parts.append("[PENDING]\n" + section({**marks, **self.pending}))
        parts += [f"[{name}]\n" + section(values) for name, values in self.snapshots.items()]
        return "\n".join(parts)

    def digest(self) -> str:
        """SHA-1 of the configuration file, changed by every write."""
        return digest(self.text())


def digest(text: str) -> str:
    """The SHA-1 by which Proxmox tells whether a file changed."""
    return hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Proxmox VE's own choice


def section(values: dict[str, str]) -> str:
    """A section of a configuration file."""
    lines = [f"#{quote(line, safe=' /:')}" for line in values.get("description", "").splitlines()]
    lines += [f"{key}: {value}" for key, value in sorted(values.items()) if key != "description"]
    return "".join(line + "\n" for line in lines)
