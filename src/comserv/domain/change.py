"""A first change of a guest: CPU, memory, name, tags, notes, start on boot; and what of it waits for a restart."""

from dataclasses import dataclass
from typing import Any

from comserv.domain.guest import GuestConfig, GuestType
from comserv.domain.plan import PlannedCall


@dataclass(frozen=True)
class ChangeRequest:
    """None: stays as it is. memory_mb in MiB. notes: as a person writes them, without our marker."""

    cpu_cores: int | None = None
    memory_mb: int | None = None
    name: str | None = None
    tags: tuple[str, ...] | None = None
    notes: str | None = None
    start_on_boot: bool | None = None


@dataclass(frozen=True)
class ChangeEffect:
    """Fields of the request that apply at once, and those that wait for the next stop and start."""

    at_once: tuple[str, ...]
    after_restart: tuple[str, ...]


def parse_change_request(mapping: object) -> ChangeRequest:
    """Raises Invalid with every fault by field; an empty change is one."""
    raise NotImplementedError


def to_mapping(change: ChangeRequest) -> dict[str, Any]:
    """Only what is to change, as JSON."""
    raise NotImplementedError


def change_parameters(change: ChangeRequest, type: GuestType, config: GuestConfig) -> dict[str, str]:
    """Parameters that change what differs, with the digest; empty when all is so already. A marker in the description is kept."""
    raise NotImplementedError


def change_call(change: ChangeRequest, type: GuestType, node: str, vmid: int, config: GuestConfig) -> PlannedCall:
    """`POST …/qemu/{vmid}/config` (a task) or `PUT …/lxc/{vmid}/config` (at once)."""
    raise NotImplementedError


def change_effect(change: ChangeRequest, type: GuestType, running: bool, config: GuestConfig) -> ChangeEffect:
    """What a running guest takes at once, by its `hotplug` (default network, disk, usb)."""
    raise NotImplementedError


def is_changed(change: ChangeRequest, type: GuestType, config: GuestConfig) -> bool:
    """Whether the configuration (pending values included, as `GET config` shows them) is as asked."""
    raise NotImplementedError
