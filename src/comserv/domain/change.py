"""A first change of a guest: CPU, memory, name, tags, notes, start on boot; and what of it waits for a restart."""

from dataclasses import dataclass
from typing import Any

from comserv.domain.errors import Invalid
from comserv.domain.features import FeatureId
from comserv.domain.fields import Fields
from comserv.domain.guest import GuestConfig, GuestType
from comserv.domain.hardware import cores_of, memory_mib
from comserv.domain.hostname import hostname_fault
from comserv.domain.ownership import keep_marker, strip_marker
from comserv.domain.plan import PlannedCall
from comserv.domain.vmrequest import MOST_NOTES, read_tags


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
    fields = Fields(mapping)
    change = ChangeRequest(
        cpu_cores=fields.integer("cpu_cores", 1, 8192),
        memory_mb=fields.integer("memory_mb", 16, 4_178_944),
        name=fields.text("name", check=hostname_fault) if fields.given("name") else fields.absent("name"),
        tags=read_tags(fields, "tags"),
        notes=fields.lines("notes", most=MOST_NOTES) if fields.given("notes") else fields.absent("notes"),
        start_on_boot=fields.boolean("start_on_boot"),
    )
    if change.name == "":
        fields.fault("name", hostname_fault(""))
    fields.close()
    fields.raise_faults()
    if change == ChangeRequest():
        raise Invalid("Nothing is to be changed.", fields={"body": "Give at least one field to change."})
    return change


def to_mapping(change: ChangeRequest) -> dict[str, Any]:
    """Only what is to change, as JSON."""
    values = {
        "cpu_cores": change.cpu_cores,
        "memory_mb": change.memory_mb,
        "name": change.name,
        "tags": None if change.tags is None else list(change.tags),
        "notes": change.notes,
        "start_on_boot": change.start_on_boot,
    }
    return {name: value for name, value in values.items() if value is not None}


def features_of(change: ChangeRequest) -> tuple[FeatureId, ...]:
    """What the server's token has to be allowed for it."""
    features = [FeatureId.CHANGE_CPU] if change.cpu_cores is not None else []
    features += [FeatureId.CHANGE_MEMORY] if change.memory_mb is not None else []
    others = (change.name, change.tags, change.notes, change.start_on_boot)
    features += [FeatureId.CHANGE_OPTIONS] if any(value is not None for value in others) else []
    return tuple(features)


def differing(change: ChangeRequest, type: GuestType, config: GuestConfig) -> tuple[str, ...]:
    """Fields of the request that the configuration does not show yet (it shows pending values too)."""
    name_key = "hostname" if type == GuestType.LXC else "name"
    cores = config.integer("cores", 0) if type == GuestType.LXC else cores_of(config)
    found = {
        "cpu_cores": cores,
        "memory_mb": memory_mib(config),
        "name": config.get(name_key),
        "tags": tuple(sorted(tag for tag in config.get("tags").replace(",", ";").replace(" ", ";").split(";") if tag)),
        "notes": strip_marker(config.get("description")),
        "start_on_boot": config.get("onboot") == "1",
    }
    asked = {**to_mapping(change), **({"tags": tuple(sorted(change.tags))} if change.tags is not None else {})}
    asked |= {"notes": strip_marker(change.notes)} if change.notes is not None else {}
    return tuple(name for name, value in asked.items() if value != found[name])


def change_parameters(change: ChangeRequest, type: GuestType, config: GuestConfig) -> dict[str, str]:
    """Parameters that change what differs, with the digest; empty when all is so already. A marker in the description is kept."""
    fields = differing(change, type, config)
    parameters: dict[str, str] = {}
    delete: list[str] = []
    if "cpu_cores" in fields:
        parameters |= _cores(change.cpu_cores or 1, type, config)
    if "memory_mb" in fields:
        parameters |= _memory(change.memory_mb or 0, type, config)
    if "name" in fields:
        parameters["hostname" if type == GuestType.LXC else "name"] = change.name or ""
    if "tags" in fields:
        _set_or_delete("tags", ";".join(change.tags or ()), parameters, delete)
    if "notes" in fields:
        _set_or_delete("description", keep_marker(change.notes or "", config.get("description")), parameters, delete)
    if "start_on_boot" in fields:
        parameters["onboot"] = "1" if change.start_on_boot else "0"
    if delete:
        parameters["delete"] = ",".join(delete)
    return {**parameters, "digest": config.digest} if parameters else {}


def _set_or_delete(key: str, value: str, parameters: dict[str, str], delete: list[str]) -> None:
    """Proxmox does not take an empty value; the key is deleted instead."""
    if value:
        parameters[key] = value
    else:
        delete.append(key)


def _cores(cores: int, type: GuestType, config: GuestConfig) -> dict[str, str]:
    """cpu_cores counts all virtual CPUs, so several sockets become one."""
    parameters = {"cores": str(cores)}
    if type == GuestType.QEMU and config.integer("sockets", 1) != 1:
        parameters["sockets"] = "1"
    if type == GuestType.QEMU and config.get("vcpus") and config.integer("vcpus", cores) != cores:
        parameters["vcpus"] = str(cores)
    return parameters


def _memory(memory: int, type: GuestType, config: GuestConfig) -> dict[str, str]:
    parameters = {"memory": str(memory)}
    if type == GuestType.QEMU and config.integer("balloon", 0) > memory:
        parameters["balloon"] = str(memory)
    return parameters


def change_call(change: ChangeRequest, type: GuestType, node: str, vmid: int, config: GuestConfig) -> PlannedCall:
    """`POST …/qemu/{vmid}/config` (a task) or `PUT …/lxc/{vmid}/config` (at once)."""
    method = "POST" if type == GuestType.QEMU else "PUT"
    return PlannedCall(method, f"/nodes/{node}/{type}/{vmid}/config", change_parameters(change, type, config))


def change_effect(change: ChangeRequest, type: GuestType, running: bool, config: GuestConfig) -> ChangeEffect:
    """What a running guest takes at once. A container takes all but its name; a VM CPU and memory only where its `hotplug`
    names them (default: network, disk, usb)."""
    waits: set[str] = set()
    if running and type == GuestType.LXC:
        waits = {"name"}
    elif running:
        hotplug = set(config.get("hotplug", "network,disk,usb").split(","))
        everything = "1" in hotplug
        waits |= set() if everything or "cpu" in hotplug else {"cpu_cores"}
        waits |= set() if (everything or "memory" in hotplug) and config.get("numa") == "1" else {"memory_mb"}
        waits |= {"cpu_cores"} if config.integer("sockets", 1) != 1 else set()
    fields = differing(change, type, config)
    return ChangeEffect(
        tuple(name for name in fields if name not in waits), tuple(name for name in fields if name in waits)
    )


def is_changed(change: ChangeRequest, type: GuestType, config: GuestConfig) -> bool:
    """Whether the configuration (pending values included, as `GET config` shows them) is as asked."""
    return not differing(change, type, config)
