"""`/nodes`: the nodes themselves, how they fare and how they are set."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

from pve_simulator import metrics
from pve_simulator.api.access_users import names
from pve_simulator.api.cluster_resources import node_row
from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError, ParameterError
from pve_simulator.world.guest import digest

KERNEL = "6.17.4-2-pve"
KERNEL_BUILD = "#1 SMP PREEMPT_DYNAMIC PMX 6.17.4-2 (2025-12-19T07:49Z)"
FLAGS = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx lm svm"
NUMBERS = ("ballooning-target", "startall-onboot-delay")


@endpoint("GET", "/nodes")
async def nodes(call: Call) -> list[dict[str, Any]]:
    """All nodes; their figures only for whom may audit them."""
    rows = []
    for node in call.estate.nodes.values():
        row = node_row(call, node)
        del row["cgroup-mode"]
        rows.append(row | {"ssl_fingerprint": call.server.certificates_of(node.name).fingerprint})
    return rows


@endpoint("GET", "/nodes/{node}/version")
async def version(call: Call) -> dict[str, str]:
    return call.version.told


@endpoint("GET", "/nodes/{node}/status")
async def status(call: Call) -> dict[str, Any]:
    """The node's figures of this moment; sizes in bytes."""
    node, now = call.node, call.server.clock.time()
    figures = metrics.node_figures(call.server, node, now)
    load = metrics.load(node, figures["cpu"], now)
    disk = figures["disk"]
    return {
        "cpu": figures["cpu"],
        "wait": 0.0005,
        "idle": 0,
        "uptime": figures["uptime"],
        "loadavg": [f"{part:.2f}" for part in load],
        "memory": {
            "total": node.memory,
            "used": figures["mem"],
            "free": node.memory - figures["mem"],
            "available": node.memory - figures["mem"],
        },
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {"total": node.disk, "used": disk, "free": node.disk - disk, "avail": int(0.95 * node.disk) - disk},
        "ksm": {"shared": 0},
        "cpuinfo": {
            "cpus": node.cores,
            "cores": max(1, node.cores // 2),
            "sockets": 1,
            "model": node.facts.get("model", "AMD EPYC 7313P 16-Core Processor"),
            "vendor": "AuthenticAMD",
            "family": "25",
            "mhz": "2994.374",
            "flags": FLAGS,
            "hvm": "1",
            "user_hz": 100,
        },
        "pveversion": "pve-manager/{version}/{repoid}".format(**call.version.told),
        "kversion": f"Linux {KERNEL} {KERNEL_BUILD}",
        "current-kernel": {"sysname": "Linux", "release": KERNEL, "version": KERNEL_BUILD, "machine": "x86_64"},
        "boot-info": {"mode": "legacy-bios"},
    }


@endpoint("POST", "/nodes/{node}/status")
async def command(call: Call) -> None:
    """Reboot and shutdown are accepted, and nothing goes down."""


@endpoint("GET", "/nodes/{node}/time")
async def clock(call: Call) -> dict[str, Any]:
    now = call.server.clock.seconds()
    zone = zoneinfo.ZoneInfo(call.node.time_zone)
    offset = datetime.datetime.fromtimestamp(now, zone).utcoffset() or datetime.timedelta()
    return {"timezone": call.node.time_zone, "time": now, "localtime": now + int(offset.total_seconds())}


@endpoint("PUT", "/nodes/{node}/time")
async def set_time_zone(call: Call) -> None:
    if call["timezone"] not in zoneinfo.available_timezones():
        raise ParameterError({"timezone": "No such timezone."})
    call.node.time_zone = call["timezone"]


@endpoint("GET", "/nodes/{node}/dns")
async def dns(call: Call) -> dict[str, str]:
    return call.node.dns


@endpoint("PUT", "/nodes/{node}/dns")
async def set_dns(call: Call) -> None:
    call.node.dns = {name: call[name] for name in ("search", "dns1", "dns2", "dns3") if name in call}


@endpoint("GET", "/nodes/{node}/hosts")
async def hosts(call: Call) -> dict[str, str]:
    node = call.node
    text = (
        node.hosts
        or f"127.0.0.1 localhost.localdomain localhost\n{node.address} {node.name}.example.test {node.name}\n"
    )
    return {"data": text, "digest": digest(text)}


@endpoint("POST", "/nodes/{node}/hosts")
async def set_hosts(call: Call) -> None:
    call.node.hosts = call["data"]


@endpoint("GET", "/nodes/{node}/config")
async def config(call: Call) -> dict[str, Any]:
    """Nothing, not even a digest, while there is no file."""
    options = call.node.options
    told: dict[str, Any] = {name: int(value) if name in NUMBERS else value for name, value in options.items()}
    if "description" in told:
        told["description"] = told["description"].rstrip("\n") + "\n"
    return {**told, "digest": digest(repr(sorted(options.items())))} if options else {}


@endpoint("PUT", "/nodes/{node}/config")
async def set_config(call: Call) -> None:
    for name in names(call.get("delete", "")):
        call.node.options.pop(name, None)
    left_out = ("node", "delete", "digest")
    call.node.options |= {name: str(value) for name, value in call.sent.items() if name not in left_out}


@endpoint("POST", "/nodes/{node}/wakeonlan")
async def wake(call: Call) -> str:
    node = call.node
    if node is call.entry:
        raise ApiError(500, f"'{node.name}' is local node, cannot wake my self!")
    told = node.options.get("wakeonlan")
    if not told:
        raise ApiError(500, f"No wake on LAN MAC address defined for '{node.name}'!")
    return told.removeprefix("mac=").split(",")[0]


@endpoint("GET", "/nodes/{node}/rrddata")
async def history(call: Call) -> list[dict[str, Any]]:
    return metrics.node_history(call.server, call.node, call["timeframe"])


@endpoint("GET", "/nodes/{node}/netstat")
async def traffic(call: Call) -> list[dict[str, Any]]:
    """Bytes through the network interfaces of the guests that run here; none where none runs."""
    now = call.server.clock.time()
    return [
        {"vmid": str(guest.vmid), "dev": "net0", "in": str(figures["netin"]), "out": str(figures["netout"])}
        for guest, figures in metrics.running_on(call.server, call.node.name, now)
    ]
