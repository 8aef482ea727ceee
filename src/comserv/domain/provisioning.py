"""The calls of a creation: their parameters, built from request, decision and what the clone's configuration shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from comserv.domain import propertystring
from comserv.domain.guest import GuestConfig, PendingChange
from comserv.domain.hardware import (
    NetworkCard,
    agent_enabled,
    boot_disk,
    cores_of,
    disks,
    has_cloud_init,
    memory_mib,
    network_card,
    values_of,
    write_network_card,
)
from comserv.domain.ownership import Marker, Sign, Stage, read_marker, strip_marker, with_marker
from comserv.domain.plan import Decision, PlannedCall
from comserv.domain.units import GIB
from comserv.domain.vmrequest import MASK, Ipv6Type, Network, NetworkType, VmRequest, require_secrets

SECRET_PARAMETERS = frozenset({"cipassword"})


@dataclass(frozen=True)
class Difference:
    """One value of the configuration that is not as asked."""

    key: str
    asked: str
    found: str


def clone_path(decision: Decision) -> str:
    return f"/nodes/{decision.template_node}/qemu/{decision.template_vmid}/clone"


def guest_path(decision: Decision, vmid: int | str) -> str:
    return f"/nodes/{decision.node}/qemu/{vmid}"


def clone_parameters(request: VmRequest, decision: Decision, vmid: int, job: str, sign: Sign) -> dict[str, str]:
    """`POST /nodes/{template_node}/qemu/{template_vmid}/clone`. The description carries the marker from the first moment on.

    `storage` goes only with a full clone (semantics section 10).
    """
    marker = Marker(job, request.server, vmid, Stage.CLONED)
    description = with_marker(_notes(request, decision), marker, sign)
    return {"newid": str(vmid), **_clone_options(request, decision), "description": description}


def _clone_options(request: VmRequest, decision: Decision) -> dict[str, str]:
    options = {"name": request.hostname, "full": "1" if decision.full else "0"}
    if decision.full and decision.storage:
        options["storage"] = decision.storage
    if decision.moves:
        options["target"] = decision.node
    if request.pool:
        options["pool"] = request.pool
    return options


def _notes(request: VmRequest, decision: Decision) -> str:
    """What a person asked for, else the template's own notes, as Proxmox would carry them over."""
    return strip_marker(request.description or decision.template_notes)


def configure_parameters(
    request: VmRequest, decision: Decision, vmid: int, config: GuestConfig, job: str, sign: Sign
) -> dict[str, str]:
    """`POST /nodes/{node}/qemu/{vmid}/config` on the clone's configuration as it is now. Raises SecretsMissing.

    The clone keeps its own fresh MAC and the template's model; `digest` keeps anybody else's edit from being overwritten.
    """
    require_secrets(request)
    marker = Marker(job, request.server, vmid, Stage.CONFIGURED)
    options = _config_options(request, decision, config)
    options["description"] = with_marker(_notes(request, decision), marker, sign)
    return {**options, "digest": config.digest}


def _config_options(request: VmRequest, decision: Decision, config: GuestConfig) -> dict[str, str]:
    return {
        "name": request.hostname,
        **_compute(request, config),
        **_net0(request, decision, config),
        **_cloud_init(request, config),
        **_options(request, config),
    }


def _compute(request: VmRequest, config: GuestConfig) -> dict[str, str]:
    """CPU and memory. cpu_cores counts all virtual CPUs: a template with two sockets gives a VM with one."""
    options = {}
    if request.cpu_cores is not None:
        options["cores"] = str(request.cpu_cores)
        if config.integer("sockets", 1) != 1:
            options["sockets"] = "1"
        if config.integer("vcpus", request.cpu_cores) != request.cpu_cores:
            options["vcpus"] = str(request.cpu_cores)
    if request.memory_mb is not None:
        options["memory"] = str(request.memory_mb)
        if config.integer("balloon", 0) > request.memory_mb:
            options["balloon"] = str(request.memory_mb)
    return options


def _net0(request: VmRequest, decision: Decision, config: GuestConfig) -> dict[str, str]:
    card = wanted_card(request, decision, config)
    return {"net0": write_network_card(card)} if card else {}


def wanted_card(request: VmRequest, decision: Decision, config: GuestConfig) -> NetworkCard | None:
    """The first network card as it shall be; None where nothing of it has to change."""
    found = network_card(config.get("net0"))
    bridge = request.network.bridge or (found.bridge if found else "") or decision.bridge
    if found is None:
        return NetworkCard("virtio", "", bridge, request.network.vlan, {}) if bridge else None
    vlan = found.vlan if request.network.vlan is None else request.network.vlan
    wanted = replace(found, bridge=bridge, vlan=vlan)
    return wanted if wanted != found else None


def ip_configuration(network: Network) -> str:
    """`ipconfig0`: `ip=10.20.30.41/24,gw=10.20.30.1,ip6=auto`, `ip=dhcp`."""
    values: dict[str, str] = {"ip": "dhcp"}
    if network.type == NetworkType.STATIC:
        values = {"ip": f"{network.ip_address}/{network.subnet_mask}"}
        values |= {"gw": network.gateway} if network.gateway else {}
    ipv6 = network.ipv6
    if ipv6.type == Ipv6Type.STATIC:
        values |= {"ip6": f"{ipv6.address}/{ipv6.prefix}"}
        values |= {"gw6": ipv6.gateway} if ipv6.gateway else {}
    elif ipv6.type != Ipv6Type.NONE:
        values["ip6"] = str(ipv6.type)
    return propertystring.write(values)


def _cloud_init(request: VmRequest, config: GuestConfig) -> dict[str, str]:
    """Cloud-init values. Without a drive they would have no effect: there only what was asked for by name is written."""
    network, asked = request.network, request.cloud_init
    options = {}
    if has_cloud_init(config) or network.type == NetworkType.STATIC or network.ipv6.type != Ipv6Type.NONE:
        options["ipconfig0"] = ip_configuration(network)
    if network.dns_servers:
        options["nameserver"] = " ".join(network.dns_servers)
    if network.search_domain:
        options["searchdomain"] = network.search_domain
    if asked.user:
        options["ciuser"] = asked.user
    if asked.password:
        options["cipassword"] = asked.password
    if asked.ssh_keys:
        options["sshkeys"] = quote("\n".join(asked.ssh_keys), safe="")  # encoded inside the value, %20 for a space
    return options


def _options(request: VmRequest, config: GuestConfig) -> dict[str, str]:
    options = {}
    if request.enable_qemu_agent is not None and request.enable_qemu_agent != agent_enabled(config):
        values = values_of(config.get("agent"), "enabled")
        options["agent"] = propertystring.write(
            {**values, "enabled": "1" if request.enable_qemu_agent else "0"}, "enabled"
        )
    if request.start_on_boot != (config.get("onboot") == "1"):
        options["onboot"] = "1" if request.start_on_boot else "0"
    if request.tags:
        options["tags"] = ";".join(request.tags)
    return options


def grow_parameters(request: VmRequest, decision: Decision, config: GuestConfig) -> dict[str, str] | None:
    """`PUT /nodes/{node}/qemu/{vmid}/resize`: an absolute size, so that it can be repeated. None: large enough, or no disk."""
    key = grown_disk(decision, config)
    if request.disk_gb is None or not key:
        return None
    size = disk_size(config, key)
    if size is not None and size >= request.disk_gb * GIB:
        return None
    return {"disk": key, "size": f"{request.disk_gb}G", "digest": config.digest}


def grown_disk(decision: Decision, config: GuestConfig) -> str:
    """The disk that is grown: the one of the plan, else (where the template could not be read then) the boot disk."""
    boot = boot_disk(config)
    return decision.disk_key or (boot.key if boot else "")


def disk_size(config: GuestConfig, key: str) -> int | None:
    """Bytes, None where there is no such disk or its size is not told."""
    return next((disk.size for disk in disks(config) if disk.key == key), None)


def planned_calls(
    request: VmRequest, decision: Decision, template_config: GuestConfig | None
) -> tuple[PlannedCall, ...]:
    """Every call that will change something, in order, secrets as `•••`, the marker told as such."""
    vmid = str(decision.vmid) if decision.vmid is not None else "VMID"
    config = template_config or GuestConfig({}, "")
    mark = "(a line by which Comserv knows the VM again)"
    notes = _notes(request, decision)
    description = f"{notes}\n\n{mark}" if notes else mark
    clone = {"newid": vmid, **_clone_options(request, decision), "description": description}
    path = guest_path(decision, vmid)
    calls = [PlannedCall("POST", clone_path(decision), clone, _clone_note(decision))]
    options = {**_config_options(request, decision, config), "description": description}
    calls.append(
        PlannedCall("POST", f"{path}/config", masked(options), "With the digest, so that no other edit is lost.")
    )
    grow = grow_parameters(request, decision, config)
    if grow:
        calls.append(PlannedCall("PUT", f"{path}/resize", {key: grow[key] for key in ("disk", "size")}))
    if request.start_after_creation:
        calls.append(PlannedCall("POST", f"{path}/status/start"))
    return tuple(calls)


def _clone_note(decision: Decision) -> str:
    return "A full copy of the disks." if decision.full else "A linked clone: it shares the template's disk."


def masked(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters for the eye: secrets as `•••`."""
    return {key: MASK if key in SECRET_PARAMETERS else value for key, value in parameters.items()}


def verify_configuration(
    request: VmRequest, decision: Decision, vmid: int, config: GuestConfig, job: str, sign: Sign
) -> tuple[Difference, ...]:
    """What was asked and is not in the configuration; empty when all is there.

    The password cannot be compared (Proxmox answers with asterisks): that our configure call went through is told by
    the stage of the marker, which the same call wrote. The disk's size is the next step's and not looked at here.
    """
    wanted = _config_options(request, decision, config)
    found = [Difference(key, _shown(key, value), _shown(key, config.get(key))) for key, value in wanted.items()]
    different = [one for one in found if not _same(one.key, wanted[one.key], config.get(one.key))]
    marker = read_marker(config.get("description"), sign)
    if marker != Marker(job, request.server, vmid, Stage.CONFIGURED):
        different.append(
            Difference("description", "our marker, configured", str(marker.stage) if marker else "no marker")
        )
    if strip_marker(config.get("description")) != _notes(request, decision):
        different.append(Difference("description", _notes(request, decision), strip_marker(config.get("description"))))
    return tuple(different)


_SETTINGS = {
    "cores": "the cores",
    "sockets": "the cores",
    "vcpus": "the cores",
    "memory": "the memory",
    "balloon": "the memory",
    "net0": "the network card",
    "agent": "the guest agent",
    "name": "the name",
}
_CLOUD_INIT = ("ciuser", "cipassword", "sshkeys", "ipconfig0", "nameserver", "searchdomain")
_WORDS = {**_SETTINGS, **dict.fromkeys(_CLOUD_INIT, "cloud-init")}


def waiting_settings(pending: Iterable[PendingChange]) -> tuple[str, ...]:
    """Keys that a creation sets and that a running VM does not have before its next start; those of others are theirs."""
    return tuple(change.key for change in pending if change.key in _WORDS)


def restart_warning(keys: Iterable[str]) -> str:
    """What `waiting_settings` means, and what to do."""
    *before, last = dict.fromkeys(_WORDS[key] for key in keys)
    names = f"{', '.join(before)} and {last}" if before else last
    return (
        f"Somebody else started the VM before it was configured, so it runs without what was asked for {names}. "
        "Reboot it from here, or shut it down and start it."
    )


def verify_size(request: VmRequest, decision: Decision, config: GuestConfig) -> tuple[Difference, ...]:
    """Empty when the disk is at least as large as asked."""
    key = grown_disk(decision, config)
    if request.disk_gb is None or (key and grow_parameters(request, decision, config) is None):
        return ()
    found = disk_size(config, key)
    return (Difference(key or "disk", f"{request.disk_gb}G", "" if found is None else str(found)),)


def _shown(key: str, value: str) -> str:
    return MASK if key in SECRET_PARAMETERS and value else value


def _same(key: str, wanted: str, found: str) -> bool:
    if key == "cipassword":
        return bool(found)
    if key == "sshkeys":
        return unquote(wanted).strip() == unquote(found).strip()
    if key in ("ipconfig0", "agent"):
        default = "enabled" if key == "agent" else ""
        return values_of(wanted, default) == values_of(found, default)
    if key == "net0":
        return network_card(wanted) == network_card(found)
    if key == "tags":
        return set(wanted.split(";")) == set(found.replace(",", ";").replace(" ", ";").split(";"))
    if key == "memory":
        return values_of(wanted, "current").get("current") == values_of(found, "current").get("current")
    return wanted == found


def memory_asked(request: VmRequest, template_config: GuestConfig | None) -> int:
    """MiB that the VM will have."""
    return request.memory_mb or (memory_mib(template_config) if template_config else 512)


def cores_asked(request: VmRequest, template_config: GuestConfig | None) -> int:
    """Virtual CPUs that the VM will have."""
    return request.cpu_cores or (cores_of(template_config) if template_config else 1)
