"""`/cluster/ha`: which guests the cluster keeps running, and what its manager says.

A resource's section holds `state`, `comment`, `max_restart`, ... as texts; the manager takes it over after a while.
"""

from __future__ import annotations

import datetime
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import digest

Section = dict[str, dict[str, str]]
MIGRATED = "ha groups have been migrated to rules"
NUMBERS = ("max_restart", "max_relocate", "failback", "disable", "strict", "order")


def resources(estate: Estate) -> Section:
    """The managed resources by `vm:101`."""
    return estate.sections.setdefault("ha/resources", {})


def rules(estate: Estate) -> Section:
    """The rules by name."""
    return estate.sections.setdefault("ha/rules", {})


def full_id(told: str, estate: Estate) -> str:
    """`vm:101` of `vm:101` or `101`; raises ApiError 500 for an unknown kind."""
    kind, colon, vmid = told.partition(":")
    if not colon:
        guest = estate.guests.get(int(kind)) if kind.isdigit() else None
        return f"{'ct' if guest and guest.type == 'lxc' else 'vm'}:{told}"
    if kind not in ("vm", "ct"):
        raise ApiError(500, f"unknown section type '{kind}'")
    return f"{kind}:{vmid}"


def typed(values: dict[str, str]) -> dict[str, Any]:
    """A section with the types that the API tells."""
    return {name: int(value) if name in NUMBERS else value for name, value in values.items()}


def told(estate: Estate, sid: str) -> dict[str, Any]:
    """A resource as the API tells it."""
    text = repr(sorted((name, sorted(values.items())) for name, values in resources(estate).items()))
    return {"sid": sid, "type": sid.partition(":")[0], "digest": digest(text), **typed(resources(estate)[sid])}


@endpoint("GET", "/cluster/ha/resources")
async def listed(call: Call) -> list[dict[str, Any]]:
    wanted = call.get("type")
    return [told(call.estate, sid) for sid in resources(call.estate) if wanted in (None, sid.partition(":")[0])]


@endpoint("POST", "/cluster/ha/resources")
async def add(call: Call) -> None:
    sid = full_id(call["sid"], call.estate)
    kind, _, vmid = sid.partition(":")
    if sid in resources(call.estate):
        raise ApiError(500, f"create resource failed: resource ID '{sid}' already defined")
    guest = call.estate.guests.get(int(vmid)) if vmid.isdigit() else None
    if guest is None or (guest.type == "qemu") != (kind == "vm"):
        raise ApiError(500, f"resource '{sid}' does not exist in cluster")
    fresh = {name: str(value) for name, value in call.sent.items() if name not in ("sid", "type")}
    resources(call.estate)[sid] = {"state": "started", **fresh}


@endpoint("GET", "/cluster/ha/resources/{sid}")
async def one(call: Call) -> dict[str, Any]:
    sid = full_id(call["sid"], call.estate)
    if sid not in resources(call.estate):
        raise ApiError(500, f"no such resource '{sid}'")
    return told(call.estate, sid)


@endpoint("PUT", "/cluster/ha/resources/{sid}")
async def change(call: Call) -> None:
    sid = full_id(call["sid"], call.estate)
    if sid not in resources(call.estate):
        raise ApiError(500, f"update resource failed: no such resource '{sid}'")
    for name in call.get("delete", "").split(","):
        resources(call.estate)[sid].pop(name, None)
    fresh = {name: str(value) for name, value in call.sent.items() if name not in ("sid", "delete", "digest")}
    resources(call.estate)[sid] |= fresh


@endpoint("DELETE", "/cluster/ha/resources/{sid}")
async def remove(call: Call) -> None:
    sid = full_id(call["sid"], call.estate)
    if sid not in resources(call.estate):
        raise ApiError(500, f"cannot delete service '{sid}', not HA managed!")
    del resources(call.estate)[sid]


@endpoint("GET", "/cluster/ha/groups")
async def groups(call: Call) -> None:
    raise ApiError(500, f"cannot index groups: {MIGRATED}")


@endpoint("POST", "/cluster/ha/groups")
async def add_group(call: Call) -> None:
    raise ApiError(500, f"cannot create group: {MIGRATED}")


@endpoint("GET", "/cluster/ha/rules")
async def listed_rules(call: Call) -> list[dict[str, Any]]:
    text = repr(sorted((name, sorted(values.items())) for name, values in rules(call.estate).items()))
    return [
        {"rule": name, "digest": digest(text), "order": number, **typed(values)}
        for number, (name, values) in enumerate(rules(call.estate).items(), 1)
    ]


@endpoint("POST", "/cluster/ha/rules")
async def add_rule(call: Call) -> None:
    name = call["rule"]
    if name in rules(call.estate):
        raise ApiError(500, f"create rule failed: rule '{name}' already defined")
    rules(call.estate)[name] = {key: str(value) for key, value in call.sent.items() if key != "rule"}


@endpoint("DELETE", "/cluster/ha/rules/{rule}")
async def remove_rule(call: Call) -> None:
    rules(call.estate).pop(call["rule"], None)


@endpoint("GET", "/cluster/ha/status/manager_status")
async def manager(call: Call) -> dict[str, Any]:
    node = call.estate.entry.name
    return {"manager_status": {"node_status": {}}, "quorum": {"node": node, "quorate": "1"}}


@endpoint("GET", "/cluster/ha/status/current")
async def current(call: Call) -> list[dict[str, Any]]:
    """Quorum and fencing; once something is managed also the master, the nodes and the services."""
    estate, node = call.estate, call.estate.entry.name
    active = any(values.get("state") != "ignored" for values in resources(estate).values())
    state = "armed" if active else "standby"
    watchdog = "armed (CRM watchdog active)" if active else "standby (CRM watchdog standby)"
    rows: list[dict[str, Any]] = [
        {"id": "quorum", "type": "quorum", "node": node, "status": "OK", "quorate": 1},
        {"id": "fencing", "type": "fencing", "node": node, "status": watchdog, "armed-state": state},
    ]
    if active:
        now = call.server.clock.seconds()
        spelled = f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%a %b %d %H:%M:%S %Y}"
        told_master = f"{node} (active, {spelled})"
        rows.append({"id": "master", "type": "master", "node": node, "status": told_master, "timestamp": now})
        for name in estate.nodes:
            status = f"{name} (active, watchdog active, {spelled})"
            rows.append({"id": f"lrm:{name}", "type": "lrm", "node": name, "status": status, "timestamp": now})
    rows += [service(estate, sid, values) for sid, values in resources(estate).items()]
    return rows


def service(estate: Estate, sid: str, values: dict[str, str]) -> dict[str, Any]:
    """A resource's row."""
    guest = estate.guests.get(int(sid.partition(":")[2]))
    where, state = guest.node if guest else estate.entry.name, values.get("state", "started")
    row: dict[str, Any] = {
        "id": f"service:{sid}",
        "type": "service",
        "sid": sid,
        "node": where,
        "state": state,
        "request_state": state,
        "status": f"{sid} ({where}, {state})",
        "failback": int(values.get("failback", 1)),
        "max_restart": int(values.get("max_restart", 1)),
        "max_relocate": int(values.get("max_relocate", 1)),
    }
    if state != "ignored":
        row["crm_state"] = state
    return {**row, "comment": values["comment"]} if values.get("comment") else row
