"""What is refused before a migration begins, and what the API tells of it beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.highavailability import rules
from pve_simulator.migration import resources
from pve_simulator.migration.mapping import BadMap, Map
from pve_simulator.qemu import highavailability, power, volumes
from pve_simulator.world.guest import Guest

if TYPE_CHECKING:
    from pve_simulator.call import Call

ROOT_ONLY = ("force", "migration_type", "migration_network")


@dataclass(frozen=True)
class Move:
    """A VM's move as it was asked for and allowed; `bandwidth` in KiB a second."""

    guest: Guest
    target: str
    storages: Map
    online: bool = False
    with_disks: bool = False
    bandwidth: int | None = None
    force: bool = False
    conntrack: bool = False


def target_of(call: Call) -> str:
    """The node to move to; raises ParameterError for this one, ApiError 500 for one that there is not."""
    target = call["target"]
    if target in ("localhost", call.node.name):
        raise ParameterError({"target": "target is local node."})
    call.server.quorum.need(call.node.name)
    if target not in call.estate.nodes:
        raise ApiError(500, f"no such cluster node '{target}'")
    return target


def storage_map(call: Call, name: str) -> Map:
    """A map from its parameter; raises ParameterError."""
    try:
        return Map.parse(call.get(name) or "")
    except BadMap as fault:
        raise ParameterError({name: f"failed to parse storage map: {fault}"}) from None


def check_storages(call: Call, asked: Map, target: str, content: str, what: str) -> None:
    """Raises where the caller may not write to the target's storages, or they do not take what comes."""
    if not asked.identity:
        call.check(f"/vms/{call['vmid']}", "VM.Config.Disk")
    for name in sorted(asked.targets):
        storage = volumes.usable(call.server, name, target)
        call.check(f"/storage/{name}", "Datastore.AllocateSpace")
        if content not in storage.content:
            raise ApiError(500, f"storage '{name}' does not support {what}")


def checked(call: Call) -> Move:
    """A VM's move, in the order in which Proxmox looks at it; raises ApiError, ParameterError, PermissionDenied."""
    target = target_of(call)
    for name in ROOT_ONLY:
        if call.get(name) and not call.is_root:
            raise ParameterError({name: "Only root may use this option."})
    guest = call.guest()
    power.check_lock(guest)
    if guest.process and not call.get("online"):
        raise ApiError(500, "can't migrate running VM without --online")
    asked = storage_map(call, "targetstorage")
    if "targetstorage" in call:
        check_storages(call, asked, target, "images", "vm images")
    if asked.identity or "targetstorage" not in call:
        for drive, attached in resources.volumes_of(guest):
            if attached:
                volumes.usable(call.server, volumes.parts(drive.file)[0], guest.node)
                volumes.usable(call.server, volumes.parts(drive.file)[0], target)
    return Move(
        guest,
        target,
        asked,
        online=guest.process is not None,
        with_disks=bool(call.get("with-local-disks")),
        bandwidth=call.get("bwlimit") or None,
        force=bool(call.get("force")),
        conntrack=bool(call.get("with-conntrack-state")),
    )


def preconditions(call: Call) -> dict[str, Any]:
    """What `GET .../migrate` tells of a VM. Every other node stands in `not_allowed_nodes`, allowed ones with nothing."""
    call.server.quorum.need(call.node.name)
    guest, server = call.guest(), call.server
    power.check_lock(guest)
    told: dict[str, Any] = {
        "running": int(guest.process is not None),
        "local_disks": resources.local_disks(server, guest),
        "local_resources": resources.local_resources(guest),
        "mapped-resources": sorted(resources.mapped_resources(guest)),
        "mapped-resource-info": resources.mapped_resources(guest),
        "has-dbus-vmstate": 1,
    }
    blocking: dict[str, list[dict[str, str]]] = {}
    if highavailability.managed(call.estate, guest):
        dependent, blocking = rules.motion(server, f"vm:{guest.vmid}")
        told["dependent-ha-resources"] = dependent
    refused: dict[str, dict[str, Any]] = {}
    for name in call.estate.nodes:
        if name == guest.node:
            continue
        reasons = {
            "unavailable_storages": resources.lacking(server, guest, name),
            "unavailable-resources": resources.unmapped(server, guest, name),
            "blocking-ha-resources": blocking.get(name, []),
        }
        refused[name] = {reason: found for reason, found in reasons.items() if found}
    allowed = [name for name, reasons in refused.items() if not reasons]
    return told | {"allowed_nodes": allowed, "not_allowed_nodes": refused}
