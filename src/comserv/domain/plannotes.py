"""The notes of a plan: what the VM inherits from its template, and what Proxmox or we will choose."""

from collections.abc import Iterator

from comserv.domain.hardware import boot_disk, network_card
from comserv.domain.ownership import strip_marker
from comserv.domain.plan import Decision, Finding, Level
from comserv.domain.planfacts import PlanFacts
from comserv.domain.vmrequest import VmRequest


def inherited_notes(request: VmRequest, facts: PlanFacts) -> Iterator[Finding]:
    """What the VM gets from the template because nothing was asked for."""
    config = facts.template_config
    if config is None:
        return
    card, boot = network_card(config.get("net0")), boot_disk(config)
    inherited = [
        ("cpu_cores", request.cpu_cores is None, "its CPUs"),
        ("memory_mb", request.memory_mb is None, "its memory"),
        ("disk_gb", request.disk_gb is None and boot is not None, "the size of its disk"),
        ("tags", not request.tags and bool(config.get("tags")), f"its tags ({config.get('tags').replace(';', ', ')})"),
        ("description", not request.description and bool(strip_marker(config.get("description"))), "its notes"),
        (
            "network.bridge",
            not request.network.bridge and card is not None,
            f"its bridge ({card.bridge if card else ''})",
        ),
        (
            "network.vlan",
            request.network.vlan is None and bool(card and card.vlan),
            f"its VLAN tag ({card.vlan if card else ''})",
        ),
        (
            "cloud_init.user",
            not request.cloud_init.user and bool(config.get("ciuser")),
            f"its user ({config.get('ciuser')})",
        ),
        ("cloud_init.password", not request.cloud_init.password and bool(config.get("cipassword")), "its password"),
        ("cloud_init.ssh_keys", not request.cloud_init.ssh_keys and bool(config.get("sshkeys")), "its SSH keys"),
        ("enable_qemu_agent", request.enable_qemu_agent is None, "whether the agent is enabled"),
    ]
    found = [(field, words) for field, holds, words in inherited if holds]
    if found:
        text = f"The VM inherits from the template: {', '.join(words for _, words in found)}."
        yield Finding(Level.NOTE, "inherited", text, "Fill in the field to have it otherwise.", found[0][0])
    others = [key for key in sorted(config.values) if key.startswith("net") and key[3:].isdigit() and key != "net0"]
    if others:
        text = f"Further network cards of the template ({', '.join(others)}) are carried over as they are."
        yield Finding(Level.NOTE, "further_cards", text, "Change them in Proxmox afterwards.", "network")


def chosen_notes(request: VmRequest, decision: Decision | None) -> Iterator[Finding]:
    """What Proxmox or we will choose."""
    if decision and request.vmid is None:
        text = f"The VM id will be {decision.vmid}, or the next free one should it be taken meanwhile."
        if decision.vmid is None:
            text = "The VM id is chosen when the job begins."
        yield Finding(Level.NOTE, "vmid_chosen", text, "Give a VM id to have another one.", "vmid")
    text = "Proxmox gives the VM a MAC address and a uuid of its own."
    yield Finding(
        Level.NOTE,
        "mac_chosen",
        text,
        "Change the MAC address in Proxmox afterwards where it has to be a certain one.",
        "network",
    )
