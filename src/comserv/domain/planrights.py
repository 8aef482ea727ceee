"""Which privileges a creation needs, at which paths, and which of them the token lacks."""

import re
from collections.abc import Iterator

from comserv.domain.hardware import disks
from comserv.domain.plan import Decision, Finding, Level
from comserv.domain.planfacts import PlanFacts
from comserv.domain.provisioning import grow_parameters
from comserv.domain.vmrequest import VmRequest

_ROLES = {"Datastore.": "PVEDatastoreUser", "SDN.": "PVESDNUser", "VM.Clone": "PVETemplateUser", "VM.": "PVEVMAdmin"}


def needed_privileges(
    request: VmRequest, facts: PlanFacts, decision: Decision
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """(paths of which one has to give it, privileges, field), as Proxmox checks them (semantics section 5)."""
    new = (f"/vms/{decision.vmid}" if decision.vmid is not None else "/vms",)
    new = (*new, f"/pool/{request.pool}") if request.pool else new
    yield (f"/vms/{decision.template_vmid}",), ("VM.Clone",), "template.vmid"
    config = ["VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options"]
    config += ["VM.Config.Cloudinit"] if _cloud_init(request) else []
    config += ["VM.Config.Disk"] if _grows(request, facts, decision) else []
    config += ["VM.PowerMgmt"] if request.start_after_creation else []
    yield new, ("VM.Allocate", *config), "server"
    for storage in sorted(_storages(facts, decision)):
        yield (f"/storage/{storage}",), ("Datastore.AllocateSpace",), "storage"
    if re.fullmatch(r"vmbr\d+", decision.bridge):
        yield (f"/sdn/zones/localnetwork/{decision.bridge}",), ("SDN.Use",), "network.bridge"


def _cloud_init(request: VmRequest) -> bool:
    return bool(
        request.cloud_init.user or request.cloud_init.password or request.cloud_init.ssh_keys or request.static_address
    )


def _grows(request: VmRequest, facts: PlanFacts, decision: Decision) -> bool:
    if facts.template_config is None:
        return request.disk_gb is not None
    return grow_parameters(request, decision, facts.template_config) is not None


def _storages(facts: PlanFacts, decision: Decision) -> set[str]:
    """Where the clone's disks, and a cloud-init drive, are allocated."""
    if decision.full and decision.storage:
        return {decision.storage}
    found = {disk.storage for disk in disks(facts.template_config)} if facts.template_config else set[str]()
    return {storage for storage in found | {decision.storage} if storage}


def rights_findings(request: VmRequest, facts: PlanFacts, decision: Decision | None) -> Iterator[Finding]:
    rights = facts.rights
    if rights is None or decision is None:
        if not facts.problem:
            text = f"The rights of the token of {facts.name} could not be read."
            yield Finding(Level.NOTE, "rights_unknown", text, "Test the server on its page.", "server")
        return
    if rights.none_at_all:
        text = f"The token{_token(facts)} has no rights of its own."
        cure = (
            "With privsep a token may do what its user and the token itself are allowed: give it a role on the server."
        )
        yield Finding(Level.BLOCKER, "rights_missing", text, cure, "server")
        return
    for paths, privileges, field in needed_privileges(request, facts, decision):
        held = frozenset[str]().union(*(rights.at(path) for path in paths))
        lacking = tuple(sorted(set(privileges) - held))
        if lacking:
            yield _lacking(facts, paths[0], lacking, field)
    yield from _agent(request, facts, decision)


def _lacking(facts: PlanFacts, path: str, lacking: tuple[str, ...], field: str) -> Finding:
    text = f"The token{_token(facts)} lacks {', '.join(lacking)} at {path}."
    role = next(role for prefix, role in _ROLES.items() if lacking[0].startswith(prefix))
    token = facts.token_id or "USER@REALM!TOKENID"
    cure = f"Run on the server: pveum acl modify {path} --tokens '{token}' --roles {role} (with privsep the user needs it too)."
    return Finding(Level.BLOCKER, "rights_missing", text, cure, field)


def _agent(request: VmRequest, facts: PlanFacts, decision: Decision) -> Iterator[Finding]:
    """Without it the creation works, and only the proof does not. Before 9 the privilege was VM.Monitor."""
    rights, path = facts.rights, f"/vms/{decision.vmid}" if decision.vmid is not None else "/vms"
    if rights is None or not decision.agent or not request.start_after_creation:
        return
    held = rights.at(path) | (rights.at(f"/pool/{request.pool}") if request.pool else frozenset())
    version = facts.known_version
    needed = version.agent_privilege if version else "VM.GuestAgent.Audit"
    if not held & {needed, "VM.GuestAgent.Unrestricted"}:
        text = f"The token{_token(facts)} lacks {needed} at {path}, so the address cannot be proven."
        token = facts.token_id or "USER@REALM!TOKENID"
        cure = f"Run on the server: pveum acl modify {path} --tokens '{token}' --roles PVEVMAdmin."
        yield Finding(Level.WARNING, "agent_unreadable", text, cure, "enable_qemu_agent")


def _token(facts: PlanFacts) -> str:
    return f" {facts.token_id}" if facts.token_id else ""
