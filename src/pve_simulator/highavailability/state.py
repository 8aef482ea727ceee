"""What the managers know, as it stands in the estate: texts by section and name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pve_simulator.world.estate import Estate
    from pve_simulator.world.guest import Guest

Section = dict[str, dict[str, str]]


def resources(estate: Estate) -> Section:
    """The guests looked after, by `vm:101`: `state`, `comment`, `max_restart`, ... as configured."""
    return estate.sections.setdefault("ha/resources", {})


def rules(estate: Estate) -> Section:
    """The rules by name."""
    return estate.sections.setdefault("ha/rules", {})


def groups(estate: Estate) -> Section:
    """The groups of versions that have no rules yet."""
    return estate.sections.setdefault("ha/groups", {})


def services(estate: Estate) -> Section:
    """What the manager made of the resources: `state`, `node`, `running`, `target`, `task`, `failed`, `moved`."""
    return estate.sections.setdefault("ha/services", {})


def nodes(estate: Estate) -> Section:
    """The nodes as the manager sees them: `state` (online, unknown, fence) and `since` (seconds since the epoch)."""
    return estate.sections.setdefault("ha/nodes", {})


def commands(estate: Estate) -> Section:
    """Moves that were asked for, by resource: `kind` (migrate, relocate) and `node`."""
    return estate.sections.setdefault("ha/commands", {})


def manager(estate: Estate) -> dict[str, str]:
    """The master: `node` and `timestamp`; empty before there was one."""
    return estate.sections.setdefault("ha/manager", {}).setdefault("master", {})


def sid(guest: Guest) -> str:
    """A guest's name here: `vm:101` or `ct:101`."""
    return f"{'vm' if guest.type == 'qemu' else 'ct'}:{guest.vmid}"


def guest_of(estate: Estate, name: str) -> Guest | None:
    """The guest of a resource."""
    kind, _, vmid = name.partition(":")
    found = estate.guests.get(int(vmid)) if vmid.isdigit() else None
    return found if found and (found.type == "qemu") == (kind == "vm") else None


def wanted(values: dict[str, str]) -> str:
    """The state that is configured: started, stopped, disabled or ignored."""
    return {"enabled": "started"}.get(values.get("state", "started"), values.get("state", "started"))


def shown(estate: Estate) -> dict[str, str]:
    """The state of every resource as lists of guests tell it."""
    known = estate.sections.get("ha/services", {})
    configured = estate.sections.get("ha/resources", {})
    return {
        name: known.get(name, {}).get("state") or values.get("state", "started") for name, values in configured.items()
    }


def forget(estate: Estate, name: str) -> None:
    """Takes a resource away, from the rules too."""
    for section in (resources(estate), services(estate), commands(estate)):
        section.pop(name, None)
    for rule, values in list(rules(estate).items()):
        left = [one for one in values.get("resources", "").split(",") if one and one != name]
        if not left:
            del rules(estate)[rule]
        else:
            values["resources"] = ",".join(left)
