"""The pre-checks of a plan, one function a subject; each yields findings with a stable code, a cure and the request's field."""

from collections.abc import Iterator
from datetime import datetime

from comserv.domain import address as addresses
from comserv.domain.guest import AddressSource, GuestKey, GuestType, KnownAddress
from comserv.domain.hardware import agent_enabled, boot_disk, has_cloud_init
from comserv.domain.hostname import hostname_fault, same_name
from comserv.domain.placement import (
    LINKED_SPARE,
    cores_above,
    free_memory,
    free_space,
    full_size,
    node_findings,
    template_row,
    template_title,
)
from comserv.domain.plan import Decision, Finding, Level
from comserv.domain.planfacts import PlanFacts
from comserv.domain.plannotes import chosen_notes, inherited_notes
from comserv.domain.planrights import rights_findings
from comserv.domain.server import ServerState
from comserv.domain.units import GIB, size, span
from comserv.domain.vmrequest import Ipv6Type, NetworkType, VmRequest

_SOURCES = {
    AddressSource.AGENT: "as its agent tells",
    AddressSource.CLOUD_INIT: "as its cloud-init says",
    AddressSource.RESERVED: "which a job of ours is making",
}


def all_findings(
    request: VmRequest, facts: PlanFacts, node: str, decision: Decision | None, now: datetime
) -> tuple[Finding, ...]:
    """Every finding, in the order in which the request's fields stand."""
    return (
        *server_findings(facts, now),
        *name_findings(request, facts),
        *vmid_findings(request, facts, decision),
        *template_findings(request, facts),
        *(node_findings(request, facts, node) if node else _no_node(facts)),
        *resource_findings(request, facts, node, decision),
        *disk_findings(request, facts, decision),
        *address_findings(request, facts, now),
        *address6_findings(request, facts, now),
        *cloud_init_findings(request, facts),
        *agent_findings(request, facts),
        *pool_findings(request, facts),
        *rights_findings(request, facts, decision),
        *inherited_notes(request, facts),
        *chosen_notes(request, decision),
    )


def _blocker(code: str, text: str, cure: str, field: str) -> Finding:
    return Finding(Level.BLOCKER, code, text, cure, field)


def _warning(code: str, text: str, cure: str, field: str) -> Finding:
    return Finding(Level.WARNING, code, text, cure, field)


def _no_node(facts: PlanFacts) -> Iterator[Finding]:
    yield _warning(
        "nodes_unknown", f"The nodes of {facts.name} are not known yet.", "Name a node, or wait for the server.", "node"
    )


# --- the server -------------------------------------------------------------------------------------------------------


def server_findings(facts: PlanFacts, now: datetime) -> Iterator[Finding]:
    state = facts.health.state if facts.health else ServerState.UP
    if facts.maintenance or state == ServerState.MAINTENANCE:
        yield _rests(facts)
    elif facts.problem or state in (ServerState.DOWN, ServerState.UNREACHED):
        yield _unreachable(facts)
    elif state == ServerState.SLOW:
        text = f"{facts.name} answers slowly" + _latency(facts) + "."
        yield _warning("server_slow", text, "It will take longer; look at the load of its nodes.", "server")
    if _quorate(facts) is False:
        text = f"{facts.name} has no quorum, so nothing can be changed there."
        yield _blocker("no_quorum", text, "Bring back the nodes that are missing.", "server")
    yield from _age(facts, now)
    yield from _version(facts)


def _rests(facts: PlanFacts) -> Finding:
    text = f"{facts.name} is in maintenance." + (f" {facts.maintenance.words}" if facts.maintenance else "")
    if facts.accepted:
        return _warning("server_in_maintenance", text, "The job is held until the maintenance ends.", "server")
    return _blocker(
        "server_in_maintenance", text, "End the maintenance on the server's page, or take another.", "server"
    )


def _unreachable(facts: PlanFacts) -> Finding:
    why = facts.problem or (facts.health.error_title if facts.health else "")
    text = f"{facts.name} does not answer." + (f" {why}" if why and why != f"{facts.name} does not answer." else "")
    if facts.accepted:
        return _warning("server_unreachable", text, "The job is held until it answers again.", "server")
    return _blocker("server_unreachable", text, "Test the server on its page; try again when it answers.", "server")


def _latency(facts: PlanFacts) -> str:
    latency = facts.health.latency_ms if facts.health else None
    return f" (the last look took {latency / 1000:.1f} s)" if latency is not None else ""


def _quorate(facts: PlanFacts) -> bool | None:
    return facts.quorate if facts.quorate is not None else (facts.picture.quorate if facts.picture else None)


def _age(facts: PlanFacts, now: datetime) -> Iterator[Finding]:
    seen = facts.picture.as_of if facts.picture else None
    if seen is None:
        text = f"The guests of {facts.name} were not seen yet, so names and ids are not compared."
        yield _warning("picture_missing", text, "Wait for the first look at the server.", "server")
    elif now - seen > facts.old_after:
        text = f"What is known of {facts.name} is {span((now - seen).total_seconds())} old."
        yield _warning("picture_old", text, "It is looked at again before anything is sent.", "server")


def _version(facts: PlanFacts) -> Iterator[Finding]:
    version = facts.known_version
    if version and not version.supported:
        text = f"{facts.name} is Proxmox VE {version.text}, which Comserv was not tried with."
        yield _warning("version_unsupported", text, "Supported are 8.4 to 9.1.", "server")


# --- name and number --------------------------------------------------------------------------------------------------


def name_findings(request: VmRequest, facts: PlanFacts) -> Iterator[Finding]:
    fault = hostname_fault(request.hostname)
    if fault:
        yield _blocker("hostname_bad", fault, "Choose a name such as web-01.", "hostname")
        return
    guest = next((one for one in facts.guests if one.name and same_name(one.name, request.hostname)), None)
    if guest and guest.key.vmid not in facts.own_vmids:
        text = f"The name {request.hostname} is taken on {facts.name} by {guest.key.vmid} on {guest.node}."
        yield _blocker("hostname_taken", text, "Choose another name.", "hostname")
        return
    if any(same_name(one.hostname, request.hostname) for one in facts.other_reservations if one.hostname):
        text = f"The name {request.hostname} is taken on {facts.name} by a VM that a job of ours is making."
        yield _blocker("hostname_taken", text, "Choose another name.", "hostname")


def vmid_findings(request: VmRequest, facts: PlanFacts, decision: Decision | None) -> Iterator[Finding]:
    vmid = request.vmid
    if vmid is None or vmid in facts.own_vmids:
        return
    guest = next((one for one in facts.guests if one.key.vmid == vmid), None)
    if guest:
        holder = f"by {guest.name} on {guest.node}" if guest.name else f"on {guest.node}"
        yield _blocker("vmid_taken", f"The VM id {vmid} is taken {holder}.", _free(facts), "vmid")
    elif facts.vmid_taken:
        yield _blocker("vmid_taken", f"The VM id {vmid} is taken on {facts.name}.", _free(facts), "vmid")
    elif any(one.guest.vmid == vmid for one in facts.other_reservations):
        yield _blocker("vmid_reserved", f"The VM id {vmid} is reserved by a job of ours.", _free(facts), "vmid")


def _free(facts: PlanFacts) -> str:
    return (
        f"Leave it empty: {facts.free_vmid} is free." if facts.free_vmid else "Leave it empty, or choose another one."
    )


# --- the template -----------------------------------------------------------------------------------------------------


def template_findings(request: VmRequest, facts: PlanFacts) -> Iterator[Finding]:
    vmid, row, title = request.template.vmid, template_row(request, facts), template_title(request, facts)
    if request.template.server != request.server:
        text = f"The template is on {request.template.server}, the VM shall be on {request.server}."
        yield _blocker("template_elsewhere", text, f"Choose a template of {request.server}.", "template.server")
        return
    seen = facts.picture is not None and facts.picture.as_of is not None
    if facts.template_missing or (row is None and seen):
        text = f"There is no template {vmid} on {facts.name}, or the token cannot see it."
        yield _blocker("template_missing", text, "Choose another template.", "template.vmid")
        return
    if row is None:
        text = f"{title} could not be looked at yet."
        yield _warning("template_unread", text, "It is looked at before anything is sent.", "template.vmid")
        return
    if row.type != GuestType.QEMU:
        text = f"{title} is a container's, and no VM can be made from it."
        yield _blocker("template_is_container", text, "Choose a template of a VM.", "template.vmid")
    elif not row.template:
        text = f"{vmid}{f' ({row.name})' if row.name else ''} is not a template."
        yield _blocker("not_a_template", text, "Choose a template, or convert it in Proxmox first.", "template.vmid")
    if row.lock:
        text = f"{title} is locked ({row.lock}), so the clone may have to wait."
        yield _warning("template_locked", text, "Wait until that task has ended, or go on.", "template.vmid")
    if facts.template_problem:
        text = (
            f"The configuration of {title[0].lower()}{title[1:]} could not be read just now: {facts.template_problem}"
        )
        yield _blocker(
            "template_unread", text, "Try again in a moment: without it nothing would be as asked.", "template.vmid"
        )
    elif facts.template_config is None:
        text = f"The configuration of {title[0].lower()}{title[1:]} could not be read: disk, network and cloud-init are not checked."
        yield _warning("template_unread", text, "Give the token VM.Audit on the template.", "template.vmid")


# --- CPU, memory, disk ------------------------------------------------------------------------------------------------


def resource_findings(request: VmRequest, facts: PlanFacts, node: str, decision: Decision | None) -> Iterator[Finding]:
    known = next((one for one in facts.known_nodes if one.name == node), None)
    cores = cores_above(request, facts, node)
    if cores is not None:
        text = f"The VM shall have more CPUs than {node} has ({cores}): Proxmox refuses to start it."
        yield _warning("cpu_above_node", text, f"Ask for at most {cores}.", "cpu_cores")
    free = free_memory(facts, known) if known else None
    total = known.memory if known else None
    if decision and free is not None and total is not None and free < decision.memory <= total:
        text = f"The VM needs {size(decision.memory)} of memory, {size(max(free, 0))} are free on {node}."
        yield _warning("memory_tight", text, "Ask for less, choose another node, or stop a guest there.", "memory_mb")


def disk_findings(request: VmRequest, facts: PlanFacts, decision: Decision | None) -> Iterator[Finding]:
    config = facts.template_config
    if config is None:
        return
    boot = boot_disk(config)
    if boot is None:
        if request.disk_gb is not None:
            text = "The template has no disk that could be grown."
            yield _blocker("disk_missing", text, "Leave the disk's size empty, or choose another template.", "disk_gb")
        return
    if request.disk_gb is not None and boot.size is not None and request.disk_gb * GIB < boot.size:
        text = f"The disk shall have {request.disk_gb} GiB, the template's has {size(boot.size)} and cannot shrink."
        yield _blocker("disk_smaller", text, f"Ask for at least {-(-boot.size // GIB)} GiB.", "disk_gb")
    if decision and not decision.full:
        yield from _tight(request, facts, decision)


def _tight(request: VmRequest, facts: PlanFacts, decision: Decision) -> Iterator[Finding]:
    """A linked clone begins small and may grow beyond what the storage has."""
    storage = facts.storage_at(decision.node, decision.storage)
    room, whole = free_space(facts, storage) if storage else None, full_size(request, facts.template_config)
    if room is not None and LINKED_SPARE <= room < whole:
        text = f"The disk may grow to {size(whole)}, {size(room)} are free on {decision.storage}."
        yield _warning("storage_tight", text, "Make room there before it fills, or choose another storage.", "storage")


# --- addresses --------------------------------------------------------------------------------------------------------


def address_findings(request: VmRequest, facts: PlanFacts, now: datetime) -> Iterator[Finding]:
    network = request.network
    if network.type != NetworkType.STATIC:
        return
    if not network.ip_address:
        text = "A static network needs an address."
        yield _blocker("address_missing", text, "Give one, for example 10.20.30.41.", "network.ip_address")
    if network.subnet_mask is None:
        text = "A static network needs its mask."
        yield _blocker("mask_missing", text, "Give one, for example 24 or 255.255.255.0.", "network.subnet_mask")
    if not network.gateway:
        text = "Without a gateway the VM reaches only its own subnet."
        yield Finding(Level.NOTE, "gateway_missing", text, "Give a gateway if it shall reach more.", "network.gateway")
    subnet = addresses.interface(network.ip_address, network.subnet_mask)
    yield from _subnet(subnet, network.gateway, "network.ip_address", "network.gateway")
    yield from _taken(network.ip_address, "network.ip_address", facts, now)


def address6_findings(request: VmRequest, facts: PlanFacts, now: datetime) -> Iterator[Finding]:
    ipv6 = request.network.ipv6
    if ipv6.type != Ipv6Type.STATIC:
        return
    if not ipv6.address:
        text = "Static IPv6 needs an address."
        yield _blocker("address_missing", text, "Give one, for example 2001:db8::41.", "network.ipv6.address")
    if ipv6.prefix is None:
        text = "Static IPv6 needs a prefix length."
        yield _blocker("mask_missing", text, "Give one, for example 64.", "network.ipv6.prefix")
    subnet = addresses.interface(ipv6.address, ipv6.prefix)
    yield from _subnet(subnet, ipv6.gateway, "network.ipv6.address", "network.ipv6.gateway")
    yield from _taken(ipv6.address, "network.ipv6.address", facts, now)


def _subnet(
    subnet: addresses.Interface | None, gateway: str, address_field: str, gateway_field: str
) -> Iterator[Finding]:
    if subnet is None:
        return
    fault = addresses.unusable(subnet)
    if fault:
        first, last = addresses.usable_range(subnet)
        yield _blocker("address_unusable", fault, f"Choose one from {first} to {last}.", address_field)
    fault = addresses.gateway_unusable(subnet, gateway) if gateway else ""
    if fault:
        text = f"{fault.rstrip('.')}; the address is {subnet}."
        yield _blocker("gateway_outside", text, "Correct the gateway, the address or the mask.", gateway_field)


def _taken(address: str, field: str, facts: PlanFacts, now: datetime) -> Iterator[Finding]:
    known = (*facts.addresses, *_reserved_addresses(facts, now))
    others = [one for one in addresses.holders(address, known) if not _own(facts, one.guest)]
    if not others:
        return
    holder = others[0]
    name = next((guest.name for guest in facts.guests if guest.key == holder.guest and guest.name), "")
    who = f"{name} ({holder.guest})" if name else str(holder.guest)
    age = f", {span((now - holder.as_of).total_seconds())} ago"
    text = f"{address} belongs to {who}, {_SOURCES[holder.source]}{age}."
    yield _blocker("address_taken", text, "Choose another address, or change that guest's first.", field)


def _own(facts: PlanFacts, guest: GuestKey) -> bool:
    return guest.server == facts.server and guest.vmid in facts.own_vmids


def _reserved_addresses(facts: PlanFacts, now: datetime) -> Iterator[KnownAddress]:
    for one in facts.reservations:
        for address in one.addresses:
            yield KnownAddress(one.guest, address, AddressSource.RESERVED, one.created or now)


# --- cloud-init, agent, pool ------------------------------------------------------------------------------------------


def cloud_init_findings(request: VmRequest, facts: PlanFacts) -> Iterator[Finding]:
    network, asked = request.network, request.cloud_init
    if facts.template_config is None or has_cloud_init(facts.template_config):
        return
    cure = "Choose a template with a cloud-init drive, or add one to this one in Proxmox."
    static6 = network.ipv6.type == Ipv6Type.STATIC
    if network.type == NetworkType.STATIC or static6:
        text = "The template has no cloud-init drive, so no static address can be given to the VM."
        field = "network.type" if network.type == NetworkType.STATIC else "network.ipv6.type"
        yield _blocker("cloud_init_missing", text, cure, field)
    unused = [
        ("cloud_init.user", bool(asked.user)),
        ("cloud_init.password", bool(asked.password)),
        ("cloud_init.ssh_keys", bool(asked.ssh_keys)),
        ("network.dns_servers", bool(network.dns_servers)),
        ("network.search_domain", bool(network.search_domain)),
    ]
    first = next((field for field, given in unused if given), None)
    if first:
        text = "The template has no cloud-init drive: user, password, keys and name servers have no effect."
        yield _warning("cloud_init_unused", text, cure, first)


def agent_findings(request: VmRequest, facts: PlanFacts) -> Iterator[Finding]:
    config = facts.template_config
    if config is None or agent_enabled(config) or not request.start_after_creation:
        return
    if request.enable_qemu_agent:
        text = "The template has no guest agent enabled, so it is unlikely that one is installed and will answer."
    else:
        text = "The guest agent is not enabled, so nothing can prove that the VM has its address."
    cure = "Use a template with an agent, or install one with cloud-init; the VM is made all the same."
    yield _warning("agent_unlikely", text, cure, "enable_qemu_agent")


def pool_findings(request: VmRequest, facts: PlanFacts) -> Iterator[Finding]:
    if request.pool and facts.pools is not None and request.pool not in facts.pools:
        known = ", ".join(sorted(facts.pools))
        cure = f"Choose one of {known}." if known else "Make it in Proxmox, or leave it empty."
        yield _blocker(
            "pool_missing", f"{facts.name} has no pool {request.pool}, or the token cannot see it.", cure, "pool"
        )
