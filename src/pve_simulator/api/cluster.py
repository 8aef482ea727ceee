"""`/cluster`: status, next free VMID, options, log, and what else is told of the whole."""

from __future__ import annotations

import datetime
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.parameters.verification import parse_property_string
from pve_simulator.schema import load
from pve_simulator.world.estate import Estate
from pve_simulator.world.guest import digest

HIGHEST = 1_000_000
# Options that the real one takes apart on reading.
STRUCTURED = (
    "migration",
    "next-id",
    "ha",
    "crs",
    "tag-style",
    "user-tag-access",
    "notify",
    "u2f",
    "webauthn",
    "replication",
)
NUMBERS = ("max_workers", "migration_unsecure")
MAC_PREFIX = "BC:24:11"


@endpoint("GET", "/cluster/status")
async def status(call: Call) -> list[dict[str, Any]]:
    """The cluster, if it is one, and its nodes; a single node has the number 0."""
    estate, server = call.estate, call.server
    rows: list[dict[str, Any]] = []
    alive = [node for node in estate.nodes.values() if server.quorum.sees(call.entry.name, node.name)]
    if estate.cluster:
        quorate = int(server.quorum.holds(call.entry.name))
        told = {"id": "cluster", "type": "cluster", "name": estate.cluster, "version": len(estate.nodes)}
        rows.append({**told, "nodes": len(estate.nodes), "quorate": quorate})
    for node in estate.nodes.values():
        rows.append(
            {
                "id": f"node/{node.name}",
                "type": "node",
                "name": node.name,
                "nodeid": node.number if estate.cluster else 0,
                "ip": node.address,
                "level": "",
                "local": int(node is call.entry),
                "online": int(node in alive),
            }
        )
    return rows


@endpoint("GET", "/cluster/nextid")
async def next_id(call: Call) -> str:
    """The lowest free number, which nothing keeps for the caller; with `vmid` whether that is free."""
    asked = call.get("vmid")
    if asked is not None:
        if asked in call.estate.guests:
            raise ParameterError({"vmid": f"VM {asked} already exists"})
        return str(asked)
    lower, upper = bounds(call.estate)
    found = call.estate.next_id(lower, upper)
    if found is None:
        raise ApiError(500, f"unable to get any free VMID in range [{lower}, {upper - 1}]")
    return str(found)


def bounds(estate: Estate) -> tuple[int, int]:
    """The numbers to choose from: [lower, upper)."""
    told = parse_property_string(load().formats["next-id"], estate.options.get("next-id", ""))
    return int(told.get("lower", 100)), int(told.get("upper", HIGHEST))


@endpoint("GET", "/cluster/options")
async def options(call: Call) -> dict[str, Any]:
    """datacenter.cfg; without Sys.Audit only what concerns tags."""
    if not call.may("/", "Sys.Audit"):
        return {"allowed-tags": []}
    told: dict[str, Any] = {"mac_prefix": MAC_PREFIX, "allowed-tags": []}
    for name, value in call.estate.options.items():
        told[name] = structured(name, value)
    return told


def structured(name: str, value: str) -> Any:
    """An option as the API shows it."""
    if name in STRUCTURED:
        form = load().formats["migration" if name == "replication" else name]
        return parse_property_string(form, value)
    if name == "registered-tags":
        return [tag for tag in value.replace(",", ";").split(";") if tag]
    if name == "description":
        return value.rstrip("\n") + "\n"
    return int(value) if name in NUMBERS else value


@endpoint("PUT", "/cluster/options")
async def set_options(call: Call) -> None:
    fresh = {name: str(value) for name, value in call.sent.items() if name != "delete"}
    for name in call.get("delete", "").replace(";", ",").split(","):
        if name and name not in load_options():
            raise ApiError(500, f"unknown option '{name}'")
    if "next-id" in fresh:
        told = parse_property_string(load().formats["next-id"], fresh["next-id"])
        lower, upper = int(told.get("lower", 100)), int(told.get("upper", HIGHEST))
        if lower > upper:
            raise ApiError(500, f"lower ({lower}) <= upper ({upper}) boundary rule broken")
    for name in call.get("delete", "").replace(";", ",").split(","):
        call.estate.options.pop(name, None)
    call.estate.options |= fresh


def load_options() -> dict[str, Any]:
    """The options that there are."""
    found = load().find("PUT", "/cluster/options")
    return found[0].parameters if found else {}


@endpoint("GET", "/cluster/log")
async def log(call: Call) -> list[dict[str, Any]]:
    """What tasks began and ended, newest first; without Sys.Syslog only one's own."""
    everything = call.may("/", "Sys.Syslog")
    lines: list[tuple[int, str, str, str]] = []  # time, node, user, text
    for task in call.estate.tasks.values():
        if everything or task.user == call.user:
            lines.append((task.starttime, task.node, task.user, f"starting task {task.upid}"))
            if task.endtime is not None:
                lines.append((task.endtime, task.node, task.user, f"end task {task.upid} {task.exitstatus}"))
    lines.sort(key=lambda line: line[0])
    numbered = [
        {
            "uid": str(number),
            "id": f"{number}:{node}",
            "time": time,
            "node": node,
            "user": user,
            "msg": text,
            "tag": "pvedaemon",
            "pri": 6,
            "pid": 900 + number % 3,
        }
        for number, (time, node, user, text) in enumerate(lines, 1)
    ]
    return numbered[::-1][: call.get("max", 50)]


@endpoint("GET", "/cluster/config/nodes")
async def config_nodes(call: Call) -> list[dict[str, Any]]:
    if not call.estate.cluster:
        return []
    return [
        {
            "name": node.name,
            "node": node.name,
            "nodeid": str(node.number),
            "quorum_votes": "1",
            "ring0_addr": node.address,
        }
        for node in call.estate.nodes.values()
    ]


@endpoint("GET", "/cluster/config/join")
async def join(call: Call) -> dict[str, Any]:
    if not call.estate.cluster:
        raise ApiError(424, "node is not in a cluster, no join info available!", newline=False)
    node_list = [
        {
            "name": node.name,
            "nodeid": str(node.number),
            "pve_addr": node.address,
            "pve_fp": call.server.certificates_of(node.name).fingerprint,
            "quorum_votes": "1",
            "ring0_addr": node.address,
        }
        for node in call.estate.nodes.values()
    ]
    return {
        "nodelist": node_list,
        "preferred_node": call.entry.name,
        "totem": totem_settings(call.estate),
        "config_digest": digest(call.estate.cluster),
    }


@endpoint("GET", "/cluster/config/totem")
async def totem(call: Call) -> dict[str, Any] | None:
    return totem_settings(call.estate) if call.estate.cluster else None


def totem_settings(estate: Estate) -> dict[str, Any]:
    """corosync.conf's section totem."""
    interface = {"0": {"linknumber": "0"}}
    common = {"cluster_name": estate.cluster, "config_version": str(len(estate.nodes)), "ip_version": "ipv4-6"}
    return {**common, "interface": interface, "link_mode": "passive", "secauth": "on", "version": "2"}


@endpoint("GET", "/cluster/config/qdevice")
async def quorum_device(call: Call) -> dict[str, Any]:
    return {}


@endpoint("GET", "/cluster/config/apiversion")
async def api_version(call: Call) -> int:
    return 1


@endpoint("GET", "/cluster/metrics/export")
async def export(call: Call) -> dict[str, Any]:
    """The round's figures, one a row."""
    rows = []
    gauges = {"uptime": "uptime", "maxcpu": "cpu_max", "cpu": "cpu_current", "maxmem": "mem_total", "mem": "mem_used"}
    sizes = {"maxdisk": "disk_total", "disk": "disk_used"}
    counters = {"netin": "net_in", "netout": "net_out", "diskread": "disk_read", "diskwrite": "disk_write"}
    for name, figures in call.server.statistics.items():
        for kind, names in (("gauge", gauges | sizes), ("derive", counters)):
            for key, metric in names.items():
                if key in figures:
                    value = {"metric": metric, "type": kind, "value": figures[key]}
                    rows.append({"id": name, "timestamp": int(figures["at"]), **value})
    return {"data": rows}


@endpoint("GET", "/cluster/jobs/schedule-analyze")
async def analyze(call: Call) -> list[dict[str, Any]]:
    """When a calendar event comes next."""
    from pve_simulator.calendar import BadEvent, coming

    start = call.get("starttime") or call.server.clock.seconds()
    try:
        times = coming(call["schedule"], start, call.get("iterations", 10))
    except BadEvent as refusal:
        raise ParameterError({"schedule": f"invalid format - {refusal}\n"}) from None
    return [{"timestamp": time, "utc": spelled(time)} for time in times]


def spelled(moment: int) -> str:
    """A time as C's asctime tells it, in UTC."""
    told = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    return f"{told:%a %b} {told.day:2} {told:%H:%M:%S %Y}"
