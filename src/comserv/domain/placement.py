"""Where a new VM goes: which nodes can take it, which storage, linked or full, each with its reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from comserv.domain.guest import Guest, GuestConfig
from comserv.domain.hardware import Disk, boot_disk, disks, network_card
from comserv.domain.picture import Node, Storage
from comserv.domain.plan import Finding, Level, NodeChoice
from comserv.domain.planfacts import PlanFacts
from comserv.domain.provisioning import cores_asked, memory_asked
from comserv.domain.units import GIB, MIB, size
from comserv.domain.vmrequest import VmRequest

OVERLAY_TYPES = frozenset({"dir", "nfs", "cifs", "glusterfs", "cephfs", "btrfs", "lvmthin", "zfspool", "zfs", "rbd"})
"""Storage types on which Proxmox can make linked clones of a template's base volume."""

LINKED_SPARE = GIB
"""A linked clone begins nearly empty; below this much free space it is refused all the same."""


@dataclass(frozen=True)
class CloneChoice:
    """full, storage and why, for one node. disk: bytes that the clone takes of the storage at once."""

    full: bool
    storage: str
    disk: int
    reasons: tuple[str, ...]


def template_row(request: VmRequest, facts: PlanFacts) -> Guest | None:
    """The template's row: as asked, else from the picture."""
    if facts.template or facts.template_missing:
        return facts.template
    return next((guest for guest in facts.guests if guest.key.vmid == request.template.vmid), None)


def template_title(request: VmRequest, facts: PlanFacts) -> str:
    row = template_row(request, facts)
    return f"The template {request.template.vmid}" + (f" ({row.name})" if row and row.name else "")


def copied_disks(config: GuestConfig | None) -> tuple[Disk, ...]:
    """Disks of the template that a clone gets: all but CD-ROMs that are no cloud-init drive."""
    return tuple(disk for disk in disks(config) if disk.storage and not disk.cdrom) if config else ()


def needed_bridge(request: VmRequest, facts: PlanFacts, node: str) -> str:
    """The bridge of net0: asked for, else the template's, else the first one of the node where the template has no card."""
    if request.network.bridge or facts.template_config is None:
        return request.network.bridge
    card = network_card(facts.template_config.get("net0"))
    if card:
        return card.bridge
    return next(iter(sorted(facts.bridges.get(node, ()))), "")


def free_memory(facts: PlanFacts, node: Node) -> int | None:
    """Bytes that are free on a node once our running jobs have taken theirs; None where the token may not see it."""
    if node.memory is None or node.memory_used is None:
        return None
    return node.memory - node.memory_used - facts.memory_to_come(node.name)


def free_space(facts: PlanFacts, storage: Storage) -> int | None:
    """Bytes that are free on a storage once our running jobs have taken theirs; None where it is not told."""
    if storage.total is None or storage.used is None:
        return None
    return storage.total - storage.used - facts.disk_to_come(storage)


def full_size(request: VmRequest, config: GuestConfig | None) -> int:
    """Bytes of all disks of a full clone, the boot disk as large as asked; 0 where nothing is told."""
    boot = boot_disk(config) if config else None
    total = sum(disk.size or 0 for disk in copied_disks(config))
    asked = (request.disk_gb or 0) * GIB
    return total + max(asked - (boot.size or 0), 0) if boot else max(total, asked)


# --- linked or full, and on which storage -----------------------------------------------------------------------------


def choose_clone(request: VmRequest, facts: PlanFacts, node: str, template_node: str) -> CloneChoice:
    """For one node: linked where it was not asked otherwise and the storage can, else full; and on which storage."""
    boot = boot_disk(facts.template_config) if facts.template_config else None
    home = boot.storage if boot else ""
    why_full = _why_full(request, facts, template_node, home)
    if not why_full:
        reason = f"A linked clone: {home} can share the template's disk, so it is made at once and takes little space."
        return CloneChoice(False, home, 0, (reason,))
    disk = full_size(request, facts.template_config)
    storage, reason = _choose_storage(request, facts, node, home, disk, shared=node != template_node)
    return CloneChoice(True, storage, disk, tuple(text for text in (why_full, reason) if text))


def _why_full(request: VmRequest, facts: PlanFacts, template_node: str, home: str) -> str:
    """Why a full clone is made; empty where a linked one can be and was not declined."""
    if request.full_clone:
        return "A full clone, as asked for."
    if facts.template_config is None or not home:
        return "A full clone: the template's disks could not be read, and a full one is always possible."
    if request.storage and request.storage != home:
        return f"A full clone: a linked one would stay on {home}, asked for is {request.storage}."
    for disk in copied_disks(facts.template_config):
        storage = facts.storage_at(template_node, disk.storage)
        if storage is None or not storage.type:
            return f"A full clone: the type of {disk.storage} could not be read."
        if storage.type not in OVERLAY_TYPES:
            return f"A full clone: {disk.storage} ({storage.type}) cannot make linked ones."
        if not disk.base:
            return f"A full clone: {disk.key} of the template is no base volume."
    return ""


def _choose_storage(
    request: VmRequest, facts: PlanFacts, node: str, home: str, disk: int, shared: bool
) -> tuple[str, str]:
    """The storage of a full clone and why: asked for, else the template's, else the one with most room that will do."""
    if request.storage:
        return request.storage, f"The disk goes to {request.storage}, as asked for."
    if not home:
        return "", "The disk goes to the storage of the template's."
    usable = [
        one for one in facts.known_storages if one.node == node and not storage_findings(facts, one, disk, shared)
    ]
    if home and any(one.name == home for one in usable):
        return home, f"The disk goes to {home}, where the template's is."
    best = max(usable, key=lambda one: (free_space(facts, one) or 0, one.name), default=None)
    if best is None:
        return home, ""
    room = free_space(facts, best)
    told = f", {size(room)} are free there" if room is not None else ""
    return best.name, f"The disk goes to {best.name}{told}."


def storage_findings(facts: PlanFacts, storage: Storage, disk: int, shared: bool) -> tuple[Finding, ...]:
    """What stands against putting so many bytes on this storage. shared: it has to be one that other nodes see too."""
    name = storage.name
    if not storage.active or not storage.enabled:
        text = f"The storage {name} is disabled or not online on {storage.node}."
        return (
            _blocker("storage_disabled", text, f"Enable {name} on the server, or choose another storage.", "storage"),
        )
    if storage.content and "images" not in storage.content:
        text = f"The storage {name} does not take disks; it holds {', '.join(sorted(storage.content))}."
        return (_blocker("storage_content", text, "Choose a storage whose content has disk images.", "storage"),)
    if shared and not storage.shared:
        text = f"The storage {name} is local, and a clone to another node needs a shared one."
        return (_blocker("storage_local", text, "Choose a shared storage, or the template's own node.", "storage"),)
    room = free_space(facts, storage)
    if room is not None and room < disk:
        text = f"The disk does not fit on {name}: {size(max(room, 0))} are free, it needs {size(disk)}."
        return (_blocker("storage_full", text, _other_storage(facts, storage, disk), "storage"),)
    return ()


def _other_storage(facts: PlanFacts, full: Storage, disk: int) -> str:
    """The cure of a full storage: the others of the node that have room."""
    roomy = [
        f"{one.name} ({size(room)} free)"
        for one in facts.known_storages
        if one.node == full.node
        and one.name != full.name
        and one.active
        and one.enabled
        and ("images" in one.content)
        and (room := free_space(facts, one)) is not None
        and room >= disk
    ]
    return f"Choose {' or '.join(sorted(roomy))}." if roomy else "Make room on it, or ask for a smaller disk."


# --- nodes ------------------------------------------------------------------------------------------------------------


def node_findings(request: VmRequest, facts: PlanFacts, node: str) -> tuple[Finding, ...]:
    """Every blocker that stands against this node; empty where it can take the VM."""
    known = next((one for one in facts.known_nodes if one.name == node), None)
    if known is None and facts.known_nodes:
        names = ", ".join(sorted(one.name for one in facts.known_nodes))
        text = f"{facts.name} has no node {node}."
        return (_blocker("node_unknown", text, f"Choose one of {names}.", "node"),)
    if known is not None and not known.online:
        text = f"The node {node} is down."
        return (_blocker("node_down", text, "Choose another node, or bring it back.", "node"),)
    return (
        *_template_findings(request, facts, node),
        *(_memory_findings(request, facts, known) if known else ()),
        *_bridge_findings(request, facts, node),
        *_clone_findings(request, facts, node),
    )


def _template_findings(request: VmRequest, facts: PlanFacts, node: str) -> tuple[Finding, ...]:
    row = template_row(request, facts)
    if row is None or not row.node or row.node == node:
        return _source_findings(request, facts, row)
    if facts.template_config is None:
        return _source_findings(request, facts, row)
    for disk in disks(facts.template_config):
        storage = facts.storage_at(row.node, disk.storage) if disk.storage else None
        if storage is not None and not storage.shared:
            text = f"{template_title(request, facts)} lies on {storage.name}, local to {row.node}: no clone can go to {node}."
            cure = f"Choose {row.node}, or move the template to a shared storage."
            return (_blocker("template_local", text, cure, "node"),)
    return _source_findings(request, facts, row)


def _source_findings(request: VmRequest, facts: PlanFacts, row: Guest | None) -> tuple[Finding, ...]:
    """The clone is made by the template's node, which has to be there too."""
    home = next((one for one in facts.known_nodes if row and one.name == row.node), None)
    if home is None or home.online:
        return ()
    text = f"{template_title(request, facts)} is on {home.name}, which is down."
    return (
        _blocker("template_node_down", text, f"Bring {home.name} back, or choose another template.", "template.vmid"),
    )


def _memory_findings(request: VmRequest, facts: PlanFacts, node: Node) -> tuple[Finding, ...]:
    asked = memory_asked(request, facts.template_config) * MIB
    if node.memory is None or asked <= node.memory:
        return ()
    text = f"The VM needs {size(asked)} of memory, {node.name} has {size(node.memory)} in all."
    cure = f"Ask for at most {node.memory // MIB} MiB, or choose a larger node."
    return (_blocker("memory_above_total", text, cure, "memory_mb"),)


def _bridge_findings(request: VmRequest, facts: PlanFacts, node: str) -> tuple[Finding, ...]:
    there, bridge = facts.bridges.get(node), needed_bridge(request, facts, node)
    if there is None or not bridge or bridge in there:
        return ()
    text = f"{node} has no bridge {bridge}" + ("." if request.network.bridge else ", to which the template is plugged.")
    cure = (
        f"Choose one of {', '.join(sorted(there))}." if there else f"Make a bridge on {node}, or choose another node."
    )
    return (_blocker("bridge_missing", text, cure, "network.bridge"),)


def _clone_findings(request: VmRequest, facts: PlanFacts, node: str) -> tuple[Finding, ...]:
    row = template_row(request, facts)
    template_node = row.node if row and row.node else node
    choice = choose_clone(request, facts, node, template_node)
    here = [one for one in facts.known_storages if one.node == node]
    if not choice.storage or not here:
        return ()
    storage = facts.storage_at(node, choice.storage)
    if storage is None:
        usable = sorted(one.name for one in here if "images" in one.content)
        cure = f"Choose one of {', '.join(usable)}." if usable else f"Add a storage for disk images to {node}."
        return (_blocker("storage_missing", f"{node} has no storage {choice.storage}.", cure, "storage"),)
    needed = choice.disk if choice.full else LINKED_SPARE
    return storage_findings(facts, storage, needed, shared=choice.full and node != template_node)


def choose_node(request: VmRequest, facts: PlanFacts) -> tuple[str, tuple[NodeChoice, ...]]:
    """The node and every one that was weighed. Asked for by name it is that one; else, among those that can take the VM,
    the server's default node when its memory is enough, else the one with most free memory.

    Empty where nothing is known of any node. Where none can take it, the template's own is named, so that the findings fit.
    """
    row = template_row(request, facts)
    fallback = (row.node if row else "") or facts.default_node
    found = {node.name: node_findings(request, facts, node.name) for node in facts.known_nodes}
    possible = [node for node in facts.known_nodes if not found[node.name]]
    chosen = request.node or _best(request, facts, possible, row) or fallback
    if not chosen and len(facts.known_nodes) == 1:
        chosen = facts.known_nodes[0].name
    choices = [
        NodeChoice(
            node.name,
            node.name == chosen,
            not found[node.name],
            _reason(request, facts, node, found[node.name], chosen),
        )
        for node in sorted(facts.known_nodes, key=lambda one: one.name)
    ]
    return chosen, tuple(choices)


def _best(request: VmRequest, facts: PlanFacts, possible: Sequence[Node], row: Guest | None) -> str:
    asked = memory_asked(request, facts.template_config) * MIB

    def worth(node: Node) -> tuple[bool, bool, int, bool, str]:
        free = free_memory(facts, node)
        fits = free is None or free >= asked
        home = row is not None and node.name == row.node
        return fits, fits and node.name == facts.default_node, free or 0, home, node.name

    best = max(possible, key=worth, default=None)
    return best.name if best else ""


def _reason(request: VmRequest, facts: PlanFacts, node: Node, against: Sequence[Finding], chosen: str) -> str:
    if against:
        return " ".join(finding.text for finding in against)
    free = free_memory(facts, node)
    told = "Its free memory is not told." if free is None else f"{size(max(free, 0))} of memory are free there."
    if node.name != chosen:
        return f"Possible. {told}"
    if request.node:
        return f"As asked for. {told}"
    if node.name == facts.default_node:
        return f"The server's default node. {told}"
    alone = len(facts.known_nodes) == 1
    return f"The only node. {told}" if alone else f"The best of those that can take it. {told}"


def cores_above(request: VmRequest, facts: PlanFacts, node: str) -> int | None:
    """CPUs of the node where they are fewer than the VM shall have, else None."""
    known = next((one for one in facts.known_nodes if one.name == node), None)
    asked = cores_asked(request, facts.template_config)
    return known.cores if known and known.cores is not None and known.cores < asked else None


def _blocker(code: str, text: str, cure: str, field: str) -> Finding:
    return Finding(Level.BLOCKER, code, text, cure, field)
