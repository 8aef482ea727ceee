"""`/cluster/ha`: which guests the cluster keeps running, by which rules, and what its manager says.

A resource's section holds `state`, `comment`, `max_restart`, ... as texts; the manager takes it over after a while.
"""

from __future__ import annotations

import datetime
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError
from pve_simulator.highavailability import requests, state
from pve_simulator.highavailability.groups import kept as groups_kept
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import digest

MIGRATED = "ha groups have been migrated to rules"
NUMBERS = ("max_restart", "max_relocate", "failback", "disable", "strict", "order", "restricted", "nofailback")


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


def digest_of(section: state.Section) -> str:
    """The digest of a file of sections."""
    return digest(repr(sorted((name, sorted(values.items())) for name, values in section.items())))


def told(estate: Estate, sid: str) -> dict[str, Any]:
    """A resource as the API tells it."""
    section = state.resources(estate)
    return {"sid": sid, "type": sid.partition(":")[0], "digest": digest_of(section), **typed(section[sid])}


def changed(call: Call, section: state.Section, name: str, *left_out: str) -> None:
    """Changes a section by what was sent: `delete` first."""
    if call.get("digest") and call["digest"] != digest_of(section):
        raise ApiError(500, "detected modified configuration - file changed by other user? Try again.")
    for gone in call.get("delete", "").split(","):
        section[name].pop(gone, None)
    section[name] |= sent(call, "delete", "digest", *left_out)


def sent(call: Call, *left_out: str) -> dict[str, str]:
    """What was sent, as files hold it."""
    return {name: str(value) for name, value in call.sent.items() if name not in left_out}


def without_groups(call: Call) -> None:
    """Raises ApiError 500 where a resource is to be in a group, which became rules."""
    if "group" not in call:
        return
    if not groups_kept(call.estate):
        raise ApiError(500, f"invalid parameter 'group': {MIGRATED}")
    if call["group"] not in state.groups(call.estate):
        raise ApiError(500, f"HA group '{call['group']}' does not exist")


@endpoint("GET", "/cluster/ha/resources")
async def listed(call: Call) -> list[dict[str, Any]]:
    wanted = call.get("type")
    return [told(call.estate, sid) for sid in state.resources(call.estate) if wanted in (None, sid.partition(":")[0])]


@endpoint("POST", "/cluster/ha/resources")
async def add(call: Call) -> None:
    sid = full_id(call["sid"], call.estate)
    if sid in state.resources(call.estate):
        raise ApiError(500, f"create resource failed: resource ID '{sid}' already defined")
    if state.guest_of(call.estate, sid) is None:
        raise ApiError(500, f"resource '{sid}' does not exist in cluster")
    without_groups(call)
    state.resources(call.estate)[sid] = {"state": "started", **sent(call, "sid", "type")}


@endpoint("GET", "/cluster/ha/resources/{sid}")
async def one(call: Call) -> dict[str, Any]:
    sid = full_id(call["sid"], call.estate)
    if sid not in state.resources(call.estate):
        raise ApiError(500, f"no such resource '{sid}'")
    return told(call.estate, sid)


@endpoint("PUT", "/cluster/ha/resources/{sid}")
async def change(call: Call) -> None:
    sid = full_id(call["sid"], call.estate)
    if sid not in state.resources(call.estate):
        raise ApiError(500, f"update resource failed: no such resource '{sid}'")
    without_groups(call)
    failed = state.services(call.estate).get(sid, {}).get("state") == "error"
    if failed and call.get("state") not in (None, "disabled"):
        raise ApiError(500, f"service '{sid}' in error state, must be disabled and fixed first")
    changed(call, state.resources(call.estate), sid, "sid")


@endpoint("DELETE", "/cluster/ha/resources/{sid}")
async def remove(call: Call) -> None:
    sid = full_id(call["sid"], call.estate)
    if sid not in state.resources(call.estate):
        raise ApiError(500, f"cannot delete service '{sid}', not HA managed!")
    if call.get("purge", True):
        state.forget(call.estate, sid)
    else:
        del state.resources(call.estate)[sid]


@endpoint("POST", "/cluster/ha/resources/{sid}/migrate")
async def migrate(call: Call) -> dict[str, Any]:
    return requests.move(call, full_id(call["sid"], call.estate), "migrate")


@endpoint("POST", "/cluster/ha/resources/{sid}/relocate")
async def relocate(call: Call) -> dict[str, Any]:
    return requests.move(call, full_id(call["sid"], call.estate), "relocate")


def groups(call: Call, verb: str) -> state.Section:
    """The groups; raises ApiError 500 in versions that made rules of them."""
    if not groups_kept(call.estate):
        raise ApiError(500, f"cannot {verb}: {MIGRATED}")
    return state.groups(call.estate)


@endpoint("GET", "/cluster/ha/groups")
async def listed_groups(call: Call) -> list[dict[str, Any]]:
    found = groups(call, "index groups")
    return [{"group": name, "type": "group", "digest": digest_of(found), **typed(told)} for name, told in found.items()]


@endpoint("POST", "/cluster/ha/groups")
async def add_group(call: Call) -> None:
    found = groups(call, "create group")
    if call["group"] in found:
        raise ApiError(500, f"create ha group failed: ha group ID '{call['group']}' already defined")
    found[call["group"]] = sent(call, "group", "type")


@endpoint("GET", "/cluster/ha/groups/{group}")
async def one_group(call: Call) -> dict[str, Any]:
    found = groups(call, "read group")
    if call["group"] not in found:
        raise ApiError(500, f"no such ha group '{call['group']}'")
    return {"group": call["group"], "type": "group", "digest": digest_of(found), **typed(found[call["group"]])}


@endpoint("PUT", "/cluster/ha/groups/{group}")
async def change_group(call: Call) -> None:
    found = groups(call, "update group")
    if call["group"] not in found:
        raise ApiError(500, f"update ha group failed: no such ha group '{call['group']}'")
    changed(call, found, call["group"], "group")


@endpoint("DELETE", "/cluster/ha/groups/{group}")
async def remove_group(call: Call) -> None:
    found = groups(call, "delete group")
    for sid, values in state.resources(call.estate).items():
        if values.get("group") == call["group"]:
            raise ApiError(500, f"delete ha group failed: ha group is used by service '{sid}'")
    found.pop(call["group"], None)


@endpoint("GET", "/cluster/ha/status/manager_status")
async def manager(call: Call) -> dict[str, Any]:
    """All that the manager keeps; next to nothing before there was a master."""
    estate, node = call.estate, call.entry.name
    quorum = {"node": node, "quorate": "1" if call.server.quorum.holds(node) else ""}
    master = state.manager(estate)
    if not master:
        return {"manager_status": {"node_status": {}}, "quorum": quorum}
    nodes = {name: told["state"].replace("dead", "unknown") for name, told in state.nodes(estate).items()}
    services = {
        sid: {name: told[name] for name in ("state", "node", "target") if name in told}
        | ({"running": 1} if told.get("running") else {})
        for sid, told in state.services(estate).items()
    }
    stamp = int(master["timestamp"])
    lrm = {
        name: {"mode": "active", "results": {}, "state": lrm_state(estate, name), "timestamp": stamp} for name in nodes
    }
    status = {"master_node": master["node"], "node_status": nodes, "service_status": services, "timestamp": stamp}
    return {"manager_status": status, "lrm_status": lrm, "quorum": quorum}


def lrm_state(estate: Estate, node: str) -> str:
    """What a node's local manager does: nothing while no service is there."""
    here = [told for told in state.services(estate).values() if told["node"] == node and told["state"] != "stopped"]
    return "active" if here else "wait_for_agent_lock"


def spelled(moment: float) -> str:
    """A time as the managers write it."""
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%a %b %d %H:%M:%S %Y}"


@endpoint("GET", "/cluster/ha/status/current")
async def current(call: Call) -> list[dict[str, Any]]:
    """Quorum and fencing; once something is managed also the master, the nodes and the services."""
    estate, node, server = call.estate, call.entry.name, call.server
    quorate = server.quorum.holds(node)
    rows: list[dict[str, Any]] = [
        {
            "id": "quorum",
            "type": "quorum",
            "node": node,
            "status": "OK" if quorate else f"No quorum on node '{node}'!",
            "quorate": int(quorate),
        }
    ]
    master = state.manager(estate)
    stamp = int(master.get("timestamp", 0))
    fresh = (server.clock.time() - stamp) * server.clock.speed < 30
    word = "active" if fresh else ("old timestamp - dead?" if state.resources(estate) else "idle")
    if master:
        status = f"{master['node']} ({word}, {spelled(stamp)})"
        rows.append({"id": "master", "type": "master", "node": master["node"], "status": status, "timestamp": stamp})
    armed = "armed" if master and fresh else "standby"
    watchdog = f"{armed} (CRM watchdog {'active' if armed == 'armed' else 'standby'})"
    where = master.get("node", node)
    rows.append({"id": "fencing", "type": "fencing", "node": where, "status": watchdog, "armed-state": armed})
    if master:
        rows += [lrm(call, name, stamp) for name in sorted(state.nodes(estate))]
    rows += [service(estate, sid, values) for sid, values in state.resources(estate).items()]
    return rows


def lrm(call: Call, name: str, stamp: int) -> dict[str, Any]:
    """A node's local manager."""
    told = state.nodes(call.estate)[name]
    if told["state"] != "online":
        stamp = int(float(told["since"]))
        status = f"{name} (old timestamp - dead?, watchdog standby, {spelled(stamp)})"
    else:
        active = lrm_state(call.estate, name) == "active"
        word = "active, watchdog active" if active else "idle, watchdog standby"
        status = f"{name} ({word}, {spelled(stamp)})"
    return {"id": f"lrm:{name}", "type": "lrm", "node": name, "status": status, "timestamp": stamp}


def service(estate: Estate, sid: str, values: dict[str, str]) -> dict[str, Any]:
    """A resource's row."""
    guest, known = state.guest_of(estate, sid), state.services(estate).get(sid)
    where = known["node"] if known else guest.node if guest else estate.entry.name
    word = verbose(values, known)
    row: dict[str, Any] = {
        "id": f"service:{sid}",
        "type": "service",
        "sid": sid,
        "node": where,
        "state": word,
        "request_state": values.get("state", "started"),
        "status": f"{sid} ({where}, {word})",
        "failback": int(values.get("failback", 1)),
        "max_restart": int(values.get("max_restart", 1)),
        "max_relocate": int(values.get("max_relocate", 1)),
    }
    if known:
        row["crm_state"] = known["state"]
    return row | {name: values[name] for name in ("comment", "group") if values.get(name)}


def verbose(values: dict[str, str], known: dict[str, str] | None) -> str:
    """A service's state in the words for people."""
    wanted = state.wanted(values)
    if wanted == "ignored":
        return "ignored"
    if known is None:
        return "queued"
    now = known["state"]
    if now == "stopped" and wanted != "stopped":
        return "starting" if wanted == "started" else "disabled"
    if now == "started" and wanted != "started":
        return "stopping"
    if now == "started" and not known.get("running"):
        return "starting"
    return "clearing error flag" if now == "error" and wanted == "disabled" else now
