"""What a server is: its version, its cluster and the nodes in it, and a node's clock."""

import re
from dataclasses import dataclass
from datetime import datetime

from comserv.domain.server import SUPPORTED_BELOW, SUPPORTED_FROM


@dataclass(frozen=True)
class Version:
    """`GET /version`, for example 9.1.6."""

    text: str
    release: str = ""

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor: (9, 1). (0, 0) where the text is no version."""
        found = re.match(r"(\d+)\.(\d+)", self.text)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def supported(self) -> bool:
        return SUPPORTED_FROM <= self.numbers < SUPPORTED_BELOW

    @property
    def agent_privilege(self) -> str:
        """What reading the guest agent needs: VM.GuestAgent.Audit since 9, VM.Monitor before."""
        return "VM.GuestAgent.Audit" if self.numbers >= (9, 0) else "VM.Monitor"


@dataclass(frozen=True)
class ClusterNode:
    """local: the one that answered. address: as the nodes see each other."""

    name: str
    online: bool
    local: bool = False
    address: str = ""


@dataclass(frozen=True)
class ClusterStatus:
    """`GET /cluster/status`. name is empty on a single node, which is always quorate."""

    name: str
    quorate: bool
    nodes: tuple[ClusterNode, ...]


@dataclass(frozen=True)
class NodeStatus:
    """`GET /nodes/{node}/status`, live. Sizes in bytes, cpu 0 to 1, uptime in s."""

    node: str
    cpu: float | None
    cores: int | None
    memory: int | None
    memory_used: int | None
    uptime: int | None
    version: str = ""
    cpu_model: str = ""


@dataclass(frozen=True)
class NodeTime:
    """`GET /nodes/{node}/time`."""

    now: datetime
    timezone: str
