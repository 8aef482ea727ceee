"""The plan of a creation: placement, calls and findings, from the request and the facts; nothing is sent for it."""

from collections.abc import Iterator
from datetime import datetime

from comserv.domain.hardware import agent_enabled, boot_disk
from comserv.domain.ownership import strip_marker
from comserv.domain.placement import choose_clone, choose_node, needed_bridge, template_row
from comserv.domain.plan import Decision, Finding, Level, Placement, Plan
from comserv.domain.planchecks import all_findings
from comserv.domain.planfacts import PlanFacts
from comserv.domain.provisioning import memory_asked, planned_calls
from comserv.domain.units import MIB
from comserv.domain.vmrequest import LEAST_VMID, MOST_NOTES, VmRequest

_ORDER = {Level.BLOCKER: 0, Level.WARNING: 1, Level.NOTE: 2}


def make_plan(request: VmRequest, facts: PlanFacts, now: datetime) -> Plan:
    """Never raises: what is not known is a finding. `plan.decision` is what the job carries out, None where no node is known."""
    node, choices = choose_node(request, facts)
    decision, reasons = decide(request, facts, node)
    placement = Placement(
        server=request.server,
        node=node,
        storage=decision.storage if decision else request.storage,
        full_clone=decision.full if decision else request.full_clone,
        reasons=(*(f"{one.node}: {one.reason}" for one in choices if one.chosen), *reasons),
        choices=choices,
    )
    findings = all_findings(request, facts, node, decision, now)
    calls = planned_calls(request, decision, facts.template_config) if decision else ()
    return Plan(placement, calls, tuple(sorted(findings, key=lambda one: _ORDER[one.level])), decision)


def decide(request: VmRequest, facts: PlanFacts, node: str) -> tuple[Decision | None, tuple[str, ...]]:
    """What the job needs to know, and why the clone is linked or full and stands on that storage."""
    if not node:
        return None, ()
    row, config = template_row(request, facts), facts.template_config
    template_node = row.node if row and row.node else node
    clone = choose_clone(request, facts, node, template_node)
    boot = boot_disk(config) if config else None
    notes = strip_marker(config.get("description")) if config else ""
    agent = agent_enabled(config) if config else False
    decision = Decision(
        server=request.server,
        node=node,
        template_node=template_node,
        template_vmid=request.template.vmid,
        vmid=candidate_vmid(request, facts),
        storage=clone.storage,
        full=clone.full,
        disk_key=boot.key if boot else "",
        bridge=needed_bridge(request, facts, node),
        memory=memory_asked(request, config) * MIB,
        disk=clone.disk,
        agent=agent if request.enable_qemu_agent is None else request.enable_qemu_agent,
        template_notes=notes if len(notes) <= MOST_NOTES else "",
    )
    return decision, clone.reasons


def candidate_vmid(request: VmRequest, facts: PlanFacts) -> int | None:
    """The VM id that will be tried first: asked for, else the lowest that neither Proxmox nor a job of ours uses."""
    if request.vmid is not None:
        return request.vmid
    if facts.own_vmids:
        return min(facts.own_vmids)
    if facts.free_vmid is None and not facts.guests:
        return None
    used = {guest.key.vmid for guest in facts.guests} | {one.guest.vmid for one in facts.other_reservations}
    return next(vmid for vmid in _from(facts.free_vmid or LEAST_VMID) if vmid not in used)


def _from(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1


def faults_as_findings(faults: dict[str, str]) -> tuple[Finding, ...]:
    """What a form holds that cannot be understood, as blockers, so that a page shows it where it shows the others."""
    return tuple(
        Finding(Level.BLOCKER, "invalid", sentence, "Correct this field.", name) for name, sentence in faults.items()
    )
