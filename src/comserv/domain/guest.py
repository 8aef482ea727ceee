"""A guest: a VM (QEMU) or a container (LXC) on a server, named by (server, vmid); and its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from operator import attrgetter, eq

import msgspec


class GuestType(StrEnum):
    """As Proxmox names them in paths: /nodes/{node}/{type}/{vmid}."""

    QEMU = "qemu"
    LXC = "lxc"


class GuestStatus(StrEnum):
    """paused and suspended come from qmpstatus and the lock (semantics section 9); unknown only where it was never known."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, order=True)
class GuestKey:
    """Identity of a guest: `rack/105`."""

    server: str
    vmid: int

    def __str__(self) -> str:
        return f"{self.server}/{self.vmid}"


class Guest(msgspec.Struct, frozen=True, gc=False):  # made by the thousand: ten times cheaper than a frozen dataclass
    """A row of the list, as `/cluster/resources?type=vm` tells it. Sizes in bytes, cpu as a share of all cores (0 to 1), uptime in s.

    None: not told (the token may lack Sys.Audit or VM.Audit, or the guest is newer than the last 10 s round). cpu, memory_used,
    disk_used and uptime are its figures, new at every look; all else seldom changes. For a changed copy: `msgspec.structs.replace`.
    """

    key: GuestKey
    type: GuestType
    node: str
    name: str = ""
    status: GuestStatus = GuestStatus.UNKNOWN
    template: bool = False
    lock: str = ""
    tags: tuple[str, ...] = ()
    pool: str = ""
    cores: float | None = None
    cpu: float | None = None
    memory: int | None = None
    memory_used: int | None = None
    disk: int | None = None
    disk_used: int | None = None
    uptime: int | None = None
    hastate: str = ""


_but_figures = attrgetter(
    "key", "type", "node", "name", "status", "template", "lock", "tags", "pool", "cores", "memory", "disk", "hastate"
)


def same_guests(before: Sequence[Guest], now: Sequence[Guest]) -> bool:
    """Whether nothing but figures differs; both in the same order."""
    return len(before) == len(now) and all(map(eq, map(_but_figures, before), map(_but_figures, now)))


@dataclass(frozen=True)
class GuestConfig:
    """`GET /nodes/{node}/{type}/{vmid}/config`: every value as text (`"memory": "512"`), digest apart. Never the password."""

    values: Mapping[str, str]
    digest: str

    def get(self, key: str, default: str = "") -> str:
        return self.values.get(key, default)

    def integer(self, key: str, default: int) -> int:
        text = self.values.get(key, "")
        digits = text.replace(".", "", 1)
        return int(float(text)) if digits.isascii() and digits.isdigit() and len(digits) < 16 else default


@dataclass(frozen=True)
class PendingChange:
    """One key of `GET …/pending` that waits for the next stop. `pending` is None where the key is to be deleted."""

    key: str
    value: str
    pending: str | None


@dataclass(frozen=True)
class GuestState:
    """`GET …/status/current`, live. qmpstatus: running, paused, prelaunch, io-error …; sizes in bytes, cpu 0 to 1."""

    status: GuestStatus
    qmpstatus: str = ""
    name: str = ""
    lock: str = ""
    uptime: int = 0
    cpu: float | None = None
    cores: float | None = None
    memory: int | None = None
    memory_used: int | None = None
    disk: int | None = None
    agent: bool = False
    ha_managed: bool = False
    ha_state: str = ""
    running_qemu: str = ""


@dataclass(frozen=True)
class AgentAddress:
    """One address of one interface, as the agent reports it."""

    interface: str
    mac: str
    address: str
    prefix: int

    @property
    def loopback(self) -> bool:
        return self.address.startswith("127.") or self.address == "::1"

    @property
    def link_local(self) -> bool:
        return self.address.startswith(("169.254.", "fe80:"))


@dataclass(frozen=True)
class AgentReport:
    """What the guest agent told at `as_of`: addresses, operating system, host name."""

    as_of: datetime
    addresses: tuple[AgentAddress, ...] = ()
    os: str = ""
    hostname: str = ""


class AddressSource(StrEnum):
    AGENT = "agent"
    CLOUD_INIT = "cloud-init"
    RESERVED = "reserved"


@dataclass(frozen=True)
class KnownAddress:
    """An address of a guest that we know, from where, and when it was true; what the plan checks against."""

    guest: GuestKey
    address: str
    source: AddressSource
    as_of: datetime


@dataclass(frozen=True)
class CloudInit:
    """Cloud-init values of a configuration, read out of its property strings."""

    values: Mapping[str, str] = field(default_factory=dict)
