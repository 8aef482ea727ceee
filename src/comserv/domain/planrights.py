"""Which privileges the calls of a creation need, at which paths, and which of them the token lacks, with the lines that mend it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from comserv.domain.cluster import Version
from comserv.domain.doctor import lacking_words
from comserv.domain.features import AGENT, Need, Where, config_needs
from comserv.domain.guest import GuestConfig
from comserv.domain.hardware import disks, network_card
from comserv.domain.mending import Mend, Missing, mend
from comserv.domain.plan import Decision, Finding, Level, PlannedCall
from comserv.domain.planfacts import PlanFacts
from comserv.domain.provisioning import planned_calls
from comserv.domain.rights import RightsSeen
from comserv.domain.server import parse_token_id
from comserv.domain.vmrequest import VmRequest

BEFORE_ANY_LOOK = datetime.fromtimestamp(0, UTC)
LOCAL_ZONE = "/sdn/zones/localnetwork"


@dataclass(frozen=True)
class Needed:
    """paths: of which one has to give it; the first is named where none does. field: of the request."""

    paths: tuple[str, ...]
    need: Need
    field: str


def needed_privileges(request: VmRequest, facts: PlanFacts, decision: Decision) -> Iterator[Needed]:
    """As Proxmox checks them (semantics section 5), for exactly the calls that the plan shows."""
    new = (f"/vms/{decision.vmid}" if decision.vmid is not None else "/vms/new",)
    new = (*new, f"/pool/{request.pool}") if request.pool else new
    yield Needed((f"/vms/{decision.template_vmid}",), Need(Where.TEMPLATE, "VM.Clone"), "template.vmid")
    for privilege in ("VM.Allocate", "VM.Audit"):
        yield Needed(new, Need(Where.NEW, privilege), "server")
    for call in planned_calls(request, decision, facts.template_config):
        for need in _needs_of(call):
            yield Needed(new, need, "server")
    for storage in sorted(_storages(facts, decision)):
        yield Needed((f"/storage/{storage}",), Need(Where.DISKS, "Datastore.AllocateSpace"), "storage")
    for paths in dict.fromkeys(_networks(request, facts, decision)):
        yield Needed(paths, Need(Where.BRIDGE, "SDN.Use"), "network.bridge")


def _needs_of(call: PlannedCall) -> Iterator[Need]:
    if call.path.endswith("/config"):
        yield from config_needs(call.parameters, Where.NEW)
    elif call.path.endswith("/resize"):
        yield Need(Where.NEW, "VM.Config.Disk")
    elif "/status/" in call.path:
        yield Need(Where.NEW, "VM.PowerMgmt")


def _storages(facts: PlanFacts, decision: Decision) -> set[str]:
    """Where the clone's disks, and a cloud-init drive, are allocated."""
    if decision.full and decision.storage:
        return {decision.storage}
    found = {disk.storage for disk in disks(facts.template_config)} if facts.template_config else set[str]()
    return {storage for storage in found | {decision.storage} if storage}


def _networks(request: VmRequest, facts: PlanFacts, decision: Decision) -> Iterator[tuple[str, ...]]:
    """The networks of the template's cards, which the clone takes over, and the one that is chosen."""
    if decision.bridge:
        yield _network_paths(facts, decision.bridge, request.network.vlan)
    config = facts.template_config or GuestConfig({}, "")
    for number in range(32):
        if (card := network_card(config.get(f"net{number}"))) and card.bridge:
            yield _network_paths(facts, card.bridge, None)


def _network_paths(facts: PlanFacts, bridge: str, vlan: int | None) -> tuple[str, ...]:
    known = {one.name: one.path for one in facts.seen.bridges} if facts.seen else {}
    path = known.get(bridge, f"{LOCAL_ZONE}/{bridge}")
    return (path, f"{path}/{vlan}") if vlan else (path,)


def rights_findings(request: VmRequest, facts: PlanFacts, decision: Decision | None) -> Iterator[Finding]:
    rights = facts.rights
    if rights is None or decision is None:
        if not facts.problem:
            text = f"The rights of the token of {facts.name} could not be read."
            yield Finding(Level.NOTE, "rights_unknown", text, "Test the server on its page.", "server")
        return
    lacking: dict[str, list[Missing]] = {}
    for needed in needed_privileges(request, facts, decision):
        held = frozenset[str]().union(*(rights.at(path) for path in needed.paths))
        if not needed.need.met_by(held):
            lacking.setdefault(needed.field, []).append(
                Missing(needed.need.where, needed.paths[0], needed.need.privilege, needed.need.instead)
            )
    if rights.none_at_all:
        text = f"The token{_token(facts)} has no rights of its own: with privsep it may do what its user and itself are given."
        everything = [one for missing in lacking.values() for one in missing]
        yield Finding(Level.BLOCKER, "rights_missing", text, _cure(facts, everything), "server")
        return
    for field, missing in lacking.items():
        text = f"{lacking_words(missing, facts.token_id)}."
        yield Finding(Level.BLOCKER, "rights_missing", text, _cure(facts, missing), field)
    yield from _agent(request, facts, decision)


def _cure(facts: PlanFacts, missing: Iterable[Missing]) -> str:
    lines = _mend(facts, tuple(dict.fromkeys(missing))).text
    return f"Run as root on the server:\n{lines}" if lines else "Give it to the token on the server."


def _mend(facts: PlanFacts, missing: tuple[Missing, ...]) -> Mend:
    """From the last look, with the rights as they are now; before the first look nothing is known of the role."""
    if not facts.token_id or facts.rights is None:
        return Mend()
    seen = facts.seen or RightsSeen(BEFORE_ANY_LOOK, facts.token_id)
    version = facts.known_version or Version(seen.version)
    return mend(replace(seen, rights=facts.rights), parse_token_id(facts.token_id), missing, version)


def _agent(request: VmRequest, facts: PlanFacts, decision: Decision) -> Iterator[Finding]:
    """Without it the creation works, and only the proof does not. Before 9 the privilege was VM.Monitor."""
    rights, path = facts.rights, f"/vms/{decision.vmid}" if decision.vmid is not None else "/vms/new"
    if rights is None or not decision.agent or not request.start_after_creation:
        return
    held = rights.at(path) | (rights.at(f"/pool/{request.pool}") if request.pool else frozenset())
    version = facts.known_version or Version("")
    for need in AGENT:
        if need.applies_to(version) and not need.met_by(held):
            text = f"The token{_token(facts)} lacks {need.privilege} at {path}, so the address cannot be proven."
            cure = _cure(facts, [Missing(need.where, path, need.privilege, need.instead)])
            yield Finding(Level.WARNING, "agent_unreadable", text, cure, "enable_qemu_agent")


def _token(facts: PlanFacts) -> str:
    return f" {facts.token_id}" if facts.token_id else ""
